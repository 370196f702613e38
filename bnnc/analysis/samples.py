"""Inputs to check and measure a model with: not photographs, but spread and smooth like them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_COARSE = 9
"""Points of the coarse grid that smooth pictures are drawn from, along each axis."""


def samples(
    inputs: Sequence[Mapping[str, Any]], metadata: Mapping[str, str], count: int, seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Random inputs.

    Args:
        inputs: names, dtypes and shapes, as in a library's description.
        metadata: the model's; ``bnnc.preprocessing`` says how pixels become inputs.
        count: how many.
        seed: the same seed gives the same inputs.
    """
    rng = np.random.default_rng(seed)
    mean, std = _normalisation(metadata)
    return [
        {t["name"]: _one(rng, t["dtype"], tuple(t["shape"]), mean, std) for t in inputs}
        for _ in range(count)
    ]


def _normalisation(metadata: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of pixels in 0..1, per channel."""
    try:
        described = json.loads(metadata["bnnc.preprocessing"])
        mean, std = (np.asarray(described[key], np.float32) for key in ("mean", "std"))
        if mean.ndim == std.ndim == 1 and (std > 0).all():
            return mean, std
    except (KeyError, ValueError, TypeError):
        pass
    return np.full(1, 0.5, np.float32), np.full(1, 0.25, np.float32)


def _one(
    rng: np.random.Generator,
    dtype: str,
    shape: tuple[int, ...],
    mean: np.ndarray,
    std: np.ndarray,
) -> np.ndarray:
    if dtype == "u8":
        if len(shape) == 4:  # interleaved pixels
            pixels = 255 * np.moveaxis(_picture(rng, (shape[0], shape[3], *shape[1:3])), 1, 3)
            return np.ascontiguousarray(np.round(pixels).astype(np.uint8))
        return rng.integers(0, 256, shape).astype(np.uint8)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("i", "u")):
        name = dtype.replace("u", "uint", 1) if dtype[0] == "u" else dtype.replace("i", "int", 1)
        return rng.integers(0, 2, shape).astype(name)
    kind = {"f16": np.float16, "f64": np.float64}.get(dtype, np.float32)
    if len(shape) != 4:
        return rng.standard_normal(shape).astype(kind)
    if len(mean) not in (1, shape[1]):
        mean, std = np.full(1, 0.5, np.float32), np.full(1, 0.25, np.float32)
    picture = (_picture(rng, shape) - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
    return np.ascontiguousarray(picture.astype(kind))


def _picture(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth blobs with some grain, in 0..1, float32 [N, C, H, W]."""
    batch, channels, height, width = shape
    coarse = rng.random((batch, channels, _COARSE, _COARSE), np.float32)
    rows, columns = _stretch(height), _stretch(width)
    smooth = rows @ coarse @ columns.T
    grain = 0.05 * rng.standard_normal(shape, np.float32)
    return np.clip(smooth + grain, 0, 1)


def _stretch(size: int) -> np.ndarray:
    """Matrix [size, _COARSE] that interpolates linearly."""
    place = np.linspace(0, _COARSE - 1, size, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(_COARSE, dtype=np.float32)))
