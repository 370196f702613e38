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


POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""By size of a tile: where Winograd's polynomials are evaluated, besides at infinity."""


def pack_conv_winograd(weights: np.ndarray) -> np.ndarray:
    """Weights of ``conv_f32_winograd``: F(4x4, 3x3).

    Args:
        weights: float32 [OC, IC, 3, 3].

    Returns:
        float32 [ceil(OC / 8), 36, IC, 8]: G g G', rounded once from float64, zero beyond the last
        channel.
    """
    assert weights.shape[2:] == (3, 3)
    transformed = _winograd(weights, 4)
    blocks = _block(transformed[None].reshape(1, len(weights), 36, -1))
    return blocks.reshape(blocks.shape[1:])


def pack_conv_transpose_winograd(
    weights: np.ndarray, crop: tuple[int, int], tile: int, *, expand: bool = False
) -> np.ndarray:
    """Weights of ``conv_transpose_f32_winograd``: each phase as a 3x3 convolution, transformed, or
    its 2x2 taps as they are.

    Args:
        weights: float32 [IC, OC, 4, 4].
        crop: rows and columns cropped at the top and the left.
        tile: 2 or 4.
        expand: whether the kernel transforms them itself.

    Returns:
        float32 [ceil(OC / 8), 2, 2, (tile + 1)**2, IC, 8]; positions at which a phase's weights
        are zero are left out. [ceil(OC / 8), 2, 2, 4, IC, 8] if ``expand``.
    """
    ic, oc = weights.shape[:2]
    phases = []
    for row, column in np.ndindex(2, 2):
        taps = _phase(weights, crop, row, column)
        if expand:
            phases.append(taps.reshape(oc, ic, 4).swapaxes(1, 2))
            continue
        spread = np.zeros((oc, ic, 3, 3))
        y, x = row * (crop[0] % 2), column * (crop[1] % 2)
        spread[:, :, y : y + 2, x : x + 2] = taps
        transformed = _winograd(spread, tile)
        present = slice(y, tile + 1 + y), slice(x, tile + 1 + x)
        phases.append(transformed[(slice(None), *present)].reshape(oc, -1, ic))
    blocks = _block(np.stack(phases, axis=1)[None])
    return blocks.reshape(blocks.shape[1], 2, 2, *blocks.shape[3:])


def _phase(weights: np.ndarray, crop: tuple[int, int], row: int, column: int) -> np.ndarray:
    """The taps [OC, IC, 2, 2] of a transposed convolution, 4x4 at stride 2, that make the outputs
    of one phase: a plain convolution's."""
    assert weights.shape[2:] == (4, 4)
    # The later an input comes, the earlier is the tap that brings it to an output.
    ky, kx = (row + crop[0]) % 2, (column + crop[1]) % 2
    return weights[:, :, ky::2, kx::2][:, :, ::-1, ::-1].swapaxes(0, 1)


def _winograd(weights: np.ndarray, tile: int) -> np.ndarray:
    """[OC, IC, 3, 3] -> float32 [OC, tile + 2, tile + 2, IC]."""
    points = POINTS[tile]
    scales = [np.prod([p - other for other in points if other != p]) for p in points]
    g = np.array([*([1 / s, p / s, p * p / s] for p, s in zip(points, scales)), [0, 0, 1]])
    with np.errstate(over="ignore", invalid="ignore"):  # as the kernels compute: silently
        return np.einsum("ij,ocjk,lk->oilc", g, weights.astype(np.float64), g).astype(np.float32)
