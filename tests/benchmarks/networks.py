"""How long the paper's networks take, in bnnc and in everything else that runs them.

    python -m tests.benchmarks.networks [--models q0,q1,q2,q3,q5] [--threads 1,2] [--size 512]
        [--rivals bnnc,openvino,...] [--seconds 30] [--json]

All engines run in turn in one process, batch 1, on as many processors as they have threads; each
network and number of threads has a process of its own. Prints a table in Markdown: median
milliseconds, their ratio to onnxruntime's median, which ran beside, and the ratio of the shortest
runs of both, which neighbours on a shared machine disturb less. What is not installed, or computes
wrongly, is named below it. To measure everything: ``pip install 'bnnc[bench,zoo]' ncnn
larq-compute-engine 'numpy<2'`` (Larq Compute Engine takes no arrays of a later numpy).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import rivals
from tests.benchmarks.rivals import BASELINE, BNNC, RIVALS

MODELS = ("q0", "q1", "q2", "q3", "q5")
CONTESTANTS = (*RIVALS, *BNNC)
_FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Job:
    """One network at one number of threads.

    Attributes:
        file: its ONNX file.
        library: what bnnc made of it.
        names: the contestants' keys.
        seconds: how long to measure.
    """

    file: Path
    library: Path
    threads: int
    names: tuple[str, ...]
    seconds: float = 30


def prepare(job: Job) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """What each contestant runs, and why the others are left out."""
    from bnnc.analysis.samples import samples
    from tests.benchmarks import pieces

    network = pieces.network(job.file)
    described = [{"name": v.name, "dtype": v.dtype.value, "shape": v.shape} for v in network.inputs]
    feeds = list(samples(described, network.graph.metadata, 1)[0].values())
    checks = rivals.samples(network)
    runs: dict[str, Callable[[], object]] = {}
    left_out = {}
    for name in job.names:
        try:
            if name in BNNC:
                runs[name] = rivals.bnnc_run(job.library, network, feeds, job.threads, BNNC[name])
            else:
                runs[name] = RIVALS[name].prepare(network, feeds, job.threads, checks)
        except rivals.LeftOut as reason:
            left_out[name] = str(reason)
    return runs, left_out


def measure(job: Job) -> dict[str, Any]:
    """Time every contestant; a document of times in milliseconds."""
    if hasattr(os, "sched_setaffinity"):  # before any engine counts processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    from bnnc.analysis import bench

    runs, left_out = prepare(job)
    bench.alternate(runs, rounds=1, warm_up=0)
    start = time.perf_counter()
    bench.alternate(runs, rounds=1, warm_up=0)
    rounds = max(_FEWEST_ROUNDS, round(job.seconds / (time.perf_counter() - start)))
    timings = bench.alternate(runs, rounds=rounds, warm_up=0)
    times = {timing.name: timing.document() for timing in timings}
    if BASELINE in times:
        for said in times.values():
            for figure in ("median", "best"):
                ours, theirs = said[f"{figure}_ms"], times[BASELINE][f"{figure}_ms"]
                said[f"{figure}_ratio"] = ours / theirs
    return {
        "model": job.file.stem,
        "threads": job.threads,
        "rounds": rounds,
        "times": times,
        "left_out": left_out,
    }


def in_own_process(job: Job) -> dict[str, Any]:
    """:func:`measure`, where it cannot disturb what comes after."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, job).result()
        except BrokenProcessPool:
            sys.exit(f"{job.file.stem}: an engine crashed; measure fewer --rivals to find it")


def build(model: str, folder: Path, size: int, names: Sequence[str]) -> tuple[Path, Path]:
    """Export a network, and compile it if any of ``names`` is bnnc: ONNX file and library."""
    from bnnc import compiler
    from bnnc.zoo.export import export

    file, library = folder / f"{model}.onnx", folder / f"{model}.so"
    export(model, file, input_size=size)
    if BNNC.keys() & set(names):
        compiler.build(file, library)
    return file, library


