"""``bnnc``: parses the command line, runs one command, turns errors into one line.

A command is a module with NAME, HELP, EXAMPLE, ``add_arguments(parser)`` and ``run(args)``, which
returns the exit code: 0 done, 1 the user's model or input is at fault, 2 usage. Arguments that name
files are declared as read or written (:mod:`bnnc.cli.arguments`). Commands import what they work
with when they run, so that ``bnnc --help`` is quick.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import bnnc
from bnnc.cli import bench, compile, demo, detect, profile, run, stats, targets, verify, zoo
from bnnc.cli import eval as evaluate
from bnnc.cli.files import keep_inputs
from bnnc.errors import BnncError, printable

COMMANDS = (compile, stats, run, verify, bench, profile, detect, evaluate, zoo, targets, demo)
DONE, FAULT, USAGE = 0, 1, 2


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"bnnc: error: {message}; see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bnnc",
        description="Compiles binary neural networks: ONNX in, a small fast library out.",
        epilog="`bnnc COMMAND --help` tells more. Start with `bnnc demo`.",
    )
    parser.add_argument("--version", action="version", version=f"bnnc {bnnc.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        own = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=f"{command.HELP[:1].upper()}{command.HELP[1:]}.",
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.set_defaults(read=(), models=(), written=())
        command.add_arguments(own)
        own.add_argument("--debug", action="store_true", help="show a traceback where it fails")
        own.set_defaults(command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal cannot show
            stream.reconfigure(errors="replace")
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "command"):
        parser.print_help(sys.stderr)
        return USAGE
    try:
        keep_inputs(args)
        code = args.command.run(args)
        sys.stdout.flush()
        return int(code)
    except BrokenPipeError:
        # Whoever read our output has gone: say no more, and let the exit not try to either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    except Exception as error:
        if args.debug:
            traceback.print_exc()
            print(getattr(error, "details", ""), end="", file=sys.stderr)
        print(f"bnnc: error: {_one_line(error)}", file=sys.stderr)
        return FAULT


def _one_line(error: Exception) -> str:
    if isinstance(error, BnncError):
        return " ".join(str(error).split("\n"))
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{printable(os.fsdecode(error.filename))}: "
        return f"{where}{error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name and "bnnc" not in error.name:
        return f"this needs the Python package {error.name}; install it with pip"
    kind = type(error).__name__
    return f"a fault of bnnc's own, please report it ({kind}: {printable(str(error))}); see --debug"
