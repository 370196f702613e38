"""Weights of the binary kernels, as the C runtime reads them (see runtime_c/kernel.h)."""

from __future__ import annotations

import numpy as np

from bnnc.ir.layout import planar_row_bytes

_LARGE, _SMALL = 16, 4
"""Input channels of the planar kernel's blocks."""

MOST_PLANAR_CHANNELS = 65535 // 9
"""Input channels whose products the planar kernel's 16-bit sums can count."""

_VECTOR_BYTES = 32
"""Pixels' bits in the vectors that small maps are computed with."""


def pack_nhwc(weights: np.ndarray) -> np.ndarray:
    """Weights of ``binary_conv_nhwc``.

    Args:
        weights: bool [OC, IC / groups, KH, KW], True for +1.

    Returns:
        uint64 [OC, KH, KW, ceil(IC / groups / 64)]: channel c is bit c % 64 of word c // 64, bits
        beyond the last channel are 0.
    """
    channels_last = np.moveaxis(np.asarray(weights, bool), 1, 3)
    short = -channels_last.shape[3] % 64
    padded = np.pad(channels_last, ((0, 0), (0, 0), (0, 0), (0, short)))
    packed = np.packbits(padded, axis=3, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8")


def planar_fits(ic: int, height: int, width: int, pad: int) -> bool:
    """Whether ``binary_conv_planar`` computes this 3x3 convolution of stride 1 and pads 1."""
    thin = min(height, width) < 2
    return ic <= MOST_PLANAR_CHANNELS and not (thin and pad != 1)


def planar_pays(ic: int, height: int, width: int, oc: int, pad: int) -> bool:
    """Whether ``binary_conv_planar`` can compute this convolution and is the faster kernel.

    It costs the same for vectors that are full and for those that are not, and builds tables that
    every output channel uses. The limits were measured against ``binary_conv_nhwc`` with AVX-512,
    where they lie closest together.
    """
    filled = height * width / (8 * _VECTOR_BYTES * _tiles(height, width))
    return planar_fits(ic, height, width, pad) and filled >= 0.6 and oc >= 16


def _tiles(height: int, width: int) -> int:
    """Vectors that a plane's pixels take: whole rows, unless those fill their bytes."""
    row = planar_row_bytes(width)
    if width % 8 == 0:
        return -(-height * row // _VECTOR_BYTES)
    if row <= _VECTOR_BYTES:
        return -(-height // (_VECTOR_BYTES // row))
    return height * -(-row // _VECTOR_BYTES)


def pack_planar(weights: np.ndarray) -> np.ndarray:
    """Weights of ``binary_conv_planar``: the forms of its table's words.

    Args:
        weights: bool [OC, IC, 3, 3], True for +1.

    Returns:
        uint16, 1-D: [block of 16 channels][OC][16], then [block of 4 channels][OC][4]. The code of
        a channel holds the signs of its rows, of the rows' parities, and of what the table holds
        behind the channel; runtime_c/kernels/planar_block.inl tells which bits. Channels beyond the
        last are all +1.
    """
    weights = np.asarray(weights, bool)
    ic = weights.shape[1]
    parts, start = [], 0
    while start < ic:
        size = _LARGE if ic - start > 2 * _SMALL else _SMALL
        block = weights[:, start : start + size]
        short = size - block.shape[1]
        block = np.pad(block, ((0, 0), (0, short), (0, 0), (0, 0)), constant_values=True)
        parts.append(_codes(block).reshape(-1))
        start += size
    return np.concatenate(parts)


def _codes(block: np.ndarray) -> np.ndarray:
    """bool [OC, size, 3, 3] -> uint16 [OC, size]."""
    plus = block.astype(np.uint16)
    kx = np.array([1, 2, 4], np.uint16)
    rows = plus @ kx
    even_rows = 1 - (3 - plus.sum(3)) % 2
    even = 1 - (9 - plus.sum((2, 3))) % 2
    behind = np.zeros_like(even)
    behind[:, 0:-1:3] = even[:, :-1].reshape(len(even), -1, 3) @ kx
    if block.shape[1] == _LARGE:
        triples = 1 - (3 - even[:, :-1].reshape(len(even), 5, 3).sum(2)) % 2
        thirds = np.concatenate([triples, even[:, -1:]], axis=1).reshape(-1, 2, 3)
        behind[:, [1, 4]] = thirds @ kx
        behind[:, [2, 5]] = 1 - (3 - thirds.sum(2)) % 2
    else:
        behind[:, 1] = 1 - (3 - even[:, :3].sum(1)) % 2
        behind[:, 3] = even[:, 3]
    code = rows[..., 0] << 3 | rows[..., 1] << 11 | rows[..., 2]
    code |= (even_rows.astype(np.uint16) @ kx) << 8
    code |= (behind & 3).astype(np.uint16) << 6 | (behind >> 2).astype(np.uint16) << 14
    return code.astype(np.uint16)


def border_correction(weights: np.ndarray, pad: int) -> np.ndarray | None:
    """What ``binary_conv_planar`` must take back from sums in which every padded tap counted +1.

    Args:
        weights: bool [OC, IC, 3, 3], True for +1.
        pad: the value padded taps have: -1, 0 or 1.

    Returns:
        int32 [OC, 9], by 3 * (top, middle, bottom row) + (left, middle, right column); None where
        nothing is to be corrected.
    """
    if pad == 1:
        return None
    taps = np.where(np.asarray(weights, bool), 1, -1).sum(1)
    corrections = np.zeros((len(taps), 3, 3), np.int32)
    for row in range(3):
        for column in range(3):
            outside = np.zeros((3, 3), bool)
            if row != 1:
                outside[row] = True
            if column != 1:
                outside[:, column] = True
            corrections[:, row, column] = (1 - pad) * taps[:, outside].sum(1)
    return corrections.reshape(-1, 9)
