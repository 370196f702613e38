"""How long a run takes, alone or alternately with onnxruntime on the same model.

Alternating in one process is what makes a ratio mean something on a machine that others use too:
what slows one down slows the other down.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.errors import InputError, printable
from bnnc.files import check_readable
from bnnc.runtime import InferenceSession

_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
"""Seconds between runs: one pause, longer than systems take to note what threads on other
processors have used, and at most so many that they take this long."""


@dataclass(frozen=True)
class Timing:
    """Run times of one contestant, in seconds."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def document(self) -> dict[str, Any]:
        """In milliseconds."""
        return {
            "name": self.name,
            "median_ms": 1e3 * self.median,
            "best_ms": 1e3 * min(self.seconds),
            "worst_ms": 1e3 * max(self.seconds),
            "runs": len(self.seconds),
        }


def alternate(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Run each contestant in turn, ``rounds`` times, after ``warm_up`` turns that do not count.
    Each has the processors to itself, as far as this process goes."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-warm_up, rounds):
        progress(f"round {max(turn + 1, 0)} of {rounds}")
        for name, run in contestants.items():
            _rest()
            start = time.perf_counter()
            run()
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    return [Timing(name, tuple(seconds)) for name, seconds in times.items()]


def _rest() -> None:
    """Wait until this process rests: worker threads go on spinning when a run is over,
    onnxruntime's for 20 to 60 ms, and would take a processor from the next one."""
    end = time.perf_counter() + _LONGEST_PAUSE
    spinning = True
    while spinning and time.perf_counter() < end:
        used = time.process_time()
        time.sleep(_PAUSE)
        spinning = time.process_time() - used > _PAUSE / 4


def own_run(session: InferenceSession, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
    """A run of a compiled model that reuses its output arrays."""
    out = session.run(None, feeds)
    return lambda: session.run(None, feeds, out=out)


def onnxruntime_session(
    model: str | os.PathLike[str], threads: int | None = None, *, optimized: bool = True
) -> Any:
    """The model in onnxruntime on the CPU.

    Args:
        model: an ONNX file.
        threads: how many it may use; by default it decides.
        optimized: whether it may rewrite the model to be faster: with integers in place of the
            floats of a quantised one, whose roundings are not the model's.

    Raises:
        InputError: if onnxruntime is not installed or does not take the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError("onnxruntime is not installed", hint="pip install 'bnnc[bench]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        none = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = none
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    check_readable(model)  # onnxruntime itself waits for ever for a pipe's other end
    try:
        return onnxruntime.InferenceSession(
            os.fspath(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises classes of its own, one for each status code
        text = (str(error).splitlines() or [""])[0]
        raise InputError(f"onnxruntime does not take the model: {text}", file=model) from None


def onnxruntime_run(session: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What a session of :func:`onnxruntime_session` gives for ``feeds``.

    Raises:
        InputError: if onnxruntime refuses them.
    """
    try:
        found: list[np.ndarray] = session.run(None, dict(feeds))
    except Exception as error:  # onnxruntime raises classes of its own, one for each status code
        text = printable((str(error).splitlines() or [""])[0], 200)
        raise InputError(
            f"onnxruntime cannot run its model: {text}",
            hint="is it the model that was compiled?",
        ) from None
    return found


def onnxruntime_title() -> str:
    """Its name and version."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def fitted(feeds: Mapping[str, np.ndarray], rival: Any) -> dict[str, np.ndarray]:
    """The feeds that a rival session takes, by its own input names.

    Raises:
        InputError: if the names differ, so that the models do.
    """
    wanted = [tensor.name for tensor in rival.get_inputs()]
    if set(wanted) != set(feeds):
        raise InputError(
            f"the models' inputs differ: {', '.join(sorted(feeds))} here, "
            f"{', '.join(sorted(wanted))} there"
        )
    return {name: feeds[name] for name in wanted}
