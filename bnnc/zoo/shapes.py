"""Pictures to train the demo on: circles, squares and triangles on textured ground.

Everything is drawn here, from a seed; nobody else's picture is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LABELS = ("circle", "square", "triangle")
PICTURE_SEED, PICTURE_SIZE = 76, (384, 512)
"""The seed, and the height and width, of the demo's picture."""
_MOST_OVERLAP = 0.05
_LEAST_CONTRAST = 70.0


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        pixels: uint8 [H, W, 3], RGB.
        boxes: float32 [N, 4], x0, y0, x1, y1 in pixels, tight around each shape.
        labels: int64 [N], indices of ``LABELS``.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def draw_scene(seed: int, height: int, width: int) -> Scene:
    """The picture of that seed: two to seven shapes, a seventh to a third of the height wide."""
    rng = np.random.default_rng(seed)
    canvas = _ground(rng, height, width)
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(rng.integers(2, 8)):
        label = int(rng.integers(len(LABELS)))
        radius = height * rng.uniform(1 / 14, 1 / 6)
        outline = _outline(label, radius, rng)
        for _ in range(20):
            reach = np.abs(outline).max(0) if label else np.array([radius, radius])
            centre = rng.uniform(reach + 2, np.array([width, height]) - reach - 2)
            box = _bounds(centre, outline, radius, label)
            if all(_overlap(box, other) < _MOST_OVERLAP for other in boxes):
                _paint(canvas, centre, outline, radius, label, box, rng)
                boxes.append(box)
                labels.append(label)
                break
    canvas += rng.normal(0, rng.uniform(0, 6), canvas.shape)
    return Scene(
        np.clip(np.rint(canvas), 0, 255).astype(np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
    )


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds of two colours and, at times, stripes across them: float64 [H, W, 3]."""
    clouds = np.zeros((height, width))
    for cells, amplitude in ((3, 1.0), (7, 0.5), (17, 0.25)):
        clouds += amplitude * _smooth(rng.uniform(-1, 1, (cells, cells)), height, width)
    y, x = np.mgrid[:height, :width] / height
    if rng.random() < 0.6:
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(10, 60)
        stripes = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
        clouds += rng.uniform(0.1, 0.4) * stripes
    low, high = rng.uniform(20, 235, (2, 3))
    blend = np.clip(0.5 + 0.4 * clouds, 0, 1)[..., None]
    return low + (high - low) * blend


def _smooth(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """``grid`` enlarged bilinearly to height x width."""
    rows = np.linspace(0, grid.shape[0] - 1, height)
    columns = np.linspace(0, grid.shape[1] - 1, width)
    known = np.arange(grid.shape[0]), np.arange(grid.shape[1])
    across = np.stack([np.interp(columns, known[1], row) for row in grid])
    return np.stack([np.interp(rows, known[0], column) for column in across.T], axis=1)


def _outline(label: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Corners of the shape around the origin, clockwise: [corners, 2], empty for a circle."""
    if label == 0:
        return np.zeros((0, 2))
    if label == 1:
        angles = np.pi / 4 + np.pi / 2 * np.arange(4)
    else:
        angles = 2 * np.pi / 3 * np.arange(3) + rng.uniform(-0.25, 0.25, 3)
    angles = angles + rng.uniform(0, 2 * np.pi)
    return radius * np.stack((np.cos(angles), np.sin(angles)), 1)


def _bounds(centre: np.ndarray, outline: np.ndarray, radius: float, label: int) -> np.ndarray:
    if label == 0:
        return np.concatenate((centre - radius, centre + radius))
    return np.concatenate((centre + outline.min(0), centre + outline.max(0)))


def _paint(
    canvas: np.ndarray,
    centre: np.ndarray,
    outline: np.ndarray,
    radius: float,
    label: int,
    box: np.ndarray,
    rng: np.random.Generator,
) -> None:
    left, top = np.floor(box[:2]).astype(int) - 1
    right, bottom = np.ceil(box[2:]).astype(int) + 1
    window = canvas[top:bottom, left:right]
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    points = np.stack((x, y), -1) - centre
    # Signed distance to the edge, negative inside, in pixels; a pixel's cover follows from it.
    if label == 0:
        distance = np.hypot(points[..., 0], points[..., 1]) - radius
    else:
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.stack((edges[:, 1], -edges[:, 0]), 1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        distance = np.max(points @ normals.T - (outline * normals).sum(1), axis=-1)
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    colour = _contrasting(window.mean((0, 1)), rng)
    shade = 1 + 0.25 * rng.uniform(-1, 1) * points[..., 1:] / radius
    if rng.random() < 0.3:
        rim = np.clip(distance + rng.uniform(2, 4), 0, 1)[..., None]
        shade = shade * (1 - 0.6 * rim)
    window += cover * (colour * shade - window)


def _contrasting(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour that stands out from ``ground``."""
    while True:
        colour = rng.uniform(10, 245, 3)
        if np.linalg.norm(colour - ground) >= _LEAST_CONTRAST:
            return colour


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over the smaller of two boxes."""
    common = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(common / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))
