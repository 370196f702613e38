"""From a picture to the things on it, in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bnnc
from bnnc.detect.boxes import iou
from bnnc.detect.detector import Detector
from bnnc.detect.network import Network, picture_size
from bnnc.detect.voc import Voc
from bnnc.errors import InputError


@pytest.fixture(scope="module")
def detector(shapes_library: Path) -> Detector:
    return bnnc.Detector(shapes_library, threads=1)


def test_the_things_on_a_picture_are_found(detector: Detector, shapes_voc: Path) -> None:
    for truth in Voc(shapes_voc, "test"):
        found = detector(truth.picture, score=0.5)
        overlaps = iou(truth.corners, found.corners)
        assert (overlaps.max(axis=1) > 0.5).all()
        assert [found.names[j] for j in overlaps.argmax(axis=1)] == list(truth.names)


def test_boxes_come_in_the_pictures_pixels_at_any_size(
    detector: Detector, shapes_voc: Path
) -> None:
    picture = Image.open(Voc(shapes_voc, "test")[0].picture)
    once = detector(picture, score=0.5)
    large = detector(picture.resize((picture.width * 3, picture.height * 3)), score=0.5)
    assert (iou(once.corners * 3, large.corners).max(axis=1) > 0.8).all()


def test_paths_pillow_images_and_arrays_give_the_same(detector: Detector, shapes_voc: Path) -> None:
    path = Voc(shapes_voc, "test")[0].picture
    images = [path, str(path), Image.open(path), np.asarray(Image.open(path))]
    first, *others = [detector(image) for image in images]
    assert len(first) and all(np.array_equal(first.corners, other.corners) for other in others)


def test_a_boxes_names_go_with_its_labels(detector: Detector, shapes_voc: Path) -> None:
    found = detector(Voc(shapes_voc, "test")[0].picture)
    assert found.names == tuple(detector.classes[label] for label in found.labels)
    assert found.corners.dtype == np.float32 and found.corners.shape == (len(found), 4)


def test_only_boxes_of_that_score_are_given(shapes_library: Path, shapes_voc: Path) -> None:
    strict = bnnc.Detector(shapes_library, threads=1, score=0.6)
    picture = Voc(shapes_voc, "test")[0].picture
    assert strict(picture).scores.min() >= 0.6
    assert len(strict(picture, score=0.01)) > len(strict(picture))


def test_pixels_go_in_as_they_are_where_the_library_takes_them(
    detector: Detector, shapes_model: Path, shapes_voc: Path, tmp_path: Path
) -> None:
    session = bnnc.compile(shapes_model, tmp_path / "u8.so", input_u8=True, threads=1)
    of_pixels = bnnc.Detector(session)
    for truth in Voc(shapes_voc, "test"):
        ours, theirs = of_pixels(truth.picture, 0.5), detector(truth.picture, 0.5)
        assert ours.names == theirs.names
        assert (iou(ours.corners, theirs.corners).diagonal() > 0.95).all()


def test_boxes_are_cut_off_at_the_pictures_edges() -> None:
    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        heat, size = np.zeros((1, 1, 4, 4), np.float32), np.full((1, 2, 4, 4), 9, np.float32)
        heat[0, 0, 1, 1] = 0.9
        return {"heatmap": heat, "size": size, "offset": np.zeros_like(size)}

    metadata = {
        "bnnc.preprocessing": '{"mean": [0, 0, 0], "std": [1, 1, 1]}',
        "bnnc.decoder": '{"type": "centernet", "heatmap": "heatmap", "size": "size", '
        '"offset": "offset"}',
    }
    found = Detector(Network("here", metadata, 16, 16, False, run))(np.zeros((8, 16), np.uint8))
    assert found.corners.tolist() == [[0, 0, 16, 8]] and found.names == ("class 0",)


def test_a_library_that_is_no_detector_is_told(toy: Path) -> None:
    with pytest.raises(InputError, match="is no picture in three colours of a fixed size"):
        bnnc.Detector(toy)


@pytest.mark.parametrize("shape", [(), (1, 1, 8, 8), (1, 3, "height", 8), (3, 8, 8)])
def test_an_input_that_takes_no_picture_is_told(shape: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match="is no picture in three colours"):
        picture_size(shape)
