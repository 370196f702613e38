"""How a tensor's elements lie in memory. Shapes keep the model's axis order; layouts are storage.

``dense``
    Row-major in axis order (NCHW), the element type's own width. Everything but bits.
``bits_nhwc``
    Bits with channels innermost: for shape (N, C, ...pixels) an array of uint64
    [N][pixels][ceil(C / 64)]; channel c is bit c % 64 of word c // 64. Padding bits are 0.
``bits_planar``
    Bits with one plane a channel, for (N, C, H, W): uint8 [N][C][plane]. A plane is ones, H rows,
    and ones up to its size; the rows begin at :func:`planar_first_row`. A row is ceil(W / 8)
    bytes; pixel x is bit x % 8 of byte x // 8. Bits of a row beyond W are unspecified. The ones are
    at least a row above and below, the border that convolutions see, and ``PLANAR_GUARD`` bytes
    before that and ``PLANAR_TAIL`` behind, which make unaligned vector loads safe.
"""

from __future__ import annotations

import numpy as np

from bnnc.ir.types import DType, TensorType

DENSE, BITS_NHWC, BITS_PLANAR = LAYOUTS = ("dense", "bits_nhwc", "bits_planar")

PLANAR_GUARD = 8
PLANAR_TAIL = 72


def planar_row_bytes(width: int) -> int:
    """Bytes of one row of a bit-plane."""
    return -(-width // 8)


def planar_first_row(width: int) -> int:
    """Where a bit-plane's rows begin, a multiple of 64: two threads that write neighbouring vectors
    of pixels then write no common cache line."""
    return _lines(PLANAR_GUARD + planar_row_bytes(width))


def planar_plane_bytes(height: int, width: int) -> int:
    """Bytes of one bit-plane, a multiple of 64."""
    rows = (height + 1) * planar_row_bytes(width)
    return _lines(planar_first_row(width) + rows + PLANAR_TAIL)


def stored_bytes(type: TensorType, layout: str) -> int:
    """Bytes a tensor of ``type`` takes in ``layout``."""
    if layout == DENSE:
        return type.elements if type.dtype is DType.B1 else type.bytes
    batch, channels, *pixels = type.shape
    if layout == BITS_NHWC:
        return batch * int(np.prod(pixels, dtype=np.int64)) * -(-channels // 64) * 8
    height, width = pixels
    return batch * channels * planar_plane_bytes(height, width)


def unpack(raw: np.ndarray, type: TensorType, layout: str) -> np.ndarray:
    """The logical array of ``type`` that the bytes ``raw`` (uint8, 1-D) hold in ``layout``."""
    if layout == DENSE:
        flat: np.ndarray = raw.view(type.dtype.numpy)[: type.elements]
        return np.array(flat.reshape(type.shape))
    batch, channels, *pixels = type.shape
    if layout == BITS_NHWC:
        words = raw.reshape(batch, -1, -(-channels // 64) * 8)
        bits = np.unpackbits(words, axis=2, bitorder="little")[:, :, :channels]
        return np.ascontiguousarray(np.moveaxis(bits, 2, 1)).reshape(type.shape).astype(bool)
    height, width = pixels
    row = planar_row_bytes(width)
    planes = raw.reshape(batch, channels, planar_plane_bytes(height, width))
    start = planar_first_row(width)
    rows = planes[:, :, start : start + height * row].reshape(batch, channels, height, row)
    return np.unpackbits(rows, axis=3, bitorder="little")[..., :width].astype(bool)


def pack(array: np.ndarray, type: TensorType, layout: str) -> np.ndarray:
    """The bytes (uint8, 1-D) that hold ``array`` in ``layout``; inverse of :func:`unpack`."""
    if layout == DENSE:
        return np.ascontiguousarray(array, type.dtype.numpy).reshape(-1).view(np.uint8)
    batch, channels, *pixels = type.shape
    if layout == BITS_NHWC:
        bits = np.moveaxis(array.reshape(batch, channels, -1), 1, 2)
        short = -channels % 64
        bits = np.pad(bits, ((0, 0), (0, 0), (0, short)))
        return np.packbits(bits, axis=2, bitorder="little").reshape(-1)
    height, width = pixels
    row = planar_row_bytes(width)
    planes = np.full((batch, channels, planar_plane_bytes(height, width)), 0xFF, np.uint8)
    start = planar_first_row(width)
    rows = np.packbits(array, axis=3, bitorder="little")
    planes[:, :, start : start + height * row] = rows.reshape(batch, channels, -1)
    return planes.reshape(-1)


def _lines(size: int) -> int:
    """``size`` rounded up to whole cache lines."""
    return -(-size // 64) * 64
