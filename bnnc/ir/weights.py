"""Are constant weights +-alpha? Per output channel, but for rounding noise."""

from __future__ import annotations

import numpy as np

from bnnc.ir.levels import LIMIT

RELATIVE_NOISE = 2e-6
ABSOLUTE_NOISE = 3e-7
"""How far |weight| may lie from its channel's alpha. Exporters that fold a straight-through
estimator leave (sign(w) - w) + w, which is off by the rounding of w whatever alpha is."""


def signs_and_scales(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Split weights [OC, ...] into +-1 and alpha.

    Returns:
        (signs, alpha): bool of the weights' shape, and float32 [OC], so that the weights are
        +alpha or -alpha but for rounding noise. A channel that is all zero has alpha 0. None if
        there are no such signs.
    """
    rows = weights.reshape(weights.shape[0], -1)
    alpha = _scales(rows[:1])
    if alpha is not None and len(rows) > 1:
        alpha = _scales(rows)
    if alpha is None or not alpha.any():
        return None
    alpha = np.where(np.abs(alpha - 1) <= ABSOLUTE_NOISE, 1, alpha).astype(np.float32)
    return weights >= 0, alpha


def _scales(rows: np.ndarray) -> np.ndarray | None:
    """Each row's |number|, if it has but one."""
    rows = np.abs(rows)
    low, high = rows.min(axis=1), rows.max(axis=1)
    alpha = np.array(high)
    for noisy in np.flatnonzero(low != high):
        alpha[noisy] = np.partition(rows[noisy], rows.shape[1] // 2)[rows.shape[1] // 2]
        if alpha[noisy] == 0 or not high[noisy] < 2 * low[noisy]:
            return None
    wide = alpha.astype(np.float64)
    noise = np.minimum(np.maximum(RELATIVE_NOISE * wide, ABSOLUTE_NOISE), 1e-4 * wide)
    if not ((wide - low <= noise) & (high - wide <= noise)).all():
        return None
    return alpha


def many_valued(weights: np.ndarray) -> tuple[str, bool]:
    """Why weights are not binary, and whether they look as if they were meant to be of few values.

    Few values count as meant so only where they lie evenly around zero and there are weights
    enough to tell: a fixed blur or an identity kernel is no quantised one.
    """
    rows = weights.reshape(weights.shape[0], -1)
    if not np.isfinite(rows).all():
        return "its weights are not all finite", False
    counts, even = set(), True
    for row in rows[: 1 if _few(rows[0]) is None else None]:
        few = _few(row)
        if few is None:
            return "its weights are real numbers", False
        counts.add(len(few))
        even = even and np.allclose(few, -few[::-1], atol=4 * ABSOLUTE_NOISE)
    near = even and weights.size >= 64
    overall = _few(rows)
    if max(counts) == 2 and (overall is None or len(overall) >= 2):
        return "its weights take two values that are not opposite", near
    if overall is not None:
        values = "value" if len(overall) == 1 else "values"
        return f"its weights take {len(overall)} {values}", near
    return f"its weights take {max(counts)} values in a channel", near


def _few(numbers: np.ndarray) -> np.ndarray | None:
    """The distinct numbers, but for noise; None if there are many."""
    scale = float(np.abs(numbers).max()) or 1.0
    head = np.unique(np.round(numbers.reshape(-1)[:1024] / scale * 2e5))
    if len(head) > LIMIT:
        return None
    found = np.unique(np.round(numbers / scale * 2e5))
    return None if len(found) > LIMIT else found * (scale / 2e5)
