"""What a CenterNet should answer for given boxes, after Zhou et al., *Objects as Points*."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_IOU = 0.7
"""The overlap with the true box that the Gaussian's radius is derived from."""


@dataclass(frozen=True)
class Targets:
    """Targets on the output grid, H x W cells.

    Attributes:
        heatmap: float32 [classes, H, W], 1 at centres, falling off as Gaussians around them.
        size: float32 [2, H, W], box width and height in cells, at centres.
        offset: float32 [2, H, W], the centre's x and y minus its cell's, at centres.
        centres: bool [H, W], the cells that hold a centre.
    """

    heatmap: np.ndarray
    size: np.ndarray
    offset: np.ndarray
    centres: np.ndarray


def draw_targets(
    boxes: np.ndarray, labels: np.ndarray, classes: int, height: int, width: int, stride: int = 4
) -> Targets:
    """Targets for the boxes of one picture.

    Args:
        boxes: [N, 4], x0, y0, x1, y1 in input pixels. Boxes without area, and those whose centre
            is outside the picture, are left out.
        labels: [N], the class of each, from 0.
        height, width: of the picture, in pixels.
        stride: input pixels to a cell.

    Of two boxes centred in one cell the larger one's size and offset are kept.
    """
    rows, columns = -(-height // stride), -(-width // stride)
    heatmap = np.zeros((classes, rows, columns), np.float32)
    size = np.zeros((2, rows, columns), np.float32)
    offset = np.zeros((2, rows, columns), np.float32)
    centres = np.zeros((rows, columns), bool)
    cells = np.asarray(boxes, np.float32).reshape(-1, 4) / stride
    extents = cells[:, 2:] - cells[:, :2]
    for index in np.argsort(extents.prod(1), kind="stable"):
        (box_width, box_height), label = extents[index], int(labels[index])
        x, y = (cells[index, :2] + cells[index, 2:]) / 2
        column, row = math.floor(x), math.floor(y)
        inside = 0 <= row < rows and 0 <= column < columns
        if not inside or box_width <= 0 or box_height <= 0:
            continue
        _splat(heatmap[label], row, column, int(gaussian_radius(box_width, box_height)))
        size[:, row, column] = box_width, box_height
        offset[:, row, column] = x - column, y - row
        centres[row, column] = True
    return Targets(heatmap, size, offset, centres)


def gaussian_radius(width: float, height: float, min_iou: float = MIN_IOU) -> float:
    """The radius of the Gaussian for a box, all in cells.

    A box grown by g at each side keeps an IoU of m with the true one where
    m (w + 2g)(h + 2g) = w h. The radius is 4m times that g: CornerNet's code leaves the root of
    this quadratic undivided by its leading coefficient's double, and everyone trains with that.
    """
    total, area = width + height, width * height
    return math.sqrt((min_iou * total) ** 2 + 4 * min_iou * (1 - min_iou) * area) - min_iou * total


def _splat(heatmap: np.ndarray, row: int, column: int, radius: int) -> None:
    """Raise ``heatmap`` to a Gaussian of diameter 2 * radius + 1, six standard deviations."""
    sigma = (2 * radius + 1) / 6
    rows, columns = heatmap.shape
    top, left = max(0, row - radius), max(0, column - radius)
    window = heatmap[top : min(rows, row + radius + 1), left : min(columns, column + radius + 1)]
    y = np.arange(top, top + window.shape[0])[:, None] - row
    x = np.arange(left, left + window.shape[1])[None, :] - column
    np.maximum(window, np.exp(-(x**2 + y**2) / (2 * sigma**2)), out=window, casting="same_kind")
