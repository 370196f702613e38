"""Drawn pictures, and the model trained on them."""

from __future__ import annotations

from importlib import resources

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from side_by_side import run_onnx

from bnnc.zoo.decode import count_found, decode
from bnnc.zoo.shapes import LABELS, draw_scene
from bnnc.zoo.train_shapes import HEIGHT, PICTURE_SEED, SCORE, WIDTH
from bnnc.zoo.training import to_input


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


def test_the_demo_finds_every_shape_on_its_picture_and_nothing_else(
    demo: onnx.ModelProto, demo_pixels: np.ndarray
) -> None:
    scale = demo_pixels.shape[0] // HEIGHT
    truth = draw_scene(PICTURE_SEED, *demo_pixels.shape[:2])
    np.testing.assert_array_equal(demo_pixels, truth.pixels)
    small = np.asarray(
        Image.fromarray(demo_pixels).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    )
    outputs = run_onnx(demo, to_input(small[None]).numpy())
    (boxes,) = decode(*map(torch.from_numpy, outputs), score=SCORE)
    assert len(boxes.labels) == len(truth.labels)
    assert count_found(boxes, truth.boxes / scale, truth.labels, min_iou=0.7) == len(truth.labels)


def test_the_demo_is_right_on_nearly_all_new_pictures(demo: onnx.ModelProto) -> None:
    true = given = found = 0
    for seed in range(500, 530):
        scene = draw_scene(seed, HEIGHT, WIDTH)
        outputs = run_onnx(demo, to_input(scene.pixels[None]).numpy())
        (boxes,) = decode(*map(torch.from_numpy, outputs), score=SCORE)
        true += len(scene.labels)
        given += len(boxes.labels)
        found += count_found(boxes, scene.boxes, scene.labels)
    assert found / true > 0.9
    assert found / given > 0.9


def test_the_demo_is_small_and_binary(demo: onnx.ModelProto) -> None:
    assert demo.ByteSize() < 900_000
    stored = [t for t in demo.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len(stored) == 6
