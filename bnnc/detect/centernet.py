"""A CenterNet's outputs as boxes: the reference for decoding in C (runtime_c/detect.c), which gives
the same bits.

A cell is a peak if its score is above 0 and no less than that of its up to eight neighbours. So all
cells of a plateau are peaks, as in the CenterNet of Zhou et al., "Objects as Points" (2019); NaN is
none, and neither is a cell beside it. The best over all classes are kept, the highest score first;
among equals the lower class, then the upper row, then the left column. The centre is cell + offset,
the box centre -/+ size / 2, in cells, where a size below 0 counts as 0; times the stride that is in
input pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bnnc.detect.boxes import Boxes
from bnnc.errors import InputError

KEY = "bnnc.decoder"


@dataclass(frozen=True)
class Decoder:
    """How to read a CenterNet.

    Attributes:
        heatmap, size, offset: names of its outputs, [1, classes, H, W] and twice [1, 2, H, W]
            (x first).
        stride: input pixels to a cell.
        top: how many peaks are kept, over all classes.
    """

    heatmap: str = "heatmap"
    size: str = "size"
    offset: str = "offset"
    stride: float = 4
    top: int = 100

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Decoder:
        """What a model's metadata say.

        Raises:
            InputError: if they describe no CenterNet.
        """
        try:
            said = json.loads(metadata[KEY])
            heatmap, size, offset = (str(said[key]) for key in ("heatmap", "size", "offset"))
            stride, top = float(said.get("stride", 4)), int(said.get("top", 100))
            if said["type"] != "centernet" or not 0 < stride < np.inf or top < 1:
                raise ValueError
            return cls(heatmap, size, offset, stride, top)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise InputError(
                f"the model does not say that it is a CenterNet ({KEY})",
                hint="compile it with --decode centernet, or see docs/detectors.md",
            ) from None

    def __call__(
        self, outputs: Mapping[str, np.ndarray], score: float = 0.0, max_iou: float | None = None
    ) -> Boxes:
        """The boxes of at least ``score``, corners in input pixels; with ``max_iou``
        :func:`suppressed`.

        Raises:
            InputError: if an output is missing or misshapen.
        """
        try:
            heatmap, size, offset = (outputs[n][0] for n in (self.heatmap, self.size, self.offset))
            _, rows, columns = heatmap.shape
            if size.shape != (2, rows, columns) or offset.shape != size.shape:
                raise ValueError
        except (KeyError, ValueError, IndexError):
            raise InputError("the model's outputs are not those of a CenterNet") from None
        boxes = decode(heatmap, size, offset, self.stride, top=self.top, score=score)
        return boxes if max_iou is None else suppressed(boxes, max_iou)


MOST_PEAKS = 1 << 17
"""No more are ever looked at."""


def decode(
    heatmap: np.ndarray,
    size: np.ndarray,
    offset: np.ndarray,
    stride: float,
    *,
    top: int = 100,
    score: float = 0.0,
) -> Boxes:
    """The boxes of at least ``score``, corners in input pixels.

    Args:
        heatmap: float32 [classes, H, W]. size, offset: float32 [2, H, W], x first, in cells.
        stride: input pixels to a cell.
        top: how many peaks are kept.
    """
    _, rows, columns = heatmap.shape
    scores = np.where(peaks(heatmap), heatmap, 0).reshape(-1)
    kept = np.flatnonzero((scores > 0) & (scores >= np.float32(score)))
    best = kept[np.argsort(-scores[kept], kind="stable")][: min(top, MOST_PEAKS)]
    labels, cells = np.divmod(best, rows * columns)
    y, x = np.divmod(cells, columns)
    centres = np.stack([x, y]).astype(np.float32) + offset.reshape(2, -1)[:, cells]
    sides = size.reshape(2, -1)[:, cells]
    half = np.where(sides > 0, sides, 0).astype(np.float32) * np.float32(0.5)
    corners = np.concatenate([centres - half, centres + half]).T * np.float32(stride)
    return Boxes(np.ascontiguousarray(corners), labels, scores[best])


def peaks(heatmap: np.ndarray) -> np.ndarray:
    """Where [C, H, W] is no less than each of its up to eight neighbours, bool. All cells of a
    plateau are peaks; NaN is none, and no cell beside it is."""
    padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = heatmap.shape[1:]
    around = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.asarray(heatmap == np.max(around, axis=0))


def suppressed(boxes: Boxes, max_iou: float) -> Boxes:
    """Non-maximum suppression within each class: from the best box on, each is dropped that
    overlaps a better one that was kept by more than ``max_iou``. In float32, as in C."""
    corners, limit = boxes.corners, np.float32(max_iou)
    x0, y0, x1, y1 = corners.T
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    for i in range(len(boxes)):
        others = [j for j in kept if boxes.labels[j] == boxes.labels[i]]
        width = np.minimum(x1[i], x1[others]) - np.maximum(x0[i], x0[others])
        height = np.minimum(y1[i], y1[others]) - np.maximum(y0[i], y0[others])
        common = np.where((width > 0) & (height > 0), width * height, np.float32(0))
        if not (common > limit * (area[i] + area[others] - common)).any():
            kept.append(i)
    return Boxes(corners[kept], boxes.labels[kept], boxes.scores[kept])


def labels(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a model's classes; none where it gives none."""
    try:
        said = json.loads(metadata["bnnc.labels"])
    except (KeyError, ValueError):
        return ()
    return tuple(map(str, said)) if isinstance(said, list) else ()


def label_name(labels: Sequence[str], label: int) -> str:
    """A class's name; a number where it has none."""
    return labels[label] if label < len(labels) else f"class {label}"
