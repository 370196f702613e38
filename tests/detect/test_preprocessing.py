"""From a picture to a model's input, and from there back to the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bnnc.detect.preprocessing import Preprocessing, resized
from bnnc.errors import InputError

METADATA = {
    "bnnc.preprocessing": json.dumps(
        {
            "color": "bgr",
            "scale": 255,
            "mean": [0.4, 0.5, 0.6],
            "std": [0.1, 0.2, 0.3],
            "resize": "letterbox",
        }
    ),
}
RNG = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_pixels_are_normalised_in_the_models_channel_order() -> None:
    pixels = picture(4, 4)
    x, _ = Preprocessing.of(METADATA)(pixels, 4, 4)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    expected = (pixels[:, :, ::-1] / 255 - mean) / std
    np.testing.assert_allclose(x[0], expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_a_letterbox_keeps_the_aspect_and_fills_with_the_mean() -> None:
    x, placement = Preprocessing.of(METADATA)(picture(10, 20), 40, 40)
    assert placement.scale == (2, 2) and placement.shift == (0, 10)
    around, inside = np.delete(x[0], np.s_[10:30], axis=1), x[0, :, 10:30]
    assert np.abs(around).max() < 0.5 / 255 / 0.1 and np.abs(inside).max() > 1


def test_a_stretched_picture_fills_the_input() -> None:
    said = json.loads(METADATA["bnnc.preprocessing"]) | {"resize": "stretch"}
    prepare = Preprocessing.of({"bnnc.preprocessing": json.dumps(said)})
    pixels, placement = prepare.place(np.full((10, 20, 3), 7, np.uint8), 40, 40)
    assert (pixels == 7).all() and placement.scale == (2, 4) and placement.shift == (0, 0)


def test_pillows_bilinear_filter_resizes() -> None:
    pixels = picture(50, 70)
    expected = Image.fromarray(pixels).resize((20, 30), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized(pixels, 30, 20), np.asarray(expected))


@settings(deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    rows=st.integers(1, 50),
    columns=st.integers(1, 50),
)
def test_boxes_come_back_to_where_they_were(
    height: int, width: int, rows: int, columns: int
) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    _, placement = Preprocessing.of(METADATA)(pixels, rows, columns)
    there = np.array([[0, 0, width, height]]) * np.tile(placement.scale, 2)
    there += np.tile(placement.shift, 2)
    np.testing.assert_allclose(
        placement.to_picture(there), [[0, 0, width, height]], rtol=1e-4, atol=1e-4
    )


@settings(deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_a_plain_picture_stays_plain_at_any_size(rows: int, columns: int) -> None:
    assert (resized(np.full((13, 7, 3), 100, np.uint8), rows, columns) == 100).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"mean": [0], "std": [1]}',
        '{"mean": "x", "std": []}',
        '{"mean": [0, 0, NaN], "std": [1, 1, 1]}',
    ],
)
def test_preprocessing_that_makes_no_sense_is_told(text: str) -> None:
    with pytest.raises(InputError, match="cannot be understood"):
        Preprocessing.of({"bnnc.preprocessing": text})


def test_a_model_without_preprocessing_is_told() -> None:
    with pytest.raises(InputError, match="does not say how pictures become inputs"):
        Preprocessing.of({})