def environment() -> dict[str, Any]:
    """The machine, and versions of what was measured on it."""
    import bnnc
    from bnnc.analysis.machine import machine
    from bnnc.toolchain import compilers, resolve

    packages = dict.fromkeys(rival.package for rival in RIVALS.values())
    found = {package: rivals.version(package) for package in packages}
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "bnnc": bnnc.__version__,
        "compiler": compilers.find(resolve("native")).version,
        "packages": {package: number for package, number in found.items() if number},
        "command": f"python -m tests.benchmarks.networks {shlex.join(sys.argv[1:])}".rstrip(),
    }


def table(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any], size: int) -> str:
    """Everything in Markdown: a row for each contestant and number of threads."""
    models = list(dict.fromkeys(result["model"] for result in results))
    cells: dict[tuple[int, str], dict[str, str]] = {}
    left_out: dict[str, list[str]] = {}
    for result in results:
        where = f"{result['model']}, threads {result['threads']}"
        for name, said in result["times"].items():
            ratio = ""
            if "median_ratio" in said:
                ratio = f" ({said['median_ratio']:.3f}, {said['best_ratio']:.3f})"
            row = cells.setdefault((result["threads"], name), {})
            row[result["model"]] = f"{said['median_ms']:.1f}{ratio}"
        for name, reason in result["left_out"].items():
            left_out.setdefault(f"{title(name)} {reason}", []).append(where)
    rounds = sorted(result["rounds"] for result in results)
    versions = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    lines = [
        f"{about['machine']}; Python {about['python']}, bnnc {about['bnnc']} ({about['compiler']}),"
        f" {versions}.",
        f"`{about['command']}`",
        "",
        f"Batch 1, {size}x{size}, medians of {rounds[0]} to {rounds[-1]} alternate runs in ms"
        " (ratio to onnxruntime's, of medians and of shortest runs).",
        "",
        f"| | threads | {' | '.join(models)} |",
        f"|---|---|{'---|' * len(models)}",
    ]
    order = sorted(cells, key=lambda cell: (cell[0], CONTESTANTS.index(cell[1])))
    for threads, name in order:
        row = cells[threads, name]
        figures = " | ".join(row.get(model, "") for model in models)
        lines.append(f"| {title(name)} | {threads} | {figures} |")
    if left_out:
        lines.append("")
    for reason, places in left_out.items():
        everywhere = len(places) == len(results)
        lines.append(f"- {reason}" + ("" if everywhere else f" ({'; '.join(places)})"))
    return "\n".join(lines)


def title(name: str) -> str:
    """A contestant's title in the table."""
    if name in RIVALS:
        return RIVALS[name].title
    return "**bnnc**" if BNNC[name] is None else f"bnnc, BNNC_ISA={BNNC[name]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=_words, default=MODELS, metavar="ID,...")
    parser.add_argument("--threads", type=_numbers, default=(1, 2), metavar="N,...")
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS")
    parser.add_argument(
        "--rivals",
        type=_words,
        default=CONTESTANTS,
        metavar="NAME,...",
        help=f"besides {BASELINE}; of {', '.join(CONTESTANTS)}",
    )
    parser.add_argument(
        "--seconds", type=float, default=30, help="for each network and number of threads"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = set(options.rivals) - set(CONTESTANTS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; use {', '.join(CONTESTANTS)}")
    names = tuple(name for name in CONTESTANTS if name in {BASELINE, *options.rivals})
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            _say(f"{model}: exporting and compiling")
            file, library = build(model, Path(folder), options.size, names)
            for threads in options.threads:
                _say(f"{model}: measuring, threads {threads}")
                results.append(in_own_process(Job(file, library, threads, names, options.seconds)))
    about = environment()
    if options.json:
        print(json.dumps({**about, "size": options.size, "results": results}, indent=2))
    else:
        print(table(results, about, options.size))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    main()
