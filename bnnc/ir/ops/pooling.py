"""MaxPool and AveragePool."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Flow, Op
from bnnc.ir.ops.rules import (
    EVERYTHING,
    FLOATS,
    fault,
    given,
    operands,
    rank,
    require,
    tensor,
)
from bnnc.ir.ops.windows import check_geometry, pad_plane, window_counts, windows
from bnnc.ir.types import DType, TensorType


def _pooled(node: Node) -> TensorType:
    (x,) = operands(node, 1)
    rank(node, x, 4, "NCHW")
    check_geometry(node)
    kernel, pads = node.attrs["kernel"], node.attrs["pads"]
    counts = window_counts(node, x.shape[2:], kernel, pads)
    dilations = node.attrs.get("dilations", (1, 1))
    for size, taps, dilation, before, after in zip(
        x.shape[2:], kernel, dilations, pads[:2], pads[2:]
    ):
        # Every window then holds an element, since one of its taps meets the input.
        if max(before, after) > dilation * (taps - 1):
            raise fault(node, f"has a window that lies wholly in its pads {list(pads)}")
        if before + after and dilation > size:
            raise fault(node, f"spreads its taps by {dilation} over an axis of {size} and pads")
    return tensor(node, x.dtype, (*x.shape[:2], *counts))


def _infer_max_pool(node: Node) -> list[TensorType]:
    require(node, operands(node, 1), EVERYTHING - {DType.BOOL})
    return [_pooled(node)]


def _lowest(dtype: np.dtype) -> float | int | bool:
    """The neutral element of max."""
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _max_pool(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    a = node.attrs
    padded = pad_plane(x, a["pads"], _lowest(x.dtype))
    view = windows(padded, a["kernel"], a["strides"], a["dilations"])
    result = view[..., 0, 0].copy()
    for i, j in np.ndindex(*view.shape[4:]):
        np.maximum(result, view[..., i, j], out=result)
    return [result]


def _infer_average_pool(node: Node) -> list[TensorType]:
    require(node, operands(node, 1), FLOATS)
    return [_pooled(node)]


def _average_pool(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    a = node.attrs
    total = _window_sums(x, node)
    if a["count_include_pad"]:
        return [total / x.dtype.type(math.prod(a["kernel"]))]
    return [total / _window_sums(np.ones((1, 1, *x.shape[2:]), x.dtype), node)]


def _window_sums(x: np.ndarray, node: Node) -> np.ndarray:
    a = node.attrs
    view = windows(pad_plane(x, a["pads"], 0), a["kernel"], a["strides"], a["dilations"])
    total = np.zeros(view.shape[:4], x.dtype)
    for i, j in np.ndindex(*view.shape[4:]):
        total += view[..., i, j]
    return total


POOLING = (
    Op(
        "MaxPool",
        _infer_max_pool,
        _max_pool,
        {"kernel": REQUIRED, "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)},
        Flow.MOVEMENT,
        doc="largest element of each window; padded taps never win; of bits: any set",
    ),
    Op(
        "AveragePool",
        _infer_average_pool,
        _average_pool,
        {
            "kernel": REQUIRED,
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "dilations": (1, 1),
            "count_include_pad": False,
        },
        doc="mean of each window over its elements, or (count_include_pad) over the whole kernel",
    ),
)
