"""Drawn pictures, and the model trained on them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from side_by_side import run_onnx

from bnnc.detect.boxes import iou
from bnnc.detect.detector import Detector
from bnnc.detect.evaluation import Evaluator
from bnnc.detect.network import Network
from bnnc.detect.voc import Annotation
from bnnc.zoo.centernet import OUTPUTS
from bnnc.zoo.shapes import LABELS, PICTURE_SEED, PICTURE_SIZE, draw_scene

HEIGHT, WIDTH = 192, 256


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_scene_holds_two_to_seven_shapes_inside_the_picture(seed: int) -> None:
    scene = draw_scene(seed, 96, 128)
    assert scene.pixels.shape == (96, 128, 3) and scene.pixels.dtype == np.uint8
    assert 2 <= len(scene.boxes) == len(scene.labels) <= 7
    assert (scene.boxes[:, :2] >= 0).all() and (scene.boxes[:, 2:] <= [128, 96]).all()
    assert (scene.boxes[:, 2:] - scene.boxes[:, :2] >= 4).all()
    assert set(scene.labels) <= set(range(len(LABELS)))


def test_a_seed_gives_one_scene() -> None:
    first, second, third = (draw_scene(seed, 48, 64) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, third.pixels)


@pytest.fixture(scope="module")
def demo() -> onnx.ModelProto:
    return onnx.load_from_string(resources.files("bnnc.data").joinpath("shapes.onnx").read_bytes())


@pytest.fixture(scope="module")
def demo_pixels() -> np.ndarray:
    with resources.files("bnnc.data").joinpath("shapes.png").open("rb") as file:
        return np.asarray(Image.open(file).convert("RGB"))


@pytest.fixture(scope="module")
def detector(demo: onnx.ModelProto) -> Detector:
    metadata = {entry.key: entry.value for entry in demo.metadata_props}

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(OUTPUTS, run_onnx(demo, x)))

    return Detector(Network("onnxruntime", metadata, HEIGHT, WIDTH, False, run), score=0.3)


def test_the_demo_s_picture_is_the_one_drawn_from_its_seed(demo_pixels: np.ndarray) -> None:
    truth = draw_scene(PICTURE_SEED, *PICTURE_SIZE)
    np.testing.assert_array_equal(demo_pixels, truth.pixels)


def test_the_demo_finds_every_shape_on_its_picture_and_nothing_else(
    detector: Detector, demo_pixels: np.ndarray
) -> None:
    truth = draw_scene(PICTURE_SEED, *PICTURE_SIZE)
    found = detector(demo_pixels)
    partner = iou(found.corners, truth.boxes).argmax(1)
    assert sorted(partner) == list(range(len(truth.labels)))
    assert iou(found.corners, truth.boxes).max(1).min() > 0.7
    np.testing.assert_array_equal(found.labels, truth.labels[partner])


def test_the_demo_is_right_on_nearly_all_new_pictures(detector: Detector) -> None:
    evaluator = Evaluator(LABELS)
    for seed in range(500, 530):
        scene = draw_scene(seed, HEIGHT, WIDTH)
        names = tuple(LABELS[label] for label in scene.labels)
        truth = Annotation("", Path(), scene.boxes, names, np.zeros(len(names), bool))
        evaluator.add(truth, detector(scene.pixels, score=0))
    assert evaluator.result().area > 0.9


def test_the_demo_is_small_and_binary(demo: onnx.ModelProto) -> None:
    assert demo.ByteSize() < 900_000
    stored = [t for t in demo.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len(stored) == 6
