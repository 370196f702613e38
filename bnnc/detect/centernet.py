"""A CenterNet's outputs as boxes.

A cell is a peak if it equals the maximum of its 3x3 neighbourhood; the best over all classes are
kept. The centre is cell + offset, the box centre -/+ size / 2, in units of the output grid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bnnc.errors import InputError

KEY = "bnnc.decoder"


@dataclass(frozen=True)
class Boxes:
    """Boxes on one picture, best first.

    Attributes:
        corners: float32 [N, 4], x0, y0, x1, y1.
        labels: int64 [N], class indices.
        scores: float32 [N].
    """

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


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
            if said["type"] != "centernet" or stride <= 0 or top < 1:
                raise ValueError
            return cls(heatmap, size, offset, stride, top)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"the model does not say that it is a CenterNet ({KEY})") from None

    def __call__(self, outputs: Mapping[str, np.ndarray], score: float = 0.0) -> Boxes:
        """The boxes of at least ``score``, corners in input pixels.

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
        scores = np.where(peaks(heatmap), heatmap, 0).reshape(-1)
        best = np.argsort(-scores, kind="stable")[: self.top]
        best = best[scores[best] >= max(score, np.finfo(np.float32).tiny)]
        labels, cells = np.divmod(best, rows * columns)
        y, x = np.divmod(cells, columns)
        centres = np.stack([x, y]) + offset.reshape(2, -1)[:, cells]
        half = size.reshape(2, -1)[:, cells] / 2
        corners = np.concatenate([centres - half, centres + half]).T * self.stride
        return Boxes(corners.astype(np.float32), labels, scores[best].astype(np.float32))


def peaks(heatmap: np.ndarray) -> np.ndarray:
    """Where [C, H, W] equals the maximum of its 3x3 neighbourhood, bool."""
    padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = heatmap.shape[1:]
    around = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.asarray(heatmap == np.max(around, axis=0))


def labels(metadata: Mapping[str, str], classes: int) -> list[str]:
    """The names of a model's classes; numbered ones where it gives none."""
    try:
        said = json.loads(metadata["bnnc.labels"])
        if isinstance(said, list) and len(said) >= classes:
            return [str(name) for name in said]
    except (KeyError, ValueError):
        pass
    return [f"class {index}" for index in range(classes)]
