"""From a picture to the things on it."""

from __future__ import annotations

import math
import os

import numpy as np

from bnnc.detect.boxes import Boxes
from bnnc.detect.centernet import Decoder, label_name, labels
from bnnc.detect.network import Network, network_of
from bnnc.detect.preprocessing import Placement, Preprocessing
from bnnc.errors import InputError
from bnnc.pictures import pixels_of
from bnnc.runtime import InferenceSession

SCORE = 0.3
"""The least score of a box, where nobody asks for another."""


class Detector:
    """Finds things on pictures. Re-entrant, as its session is.

    >>> detector = bnnc.Detector("det.so", score=0.5)
    >>> boxes = detector("photo.jpg")
    >>> for name, score, (x0, y0, x1, y1) in zip(boxes.names, boxes.scores, boxes.corners): ...

    Args:
        model: a library made by ``bnnc compile``, a session on one, or a :class:`Network`.
        threads: threads of a run; default: the processors this process may use.
        score: boxes of a lower score are left out.
        max_iou: boxes that overlap a better one of their class by more are dropped (non-maximum
            suppression); default: none is.
        isa: instruction set to force.

    Attributes:
        classes: the names of the classes, by label; empty where the model does not name them.

    Raises:
        LibraryError: if the library cannot be loaded here.
        InputError: if the model does not say how to feed it and how to read its outputs, or
            ``score`` or ``max_iou`` does not fit.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | InferenceSession | Network,
        *,
        threads: int | None = None,
        score: float = SCORE,
        max_iou: float | None = None,
        isa: str | None = None,
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            model = InferenceSession(model, threads=threads, isa=isa)
        if isinstance(model, InferenceSession):
            model = network_of(model)
        self.network = model
        self.score = _least(score)
        self.classes = labels(model.metadata)
        self._prepare = Preprocessing.of(model.metadata)
        if max_iou is not None and not 0 < max_iou <= 1:
            raise InputError(f"max_iou must lie above 0 and be at most 1, not {max_iou!r}")
        self._max_iou = max_iou
        self._decode = None if model.boxes is not None else Decoder.of(model.metadata)

    def __call__(self, image: object, score: float | None = None) -> Boxes:
        """What is on a picture.

        Args:
            image: a file's path, a Pillow image, or an array uint8 [H, W, 3] RGB or [H, W] grey.
            score: the least score; default: the detector's.

        Returns:
            The boxes, best first; corners in the picture's pixels, cut off at its edges.

        Raises:
            InputError: if the picture cannot be read or is of another form, or ``score`` is NaN.
        """
        least = self.score if score is None else _least(score)
        picture = pixels_of(image)
        x, placement = self.input_of(picture)
        found = self._find(x, least)
        height, width = picture.shape[:2]
        corners = placement.to_picture(found.corners)
        corners = np.clip(corners, 0, np.array([width, height] * 2, np.float32))
        names = tuple(label_name(self.classes, label) for label in found.labels.tolist())
        return Boxes(corners, found.labels, found.scores, names)

    def input_of(self, picture: np.ndarray) -> tuple[np.ndarray, Placement]:
        """A picture, uint8 [H, W, 3] RGB, as the network's input, and where it lies there."""
        network = self.network
        pixels, placement = self._prepare.place(picture, network.height, network.width)
        x = pixels[None] if network.takes_pixels else self._prepare.normalised(pixels)
        return x, placement

    def _find(self, x: np.ndarray, score: float) -> Boxes:
        """The boxes in an input, corners in its pixels."""
        if self._decode is not None:
            return self._decode(self.network.run(x), score, self._max_iou)
        assert self.network.boxes is not None
        return self.network.boxes(x, score, self._max_iou)


def _least(score: float) -> float:
    """A least score; no score is as much as NaN, and nothing would ever be found."""
    if math.isnan(score):
        raise InputError("the least score of a box is a number, not nan")
    return score
