"""``bnnc stats``."""

from __future__ import annotations

import argparse

from bnnc.cli import arguments
from bnnc.cli.files import write_text
from bnnc.cli.terminal import Progress, print_json
from bnnc.errors import InputError

NAME = "stats"
HELP = "count multiply-adds, r_b, equivalent FLOP, parameters and bytes"
EXAMPLE = "bnnc stats model.onnx --convention paper --layers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "model", metavar="MODEL", help="an .onnx or a compiled library")
    parser.add_argument(
        "--convention",
        choices=("executed", "paper"),
        default="executed",
        help="count what is executed, or as the paper does (default: executed)",
    )
    parser.add_argument("--layers", action="store_true", help="a row for each layer")
    arguments.add_written(parser, "--html", metavar="FILE", help="write a picture of the layers")
    arguments.add_model_options(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc.analysis import report
    from bnnc.runtime.library import is_library

    if args.shape and is_library(args.model):
        raise InputError("--shape is for a model; a compiled library's are settled")
    with Progress(f"reading {args.model}"):
        stats = bnnc.stats(args.model, convention=args.convention, **arguments.model_options(args))
    if args.html is not None:
        write_text(args.html, report.picture(stats))
    if args.json:
        print_json(stats.document())
        return 0
    print(report.summary(stats))
    if args.layers:
        print(f"\n{report.layer_table(stats)}")
    if args.html is not None:
        print(f"\nwrote {args.html}")
    return 0
