"""``bnnc targets``."""

from __future__ import annotations

import argparse
from typing import Any

from bnnc.cli import arguments
from bnnc.cli.terminal import print_json
from bnnc.errors import ToolchainError

NAME = "targets"
HELP = "list what can be compiled for, and with which compiler"
EXAMPLE = "bnnc targets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cc", metavar="CC", help="C compiler to consider")
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from bnnc.toolchain import TARGETS

    rows = [_row(target, args.cc) for target in TARGETS]
    if args.json:
        print_json(rows)
        return 0
    for row in rows:
        native = " (this machine)" if row["native"] else ""
        print(f"{row['name']}{native}")
        print(f"  compiler  {row['compiler'] or 'none: ' + row['problem']}")
        if row["version"]:
            print(f"            {row['version']}")
        print(f"  kernels   {', '.join(row['isas'])}")
        if row["native"]:
            print(f"  runs here {', '.join(row['supported'])}")
    return 0


def _row(target: Any, cc: str | None) -> dict[str, Any]:
    from bnnc.toolchain import find

    row = {
        "name": target.name,
        "native": target.is_native,
        "isas": list(target.isas),
        "supported": list(target.supported_isas()),
        "compiler": None,
        "version": None,
        "problem": None,
    }
    try:
        compiler = find(target, cc)
        row.update(compiler=compiler.title, version=compiler.version)
    except ToolchainError as error:
        row.update(problem=str(error))
    return row
