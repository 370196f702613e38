"""Where the time of a run goes, a layer at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.analysis.report import BINARY_COLOUR, FLOAT_COLOUR, Bar, bar_page, columns
from bnnc.errors import printable
from bnnc.runtime import InferenceSession


@dataclass(frozen=True)
class LayerTime:
    """One layer, as it ran.

    Attributes:
        name, kernel, binary: as in the library's description.
        macs: multiply-adds it executes.
        seconds: median over the rounds.
    """

    name: str
    kernel: str
    binary: bool
    macs: int
    seconds: float

    @property
    def rate(self) -> float:
        """Multiply-adds a second."""
        return self.macs / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """Where the time went.

    Attributes:
        layers: in the order they run.
        seconds: median of whole runs, unobserved.
        ceilings: multiply-adds a second this machine can do at best, ``float`` and ``binary``.
    """

    layers: tuple[LayerTime, ...]
    seconds: float
    ceilings: Mapping[str, float]

    def efficiency(self, layer: LayerTime) -> float:
        """A layer's rate as a part of the ceiling for its kind of work."""
        return layer.rate / self.ceilings["binary" if layer.binary else "float"]

    def document(self) -> dict[str, Any]:
        """As a JSON document, in milliseconds."""
        observed = sum(layer.seconds for layer in self.layers) or 1.0
        return {
            "milliseconds": 1e3 * self.seconds,
            "ceilings_gmacs_per_second": {k: rate / 1e9 for k, rate in self.ceilings.items()},
            "layers": [
                {
                    "name": layer.name,
                    "kernel": layer.kernel,
                    "binary": layer.binary,
                    "macs": layer.macs,
                    "milliseconds": 1e3 * layer.seconds,
                    "share": layer.seconds / observed,
                    "gmacs_per_second": layer.rate / 1e9,
                    "efficiency": self.efficiency(layer),
                }
                for layer in self.layers
            ],
        }


def profile(
    session: InferenceSession,
    feeds: Mapping[str, np.ndarray],
    *,
    rounds: int = 10,
    progress: Callable[[str], None] = lambda text: None,
) -> Profile:
    """Run ``rounds`` times with a clock and as often without, alternately, after one warm-up; then
    measure the machine's ceilings.

    A layer can pass its ceiling where a kernel does with fewer operations than the convolution
    is counted with (Winograd).

    Raises:
        InputError: if ``feeds`` does not fit the model.
    """
    described = session.info["layers"]
    times: list[list[float]] = [[] for _ in described]
    whole: list[float] = []
    session.run(None, feeds)
    for turn in range(rounds):
        progress(f"round {turn + 1} of {rounds}")
        start = time.perf_counter()
        session.run(None, feeds)
        whole.append(time.perf_counter() - start)
        for known, seconds in zip(times, session.run_timed(feeds)):
            known.append(seconds)
    layers = tuple(
        LayerTime(
            layer["name"],
            layer["kernel"],
            layer["binary"],
            layer["macs"],
            statistics.median(seconds),
        )
        for layer, seconds in zip(described, times)
    )
    progress("calibrating")
    return Profile(layers, statistics.median(whole), session.ceilings())


def table(result: Profile) -> str:
    """A row for each layer."""
    rows = [("layer", "kernel", "ms", "share", "GMAC/s", "of ceiling")]
    for layer in result.document()["layers"]:
        rate = f"{layer['gmacs_per_second']:.1f}" if layer["macs"] else ""
        part = f"{100 * layer['efficiency']:.0f} %" if layer["macs"] else ""
        rows.append(
            (
                printable(layer["name"], 60),
                layer["kernel"],
                f"{layer['milliseconds']:.3f}",
                f"{100 * layer['share']:.1f} %",
                rate,
                part,
            )
        )
    return columns(rows, right=(2, 3, 4, 5))


def picture(result: Profile, title: str) -> str:
    """A page of its own: layers as bars of time, binary and float in two colours."""
    bars = [
        Bar(
            layer.name,
            layer.seconds,
            f"{1e3 * layer.seconds:.3f} ms",
            f"{layer.kernel}, {layer.rate / 1e9:.1f} GMAC/s, "
            f"{100 * result.efficiency(layer):.0f} % of the ceiling",
            BINARY_COLOUR if layer.binary else FLOAT_COLOUR,
        )
        for layer in result.layers
    ]
    legend = (("binary", BINARY_COLOUR), ("float", FLOAT_COLOUR))
    return bar_page(title, f"{1e3 * result.seconds:.2f} ms a run", legend, bars)
