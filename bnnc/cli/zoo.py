"""``bnnc zoo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnc.cli import arguments
from bnnc.cli.terminal import Progress, bytes_text, print_json

NAME = "zoo"
HELP = "list the paper's networks, or export one as ONNX"
EXAMPLE = "bnnc zoo export q1 -o q1.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="list | export", required=True)
    listing = actions.add_parser("list", help="the networks there are")
    listing.set_defaults(action=_list)
    export = actions.add_parser(
        "export",
        help="write a network, untrained, as ONNX",
        epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("id", metavar="ID", help="see `bnnc zoo list`")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    export.add_argument(
        "--input-size",
        type=arguments.positive,
        metavar="PIXELS",
        help="height and width (default: the network's own)",
    )
    export.add_argument(
        "--classes", type=arguments.positive, default=20, metavar="N", help="default: 20"
    )
    export.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    export.set_defaults(action=_export)
    for action in (listing, export):
        arguments.add_json(action)
        # Not to overwrite what stands before the action.
        action.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def run(args: argparse.Namespace) -> int:
    return int(args.action(args))


def _list(args: argparse.Namespace) -> int:
    from bnnc.analysis.report import columns
    from bnnc.zoo.models import MODELS

    rows = [
        {
            "id": model.id,
            "input": model.input,
            "encoder": str(model.encoder),
            "decoder": str(model.decoder),
            "head": str(model.head),
            "note": model.note,
        }
        for model in MODELS.values()
    ]
    if args.json:
        print_json(rows)
        return 0
    table = [tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)]
    print(columns(table, right=(1,)))
    return 0


def _export(args: argparse.Namespace) -> int:
    from bnnc.zoo.export import export

    with Progress(f"exporting {args.id}"):
        path = export(
            args.id,
            args.output,
            input_size=args.input_size,
            classes=args.classes,
            seed=args.seed,
        )
    size = path.stat().st_size
    if args.json:
        print_json({"path": str(path), "bytes": size})
    else:
        print(f"wrote {path}, {bytes_text(size)}")
    return 0
