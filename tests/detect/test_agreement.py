"""How far two detectors find the same."""

from __future__ import annotations

import numpy as np

from bnnc.detect.agreement import Agreement
from bnnc.detect.boxes import Boxes


def boxes(*found: tuple[float, float, int]) -> Boxes:
    """Boxes of 100 x 100 at (x, 0), with that score and label."""
    rows = np.array(found, np.float64).reshape(-1, 3)
    x = rows[:, 0]
    corners = np.stack([x, 0 * x, x + 100, 0 * x + 100], 1).astype(np.float32)
    return Boxes(corners, rows[:, 2].astype(np.int64), rows[:, 1].astype(np.float32))


def alone(ours: Boxes, theirs: Boxes) -> tuple[int, int]:
    """Detections without a partner, and all."""
    agreement = Agreement()
    agreement.add(ours, theirs)
    return agreement.alone, agreement.detections


def test_the_same_boxes_agree() -> None:
    assert alone(boxes((0, 0.9, 0), (7, 0.5, 1)), boxes((1, 0.895, 0), (7, 0.5, 1))) == (0, 4)


def test_another_class_place_or_score_is_no_partner() -> None:
    for other in ((0, 0.9, 1), (4, 0.9, 0), (0, 0.88, 0)):
        assert alone(boxes((0, 0.9, 0)), boxes(other)) == (2, 2)


def test_a_box_is_the_partner_of_one() -> None:
    assert alone(boxes((0, 0.9, 0), (0, 0.9, 0)), boxes((0, 0.9, 0))) == (1, 3)


def test_low_scores_count_as_partners_only() -> None:
    assert alone(boxes((0, 0.104, 0), (300, 0.05, 0)), boxes((0, 0.096, 0))) == (0, 1)


def test_a_picture_with_a_box_alone_is_touched() -> None:
    agreement = Agreement()
    agreement.add(boxes(), boxes())
    agreement.add(boxes((0, 0.9, 0)), boxes())
    assert (agreement.touched, agreement.pictures) == (1, 2)
    assert agreement.touched_percent == 50 and agreement.alone_percent == 100
