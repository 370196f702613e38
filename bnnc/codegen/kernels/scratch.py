"""Scratch: what a thread needs beside the tensors while a kernel runs, in bytes.

Every kernel keeps within :data:`SCRATCH_BYTES`. That is more than most need, and in the layers with
the largest tensors it would make the arena larger than it must be: what their kernels need at most,
with any instruction set, is told here. The kernels' tests give each kernel no more than that.
"""

from __future__ import annotations

from typing import Protocol

SCRATCH_BYTES = 1 << 20
"""``BNNC_SCRATCH_BYTES`` in C."""

_TILE = 512  # BNNC_TILE
_VECTOR = 64  # bytes of the widest vector

ROW_BYTES = 4 * _TILE
"""Of a kernel that runs an epilogue on rows of pixels."""


class Shape(Protocol):
    """``bnnc_conv_shape``, as far as it matters here."""

    @property
    def groups(self) -> int: ...
    @property
    def ic(self) -> int: ...
    @property
    def iw(self) -> int: ...
    @property
    def oc(self) -> int: ...
    @property
    def ow(self) -> int: ...
    @property
    def kh(self) -> int: ...
    @property
    def kw(self) -> int: ...
    @property
    def stride_h(self) -> int: ...
    @property
    def stride_w(self) -> int: ...
    @property
    def pad_left(self) -> int: ...
    @property
    def dilation_h(self) -> int: ...
    @property
    def dilation_w(self) -> int: ...


def planar(s: Shape) -> int:
    """Of ``binary_conv_planar``: a table, what sums begin at, accumulators, planes of sums."""
    table, start, accumulators = 572 * _VECTOR, 8 * _VECTOR, 4 * 8 * _VECTOR
    planes = 13 if (9 * s.ic).bit_length() <= 12 else 17
    return min(SCRATCH_BYTES, table + start + accumulators + -(-s.oc // 64) * 64 * planes * _VECTOR)


def conv(s: Shape) -> int:
    """Of ``conv_f32``: a panel of inputs and a block's sums."""
    depth, panel, rows = s.ic // s.groups * s.kh * s.kw, 1 << 16, 4
    if depth > 1024:
        return SCRATCH_BYTES
    padded = min(_TILE, max(64, panel // depth // 16 * 16)) + 48
    floats = (depth + 8) * padded + 16
    if s.stride_w == 2:
        floats = max(floats, panel + 8 * (rows * _TILE + 48))
    return 4 * floats


def conv_transpose(s: Shape) -> int:
    """Of ``conv_transpose_f32``: a panel of inputs, sums of all phases, and where these are."""
    depth = s.ic // s.groups * -(-s.kh // s.stride_h) * -(-s.kw // s.stride_w)
    phases = s.stride_h * s.stride_w
    if depth > 1024 or phases > 16 or max(s.dilation_h, s.dilation_w) > 1:
        return SCRATCH_BYTES
    padded = min(_TILE, max(64, (1 << 16) // depth)) + 48
    return 4 * (depth * padded + 16 + (1 << 16)) + 256 * phases


def depthwise(s: Shape) -> int:
    """Of ``depthwise_f32``: a row of zeros, where windows of 3x3 slide along rows."""
    slides = (
        (s.kh, s.kw, s.dilation_h, s.dilation_w, s.pad_left) == (3, 3, 1, 1, 1)
        and max(s.stride_h, s.stride_w) <= 2
        and max(s.iw, s.ow) <= _TILE
    )
    return 4 * s.iw + _VECTOR if slides else SCRATCH_BYTES


def pooled(s: Shape) -> int:
    """Of ``pooled_depthwise_f32``: four pooled rows and one of zeros, and two that blurs keep."""
    return 7 * (4 * max(s.iw, s.stride_w * s.ow) + 3 * _VECTOR)


def winograd(s: Shape, m: int = 4, phases: int = 1, hidden: int = 0, expand: bool = False) -> int:
    """Of the kernels that go by tiles of m x m outputs: inputs, sums, and what becomes of them.

    Args:
        phases: blocks of 8 channels that are finished together.
        hidden: channels between the two convolutions of a branch.
        expand: whether weights are transformed during the run, a row of positions at a time.
    """
    positions = (m + 2) ** 2
    floats = s.ic * positions
    tiles = 16 if floats > 4096 else 32 if floats > 640 else 64
    pixels = tiles * m * m
    sums = positions * ((s.ic + 8) * tiles + 16)
    weights = (m + 1) * (s.ic * 8 + 16) if expand else 0
    return 4 * (sums + 8 * phases * pixels + s.iw + 16 + hidden * (pixels + 16) + weights)
