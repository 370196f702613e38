"""``bnnc demo``."""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.terminal import Progress, bytes_text, count_text, print_json
from bnnc.errors import printable

if TYPE_CHECKING:
    from bnnc.compiler import Compilation
    from bnnc.runtime import InferenceSession

NAME = "demo"
HELP = "compile the bundled model and find what is on the bundled picture"
EXAMPLE = "bnnc demo"

_MODEL, _PICTURE = "shapes.onnx", "shapes.png"
_RUNS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--score", type=float, default=0.3, help="least score (default: 0.3)")
    parser.add_argument("--cc", metavar="CC", help="C compiler to use (default: $CC, cc, gcc...)")
    arguments.add_threads(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc import compiler

    data = resources.files("bnnc.data")
    with (
        tempfile.TemporaryDirectory(prefix="bnnc-demo-") as folder,
        resources.as_file(data / _MODEL) as model,
        resources.as_file(data / _PICTURE) as picture,
    ):
        library = Path(folder) / "shapes.so"
        with Progress("compiling the bundled model"):
            compilation = compiler.build(model, library, cc=args.cc)
        session = bnnc.load(library, threads=args.threads)
        said = {**_compiled(compilation), **_detect(session, picture, args.score)}
    if args.json:
        print_json(said)
        return 0
    print(f"compiled {_MODEL} in {said['compile_seconds']:.1f} s")
    print(
        f"  {count_text(said['binary'], 'binary layer')}, {said['float']} float; "
        f"r_b {said['binarization_ratio']:.4f}; library {bytes_text(said['library_bytes'])}"
    )
    print(
        f"ran it on {_PICTURE} in {said['milliseconds']:.2f} ms "
        f"({said['isa']}, {count_text(said['threads'], 'thread')})"
    )
    print(f"  {count_text(len(said['detections']), 'detection')}")
    for found in said["detections"]:
        corners = ", ".join(f"{value:.0f}" for value in found["box"])
        print(f"  {printable(found['label']):<12} {found['score']:.2f}  [{corners}]")
    return 0


def _compiled(compilation: Compilation) -> dict[str, Any]:
    stats = compilation.info["statistics"]["executed"]
    counted = [layer for layer in stats["layers"] if layer["macs"]]
    binary = sum(layer["binary"] for layer in counted)
    return {
        "compile_seconds": compilation.seconds,
        "binary": binary,
        "float": len(counted) - binary,
        "binarization_ratio": stats["total"]["binarization_ratio"],
        "library_bytes": compilation.files[0].stat().st_size,
    }


def _detect(session: InferenceSession, picture: Path, score: float) -> dict[str, Any]:
    import bnnc
    from bnnc.detect.pictures import read_picture

    detector = bnnc.Detector(session, score=score)
    pixels = read_picture(picture)
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        boxes = detector(pixels)
        seconds.append(time.perf_counter() - start)
    return {
        "milliseconds": 1e3 * sorted(seconds)[_RUNS // 2],
        "isa": session.isa,
        "threads": session.threads,
        "detections": [
            {"label": name, "score": float(value), "box": [float(c) for c in box]}
            for name, value, box in zip(boxes.names, boxes.scores, boxes.corners)
        ],
    }
