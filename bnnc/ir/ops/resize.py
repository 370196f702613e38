"""Resize."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnc.errors import UnsupportedError
from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Op
from bnnc.ir.ops.rules import given, operands, rank, tensor
from bnnc.ir.types import TensorType


def is_nearest(node: Node) -> bool:
    """Whether a Resize only moves elements: one tap of weight 1 along each axis."""
    weights = (node.attrs["wy"], node.attrs["wx"])
    return all(w.shape[1] == 1 and bool((w == 1).all()) for w in weights)


def _infer_resize(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    rank(node, x, 4, "NCHW")
    a = node.attrs
    for length, size, index, weight in (
        (a["out_h"], x.shape[2], a["iy"], a["wy"]),
        (a["out_w"], x.shape[3], a["ix"], a["wx"]),
    ):
        assert index.dtype == np.int32 and weight.dtype == np.float32, node
        assert index.shape == weight.shape and index.ndim == 2 and len(index) == length, node
        assert index.size == 0 or (index.min() >= 0 and index.max() < size), node
    if not x.dtype.is_float and not is_nearest(node):
        raise UnsupportedError(
            f"Resize interpolates {x.dtype.value}", hint="insert a Cast to float32 before it"
        )
    return [tensor(node, x.dtype, (*x.shape[:2], a["out_h"], a["out_w"]))]


def _resize(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    a = node.attrs
    if is_nearest(node):
        return [np.ascontiguousarray(x[:, :, a["iy"], a["ix"].T])]
    wide = np.zeros((*x.shape[:3], a["out_w"]), x.dtype)
    for index, weight in zip(a["ix"].T, a["wx"].T):
        wide += x[:, :, :, index] * weight
    result = np.zeros((*x.shape[:2], a["out_h"], a["out_w"]), x.dtype)
    for index, weight in zip(a["iy"].T, a["wy"].T):
        result += wide[:, :, index] * weight[:, None]
    return [result]


RESIZE = (
    Op(
        "Resize",
        _infer_resize,
        _resize,
        dict.fromkeys(("out_h", "out_w", "iy", "ix", "wy", "wx"), REQUIRED),
        doc="out[y, x] = sum_ij wy[y, i] * wx[x, j] * in[iy[y, i], ix[x, j]]; tables [out, taps]",
    ),
)
