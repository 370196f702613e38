"""Picture files as arrays. PNG needs nothing; other formats need Pillow."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

from bnnc.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_MAX_PIXELS = 1 << 28


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """The pixels of a picture file, uint8 [H, W, 3], RGB.

    Raises:
        InputError: if it cannot be read, is damaged, or of a format that needs Pillow where that
            is not installed.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        return _read_without_pillow(Path(path))
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except UnidentifiedImageError:
        raise InputError("is no picture that can be read", file=path) from None
    except Image.DecompressionBombError:
        raise InputError("is too large a picture", file=path) from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or "is damaged"
        raise InputError(f"cannot be read: {reason}", file=path) from None


def _read_without_pillow(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    if data[:8] != _PNG:
        raise InputError("is no PNG", file=path, hint="pip install 'bnnc[image]' reads the others")
    try:
        return decode_png(data)
    except (struct.error, zlib.error, ValueError, IndexError, KeyError):
        raise InputError(
            "is a damaged or unusual PNG", file=path, hint="pip install 'bnnc[image]' reads more"
        ) from None


def decode_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG with 8 bits a channel, without palette or interlacing: uint8 [H, W, 3].

    Raises:
        ValueError, KeyError, IndexError, struct.error, zlib.error: if it is anything else.
    """
    at, header, packed = 8, b"", b""
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    channels = _CHANNELS[colour]
    if depth != 8 or interlaced or not 0 < width * height <= _MAX_PIXELS:
        raise ValueError
    size = height * (1 + width * channels)
    lines = zlib.decompressobj().decompress(packed, size)
    rows = np.frombuffer(lines, np.uint8).reshape(height, 1 + width * channels)
    pixels = _unfiltered(rows[:, 0], rows[:, 1:], channels).reshape(height, width, channels)
    if channels < 3:
        return np.repeat(pixels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def _unfiltered(filters: np.ndarray, rows: np.ndarray, step: int) -> np.ndarray:
    """Undo PNG's row filters (PNG specification, section 9)."""
    above = np.zeros(rows.shape[1], np.uint8)
    result = np.empty_like(rows)
    for y, (kind, row) in enumerate(zip(filters.tolist(), rows)):
        if kind == 0:
            above = row
        elif kind == 1:
            above = np.cumsum(row.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            above = row + above
        else:
            above = _predicted(kind, row.tolist(), above.tolist(), step)
        result[y] = above
    return result


def _predicted(kind: int, row: list[int], above: list[int], step: int) -> np.ndarray:
    """The filters that look left as well as up: 3 Average, 4 Paeth."""
    if kind not in (3, 4):
        raise ValueError
    for i, up in enumerate(above):
        left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
        if kind == 3:
            guess = (left + up) // 2
        else:
            distances = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
            guess = (left, up, corner)[distances.index(min(distances))]
        row[i] = (row[i] + guess) & 255
    return np.array(row, np.uint8)
