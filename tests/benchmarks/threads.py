"""What more threads bring to the paper's networks, as a whole and a layer at a time.

    python -m tests.benchmarks.threads [--models q0,q1,q2,q3,q5] [--threads 2] [--size 512]
        [--rounds 100] [--isa avx2] [--layers 5]

Runs of one thread and of several alternate in one process, as a whole and by layer. Prints a
table in Markdown: milliseconds of both and their ratio, of medians, of shortest runs, and of the
sums of every layer's shortest times; then the layers that lose most against a perfect division.
What others do on a machine slows runs that need several of its processors more than those that
need one, whatever the library does; shortest times show what the library does.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnnc.analysis.bench import own_run
from bnnc.analysis.machine import machine
from bnnc.analysis.samples import samples
from bnnc.runtime import InferenceSession
from tests.benchmarks import networks


@dataclass(frozen=True)
class Times:
    """Runs of one session in seconds: whole ones, and the shortest time of each layer."""

    runs: tuple[float, ...]
    layers: tuple[float, ...]

    @property
    def figures(self) -> tuple[float, float, float]:
        """Median, shortest run, sum of the layers' shortest times."""
        return statistics.median(self.runs), min(self.runs), sum(self.layers)


def measure(sessions: Sequence[InferenceSession], rounds: int) -> list[Times]:
    """Run each session in turn, as a whole and by layer, ``rounds`` times after two turns that do
    not count."""
    described = sessions[0].info
    (feeds,) = samples(described["inputs"], described["metadata"], 1)
    runs: list[list[float]] = [[] for _ in sessions]
    layers = [[float("inf")] * len(described["layers"]) for _ in sessions]
    plain = [own_run(session, feeds) for session in sessions]
    for turn in range(-2, rounds):
        for session, run, whole, shortest in zip(sessions, plain, runs, layers):
            start = time.perf_counter()
            run()
            if turn >= 0:
                whole.append(time.perf_counter() - start)
            shortest[:] = map(min, shortest, session.run_timed(feeds))
    return [Times(tuple(whole), tuple(shortest)) for whole, shortest in zip(runs, layers)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(networks.MODELS), metavar="ID,...")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--isa", help="as BNNC_ISA")
    parser.add_argument("--layers", type=int, default=5, help="layers to show for each network")
    options = parser.parse_args()
    if options.isa:
        os.environ["BNNC_ISA"] = options.isa
    rows, losses = [], []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models.split(","):
            print(f"{model}: measuring", file=sys.stderr, flush=True)
            _, library = networks.build(model, Path(folder), options.size, ["bnnc"])
            sessions = [InferenceSession(library, threads=n) for n in (1, options.threads)]
            one, many = measure(sessions, options.rounds)
            rows.append(row(model, one, many))
            layers = sessions[0].info["layers"]
            lost = [
                (shared - alone / options.threads, alone / shared, layer["name"])
                for alone, shared, layer in zip(one.layers, many.layers, layers)
            ]
            losses += [
                f"- {model} {name}: {1e6 * seconds:.0f} us lost, ratio {ratio:.2f}"
                for seconds, ratio, name in sorted(lost, reverse=True)[: options.layers]
            ]
    print(
        f"{machine()}, {sessions[0].isa}; batch 1, {options.size}x{options.size}, ms with one"
        f" thread / with {options.threads} (ratio).",
        f"`python -m tests.benchmarks.threads {shlex.join(sys.argv[1:])}".rstrip() + "`",
        "\n| | medians | shortest runs | shortest of every layer |\n|---|---|---|---|",
        *[*rows, "", *losses],
        sep="\n",
    )


def row(model: str, one: Times, many: Times) -> str:
    """A network's row of the table."""
    cells = [
        f"{1e3 * alone:.1f} / {1e3 * shared:.1f} ({alone / shared:.2f})"
        for alone, shared in zip(one.figures, many.figures)
    ]
    return f"| {model} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
