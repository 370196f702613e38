"""Scratch: what a thread needs beside the tensors while a kernel runs, in bytes.

Every kernel keeps within :data:`SCRATCH_BYTES`. That is more than most need, and in the layers with
the largest tensors it would make the arena larger than it must be: what their kernels need at most,
with any instruction set, is told here. The kernels' tests give each kernel no more than that.
"""

from __future__ import annotations

SCRATCH_BYTES = 1 << 20
"""``BNNC_SCRATCH_BYTES`` in C."""

_TILE = 512  # BNNC_TILE
_VECTOR = 64  # bytes of the widest vector


def row() -> int:
    """Of a kernel that runs an epilogue on rows of pixels."""
    return 4 * _TILE


def planar(ic: int, oc: int) -> int:
    """Of ``binary_conv_planar``: a table, a tile's accumulators, and planes of sums."""
    table, accumulators = 572 * _VECTOR, 4 * 8 * _VECTOR
    planes = 13 if (9 * ic).bit_length() <= 12 else 17
    return min(SCRATCH_BYTES, table + accumulators + -(-oc // 64) * 64 * planes * _VECTOR)


def conv(depth: int, stride: int) -> int:
    """Of ``conv_f32``: a panel of inputs and a block's sums.

    Args:
        depth: products of one output.
        stride: along rows.
    """
    panel, rows = 1 << 16, 4
    if depth > 1024:
        return SCRATCH_BYTES
    padded = min(_TILE, max(64, panel // depth // 16 * 16)) + 48
    floats = (depth + 8) * padded + 16
    if stride == 2:
        floats = max(floats, panel + 8 * (rows * _TILE + 48))
    return 4 * floats


def conv_transpose(depth: int, phases: int) -> int:
    """Of ``conv_transpose_f32``: a panel of inputs, sums of all phases, and where these are.

    Args:
        depth: products of one output, at most.
        phases: the product of the strides.
    """
    if depth > 1024 or phases > 16:
        return SCRATCH_BYTES
    padded = min(_TILE, max(64, (1 << 16) // depth)) + 48
    return 4 * (depth * padded + 16 + (1 << 16)) + 256 * phases


def sliding(width: int) -> int:
    """Of ``depthwise_f32`` with windows of 3x3 that slide along rows of ``width``."""
    return 4 * width + _VECTOR


def pooled(width: int, out_width: int, stride: int) -> int:
    """Of ``pooled_depthwise_f32``: four pooled rows and one of zeros."""
    return 5 * (4 * max(width, stride * out_width) + 3 * _VECTOR)


def winograd(ic: int, width: int, m: int = 4, phases: int = 1, hidden: int = 0) -> int:
    """Of the kernels that go by tiles of m x m outputs: inputs, sums, and what becomes of them.

    Args:
        ic: input channels.
        width: of the input.
        phases: blocks of 8 channels that are finished together.
        hidden: channels between the two convolutions of a branch.
    """
    positions = (m + 2) ** 2
    floats = ic * positions
    tiles = 16 if floats > 4096 else 32 if floats > 640 else 64
    pixels = tiles * m * m
    sums = positions * ((ic + 8) * tiles + 32)
    return 4 * (sums + 8 * phases * pixels + width + 16 + hidden * (pixels + 16))
