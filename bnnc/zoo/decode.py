"""From a CenterNet's outputs to boxes, and how many of them are right, for use while training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """Boxes of one picture, best first.

    Attributes:
        corners: float32 [N, 4], x0, y0, x1, y1 in input pixels.
        labels: int64 [N].
        scores: float32 [N].
    """

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def decode(
    heatmap: Tensor,
    size: Tensor,
    offset: Tensor,
    *,
    stride: int = 4,
    top: int = 100,
    score: float = 0.0,
) -> list[Boxes]:
    """The boxes of each picture.

    A cell is a peak where it equals the maximum of its 3x3 neighbourhood; the ``top`` best over all
    classes are kept, then those of at least ``score``. A box is centred at cell + offset.

    Args:
        heatmap: [N, classes, H, W] in (0, 1). size, offset: [N, 2, H, W], in cells.
        stride: input pixels to a cell.
    """
    batch, _, rows, columns = heatmap.shape
    peaks = torch.where(F.max_pool2d(heatmap, 3, stride=1, padding=1) == heatmap, heatmap, 0.0)
    scores, places = peaks.flatten(1).topk(min(top, peaks[0].numel()))
    labels, cells = places // (rows * columns), places % (rows * columns)

    def at_cells(x: Tensor) -> Tensor:
        return x.flatten(2).gather(2, cells.unsqueeze(1).expand(batch, 2, -1))

    centres = torch.stack((cells % columns, cells // columns), 1) + at_cells(offset)
    half = at_cells(size) / 2
    corners = (torch.cat((centres - half, centres + half), 1) * stride).transpose(1, 2)
    kept = scores >= score
    return [
        Boxes(corners[i][kept[i]].numpy(), labels[i][kept[i]].numpy(), scores[i][kept[i]].numpy())
        for i in range(batch)
    ]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corner boxes, [N, 4] and [M, 4] -> [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(1) for x in (a, b)]
    return common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-9)


def count_found(
    boxes: Boxes, corners: np.ndarray, labels: np.ndarray, *, min_iou: float = 0.5
) -> int:
    """How many of the true boxes are found: each box, best first, claims the true one of its class
    that it overlaps most, if that is free and they overlap by at least ``min_iou``."""
    free = np.ones(len(labels), bool)
    overlap = iou(boxes.corners, np.asarray(corners, np.float32).reshape(-1, 4))
    for row, label in zip(overlap, boxes.labels):
        usable = np.where(free & (labels == label), row, 0.0)
        if usable.size and usable.max() >= min_iou:
            free[usable.argmax()] = False
    return int((~free).sum())
