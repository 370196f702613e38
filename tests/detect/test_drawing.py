"""Boxes on a picture."""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.detect.boxes import Boxes
from bnnc.detect.drawing import LEAST_SIDE, colour_of, draw


def ground(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def boxes(*corners: tuple[float, float, float, float], names: tuple[str, ...] = ()) -> Boxes:
    count = len(corners)
    array = np.array(corners, np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
    return Boxes(array, np.arange(count), scores, names or ("cat",) * count)


def coloured(image: np.ndarray, label: int) -> np.ndarray:
    return (image == colour_of(label)).all(axis=2)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (3000, 6000), (1, 2000), (700, 1)])
def test_a_picture_keeps_its_size(height: int, width: int) -> None:
    image = draw(ground(height, width), boxes((0, 0, width, height)))
    assert image.shape == (height, width, 3)


@pytest.mark.parametrize("side", [1, 7, 64, 479])
def test_a_small_picture_is_enlarged_by_a_whole_number(side: int) -> None:
    image = draw(ground(side, side), boxes((0, 0, side, side)))
    assert image.shape[1] >= LEAST_SIDE and image.shape[1] % side == 0


def test_without_boxes_the_picture_stays_as_it_is() -> None:
    np.testing.assert_array_equal(draw(ground(500, 600), boxes()), ground(500, 600))


def test_the_frame_lies_on_the_boxs_edge() -> None:
    image = draw(ground(600, 800), boxes((100, 200, 301, 401)))
    ours = coloured(image, 0)
    assert ours[300, 100] and ours[300, 300] and ours[400, 200]
    assert not ours[300, 97] and not ours[300, 303] and not ours[300, 200]


def test_lines_grow_with_the_picture() -> None:
    def line(side: int) -> int:
        corners = (side / 4, side / 4, 3 * side / 4, 3 * side / 4)
        image = draw(ground(side, side), boxes(corners))
        return int(coloured(image, 0)[side // 2, : side // 2].sum())

    assert line(6400) == 10 * line(640) == 20


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    apart = draw(ground(600, 800), boxes((50, 300, 90, 330), (400, 300, 440, 330)))
    close = draw(ground(600, 800), boxes((50, 300, 90, 330), (52, 302, 92, 332)))
    for label in (0, 1):
        assert coloured(close, label).sum() > 0.8 * coloured(apart, label).sum()


def test_a_label_does_not_hide_a_small_box_where_there_is_room() -> None:
    small = (200.0, 282.0, 225.0, 300.0)
    alone = draw(ground(600, 800), boxes((0, 0, 1, 1), small))
    beside = draw(ground(600, 800), boxes((200, 302, 300, 402), small))
    inside = np.s_[282:300, 200:225]
    assert coloured(beside, 1)[inside].sum() >= coloured(alone, 1)[inside].sum() * 0.8


@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 0, 0),
        (-50, -50, 900, 900),
        (300, 300, 100, 100),
        (799, 599, 800, 600),
        (np.nan, 0, 1, 1),
        (0, 0, np.inf, 5),
    ],
)
def test_boxes_of_any_form_are_survived(corners: tuple[float, ...]) -> None:
    assert draw(ground(600, 800), boxes(corners)).shape == (600, 800, 3)  # type: ignore[arg-type]


def test_names_of_any_form_are_survived() -> None:
    names = ("", "猫" * 40, "line\nbreak", "x" * 500)
    corners = [(10.0, 10.0, 50.0, 50.0)] * len(names)
    assert draw(ground(600, 800), boxes(*corners, names=names)).shape == (600, 800, 3)


def test_classes_have_colours_of_their_own() -> None:
    assert len({colour_of(label) for label in range(80)}) == 80
