"""``bnnc demo``."""

from __future__ import annotations

import argparse
import tempfile
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.detect import found_document, found_lines, write_image
from bnnc.cli.terminal import Progress, bytes_text, count_text, print_json
from bnnc.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bnnc.compiler import Compilation
    from bnnc.runtime import InferenceSession

NAME = "demo"
HELP = "compile the bundled detector and draw what it finds on the bundled picture"
EXAMPLE = "bnnc demo -o found.png"

_MODEL, _PICTURE = "shapes.onnx", "shapes.png"
_ROUNDS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_written(
        parser,
        "-o",
        "--output",
        default=Path("bnnc-demo.png"),
        metavar="FILE.png",
        help="the picture to write (default: bnnc-demo.png)",
    )
    parser.add_argument("--score", type=float, default=0.3, help="least score (default: 0.3)")
    parser.add_argument("--cc", metavar="CC", help="C compiler to use (default: $CC, cc, gcc...)")
    arguments.add_threads(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc import compiler
    from bnnc.detect.detector import Detector
    from bnnc.detect.drawing import draw
    from bnnc.pictures import read_picture

    if args.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError("is no name for a picture; end it in .png or .jpg", file=args.output)
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
        detector = Detector(session, score=args.score)
        pixels = read_picture(picture)
        boxes = detector(pixels)
        write_image(draw(pixels, boxes), args.output)
        said = {
            "drawn": str(args.output),
            "detections": found_document(boxes),
            "isa": session.isa,
            "threads": session.threads,
            "timings": _timings(session, model, detector.input_of(pixels)[0]),
            **_compiled(compilation),
        }
    if args.json:
        print_json(said)
        return 0
    found = count_text(len(boxes), "shape")
    print(f"found {found} on the bundled picture, drawn into {args.output}")
    print(*found_lines(boxes), sep="\n")
    print()
    for timing in said["timings"]:
        print(f"  a run with {timing['name']:<20} {timing['median_ms']:8.2f} ms")
    for title, size in said["weight_bytes"].items():
        print(f"  weights {title:<23} {bytes_text(size):>11}")
    print(
        f"\ncompiled in {said['compile_seconds']:.1f} s to a library of "
        f"{bytes_text(said['library_bytes'])}: {said['binary']} binary layers, "
        f"{said['float']} float, r_b {said['binarization_ratio']:.4f}"
    )
    return 0


def _timings(session: InferenceSession, model: Path, x: np.ndarray) -> list[dict[str, Any]]:
    """Times of alternate runs; float only where onnxruntime is installed."""
    from bnnc.analysis import bench

    (name,) = (tensor.name for tensor in session.get_inputs())
    with Progress("measuring"):
        contestants = {f"bnnc ({session.isa})": bench.own_run(session, {name: x})}
        if find_spec("onnxruntime") is not None:
            rival = bench.onnxruntime_session(model, session.threads)
            contestants[bench.onnxruntime_title()] = lambda: rival.run(None, {name: x})
        timings = bench.alternate(contestants, rounds=_ROUNDS)
    return [timing.document() for timing in reversed(timings)]


def _compiled(compilation: Compilation) -> dict[str, Any]:
    stats = compilation.info["statistics"]["executed"]
    counted = [layer for layer in stats["layers"] if layer["macs"]]
    binary = sum(layer["binary"] for layer in counted)
    return {
        "weight_bytes": {
            "as float32": stats["total"]["float_bytes"],
            "compiled": compilation.info["compiled"]["weight_bytes"],
        },
        "compile_seconds": compilation.seconds,
        "binary": binary,
        "float": len(counted) - binary,
        "binarization_ratio": stats["total"]["binarization_ratio"],
        "library_bytes": compilation.files[0].stat().st_size,
    }
