"""``bnnc bench``."""

from __future__ import annotations

import argparse
import shlex
import sys

from bnnc.cli import arguments
from bnnc.cli.files import read_arrays
from bnnc.cli.terminal import Progress, print_json
from bnnc.errors import InputError

NAME = "bench"
HELP = "measure run time, alone or alternately with onnxruntime"
EXAMPLE = "bnnc bench model.so --against model.onnx --threads 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_read(parser, "library", metavar="MODEL.so")
    arguments.add_model(
        parser, "--against", metavar="MODEL.onnx", help="the same model, for onnxruntime"
    )
    parser.add_argument(
        "--rounds",
        type=arguments.positive,
        default=20,
        metavar="N",
        help="runs of each contestant (default: 20)",
    )
    arguments.add_inputs(parser)
    arguments.add_threads(parser)
    arguments.add_isa(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc.analysis import bench
    from bnnc.analysis.machine import machine
    from bnnc.analysis.report import columns
    from bnnc.analysis.samples import samples
    from bnnc.passes.input_u8 import normalised

    session = bnnc.load(args.library, threads=args.threads, isa=args.isa)
    described, metadata = session.info["inputs"], session.info["metadata"]
    feeds = read_arrays(args.input) if args.input else samples(described, metadata, 1)[0]
    batch = next((x.shape[0] for x in feeds.values() if x.ndim), 1)
    if batch == 0:
        raise InputError("the inputs hold no items, so there is nothing to measure")
    with Progress("measuring") as progress:
        contestants = {f"bnnc {bnnc.__version__} ({session.isa})": bench.own_run(session, feeds)}
        if args.against is not None:
            rival = bench.onnxruntime_session(args.against, session.threads)
            given = bench.fitted(feeds, rival)
            if session.info["compiled"].get("input_u8"):
                given = normalised(given, metadata)
            contestants[bench.onnxruntime_title()] = lambda: bench.onnxruntime_run(rival, given)
        timings = bench.alternate(contestants, rounds=args.rounds, progress=progress)
    ratio = timings[0].median / timings[-1].median if len(timings) > 1 else None
    if args.json:
        print_json(
            {
                "machine": machine(),
                "threads": session.threads,
                "batch": batch,
                "timings": [timing.document() for timing in timings],
                "ratio": ratio,
            }
        )
        return 0
    print(f"machine  {machine()}")
    print(f"command  bnnc {shlex.join(sys.argv[1:])}")
    print(f"threads  {session.threads}, batch {batch}, medians of {args.rounds} alternate runs\n")
    rows: list[tuple[str, ...]] = [("", "median ms", "best", "worst")]
    for timing in timings:
        said = timing.document()
        figures = (f"{said[key]:.2f}" for key in ("median_ms", "best_ms", "worst_ms"))
        rows.append((timing.name, *figures))
    print(columns(rows, right=(1, 2, 3)))
    if ratio is not None:
        print(f"\nratio    {ratio:.3f} of {timings[-1].name}'s time")
    return 0
