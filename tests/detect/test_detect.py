"""From a picture to an input, and from a CenterNet's outputs to boxes."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnc.detect.centernet import Decoder, labels
from bnnc.detect.pictures import _read_without_pillow, decode_png, read_picture
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
    "bnnc.decoder": json.dumps(
        {"type": "centernet", "stride": 4, "heatmap": "h", "size": "s", "offset": "o", "top": 5}
    ),
    "bnnc.labels": '["cat", "dog"]',
}
RNG = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def outputs(rows: int = 8, columns: int = 6) -> dict[str, np.ndarray]:
    return {
        "h": np.zeros((1, 2, rows, columns), np.float32),
        "s": np.zeros((1, 2, rows, columns), np.float32),
        "o": np.zeros((1, 2, rows, columns), np.float32),
    }


# ---- picture files ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("filter_kind", range(5))
def test_png_is_read_as_pillow_reads_it(mode: str, filter_kind: int, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    channels = len(mode)
    pixels = RNG.integers(0, 256, (7, 9, channels)).astype(np.uint8)
    png = _encoded(pixels, filter_kind)
    expected = np.asarray(image.open(io.BytesIO(png)).convert("RGB"))
    np.testing.assert_array_equal(decode_png(png), expected)


def test_png_is_read_without_pillow(tmp_path: Path) -> None:
    pixels = picture(3, 4)
    path = tmp_path / "x.png"
    path.write_bytes(_encoded(pixels, 0))
    np.testing.assert_array_equal(_read_without_pillow(path), pixels)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" * 9])
def test_a_file_that_is_no_picture_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    for read in (read_picture, _read_without_pillow):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    for read in (read_picture, _read_without_pillow):
        with pytest.raises(InputError, match="cannot be read: No such file or directory"):
            read(tmp_path / "none.png")


def _encoded(pixels: np.ndarray, filter_kind: int) -> bytes:
    """A PNG of arbitrary bytes behind a filter: what they mean is the reader's business."""
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(bytes([filter_kind]) + row.tobytes() for row in pixels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# ---- preprocessing ----------------------------------------------------------------------------


def test_pixels_are_normalised_in_the_models_channel_order() -> None:
    pixels = picture(4, 4)
    x, _ = Preprocessing.of(METADATA)(pixels, 4, 4)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    expected = (pixels[:, :, ::-1] / 255 - mean) / std
    np.testing.assert_allclose(x[0], expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_a_letterbox_keeps_the_aspect_and_fills_with_the_mean() -> None:
    x, placement = Preprocessing.of(METADATA)(picture(10, 20), 40, 40)
    assert placement.scale == (2, 2) and placement.shift == (0, 10)
    assert not x[0, :, :10].any() and not x[0, :, 30:].any() and x[0, :, 10:30].all(axis=0).any()


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


@given(rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_a_plain_picture_stays_plain_at_any_size(rows: int, columns: int) -> None:
    np.testing.assert_allclose(
        resized(np.full((13, 7, 3), 100, np.uint8), rows, columns), 100, rtol=1e-5
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"mean": [0], "std": [1]}', '{"mean": "x", "std": []}']
)
def test_preprocessing_that_makes_no_sense_is_told(text: str) -> None:
    with pytest.raises(InputError, match="cannot be understood"):
        Preprocessing.of({"bnnc.preprocessing": text})


def test_a_model_without_preprocessing_is_told() -> None:
    with pytest.raises(InputError, match="does not say how pictures become inputs"):
        Preprocessing.of({})


# ---- decoding ---------------------------------------------------------------------------------


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
    assert labels(METADATA, 2) == ["cat", "dog"]
    assert labels({}, 2) == ["class 0", "class 1"]
