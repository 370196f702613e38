"""Pictures and boxes become training samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bnnc.errors import InputError
from bnnc.zoo.dataset import GROUND, Batches, Example, augmented, mean_size
from bnnc.zoo.recipes import PAPER, Augmentation

RED = (255, 0, 0)
HEIGHT, WIDTH = 60, 80


def marked(box: tuple[int, int, int, int], size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A black picture with a red rectangle at ``box``."""
    picture = Image.new("RGB", size)
    picture.paste(RED, box)
    return picture


def red_box(pixels: np.ndarray) -> list[int]:
    """The corners of what is red."""
    y, x = np.nonzero((pixels[..., 0] > 127) & (pixels[..., 1] < 64))
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def sample(picture: Image.Image, box: object, amounts: Augmentation, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    return augmented(picture, np.array([box], np.float32), HEIGHT, WIDTH, amounts, rng)


def test_without_augmentation_a_picture_is_only_resized() -> None:
    picture = marked((40, 20, 80, 60))
    pixels, boxes, visible = sample(picture, (40, 20, 80, 60), Augmentation())
    small = picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels, np.asarray(small))
    assert boxes.tolist() == [[20, 10, 40, 30]] and visible.tolist() == [True]


def test_another_aspect_is_centred_on_the_mean_colour() -> None:
    pixels, boxes, _ = sample(marked((0, 0, 60, 60), (60, 60)), (0, 0, 60, 60), Augmentation())
    assert boxes.tolist() == [[10, 0, 70, 60]]
    assert tuple(pixels[30, 5]) == tuple(pixels[30, 75]) == GROUND
    assert tuple(pixels[30, 40]) == RED


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), left=st.integers(40, 70), top=st.integers(30, 50))
def test_boxes_follow_their_pixels(seed: int, left: int, top: int) -> None:
    box = (left, top, left + 40, top + 30)
    amounts = Augmentation(rotation=0, translation=0.1, scale=(0.8, 1.25), mirror=True, flip=True)
    pixels, boxes, visible = sample(marked(box), box, amounts, seed)
    assert visible.tolist() == [True]
    np.testing.assert_allclose(boxes[0], red_box(pixels), atol=1.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_rotated_box_holds_its_pixels_tightly(seed: int) -> None:
    box = (60, 40, 100, 80)
    pixels, boxes, _ = sample(marked(box), box, PAPER.augmentation, seed)
    x0, y0, x1, y1 = boxes[0]
    left, top, right, bottom = red_box(pixels)
    assert x0 - 1.5 <= left and y0 - 1.5 <= top and right <= x1 + 1.5 and bottom <= y1 + 1.5
    assert (right - left) * (bottom - top) > 0.6 * (x1 - x0) * (y1 - y0)


def test_a_box_that_left_the_picture_is_not_asked_for() -> None:
    amounts = Augmentation(translation=3.0)
    outcomes = {
        bool(sample(marked((0, 0, 8, 8)), (0, 0, 8, 8), amounts, s)[2][0]) for s in range(9)
    }
    assert False in outcomes


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    made = []
    for index in range(5):
        path = tmp_path / f"{index}.png"
        marked((10 * index, 20, 10 * index + 40, 60)).save(path)
        corners = np.array([[10 * index, 20, 10 * index + 40, 60]], np.float32)
        made.append(Example(path, corners, np.array([index % 2])))
    return made


def batches(examples: list[Example], seed: int = 0, workers: int = 0) -> Batches:
    return Batches(
        examples,
        classes=2,
        height=HEIGHT,
        width=WIDTH,
        stride=4,
        batch=2,
        augmentation=PAPER.augmentation,
        seed=seed,
        workers=workers,
    )


def images(made: Batches, epoch: int) -> torch.Tensor:
    return torch.cat([batch.images for batch in made.epoch(epoch)])


def test_an_epoch_is_the_same_however_often_and_in_however_many_processes(
    examples: list[Example],
) -> None:
    once = images(batches(examples), 3)
    assert len(once) == 4
    again = batches(examples)
    images(again, 0)
    assert torch.equal(images(again, 3), once)
    assert torch.equal(images(batches(examples, workers=1), 3), once)


def test_epochs_and_seeds_differ(examples: list[Example]) -> None:
    once = images(batches(examples), 0)
    assert not torch.equal(images(batches(examples), 1), once)
    assert not torch.equal(images(batches(examples, seed=1), 0), once)


def test_the_mean_size_is_in_input_pixels(examples: list[Example]) -> None:
    assert mean_size(examples, HEIGHT, WIDTH) == (20.0, 20.0)


def deep(path: Path) -> Image.Image:
    grey = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 13 % 65536
    Image.fromarray(grey.astype(np.uint16)).save(path)
    return Image.fromarray((grey >> 8).astype(np.uint8))


def transparent(path: Path) -> Image.Image:
    Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0)).save(path)
    return Image.new("RGB", (WIDTH, HEIGHT), "white")


def turned(path: Path) -> Image.Image:
    picture = marked((40, 20, 80, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    return picture


@pytest.mark.parametrize("form", [deep, transparent, turned])
def test_a_picture_is_trained_on_as_one_sees_it(
    tmp_path: Path, form: Callable[[Path], Image.Image]
) -> None:
    seen, stored = tmp_path / "seen.png", tmp_path / "stored.png"
    form(stored).save(seen)
    box, label = np.array([[40, 20, 80, 60]], np.float32), np.array([0])
    expected, found = (
        next(batches([Example(path, box, label)]).epoch(0)) for path in (seen, stored)
    )
    assert torch.equal(found.images, expected.images)


def test_the_mean_size_is_that_of_pictures_as_one_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    turned(path)
    box = np.array([[40, 20, 80, 60]], np.float32)
    assert mean_size([Example(path, box, np.array([0]))], HEIGHT, WIDTH) == (20.0, 20.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_whichever_process_reads_it(
    examples: list[Example], workers: int
) -> None:
    path = examples[3].picture
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as told:
        for epoch in range(2):  # a short rest of each is left out
            images(batches(examples, workers=workers), epoch)
    assert str(told.value) == f"{path}: cannot be read: is damaged"


def test_a_file_that_is_no_picture_is_told_before_training(examples: list[Example]) -> None:
    examples[3].picture.write_bytes(b"")
    with pytest.raises(InputError, match=r"3\.png: is no picture that can be read"):
        mean_size(examples, HEIGHT, WIDTH)
