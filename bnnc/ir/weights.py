"""Do constant weights take two values? Per output channel, but for rounding noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from bnnc.ir.levels import LIMIT

RELATIVE_NOISE = 1e-5
ABSOLUTE_NOISE = 3e-7
"""How far a weight may lie from one of its channel's values. Exporters that fold a straight-through
estimator leave (sign(w) - w) + w, which is off by the rounding of w whatever alpha is."""

_WIDEST_NOISE = 0.02
"""How far, relatively, a format narrower than float32 may have moved a weight."""

FEWEST = 8
"""So many weights must agree on two values that are not opposite: any two do. Where channels have
fewer, they must agree among themselves as well, and not be one filter over and over."""

_ENOUGH = 64
"""Fewer weights than this do not tell what they were meant to be."""

_CLOSE = 0.05
"""|Weights| that differ by less than this were meant to be one number."""


Noise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class TwoValued:
    """Weights of two values in each output channel: ``offset + scale`` or ``offset - scale``.

    Attributes:
        signs: bool, shaped as the weights.
        scale: float32 [OC], not negative.
        offset: float32 [OC].
    """

    signs: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    @property
    def bipolar(self) -> bool:
        """Whether the weights are +1 and -1."""
        return bool((self.scale == 1).all() and not self.offset.any())

    @property
    def taps(self) -> int:
        """Weights of an output channel."""
        return prod(self.signs.shape[1:])

    def values(self) -> np.ndarray:
        """The weights without noise, float64."""
        vector = (-1,) + (1,) * (self.signs.ndim - 1)
        scale = self.scale.astype(np.float64).reshape(vector)
        return np.asarray(np.where(self.signs, scale, -scale) + self.offset.reshape(vector))


def two_valued(weights: np.ndarray) -> TwoValued | None:
    """Split weights [OC, ...] into signs and values.

    A channel that is all zero has scale 0. None if some channel takes more values than two, or
    all are zero.
    """
    scale = _scales(weights.reshape(weights.shape[0], -1), _noise)
    if scale is None:
        return _of_narrow(weights) or _uneven(weights)
    if not scale.any():
        return None
    scale = np.where(np.abs(scale - 1) <= ABSOLUTE_NOISE, 1, scale).astype(np.float32)
    return TwoValued(weights >= 0, scale, np.zeros_like(scale))


def _of_narrow(weights: np.ndarray) -> TwoValued | None:
    """Weights of one |number| in each channel, computed in a format narrower than float32: so much
    coarser is their noise."""
    rows = weights.reshape(weights.shape[0], -1)
    formats = (_noise_of_halves, _are_halves), (_widest_noise, _are_of_bfloat16)
    for noise_of, are_narrow in formats:
        scale = _scales(rows, noise_of)
        if scale is not None and scale.all() and are_narrow(rows):
            return TwoValued(weights >= 0, scale.astype(np.float32), np.zeros_like(scale))
    return None


def _are_halves(rows: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool((rows.astype(np.float16) == rows).all())


def _are_of_bfloat16(rows: np.ndarray) -> bool:
    """Whether rows of almost one |number| each are of bfloat16, but for a factor for each row, such
    as a BatchNorm's that was folded into them.

    Then a row lies on a grid, its largest number 128 to 256 steps from 0, or less where no number
    needs the last bits. Rows where that differs confirm each other; those of 127 steps and less
    could be of 8-bit integers.
    """
    ascending = np.sort(np.abs(rows).astype(np.float64), axis=1)
    steps = np.diff(ascending, axis=1)
    step = steps.min(axis=1, where=steps > 0, initial=np.inf)
    noisy = np.isfinite(step)
    places = ascending[noisy] / step[noisy, None]
    last = np.round(places[:, -1:])
    blur = last**2 * 2.0**-22  # float32's, in steps
    on_grid = (last <= 256 * (1 + _WIDEST_NOISE)) & (np.abs(places - np.round(places)) <= blur)
    return bool(on_grid.all() and len(np.unique(last[last > 128])) > 1)


def _scales(rows: np.ndarray, noise_of: Noise) -> np.ndarray | None:
    """Each row's |number|, if it has but one; ``noise_of`` says how much of this magnitude may be
    off."""
    if len(rows) > 1 and _scales(rows[:1], noise_of) is None:  # as of most layers
        return None
    rows = np.abs(rows)
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not np.isfinite(high).all():
        return None
    scale, noisy = np.array(high), low != high
    if not (high[noisy] < 2 * low[noisy]).all():
        return None
    if noisy.any():
        middle = rows.shape[1] // 2
        scale[noisy] = np.partition(rows[noisy], middle, axis=1)[:, middle]
    wide = scale.astype(np.float64)
    noise = noise_of(wide)
    return scale if ((wide - low <= noise) & (high - wide <= noise)).all() else None


def _uneven(weights: np.ndarray) -> TwoValued | None:
    """Weights of two values that are not opposite in every channel."""
    rows = weights.reshape(weights.shape[0], -1)
    if not np.isfinite(rows).all() or (rows.shape[1] < FEWEST and not _agree(rows)):
        return None
    if _pairs(rows[:1]) is None or (pairs := _pairs(rows)) is None:
        return None
    single = pairs[:, 0] == pairs[:, 1]
    bound = np.where(single, 0, pairs.mean(axis=1))[:, None]
    signs = np.where(single[:, None], rows >= bound, rows > bound)
    pairs[single] = np.abs(pairs[single]) * (-1, 1)
    scale, offset = np.diff(pairs)[:, 0] / 2, pairs.sum(axis=1) / 2
    return TwoValued(
        signs.reshape(weights.shape), scale.astype(np.float32), offset.astype(np.float32)
    )


def _agree(rows: np.ndarray) -> bool:
    """Whether channels of few weights are made of the same two numbers, each in its own way."""
    one_filter = (rows == rows[:1]).all()
    return not one_filter and rows.size >= FEWEST and _pairs(rows.reshape(1, -1)) is not None


def _pairs(rows: np.ndarray) -> np.ndarray | None:
    """The two numbers that each row consists of, ascending, [rows, 2] float64; twice the same where
    it is one."""
    noise = _noise(np.abs(rows).max(axis=1).astype(np.float64))
    ascending, each, count = np.sort(rows, axis=1), np.arange(len(rows)), rows.shape[1]
    low, high = (ascending[:, end].astype(np.float64) for end in (0, -1))
    upper = (rows > ((low + high) / 2)[:, None]).sum(axis=1)
    upper[high - low <= 2 * noise] = 0
    first, last = count - upper, np.where(upper > 0, count - upper, 0)
    lower_noise = ascending[each, first - 1].astype(np.float64) - low
    upper_noise = np.where(upper > 0, high - ascending[each, last], 0)
    if (lower_noise > 2 * noise).any() or (upper_noise > 2 * noise).any():
        return None
    medians = [ascending[each, first // 2], ascending[each, last + (count - last) // 2]]
    pairs = np.stack(medians, axis=1).astype(np.float64)
    opposite = np.abs(pairs.sum(axis=1)) <= noise
    pairs[opposite] = pairs[opposite, 1:] * (-1, 1)
    return pairs


def _noise(magnitude: np.ndarray) -> np.ndarray:
    """How much a weight of this magnitude may be off."""
    return np.minimum(np.maximum(RELATIVE_NOISE * magnitude, ABSOLUTE_NOISE), 1e-4 * magnitude)


def _noise_of_halves(magnitude: np.ndarray) -> np.ndarray:
    """The same in half precision, where a straight-through estimator's sums stay below 1."""
    rounding = np.maximum(2.0**-10 * magnitude, 2.0**-11)
    return np.asarray(np.minimum(rounding, _widest_noise(magnitude)))


