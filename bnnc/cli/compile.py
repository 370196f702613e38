"""``bnnc compile``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.terminal import (
    Progress,
    bytes_text,
    count_text,
    print_json,
    shape_text,
)
from bnnc.errors import printable

if TYPE_CHECKING:
    from bnnc.compiler import Compilation

NAME = "compile"
HELP = "compile an ONNX model to a library, C file or Python extension"
EXAMPLE = "bnnc compile model.onnx -o model.so"

_EMITS = ("so", "c", "a", "pyext")
_REASONS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "model", metavar="MODEL.onnx")
    arguments.add_written(parser, "-o", "--output", required=True, metavar="FILE")
    parser.add_argument("--target", default="native", help="see `bnnc targets` (default: native)")
    parser.add_argument(
        "--emit",
        choices=_EMITS,
        default="so",
        help="shared library, C file and header, static library and header, or an importable "
        "extension module (default: so)",
    )
    parser.add_argument("--prefix", metavar="NAME", help="what C symbols start with (bnnc)")
    arguments.add_model_options(parser)
    parser.add_argument(
        "--require-binary",
        action="store_true",
        help="fail if a convolution that could be binary is not",
    )
    parser.add_argument(
        "--decode",
        choices=("centernet", "none"),
        default="none",
        help="make the library find boxes, too (bnnc_detect in C), from a CenterNet's outputs, "
        "which are told by the model's metadata or by their names and shapes",
    )
    arguments.add_written(
        parser, "--dump-passes", metavar="DIR", help="write the graph after every pass"
    )
    parser.add_argument("--cc", metavar="CC", help="C compiler to use (default: $CC, cc, gcc...)")
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from bnnc import compiler

    with Progress(f"compiling {args.model}"):
        compilation = compiler.build(
            args.model,
            args.output,
            target=args.target,
            emit=args.emit,
            prefix=args.prefix,
            require_binary=args.require_binary,
            decode=args.decode,
            dump_passes=args.dump_passes,
            cc=args.cc,
            **arguments.model_options(args),
        )
    if args.json:
        print_json(document(compilation))
    else:
        print(*summary(compilation), sep="\n")
    return 0


def document(compilation: Compilation) -> dict[str, Any]:
    """What a compilation made, for machines."""
    info = compilation.info
    layers = info["statistics"]["executed"]["layers"]
    return {
        "files": [{"path": str(path), "bytes": path.stat().st_size} for path in compilation.files],
        "seconds": compilation.seconds,
        "inputs": info["inputs"],
        "outputs": info["outputs"],
        "compiled": info["compiled"],
        "layers": len(info["layers"]),
        "binary": sum(verdict.binary for verdict in compilation.report.verdicts),
        "float": [
            {key: layer[key] for key in ("name", "op", "reason", "candidate")}
            for layer in layers
            if layer["macs"] and not layer["binary"]
        ],
        "notes": {layer["name"]: layer["note"] for layer in layers if layer["note"]},
        "total": info["statistics"]["executed"]["total"],
    }


def summary(compilation: Compilation) -> Iterator[str]:
    """What a compilation made, in a few lines."""
    from bnnc.analysis.report import flop_text

    info, compiled = compilation.info, compilation.info["compiled"]
    output = compilation.files[0]
    nodes = {origin for layer in info["layers"] for origin in layer["origin"]}
    yield (
        f"{printable(info['name']) or output.stem}: {count_text(len(nodes), 'node')} in "
        f"{count_text(len(info['layers']), 'layer')}"
    )
    for title in ("inputs", "outputs"):
        for tensor in info[title]:
            yield f"  {title[:-1]:<8}{printable(tensor['name'])} {_type(tensor, info)}"
    yield from _binary(compilation)
    fused = Counter(step for layer in info["layers"] for step in layer["steps"] if layer["steps"])
    if fused:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(fused.items()))
        yield f"  fused   {listed}"
    decoder = compiled["decoder"]
    if decoder is not None:
        yield (
            f"  boxes   from {printable(decoder['heatmap'])}, {printable(decoder['size'])} and "
            f"{printable(decoder['offset'])}, {decoder['stride']:g} pixels to a cell"
        )
    total = info["statistics"]["executed"]["total"]
    yield (
        f"  work    {total['macs']:,} multiply-adds, r_b {total['binarization_ratio']:.4f}, "
        f"{flop_text(total['equivalent_flop'])} equivalent FLOP"
    )
    yield (
        f"  memory  arena {bytes_text(compiled['arena_bytes'])}, "
        f"weights {bytes_text(compiled['weight_bytes'])}"
    )
    yield f"  for     {compiled['target']}: {', '.join(compiled['isas'])}"
    changed = compiled.get("sign_zero_nodes", 0)
    if changed and compiled["sign_zero"] != "strict":
        one = "+1" if compiled["sign_zero"] == "positive" else "-1"
        yield (
            f"  note    {count_text(changed, 'Sign node')} of ONNX's give 0 at 0; compiled to give "
            f"{one} (--sign-zero)"
        )
    for path in compilation.files:
        yield f"wrote {path}, {bytes_text(path.stat().st_size)}, in {compilation.seconds:.1f} s"


def _type(tensor: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    shape = list(tensor["shape"])
    if info.get("open_batch") and shape:
        shape[0] = "batch"
    return f"{tensor['dtype']} {shape_text(shape)}"


def _binary(compilation: Compilation) -> Iterator[str]:
    """How much is binary, and why the rest of what could be is not."""
    verdicts = compilation.report.verdicts
    binary = sum(verdict.binary for verdict in verdicts)
    yield f"  binary  {binary} of {count_text(len(verdicts), 'convolution')} and matrix products"
    yield from _told("not", [(v.name, v.reason) for v in verdicts if v.candidate and not v.binary])
    yield from _told("note", [(v.name, v.note) for v in verdicts if v.note])


def _told(what: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, text in found[:_REASONS]:
        yield f"          {what} {printable(name)}: {printable(text, 200)}"
    if len(found) > _REASONS:
        yield f"          and {len(found) - _REASONS} more; see `bnnc stats --layers`"
