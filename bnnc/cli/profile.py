"""``bnnc profile``."""

from __future__ import annotations

import argparse

from bnnc.cli import arguments
from bnnc.cli.files import read_arrays, write_text
from bnnc.cli.terminal import Progress, print_json

NAME = "profile"
HELP = "show where the time of a run goes, layer by layer"
EXAMPLE = "bnnc profile model.so --threads 1 --html profile.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_read(parser, "library", metavar="MODEL.so")
    parser.add_argument("--rounds", type=arguments.positive, default=10, metavar="N")
    arguments.add_written(parser, "--html", metavar="FILE", help="write a picture of the layers")
    arguments.add_inputs(parser)
    arguments.add_threads(parser)
    arguments.add_isa(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc.analysis import profile
    from bnnc.analysis.machine import machine
    from bnnc.analysis.samples import samples

    session = bnnc.load(args.library, threads=args.threads, isa=args.isa)
    described, metadata = session.info["inputs"], session.info["metadata"]
    feeds = read_arrays(args.input) if args.input else samples(described, metadata, 1)[0]
    with Progress("measuring") as progress:
        result = profile.profile(session, feeds, rounds=args.rounds, progress=progress)
    if args.html is not None:
        write_text(args.html, profile.picture(result, session.info["name"]))
    facts = {"machine": machine(), "isa": session.isa, "threads": session.threads}
    if args.json:
        print_json({**facts, **result.document()})
        return 0
    print(f"machine  {machine()}")
    print(f"         {session.isa}, threads {session.threads}, medians of {args.rounds} runs")
    ceilings = ", ".join(f"{kind} {r / 1e9:.0f}" for kind, r in result.ceilings.items())
    print(f"ceiling  {ceilings} GMAC/s, measured\n")
    print(profile.table(result))
    print(f"\n{1e3 * result.seconds:.2f} ms a run")
    if args.html is not None:
        print(f"wrote {args.html}")
    return 0
