"""What a binary product consists of, and what it computes.

Activations of channel c take two values m + d * s with s = +-1, where m may differ between the
channels and d may not within a group. Weights of output channel o take two values u + a * w with
w = +-1. So, over the taps of one output,

    sum (m + d * s) (u + a * w)  =  d * a * sum s * w  +  d * u * sum s  +  sum m * (u + a * w).

The first two sums are integers. The second, with weights of 1, is needed only where u is not 0. The
third is a constant of the output channel.

A tap in the padding holds some value v. If v = m + d * p in every channel, p in {-1, 0, 1}, then p
is what that tap counts as in the first two sums, and nothing else changes. Otherwise it counts as 0
there, and v stands for m in the third sum: a constant that differs between places near the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from bnnc.ir.domains import Domains, Finite
from bnnc.ir.graph import Node, Value
from bnnc.ir.levels import aligned
from bnnc.ir.ops.windows import convolve
from bnnc.ir.types import DType
from bnnc.ir.weights import TwoValued

NOISE = 1e-6
"""How far, relatively, the distance between two values may be off."""
MOST_NOISE = 1e-5
"""The same where the values are far larger than that distance, and rounded like large numbers."""


@dataclass(frozen=True, eq=False)
class Packing:
    """A binary product.

    Attributes:
        source: the two-valued tensor; the product's input, or what a Pad before it pads.
        low, high: its two values, float64 [C], low < high.
        pads: top, left, bottom, right around ``source`` (zeros for a matrix product).
        fill: the value of the padding.
        weights: the weights' signs and values; a matrix product's are transposed to [N, K].
    """

    source: Value
    low: np.ndarray
    high: np.ndarray
    pads: tuple[int, int, int, int]
    fill: float
    weights: TwoValued

    @property
    def middle(self) -> np.ndarray:
        """m of each input channel."""
        return np.asarray((self.low + self.high) / 2)

    @property
    def half(self) -> np.ndarray:
        """d, as each output channel meets it."""
        groups = len(self.low) // self.weights.signs.shape[1]
        each = (self.high - self.low).reshape(groups, -1).mean(1) / 2
        each[np.abs(each - 1) <= NOISE] = 1
        return np.repeat(each, len(self.weights.signs) // groups)

    @property
    def pad(self) -> int | None:
        """p; None if the padding cannot be said so."""
        if not any(self.pads):
            return 0
        fill = float(np.float32(self.fill))
        for p, values in ((-1, self.low), (0, self.middle), (1, self.high)):
            if (values == fill).all():
                return p
        return None

    @property
    def sums_exactly(self) -> bool:
        """Whether float32 adds up the products of the two values and +-1 without ever rounding,
        and bits count the same."""
        pair = Fraction(self.low[0]), Fraction(self.high[0])
        uniform = (self.low == self.low[0]).all() and (self.high == self.high[0]).all()
        # A float's denominator is a power of two, and so is their least common multiple.
        unit = Fraction(1, lcm(*(value.denominator for value in pair)))
        small = max(map(abs, pair)) * self.weights.taps <= unit * 2**23
        return bool(uniform and small and self.pad is not None)

    def constants(self, node: Node) -> np.ndarray:
        """The third sum: float64 [OC], or, where the padding needs it, [1, OC, OH, OW].

        Args:
            node: the convolution or matrix product.
        """
        weights = self.weights.values()
        rows = weights.reshape(len(weights), -1)
        if self.pad is None:
            height, width = self.source.shape[2:]
            ground = np.broadcast_to(self.middle[:, None, None], (len(self.low), height, width))
            return convolve(
                ground[None],
                weights,
                fill=float(np.float32(self.fill)),
                pads=self.pads,
                strides=node.attrs["strides"],
                dilations=node.attrs["dilations"],
                group=node.attrs["group"],
            )
        if (self.middle == self.middle[0]).all():
            return np.asarray(self.middle[0] * rows.sum(1))
        depth = weights.shape[1]
        groups = len(self.low) // depth
        each = weights.reshape(groups, len(weights) // groups, depth, -1).sum(-1)
        return np.asarray((each @ self.middle.reshape(groups, depth, 1)).reshape(-1))


def two_values(domains: Domains, x: Value, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The two finite values of each channel of ``x`` along ``axis``, float64 [C] ascending; None
    if a channel takes more. Which of them a place can take may differ between places; a channel
    that is constant may hold one of the two values of another."""
    domain = domains.of(x)
    levels = domain.levels() if isinstance(domain, Finite) and x.dtype is DType.F32 else None
    if levels is None or len(levels) != 2 or not np.isfinite(levels).all():
        return None
    shaped = np.moveaxis(aligned(levels, len(x.shape)), 1 + axis % len(x.shape), -1)
    each = shaped.reshape(-1, shaped.shape[-1])
    ends = each.min(axis=0), each.max(axis=0)
    if ((each != ends[0]) & (each != ends[1])).any():
        return None
    low, high = np.array(np.broadcast_to(ends, (2, x.shape[axis])), np.float64)
    varying = low < high
    for channel in np.flatnonzero(~varying):
        fitting = np.flatnonzero(varying & ((low == low[channel]) | (high == low[channel])))
        if not len(fitting):
            return None
        low[channel], high[channel] = low[fitting[0]], high[fitting[0]]
    return low, high


def distances(low: np.ndarray, high: np.ndarray, groups: int) -> Sequence[float]:
    """How far apart two values are, if that differs within a group by more than noise: the least
    and the most; empty if it does not."""
    apart = (high - low).reshape(groups, -1)
    least, most = apart.min(1), apart.max(1)
    # Where a shift follows a scale, the values are sums that were rounded as large as they are.
    rounding = np.maximum(np.abs(low), np.abs(high)).reshape(groups, -1).max(1) * 2.0**-22
    if (most - least <= np.clip(rounding, NOISE * most, MOST_NOISE * most)).all():
        return ()
    return float(apart.min()), float(apart.max())
