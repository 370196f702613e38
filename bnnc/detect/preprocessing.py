"""A picture as a model's input, as the model's metadata say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bnnc.errors import InputError

KEY = "bnnc.preprocessing"
_HINT = "write it into the ONNX file's metadata as docs/detectors.md shows, and compile again"


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the input: input = picture * scale + shift, as (x, y)."""

    scale: tuple[float, float]
    shift: tuple[float, float]

    def to_picture(self, corners: np.ndarray) -> np.ndarray:
        """Corners [N, 4] (x0, y0, x1, y1) in input pixels to picture pixels."""
        scale, shift = np.tile(self.scale, 2), np.tile(self.shift, 2)
        return np.asarray((corners - shift) / scale, np.float32)


@dataclass(frozen=True)
class Preprocessing:
    """From 8-bit pixels to the input: (pixel / scale - mean) / std.

    Attributes:
        color: "rgb" or "bgr", the order of the input's channels.
        scale: what pixels are divided by.
        mean, std: float64 [3], in the order of ``color``.
        resize: "letterbox" keeps the aspect and fills up with the mean colour; "stretch" does not.
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
            raise InputError(
                f"the model does not say how pictures become inputs ({KEY})", hint=_HINT
            )
        try:
            said = json.loads(metadata[KEY])
            mean, std = (np.asarray(said[key], np.float64) for key in ("mean", "std"))
            color, resize = said.get("color", "rgb"), said.get("resize", "stretch")
            scale = float(said.get("scale", 255))
            sound = mean.shape == std.shape == (3,) and (std > 0).all() and scale > 0
            sound = sound and bool(np.isfinite([*mean, *std, scale]).all())
            if not sound or color not in ("rgb", "bgr") or resize not in ("letterbox", "stretch"):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"the model's {KEY} cannot be understood", hint=_HINT) from None
        return cls(color, scale, mean, std, resize)

    def place(self, picture: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Placement]:
        """A picture, uint8 [H, W, 3] RGB, at the input's size: uint8 [height, width, 3], channels
        in the order of ``color``, and where the picture lies in it.

        It is Pillow's bilinear filter that resizes, which averages where it shrinks.
        """
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
        result = np.empty((height, width, 3), np.uint8)
        if new != (height, width):
            result[:] = np.clip(np.round(self.mean * self.scale), 0, 255)
        result[top : top + new[0], left : left + new[1]] = pixels
        scale = new[1] / columns, new[0] / rows
        return result, Placement(scale, (float(left), float(top)))

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [H, W, 3] as the model's input, float32 [1, 3, H, W]; with the arithmetic
        of ``--input-u8``, one factor and one summand a channel."""
        factor = (1 / (self.scale * self.std)).astype(np.float32)
        x: np.ndarray = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        x *= factor[:, None, None]
        x += (-self.mean / self.std).astype(np.float32)[:, None, None]
        return x

    def __call__(
        self, picture: np.ndarray, height: int, width: int
    ) -> tuple[np.ndarray, Placement]:
        """A picture, uint8 [H, W, 3] RGB, as an input float32 [1, 3, height, width], and where
        it lies there."""
        pixels, placement = self.place(picture, height, width)
        return self.normalised(pixels), placement


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """``picture``, uint8 [H, W, 3], at another size."""
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
