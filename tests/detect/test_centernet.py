"""A CenterNet's outputs as boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.detect.boxes import Boxes, iou
from bnnc.detect.centernet import Decoder, label_name, labels, suppressed
from bnnc.errors import InputError

METADATA = {
    "bnnc.decoder": json.dumps(
        {"type": "centernet", "stride": 4, "heatmap": "h", "size": "s", "offset": "o", "top": 5}
    ),
    "bnnc.labels": '["cat", "dog"]',
}
RNG = np.random.default_rng(0)


def outputs(rows: int = 8, columns: int = 6) -> dict[str, np.ndarray]:
    return {
        "h": np.zeros((1, 2, rows, columns), np.float32),
        "s": np.zeros((1, 2, rows, columns), np.float32),
        "o": np.zeros((1, 2, rows, columns), np.float32),
    }


def test_a_peak_becomes_a_box() -> None:
    y = outputs()
    y["h"][0, 1, 3, 2] = 0.9
    y["s"][0, :, 3, 2] = 2, 4
    y["o"][0, :, 3, 2] = 0.5, 0.25
    boxes = Decoder.of(METADATA)(y)
    np.testing.assert_allclose(boxes.corners, [[6, 5, 14, 21]])
    assert boxes.labels.tolist() == [1]
    np.testing.assert_allclose(boxes.scores, [0.9])


def test_a_cell_beside_a_higher_one_is_no_peak() -> None:
    y = outputs()
    y["h"][0, 0, 3, 2:4] = 0.5, 0.6
    assert Decoder.of(METADATA)(y).scores.tolist() == pytest.approx([0.6])


def test_boxes_come_best_first_and_only_so_many() -> None:
    y = outputs(20, 20)
    y["h"][0, 0, ::3, ::3] = RNG.uniform(0.1, 1, (7, 7))
    boxes = Decoder.of(METADATA)(y)
    assert len(boxes.scores) == 5
    assert boxes.scores[0] == y["h"].max() and (np.diff(boxes.scores) <= 0).all()


def test_boxes_of_low_score_are_left_out() -> None:
    y = outputs()
    y["h"][0, 0, 1, 1], y["h"][0, 0, 5, 4] = 0.2, 0.8
    assert len(Decoder.of(METADATA)(y, score=0.5).scores) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"type": "yolo"}', "[1]"])
def test_a_model_that_is_no_centernet_is_told(text: str) -> None:
    with pytest.raises(InputError, match="does not say that it is a CenterNet"):
        Decoder.of({"bnnc.decoder": text})


def test_outputs_of_another_kind_are_told() -> None:
    with pytest.raises(InputError, match="not those of a CenterNet"):
        Decoder.of(METADATA)({"h": np.zeros((1, 3))})


def test_classes_have_the_models_names_or_numbers() -> None:
    names = labels(METADATA)
    assert names == ("cat", "dog") and labels({}) == ()
    assert [label_name(names, label) for label in range(3)] == ["cat", "dog", "class 2"]


def test_all_cells_of_a_plateau_are_peaks_in_reading_order() -> None:
    y = outputs()
    y["h"][0, :, 2:4, 1:3] = 0.5
    boxes = Decoder.of(METADATA)(y)
    centres = (boxes.corners[:, :2] / 4).tolist()
    assert centres == [[1, 2], [2, 2], [1, 3], [2, 3], [1, 2]]
    assert boxes.labels.tolist() == [0, 0, 0, 0, 1]


def test_what_is_no_number_is_no_peak_and_neither_is_its_neighbour() -> None:
    y = outputs()
    y["h"][0, 0, 2, 2], y["h"][0, 0, 2, 3], y["h"][0, 0, 6, 1] = np.nan, 0.9, 0.4
    assert Decoder.of(METADATA)(y).scores.tolist() == pytest.approx([0.4])


def test_a_size_below_zero_is_none() -> None:
    y = outputs()
    y["h"][0, 0, 1, 1], y["s"][0, :, 1, 1] = 0.5, (-3, 2)
    assert Decoder.of(METADATA)(y).corners.tolist() == [[4, 0, 4, 8]]


@settings(deadline=None)
@given(st.integers(0, 12), st.sampled_from((0.0, 0.3, 0.5, 1.0)), st.randoms())
def test_suppression_keeps_the_best_of_what_overlaps(
    count: int, max_iou: float, random: object
) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    low = rng.integers(0, 6, (count, 2))
    corners = np.concatenate([low, low + rng.integers(1, 6, (count, 2))], 1).astype(np.float32)
    found = Boxes(corners, rng.integers(0, 2, count), -np.sort(-rng.random(count, np.float32)))
    kept = suppressed(found, max_iou)
    same = iou(kept.corners, kept.corners) * (kept.labels[:, None] == kept.labels)
    assert (same - np.eye(len(kept)) <= max_iou + 1e-6).all()
    for box, label, score in zip(found.corners, found.labels, found.scores):
        if score in kept.scores:
            continue
        better = (kept.labels == label) & (kept.scores >= score)
        assert iou(box, kept.corners[better]).max() > max_iou - 1e-6
