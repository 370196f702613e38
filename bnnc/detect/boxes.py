"""Boxes on a picture, and how far two of them are the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """Boxes on one picture, best first.

    Attributes:
        corners: float32 [N, 4], x0, y0, x1, y1. A picture's first pixel reaches from 0 to 1.
        labels: int64 [N], class indices.
        scores: float32 [N].
        names: the classes' names, one for each box; empty where nobody has named them.
    """

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corners [N, 4] and [M, 4]: float64 [N, M]; 0 where both boxes are
    empty."""
    a, b = (np.asarray(x, np.float64).reshape(-1, 4) for x in (a, b))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))
