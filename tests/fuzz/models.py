"""Changed models, as many as there is time for: each is compiled to C or refused in one line.

    python -m tests.fuzz.models [--minutes 30] [--seed 0] [--cases] [--output DIR] [--only N]

Anything else (a traceback, a hang, a process that dies or wants more than its memory) is a finding:
it is saved as a model, with its number, and told at the end. Exit code 1 if there are findings.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import seeds

SECONDS = 20
"""No model may take longer, in time of a processor: the machine may be busy, or stop us."""

PATIENCE = 600
"""After so many seconds of anybody's time it does not work, it waits."""

MEMORY = 4 * 2**30
"""Nor more memory: that of Python and its libraries, and what one model needs."""

_LONGEST_LINE = 1000
_COMPILED = {
    "target": "native",
    "isas": ["portable"],
    "sign_zero": "positive",
    "sign_zero_nodes": 0,
    "model_sha256": "",
    "input_u8": False,
}
_KEPT = 3


def outcome_of(data: bytes) -> str:
    """``compiled``, ``refused``, or what went wrong, in one line that names where."""
    from bnnc import codegen, passes
    from bnnc.analysis.statistics import statistics
    from bnnc.errors import BnncError
    from bnnc.frontends.onnx import load

    try:
        graph = load(data)
        options = passes.PassOptions()
        passes.run(graph, passes.SEMANTIC, options=options)
        for convention in ("paper", "executed"):
            statistics(graph, convention).document()
        passes.run(graph, passes.LOWERING, options=options)
        described = {"abi": 1, "bnnc": "0", "name": graph.name, "compiled": _COMPILED}
        codegen.source(codegen.generate(graph, described), embed_weights=False)
    except BnncError as error:
        text = str(error)
        fine = text.isprintable() and 0 < len(text) < _LONGEST_LINE
        return "refused" if fine else f"a message of {len(text)} characters: {text[:100]!r}"
    except Exception as error:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f[0]
        ]
        place = frames[-1]
        where = f"{Path(place.filename).name}:{place.lineno} in {place.name}"
        return f"{type(error).__name__} at {where}: {str(error)[:200]!r}"
    return "compiled"


def _worker(connection: Connection) -> None:
    """Answers every model with its outcome."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    while True:
        try:
            data = connection.recv_bytes()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # which then kills
        outcome = outcome_of(data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(outcome)


class _Process:
    """A worker that is replaced when it hangs or dies."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_worker, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def outcome_of(self, data: bytes) -> str:
        self._connection.send_bytes(data)
        try:
            if self._connection.poll(PATIENCE):
                return str(self._connection.recv())
            outcome = f"hangs: no answer within {PATIENCE} seconds"
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            outcome = f"dies: exit code {code}"
            if code == -signal.SIGPROF:
                outcome = f"hangs: no answer within {SECONDS} seconds of a processor"
        self.stop()
        self._start()
        return outcome

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz.models", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="make the model of this number and no other")
    parser.add_argument("--cases", action="store_true", help="start from ONNX's test cases too")
    parser.add_argument("--output", type=Path, help="where findings go; by default a new folder")
    args = parser.parse_args(argv)
    output = args.output or Path(tempfile.mkdtemp(prefix="bnnc-fuzz-"))
    output.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = seeds(with_cases=args.cases)
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, list[int]] = collections.defaultdict(list)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    worker = _Process()
    end = time.monotonic() + 60 * args.minutes
    number = 0 if args.only is None else args.only
    while time.monotonic() < end:
        data = mutated(models, random.Random(f"{args.seed}/{number}"))
        outcome = worker.outcome_of(data)
        counts[outcome if outcome in ("compiled", "refused") else "findings"] += 1
        if outcome not in ("compiled", "refused"):
            alike = findings[outcome.split(": ")[0]]
            alike.append(number)
            if len(alike) <= _KEPT:
                path = output / f"seed{args.seed}-{number}.onnx"
                path.write_bytes(data)
                print(f"{path}: {outcome}", flush=True)
        if args.only is not None:
            print(outcome)
            break
        number += 1
    worker.stop()
    print(
        f"{counts.total()} models: {counts['compiled']} compiled, {counts['refused']} refused, "
        f"{counts['findings']} findings of {len(findings)} kinds"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