def _widest_noise(magnitude: np.ndarray) -> np.ndarray:
    return np.asarray(_WIDEST_NOISE * magnitude)


def looks_binary(weights: TwoValued) -> bool:
    """Whether two-valued weights were meant to be: a blur of equal weights was not."""
    mixed = weights.signs.any() and not weights.signs.all()
    return bool(mixed) and weights.signs.size >= _ENOUGH


def many_valued(weights: np.ndarray) -> tuple[str, bool]:
    """Why weights are not binary, and whether they look as if they were meant to be of few values.

    Few values count as meant so only where they lie evenly around zero and there are weights
    enough to tell: a fixed blur or an identity kernel is no quantised one.
    """
    rows = weights.reshape(weights.shape[0], -1)
    if not np.isfinite(rows).all():
        return "its weights are not all finite", False
    if not rows.any():
        return "its weights are all 0", False
    spread = _spread(np.abs(rows))
    if spread < _CLOSE and rows.size >= _ENOUGH:
        return f"its weights are opposite numbers only to within {100 * spread:.2g} %", True
    if _scaled_by_input(np.abs(weights)):
        return "its weights have another scale for each input channel", True
    if _few(rows[0]) is None or (each := _few_of_each(rows)) is None:
        return "its weights are real numbers", False
    most, even = each
    near = even and weights.size >= _ENOUGH
    overall = _few(rows)
    if most == 2 and (overall is None or len(overall) >= 2):
        reason, taps = "its weights take two values that are not opposite", rows.shape[1]
        too_few = f", and {taps} in a channel are too few to tell" if taps < FEWEST else ""
        return reason + too_few, near
    if overall is not None:
        values = "value" if len(overall) == 1 else "values"
        return f"its weights take {len(overall)} {values}", near
    return f"its weights take {most} values in a channel", near


