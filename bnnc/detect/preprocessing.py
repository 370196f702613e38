"""A picture as a model's input, as the model's metadata say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bnnc.errors import InputError

KEY = "bnnc.preprocessing"


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the input: input = picture * scale + shift, as (x, y)."""

    scale: tuple[float, float]
    shift: tuple[float, float]

    def to_picture(self, corners: np.ndarray) -> np.ndarray:
        """Corners [N, 4] (x0, y0, x1, y1) in input pixels to picture pixels."""
        scale, shift = np.tile(self.scale, 2), np.tile(self.shift, 2)
        return ((corners - shift) / scale).astype(np.float32)


@dataclass(frozen=True)
class Preprocessing:
    """From 8-bit pixels to the input: (pixel / scale - mean) / std.

    Attributes:
        color: "rgb" or "bgr", the order of the input's channels.
        scale: what pixels are divided by.
        mean, std: float32 [3], in the order of ``color``.
        resize: "letterbox" keeps the aspect and fills up with the mean; "stretch" does not.
    """

    color: str
    scale: float
    mean: np.ndarray
    std: np.ndarray
    resize: str

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Preprocessing:
        """What a model's metadata say.

        Raises:
            InputError: if they say nothing, or nothing that can be understood.
        """
        if KEY not in metadata:
            raise InputError(f"the model does not say how pictures become inputs ({KEY})")
        try:
            said = json.loads(metadata[KEY])
            mean, std = (np.asarray(said[key], np.float32) for key in ("mean", "std"))
            color, resize = said.get("color", "rgb"), said.get("resize", "stretch")
            scale = float(said.get("scale", 255))
            sound = mean.shape == std.shape == (3,) and (std > 0).all() and scale > 0
            if not sound or color not in ("rgb", "bgr") or resize not in ("letterbox", "stretch"):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"the model's {KEY} cannot be understood") from None
        return cls(color, scale, mean, std, resize)

    def __call__(
        self, picture: np.ndarray, height: int, width: int
    ) -> tuple[np.ndarray, Placement]:
        """A picture, uint8 [H, W, 3] RGB, as an input float32 [1, 3, height, width], and where
        it lies there."""
        rows, columns = picture.shape[:2]
        if self.resize == "letterbox":
            factor = min(height / rows, width / columns)
            new = max(1, round(rows * factor)), max(1, round(columns * factor))
        else:
            new = height, width
        pixels = resized(picture, *new)
        if self.color == "bgr":
            pixels = pixels[:, :, ::-1]
        top, left = (height - new[0]) // 2, (width - new[1]) // 2
        result = np.zeros((1, 3, height, width), np.float32)
        normal = (pixels / np.float32(self.scale) - self.mean) / self.std
        result[0, :, top : top + new[0], left : left + new[1]] = normal.transpose(2, 0, 1)
        scale = new[1] / columns, new[0] / rows
        return result, Placement(scale, (float(left), float(top)))


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """``picture`` [H, W, C] at another size, float32: bilinear, averaging where it shrinks."""
    rows, columns = _weights(picture.shape[0], height), _weights(picture.shape[1], width)
    wide = np.einsum("xw,hwc->hxc", columns, picture.astype(np.float32), optimize=True)
    return np.einsum("yh,hxc->yxc", rows, wide, optimize=True).astype(np.float32)


def _weights(size: int, wanted: int) -> np.ndarray:
    """Matrix [wanted, size] of a triangle filter, as wide as the scale demands."""
    ratio = size / wanted
    support = max(ratio, 1.0)
    centres = (np.arange(wanted) + 0.5) * ratio - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size) - centres[:, None]) / support)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
