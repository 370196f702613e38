"""``bnnc run``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from bnnc.cli import arguments
from bnnc.cli.files import read_arrays, write_arrays
from bnnc.cli.terminal import Progress, print_json, shape_text
from bnnc.errors import printable

NAME = "run"
HELP = "run a compiled model on arrays"
EXAMPLE = "bnnc run model.so --input input=x.npy -o outputs.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_read(parser, "library", metavar="MODEL.so")
    arguments.add_inputs(parser)
    arguments.add_written(parser, "-o", "--output", metavar="FILE.npz", help="write the outputs")
    arguments.add_threads(parser)
    arguments.add_isa(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc

    session = bnnc.load(args.library, threads=args.threads, isa=args.isa)
    feeds = read_arrays(args.input)
    start = time.perf_counter()
    with Progress(f"running {args.library}"):
        outputs = session.run(None, feeds)
    milliseconds = 1e3 * (time.perf_counter() - start)
    arrays = {t.name: array for t, array in zip(session.get_outputs(), outputs)}
    if args.output is not None:
        write_arrays(args.output, arrays)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "dtype": str(array.dtype),
            "shape": list(array.shape),
            "min": float(array.min()) if array.size else None,
            "max": float(array.max()) if array.size else None,
            "mean": float(array.mean()) if array.size else None,
        }
        for name, array in arrays.items()
    ]
    if args.json:
        facts = {"milliseconds": milliseconds, "threads": session.threads, "isa": session.isa}
        print_json({"outputs": rows, **facts})
        return 0
    for row in rows:
        values = f"{row['min']:g} .. {row['max']:g}" if row["min"] is not None else "empty"
        print(f"{printable(row['name'])} {row['dtype']} {shape_text(row['shape'])}  {values}")
    print(f"{milliseconds:.1f} ms, threads {session.threads}, {session.isa}")
    if args.output is not None:
        print(f"wrote {args.output}")
    return 0
