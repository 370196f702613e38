"""Weights of the float kernels, as the C runtime reads them (see runtime_c/kernel.h)."""

from __future__ import annotations

import numpy as np

BLOCK = 8
"""Output channels that lie together, innermost."""


def pack_conv(weights: np.ndarray, groups: int = 1) -> np.ndarray:
    """Weights of ``conv_f32``.

    Args:
        weights: float32 [OC, IC / groups, KH, KW].
        groups: number of groups; divides OC.

    Returns:
        float32 [groups, ceil(OC / groups / 8), IC / groups, KH, KW, 8], zero beyond the last
        channel of a group.
    """
    oc, ic, kh, kw = weights.shape
    grouped = np.asarray(weights, np.float32).reshape(groups, oc // groups, ic, kh, kw)
    return _block(grouped)


def _block(weights: np.ndarray) -> np.ndarray:
    """[groups, channels, ...] -> [groups, ceil(channels / 8), ..., 8]."""
    groups, channels, *rest = weights.shape
    blocks = -(-channels // BLOCK)
    padded = np.zeros((groups, blocks * BLOCK, *rest), np.float32)
    padded[:, :channels] = weights
    split = padded.reshape(groups, blocks, BLOCK, *rest)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def pack_conv_transpose(
    weights: np.ndarray,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """Weights of ``conv_transpose_f32``: the taps of each phase together.

    A phase is a residue modulo the stride; tap k belongs to phase ``k * dilation % stride``.

    Args:
        weights: float32 [IC, OC / groups, KH, KW].
        groups: number of groups; divides IC.
        strides: by rows and columns.
        dilations: by rows and columns.

    Returns:
        float32 [groups, ceil(OC / groups / 8), IC / groups * KH * KW, 8]; the products are those
        of each phase of rows, within it of each phase of columns, within it [ty, IC / groups, tx],
        taps of the phase in ascending order.
    """
    ic, oc, kh, kw = weights.shape
    grouped = np.asarray(weights, np.float32).reshape(groups, ic // groups, oc, kh, kw)
    by_tap = grouped.transpose(0, 2, 3, 1, 4)  # [group, oc, ky, ic, kx]
    rows, columns = (
        [[k for k in range(size) if k * dilation % stride == phase] for phase in range(stride)]
        for size, stride, dilation in zip((kh, kw), strides, dilations)
    )
    phases = [by_tap[:, :, ky][..., kx].reshape(groups, oc, -1) for ky in rows for kx in columns]
    return _block(np.concatenate(phases, axis=2))


def pack_matmul(b: np.ndarray) -> np.ndarray:
    """The constant right operand of ``matmul_f32``.

    Args:
        b: float32 [K, N].

    Returns:
        float32 [ceil(N / 8), K, 8], zero beyond the last column.
    """
    blocks = _block(np.asarray(b, np.float32).T[None])
    return blocks.reshape(blocks.shape[1:])


def pack_conv_winograd(weights: np.ndarray) -> np.ndarray:
    """Weights of ``conv_f32_winograd``: F(4x4, 3x3) with the points 0, +-3/4, +-3/2 and infinity.

    Args:
        weights: float32 [OC, IC, 3, 3].

    Returns:
        float32 [ceil(OC / 8), 36, IC, 8]: G g G', rounded once from float64, zero beyond the last
        channel.
    """
    assert weights.shape[2:] == (3, 3)
    points = (0.0, 0.75, -0.75, 1.5, -1.5)
    scales = [np.prod([p - other for other in points if other != p]) for p in points]
    g = np.array([*([1 / s, p / s, p * p / s] for p, s in zip(points, scales)), [0, 0, 1]])
    transformed = np.einsum("ij,ocjk,lk->oilc", g, weights.astype(np.float64), g)
    oc, _, _, ic = transformed.shape
    blocks = _block(transformed.astype(np.float32).reshape(1, oc, 36, ic))
    return blocks.reshape(blocks.shape[1:])
