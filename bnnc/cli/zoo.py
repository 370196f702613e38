"""``bnnc zoo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnc.cli import arguments
from bnnc.cli.terminal import Progress, bytes_text, print_json
from bnnc.errors import InputError

NAME = "zoo"
HELP = "list the paper's networks, or export one as ONNX"
EXAMPLE = "bnnc zoo export q1 -o q1.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="list | export", required=True)
    listing = actions.add_parser("list", help="the networks there are")
    listing.set_defaults(action=_list)
    export = actions.add_parser(
        "export",
        help="write a network, untrained or of a training run, as ONNX",
        epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_read(
        export,
        "network",
        type=_network,
        metavar="ID|CHECKPOINT.pt",
        help="see `bnnc zoo list`, or a file of examples/train.py",
    )
    arguments.add_written(export, "-o", "--output", required=True, metavar="FILE.onnx")
    export.add_argument(
        "--input-size",
        type=arguments.positive,
        metavar="PIXELS",
        help="height and width (default: the network's own)",
    )
    export.add_argument("--classes", type=arguments.positive, metavar="N", help="default: 20")
    export.add_argument("--seed", type=arguments.seed, help="of the weights (default: 0)")
    export.add_argument(
        "--compact",
        action="store_true",
        help="store binary weights as bits instead of bytes",
    )
    export.set_defaults(action=_export)
    for action in (listing, export):
        arguments.add_json(action)
        # Not to overwrite what stands before the action.
        action.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def _network(text: str) -> str | Path:
    """A network's id, or the checkpoint of a training run."""
    return Path(text) if text.endswith(".pt") else text


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
    from bnnc.zoo.export import export, export_checkpoint

    given = {"input_size": args.input_size, "classes": args.classes, "seed": args.seed}
    chosen = {name: value for name, value in given.items() if value is not None}
    network = args.network
    with Progress(f"exporting {network}"):
        if isinstance(network, str):
            path = export(network, args.output, compact=args.compact, **chosen)
        elif chosen:
            option = next(iter(chosen)).replace("_", "-")
            raise InputError(
                "a checkpoint has a size, classes and weights of its own",
                file=network,
                hint=f"leave --{option} away",
            )
        else:
            path = export_checkpoint(network, args.output, compact=args.compact)
    size = path.stat().st_size
    if args.json:
        print_json({"path": str(path), "bytes": size})
    else:
        print(f"wrote {path}, {bytes_text(size)}")
    return 0
