"""How good detections are: average precision as Pascal VOC defines it.

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, and the VOC
development kit. For each class, detections are taken best first over all pictures. A detection
belongs to the true box of its class that it overlaps most. It is right if they overlap by at least
0.5 and no better detection has claimed that box; if the box is a difficult one, the detection
counts neither way; otherwise it is wrong. Among equal scores the earlier picture comes first, then
the order in which the detector gave them; of equally overlapped boxes the first is taken.

Average precision is given in both of VOC's ways: the mean over recalls 0, 0.1, ..., 1 of the best
precision at that recall or beyond (until 2009), and the area under that curve (from 2010 on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.detect.boxes import Boxes, iou
from bnnc.detect.voc import Annotation

MIN_IOU = 0.5


@dataclass(frozen=True)
class ClassResult:
    """How well one class was found.

    Attributes:
        name: the class.
        boxes: how many true boxes there are that are not difficult.
        detections: how many detections counted as right or wrong.
        area, eleven_point: average precision, 0 to 1; NaN where there are no boxes.
    """

    name: str
    boxes: int
    detections: int
    area: float
    eleven_point: float


@dataclass(frozen=True)
class Evaluation:
    """How well a detector does.

    Attributes:
        classes: one result for each class.
        pictures: how many pictures were looked at.
    """

    classes: tuple[ClassResult, ...]
    pictures: int

    @property
    def area(self) -> float:
        """Mean of the average precisions of all classes that have boxes; NaN if none has."""
        return _mean([c.area for c in self.classes])

    @property
    def eleven_point(self) -> float:
        """The same for the eleven-point average precision."""
        return _mean([c.eleven_point for c in self.classes])

    def document(self) -> dict[str, Any]:
        """For machines; average precisions in percent."""
        return {
            "pictures": self.pictures,
            "map": {"area": 100 * self.area, "eleven_point": 100 * self.eleven_point},
            "classes": [
                {
                    "name": c.name,
                    "boxes": c.boxes,
                    "detections": c.detections,
                    "area": 100 * c.area,
                    "eleven_point": 100 * c.eleven_point,
                }
                for c in self.classes
            ],
        }


class Evaluator:
    """Collects detections picture by picture.

    Args:
        classes: names of the classes, by the detector's labels. True boxes of other classes are
            not looked at.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._pictures = 0
        self._boxes = [0] * len(self.classes)
        self._scores: list[list[np.ndarray]] = [[] for _ in self.classes]
        self._right: list[list[np.ndarray]] = [[] for _ in self.classes]

    def add(self, truth: Annotation, found: Boxes) -> None:
        """Take one picture's detections, corners in picture pixels."""
        self._pictures += 1
        names = np.array(truth.names, object)
        order = np.argsort(-found.scores, kind="stable")
        for label, name in enumerate(self.classes):
            theirs = np.flatnonzero(names == name)
            ours = order[found.labels[order] == label]
            difficult = truth.difficult[theirs]
            self._boxes[label] += int((~difficult).sum())
            if not len(ours):
                continue
            counts, right = _claims(iou(found.corners[ours], truth.corners[theirs]), difficult)
            self._scores[label].append(found.scores[ours][counts])
            self._right[label].append(right[counts])

    def result(self) -> Evaluation:
        """The figures for all pictures so far."""
        results = []
        for label, name in enumerate(self.classes):
            scores = np.concatenate([np.empty(0, np.float32), *self._scores[label]])
            right = np.concatenate([np.empty(0, bool), *self._right[label]])
            right = right[np.argsort(-scores, kind="stable")]
            precisions = average_precisions(right, self._boxes[label])
            results.append(ClassResult(name, self._boxes[label], len(right), *precisions))
        return Evaluation(tuple(results), self._pictures)


def _claims(overlaps: np.ndarray, difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections count, and which are right: bool [N] each.

    Args:
        overlaps: IoU [N, M] of detections, best first, and true boxes.
        difficult: bool [M].
    """
    counts, right = np.ones(len(overlaps), bool), np.zeros(len(overlaps), bool)
    if not len(difficult):
        return counts, right
    taken = np.zeros(len(difficult), bool)
    for i, j in enumerate(overlaps.argmax(axis=1)):
        if overlaps[i, j] < MIN_IOU:
            continue
        if difficult[j]:
            counts[i] = False
        elif not taken[j]:
            taken[j] = right[i] = True
    return counts, right


def average_precisions(right: np.ndarray, boxes: int) -> tuple[float, float]:
    """Area and eleven-point average precision, 0 to 1.

    Args:
        right: bool [N], whether each detection is right, best first.
        boxes: how many boxes there are to find; 0 gives NaN.
    """
    if not boxes:
        return float("nan"), float("nan")
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    area = float((best_from_here * right).sum() / boxes)
    # In whole numbers, since 3 of 10 boxes must reach a recall of 0.3.
    reached = np.searchsorted(10 * found, np.arange(11) * boxes)
    eleven = np.append(best_from_here, 0.0)[reached]
    return area, float(eleven.mean())


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
