"""Arguments that several commands take, declared once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bnnc.errors import InputError

SIGN_ZERO = ("positive", "negative", "strict")
Shape = tuple[int | None, ...]


def add_read(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    """An argument that names what the command reads."""
    _note(parser, "read", parser.add_argument(*names, **{"type": Path, **options}))


def add_model(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    """An argument that names an ONNX model to read, or what can stand in for one."""
    _note(parser, "models", parser.add_argument(*names, **{"type": Path, **options}))


def add_written(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    """An argument that names what the command writes, which must be nothing that it reads: see
    :func:`bnnc.cli.files.keep_inputs`."""
    _note(parser, "written", parser.add_argument(*names, **{"type": Path, **options}))


def _note(parser: argparse.ArgumentParser, kind: str, argument: argparse.Action) -> None:
    noted = parser.get_default(kind) or ()
    parser.set_defaults(**{kind: (*noted, argument.dest)})


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON document")


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of a run (default: the processors this process may use)",
    )


def add_nms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nms",
        type=overlap,
        metavar="IOU",
        help="drop boxes that overlap a better one of their class by more (default: none)",
    )


def add_isa(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--isa", metavar="ISA", help="force an instruction set, such as avx2")


def add_inputs(parser: argparse.ArgumentParser) -> None:
    add_read(
        parser,
        "--input",
        type=named_file,
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input array; once for each input",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """What settles a model's meaning."""
    parser.add_argument(
        "--shape",
        type=named_shape,
        action="append",
        default=[],
        metavar="NAME=1x3x512x512",
        help="shape of an input that the model leaves open; '?x3x512x512' for any batch",
    )
    parser.add_argument(
        "--sign-zero",
        choices=SIGN_ZERO,
        default="positive",
        help="what ONNX Sign gives at zero before a binary layer (default: positive)",
    )
    parser.add_argument(
        "--input-u8", action="store_true", help="take interleaved 8-bit pixels as input"
    )


def model_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`add_model_options` as ``bnnc.compiler`` takes them.

    Raises:
        InputError: if an input's shape is given twice.
    """
    shapes: dict[str, Shape] = {}
    for name, shape in args.shape:
        if name in shapes:
            raise InputError(f"--shape {name} is given twice")
        shapes[name] = shape
    return {
        "shapes": shapes or None,
        "sign_zero": args.sign_zero,
        "input_u8": args.input_u8,
    }


def positive(text: str) -> int:
    """A number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def overlap(text: str) -> float:
    """A number above 0 and at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def seed(text: str) -> int:
    """A number from 0 on that fits what draws random numbers."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2^63 - 1")
    return number


def named_shape(text: str) -> tuple[str, Shape]:
    """``input=1x3x512x512``; a size of ``?`` is left to the model."""
    name, equals, sizes = text.rpartition("=")
    try:
        shape = tuple(None if size == "?" else int(size) for size in sizes.split("x"))
    except ValueError:
        shape = ()
    if not equals or not name or not shape or any(size is not None and size < 1 for size in shape):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form NAME=1x3x512x512 or NAME=?x3x512x512"
        )
    return name, shape


def named_file(text: str) -> tuple[str, Path]:
    """``input=x.npy``."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FILE.npy")
    return name, Path(path)
