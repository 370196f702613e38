"""Average precision, beside an implementation that follows the VOC development kit line by line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.detect.boxes import Boxes, iou
from bnnc.detect.evaluation import Evaluator, average_precisions
from bnnc.detect.voc import Annotation, Voc

CLASSES = ("cat", "dog")
Truth = tuple[str, tuple[int, int, int, int], bool]  # name, inclusive pixels from 1, difficult
Found = tuple[int, tuple[int, int, int, int], float]
Picture = tuple[list[Truth], list[Found]]


# ---- the development kit's VOCevaldet.m and VOCap.m, in inclusive pixels -----------------------


def devkit(pictures: list[Picture], label: int) -> tuple[float, float]:
    """Area and eleven-point average precision of one class."""
    npos = 0
    gt = []
    detections = []
    for number, (truths, founds) in enumerate(pictures):
        objects = [
            {"bb": bb, "diff": diff, "det": False} for n, bb, diff in truths if n == CLASSES[label]
        ]
        npos += sum(not o["diff"] for o in objects)
        gt.append(objects)
        detections += [(score, number, bb) for c, bb, score in founds if c == label]
    detections.sort(key=lambda d: -d[0])
    tp, fp = [0] * len(detections), [0] * len(detections)
    for d, (_, number, bb) in enumerate(detections):
        ovmax, jmax = -math.inf, None
        for candidate in gt[number]:
            bbgt = candidate["bb"]
            bi = (
                max(bb[0], bbgt[0]),
                max(bb[1], bbgt[1]),
                min(bb[2], bbgt[2]),
                min(bb[3], bbgt[3]),
            )
            iw, ih = bi[2] - bi[0] + 1, bi[3] - bi[1] + 1
            if iw > 0 and ih > 0:
                ua = (
                    (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
                    + (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1)
                    - iw * ih
                )
                if iw * ih / ua > ovmax:
                    ovmax, jmax = iw * ih / ua, candidate
        if ovmax >= 0.5:
            assert jmax is not None
            if not jmax["diff"]:
                if not jmax["det"]:
                    tp[d], jmax["det"] = 1, True
                else:
                    fp[d] = 1
        else:
            fp[d] = 1
    if npos == 0:
        return math.nan, math.nan
    recall, precision = [], []
    for d in range(len(detections)):
        seen = sum(tp[: d + 1]) + sum(fp[: d + 1])
        recall.append(sum(tp[: d + 1]) / npos)
        precision.append(sum(tp[: d + 1]) / seen if seen else 0.0)
    eleven = sum(
        max((p for r, p in zip(recall, precision) if r >= k / 10 - 1e-12), default=0.0) / 11
        for k in range(11)
    )
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in reversed(range(len(mpre) - 1)):
        mpre[i] = max(mpre[i], mpre[i + 1])
    area = sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)))
    return area, eleven


def corners_of(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)


def evaluated(pictures: list[Picture]) -> Evaluator:
    evaluator = Evaluator(CLASSES)
    for number, (truths, founds) in enumerate(pictures):
        truth = Annotation(
            str(number),
            Path(f"{number}.jpg"),
            corners_of([bb for _, bb, _ in truths]),
            tuple(name for name, _, _ in truths),
            np.array([diff for *_, diff in truths], bool),
        )
        found = Boxes(
            corners_of([bb for _, bb, _ in founds]),
            np.array([label for label, *_ in founds], np.int64),
            np.array([score for *_, score in founds], np.float32),
        )
        evaluator.add(truth, found)
    return evaluator


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return x, y, x + draw(st.integers(0, 5)), y + draw(st.integers(0, 5))


PICTURES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from((*CLASSES, "emu")), boxes(), st.booleans()), max_size=5),
        st.lists(
            st.tuples(st.integers(0, 1), boxes(), st.sampled_from((0.1, 0.25, 0.5, 0.75, 1.0))),
            max_size=8,
        ),
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(PICTURES)
def test_average_precision_is_the_development_kits(pictures: list[Picture]) -> None:
    result = evaluated(pictures).result()
    for label, found in enumerate(result.classes):
        expected = devkit(pictures, label)
        np.testing.assert_allclose((found.area, found.eleven_point), expected, atol=1e-12)


# ---- the rules, one by one --------------------------------------------------------------------

BOX, HALF = (1, 1, 10, 10), (1, 1, 10, 5)


def cat(pictures: list[Picture]) -> float:
    return evaluated(pictures).result().classes[0].area


def test_all_found_is_one() -> None:
    assert cat([([("cat", BOX, False)], [(0, BOX, 0.9)])]) == 1


def test_an_overlap_of_exactly_half_is_enough() -> None:
    assert cat([([("cat", BOX, False)], [(0, HALF, 0.9)])]) == 1


def test_a_second_detection_of_a_box_is_wrong() -> None:
    result = evaluated([([("cat", BOX, False)], [(0, BOX, 0.9), (0, BOX, 0.8)])]).result()
    assert result.classes[0].detections == 2 and result.classes[0].area == 1
    twice = [([("cat", BOX, False)], [(0, BOX, 0.9), (0, BOX, 0.8)]), ([("cat", BOX, False)], [])]
    assert cat(twice) == 0.5


def test_difficult_boxes_count_neither_way() -> None:
    result = evaluated([([("cat", BOX, True)], [(0, BOX, 0.9)])]).result()
    assert result.classes[0].boxes == 0 and result.classes[0].detections == 0


def test_classes_without_boxes_are_left_out_of_the_mean() -> None:
    result = evaluated([([("cat", BOX, False)], [(0, BOX, 0.9), (1, BOX, 0.9)])]).result()
    assert math.isnan(result.classes[1].area) and result.area == result.eleven_point == 1


def test_nothing_at_all_has_no_mean() -> None:
    assert math.isnan(evaluated([]).result().area)


def test_a_recall_of_three_in_ten_reaches_the_fourth_of_eleven_points() -> None:
    _, eleven = average_precisions(np.ones(3, bool), 10)
    assert eleven == pytest.approx(4 / 11)


def test_true_boxes_as_detections_are_perfect(shared_data: Path) -> None:
    data = Voc(shared_data / "bccd", "test")
    names = ("RBC", "WBC", "Platelets")
    evaluator = Evaluator(names)
    for truth in data:
        labels = np.array([names.index(name) for name in truth.names])
        evaluator.add(truth, Boxes(truth.corners, labels, np.ones(len(labels), np.float32)))
    result = evaluator.result()
    assert result.pictures == len(data) and result.area > 0.99


@settings(deadline=None)
@given(st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=4))
def test_overlap_is_that_of_pixels(a: list, b: list) -> None:
    def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
        x0, y0, x1, y1 = box
        return {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}

    expected = [[len(pixels(p) & pixels(q)) / len(pixels(p) | pixels(q)) for q in b] for p in a]
    np.testing.assert_allclose(iou(corners_of(a), corners_of(b)), expected)