def _spread(magnitudes: np.ndarray) -> float:
    """How far |weights| differ in a channel, relative to the largest, at most."""
    least, most = magnitudes.min(axis=1), magnitudes.max(axis=1)
    return float(((most - least) / np.where(most > 0, most, 1)).max())


def _scaled_by_input(magnitudes: np.ndarray) -> bool:
    """Whether |weights| [OC, C, ...] is a number of the output channel times one of the input's."""
    rows = magnitudes.reshape(*magnitudes.shape[:2], -1)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is no such number
        per_input = rows[0].mean(-1, keepdims=True)
        if not (magnitudes.size >= _ENOUGH and per_input.all()):
            return False
        rest = (rows / per_input).reshape(len(rows), -1)
        return bool((np.ptp(rest, axis=1) <= 1e-4 * rest.max(1)).all())


def _few(numbers: np.ndarray) -> np.ndarray | None:
    """The distinct numbers, but for noise; None if there are many."""
    scale = float(np.abs(numbers).max()) or 1.0
    head = np.unique(np.round(numbers.reshape(-1)[:1024] / scale * 2e5))
    if len(head) > LIMIT:
        return None
    found = np.unique(np.round(numbers / scale * 2e5))
    return None if len(found) > LIMIT else found * (scale / 2e5)


def _few_of_each(rows: np.ndarray) -> tuple[int, bool] | None:
    """How many distinct numbers a row has at most, but for noise, and whether each row's lie evenly
    around zero; None if one has many."""
    scale = np.abs(rows).max(axis=1, keepdims=True)
    scale[scale == 0] = 1
    ascending = np.sort(np.round(rows / scale * 2e5), axis=1)
    new = np.diff(ascending, axis=1, prepend=np.nan) != 0
    count = new.sum(axis=1)
    if count.max() > LIMIT:
        return None
    row, column = np.nonzero(new)
    place = new.cumsum(axis=1)[row, column] - 1
    found = np.zeros((len(rows), LIMIT))
    found[row, place] = ascending[row, column] * (scale[row, 0] / 2e5)
    mirrored = np.zeros_like(found)
    mirrored[row, count[row] - 1 - place] = -found[row, place]
    return int(count.max()), bool(np.allclose(found, mirrored, atol=4 * ABSOLUTE_NOISE))
