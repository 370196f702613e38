"""How far two detectors find the same things on the same pictures.

A detection has a partner among the other detector's if that is of the same class, overlaps it by
more than 0.95 and has a score within 0.01. Each detection is the partner of one other at most; the
best choose first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnnc.detect.boxes import Boxes, iou

MIN_SCORE, MIN_IOU, SCORE_WITHIN = 0.1, 0.95, 0.01


@dataclass
class Agreement:
    """Counts over pictures.

    Attributes:
        detections: detections of either detector with a score above 0.1.
        alone: those of them without a partner (which may itself lie a little below 0.1).
        pictures: pictures looked at.
        touched: those on which a detection is alone.
    """

    detections: int = 0
    alone: int = 0
    pictures: int = 0
    touched: int = 0

    def add(self, ours: Boxes, theirs: Boxes) -> None:
        """Take what both found on one picture, with scores from 0.09 on or from lower."""
        alone = 0
        for a, b in ((ours, theirs), (theirs, ours)):
            above = a.scores > MIN_SCORE
            self.detections += int(above.sum())
            alone += int((above & ~_partnered(a, b)).sum())
        self.alone += alone
        self.pictures += 1
        self.touched += alone > 0

    @property
    def alone_percent(self) -> float:
        return 100 * self.alone / self.detections if self.detections else 0.0

    @property
    def touched_percent(self) -> float:
        return 100 * self.touched / self.pictures if self.pictures else 0.0


def _partnered(a: Boxes, b: Boxes) -> np.ndarray:
    """Which of ``a`` have a partner in ``b``, bool [N]."""
    close = np.abs(a.scores[:, None].astype(np.float64) - b.scores) <= SCORE_WITHIN
    fits = np.where(close & (a.labels[:, None] == b.labels), iou(a.corners, b.corners), 0)
    partnered = np.zeros(len(a), bool)
    if not len(b):
        return partnered
    for i in np.argsort(-a.scores, kind="stable"):
        j = fits[i].argmax()
        if fits[i, j] > MIN_IOU:
            partnered[i] = True
            fits[:, j] = 0
    return partnered
