"""Sliding windows over the two spatial axes of NCHW tensors: geometry checks and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.ops.rules import fault, show, tensor
from bnnc.ir.types import DType

_LARGEST = 2**31 - 1
_BLOCK_ELEMENTS = 2**23
"""im2col matrices are built in blocks of rows no larger than this."""


def check_geometry(node: Node) -> None:
    """Strides, dilations, kernel and pads have the right count and sign."""
    for key, count, least in (
        ("kernel", 2, 1),
        ("strides", 2, 1),
        ("dilations", 2, 1),
        ("pads", 4, 0),
        ("output_padding", 2, 0),
    ):
        if key not in node.attrs:
            continue
        numbers = node.attrs[key]
        if len(numbers) != count or not all(least <= n <= _LARGEST for n in numbers):
            sign = "positive" if least else "non-negative"
            raise fault(node, f"has {key} {list(numbers)}; needs {count} {sign} numbers")


def window_counts(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], pads: Sequence[int]
) -> list[int]:
    """How many windows fit along H and W.

    Args:
        node: gives strides and, if it has them, dilations.
        sizes: H and W of the input.
        kernel: KH and KW.
        pads: top, left, bottom, right.
    """
    dilations = node.attrs.get("dilations", (1, 1))
    if min(kernel) < 1:
        raise fault(node, f"has a kernel of {show(kernel)}")
    padded = [sizes[0] + pads[0] + pads[2], sizes[1] + pads[1] + pads[3]]
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
    tensor(node, DType.F32, padded)
    if extents[0] > padded[0] or extents[1] > padded[1]:
        raise fault(
            node,
            f"has a kernel spanning {show(extents)}, larger than its padded input {show(padded)}",
        )
    return [(p - e) // s + 1 for p, e, s in zip(padded, extents, node.attrs["strides"])]


def pad_plane(x: np.ndarray, pads: Sequence[int], fill: float | int | bool) -> np.ndarray:
    """NCHW ``x`` with (top, left, bottom, right) elements of ``fill`` around each plane."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)


def windows(
    padded: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    """A view [N, C, OH, OW, KH, KW] of ``padded`` [N, C, H, W]."""
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
    view = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    fill: float = 0.0,
) -> np.ndarray:
    """Grouped 2-D cross-correlation.

    Args:
        x: [N, C, H, W] floats.
        w: [OC, C / group, KH, KW], of the same type.
        pads: top, left, bottom, right; a padded tap reads ``fill``.

    Returns:
        [N, OC, OH, OW], in the operands' type.
    """
    batch = x.shape[0]
    channels, depth, *kernel = w.shape
    padded = pad_plane(x, pads, fill)
    view = windows(padded, kernel, strides, dilations)
    height, width = view.shape[2:4]
    if depth == 1:
        spread = w.reshape(group, channels // group, 1, 1, *kernel)
        result = np.zeros((batch, group, channels // group, height, width), x.dtype)
        for i, j in np.ndindex(*kernel):
            result += view[:, :, None, :, :, i, j] * spread[..., i, j]
        return result.reshape(batch, channels, height, width)
    inner = depth * kernel[0] * kernel[1]
    matrix = w.reshape(group, channels // group, inner)
    result = np.empty((batch, group, channels // group, height * width), x.dtype)
    rows = max(1, _BLOCK_ELEMENTS // (batch * group * inner * width))
    for y in range(0, height, rows):
        block = view[:, :, y : y + rows]
        columns = block.transpose(0, 1, 4, 5, 2, 3).reshape(batch, group, inner, -1)
        np.matmul(matrix, columns, out=result[..., y * width : (y + rows) * width])
    return result.reshape(batch, channels, height, width)


def convolve_transposed(
    x: np.ndarray,
    w: np.ndarray,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    output_padding: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> np.ndarray:
    """Grouped 2-D transposed convolution.

    Args:
        x: [N, C, H, W] floats.
        w: [C, OC / group, KH, KW], of the same type.
        pads: top, left, bottom, right: what is cropped from the full result.
        output_padding: rows and columns added at the bottom and right before cropping.

    Returns:
        [N, OC, OH, OW], in the operands' type.
    """
    batch, channels, ih, iw = x.shape
    _, depth, kh, kw = w.shape
    matrix = w.reshape(group, channels // group, depth * kh * kw).swapaxes(1, 2)
    products = np.matmul(matrix, x.reshape(batch, group, channels // group, ih * iw))
    products = products.reshape(batch, group * depth, kh, kw, ih, iw)
    spans = [(ih - 1) * strides[0] + 1, (iw - 1) * strides[1] + 1]
    height = spans[0] + dilations[0] * (kh - 1) + output_padding[0]
    width = spans[1] + dilations[1] * (kw - 1) + output_padding[1]
    full = np.zeros((batch, group * depth, height, width), x.dtype)
    for i in range(kh):
        for j in range(kw):
            y, z = i * dilations[0], j * dilations[1]
            target = full[:, :, y : y + spans[0] : strides[0], z : z + spans[1] : strides[1]]
            target += products[:, :, i, j]
    top, left, bottom, right = pads
    return np.ascontiguousarray(full[:, :, top : height - bottom, left : width - right])
