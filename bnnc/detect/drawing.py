"""Boxes on a picture, for people: readable on thumbnails and on posters."""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bnnc.detect.boxes import Boxes
from bnnc.errors import printable

LEAST_SIDE = 480
"""Pictures whose longer side is shorter are enlarged, by a whole number, until labels fit."""

_COLOURS = (
    (230, 25, 75),
    (0, 130, 255),
    (255, 225, 25),
    (60, 180, 75),
    (245, 130, 48),
    (240, 50, 230),
    (70, 240, 240),
    (145, 30, 180),
    (210, 245, 60),
    (170, 110, 40),
)
_GOLDEN = 0.618034
_LONGEST = 30
_HIDDEN = 0.2  # of a box; less does not matter

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]


def colour_of(label: int) -> Colour:
    """A class's colour: ten that are told apart at a glance, then ones far apart in hue."""
    if label < len(_COLOURS):
        return _COLOURS[label]
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(picture: np.ndarray, boxes: Boxes) -> np.ndarray:
    """``picture``, uint8 [H, W, 3], with its boxes, names and scores: uint8 [H', W', 3].

    Lines and letters grow with the picture. A small picture is enlarged by a whole number first,
    see :data:`LEAST_SIDE`. The best boxes lie on top.
    """
    image = Image.fromarray(picture)
    factor = -(-LEAST_SIDE // max(image.size))
    if factor > 1:
        size = image.width * factor, image.height * factor
        image = image.resize(size, Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(image)
    side = max(image.size)
    line, font = max(2, round(side / 320)), _font(max(12, round(side / 48)))
    drawable = [i for i in range(len(boxes)) if np.isfinite(boxes.corners[i]).all()]
    places = {i: _rectangle(boxes.corners[i] * factor, image.size) for i in drawable}
    for i in reversed(drawable):
        _frame(canvas, places[i], line, colour_of(int(boxes.labels[i])))
    taken: list[Rectangle] = []
    for i in drawable:
        name = boxes.names[i] if boxes.names else str(boxes.labels[i])
        text = f"{printable(name, _LONGEST)} {boxes.scores[i]:.2f}"
        others = [places[k] for k in drawable if k != i]
        plate = _plate(canvas, text, font, places[i], line, image.size, taken, others)
        taken.append(plate)
        _label(canvas, text, font, plate, colour_of(int(boxes.labels[i])))
    return np.asarray(image)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow has FreeType"
    return font


def _rectangle(corners: np.ndarray, size: tuple[int, int]) -> Rectangle:
    """The pixels a box's frame goes through; at least one, within the picture."""
    x0, y0, x1, y1 = (round(float(value)) for value in corners)
    x0, y0 = min(max(x0, 0), size[0] - 1), min(max(y0, 0), size[1] - 1)
    return x0, y0, min(max(x1 - 1, x0), size[0] - 1), min(max(y1 - 1, y0), size[1] - 1)


def _frame(canvas: ImageDraw.ImageDraw, place: Rectangle, line: int, colour: Colour) -> None:
    """A line inside the box's edge, with a thin dark one on either side of it, which keeps it
    apart from ground of its own colour."""
    edge = max(1, line // 3)
    x0, y0, x1, y1 = place
    canvas.rectangle((x0 - edge, y0 - edge, x1 + edge, y1 + edge), None, (0, 0, 0), line + 2 * edge)
    canvas.rectangle(place, None, colour, line)


def _plate(
    canvas: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont,
    place: Rectangle,
    line: int,
    size: tuple[int, int],
    taken: list[Rectangle],
    others: list[Rectangle],
) -> Rectangle:
    """Where a box's label goes: over, under or in the box, where it covers the fewest other labels
    and hides the least of another box."""
    width, height = round(canvas.textlength(text, font)) + 4 * line, sum(font.getmetrics()) + line
    x0, y0, x1, y1 = place
    starts = (
        (x0, y0 - height),
        (x1 - width + 1, y0 - height),
        (x0, y1 + 1),
        (x1 - width + 1, y1 + 1),
        (x0, y0),
        (x1 - width + 1, y1 - height + 1),
    )
    plates = [
        (x, y, x + width - 1, y + height - 1)
        for x, y in (
            (min(max(x, 0), max(size[0] - width, 0)), min(max(y, 0), max(size[1] - height, 0)))
            for x, y in starts
        )
    ]

    def harm(plate: Rectangle) -> tuple[int, float]:
        covered = sum(_hidden(other, plate) > 0 for other in taken)
        hidden = max((_hidden(other, plate) for other in others), default=0.0)
        return covered, hidden if hidden > _HIDDEN else 0.0

    return min(plates, key=harm)


def _hidden(box: Rectangle, plate: Rectangle) -> float:
    """How much of a box lies under a plate, 0 to 1."""
    width = min(box[2], plate[2]) + 1 - max(box[0], plate[0])
    height = min(box[3], plate[3]) + 1 - max(box[1], plate[1])
    area = (box[2] + 1 - box[0]) * (box[3] + 1 - box[1])
    return max(width, 0) * max(height, 0) / area


def _label(
    canvas: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont,
    plate: Rectangle,
    colour: Colour,
) -> None:
    canvas.rectangle(plate, colour)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    margin = (plate[2] + 1 - plate[0] - canvas.textlength(text, font)) / 2
    ascent, descent = font.getmetrics()
    lead = (plate[3] + 1 - plate[1] - ascent - descent) / 2
    start = plate[0] + margin, plate[1] + lead
    canvas.text(start, text, (0, 0, 0) if bright else (255, 255, 255), font)
