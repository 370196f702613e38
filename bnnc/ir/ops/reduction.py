"""Reductions, ArgMax and ArgMin, Softmax and LogSoftmax, TopK."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Flow, Op
from bnnc.ir.ops.rules import (
    FLOATS,
    NUMBERS,
    axis,
    distinct_axes,
    fault,
    given,
    operands,
    require,
    show,
    tensor,
)
from bnnc.ir.types import DType, TensorType


def _reduce(
    name: str,
    function: Callable[..., Any],
    doc: str,
    flow: Flow = Flow.OPAQUE,
    kinds: Collection[DType] = NUMBERS,
) -> Op:
    """A reduction over several axes; ``function`` takes the array, axis and keepdims."""

    def infer(node: Node) -> list[TensorType]:
        (x,) = operands(node, 1)
        require(node, [x], kinds)
        along = distinct_axes(node, node.attrs["axes"], len(x.shape))
        if flow is Flow.MOVEMENT and any(x.shape[i] == 0 for i in along):
            raise fault(node, f"picks one of no elements: its input is {show(x.shape)}")
        return [tensor(node, x.dtype, _reduced(x.shape, along, node.attrs["keepdims"]))]

    def compute(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,) = given(arrays, 1)
        keep = bool(node.attrs["keepdims"])
        return [np.asarray(function(x, axis=tuple(node.attrs["axes"]), keepdims=keep), x.dtype)]

    attrs = {"axes": REQUIRED, "keepdims": True}
    return Op(name, infer, compute, attrs, flow, doc=doc)


def _reduced(shape: tuple[int, ...], along: Collection[int], keep: bool) -> list[int]:
    return [1 if i in along else n for i, n in enumerate(shape) if keep or i not in along]


def _sum(x: np.ndarray, **over: Any) -> Any:
    """Floats are added up in float64, so that the order does not show in the rounded result."""
    return np.sum(x, dtype=np.float64 if x.dtype.kind == "f" else x.dtype, **over)


def _mean(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    count = int(np.prod([x.shape[i] for i in axis], dtype=np.int64))
    total = _sum(x, axis=axis, keepdims=keepdims)
    return total / count if x.dtype.kind == "f" else np.trunc(total / count)


def _sum_square(x: np.ndarray, **over: Any) -> Any:
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    return _sum(wide * wide, **over)


def _arg(name: str, best: Callable[..., np.ndarray], doc: str) -> Op:
    def infer(node: Node) -> list[TensorType]:
        (x,) = operands(node, 1)
        require(node, [x], NUMBERS)
        along = axis(node, node.attrs["axis"], len(x.shape))
        if x.shape[along] == 0:
            raise fault(node, f"picks one of no elements: its input is {show(x.shape)}")
        return [tensor(node, DType.I64, _reduced(x.shape, [along], node.attrs["keepdims"]))]

    def compute(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,) = given(arrays, 1)
        along, keep = node.attrs["axis"], bool(node.attrs["keepdims"])
        if node.attrs["select_last_index"]:
            found = x.shape[along] - 1 - best(np.flip(x, along), axis=along, keepdims=keep)
        else:
            found = best(x, axis=along, keepdims=keep)
        return [np.asarray(found, np.int64)]

    attrs = {"axis": REQUIRED, "keepdims": True, "select_last_index": False}
    return Op(name, infer, compute, attrs, doc=doc)


def _infer_softmax(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    require(node, [x], FLOATS)
    axis(node, node.attrs["axis"], len(x.shape))
    return [x.type]


def _softmax(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    along = node.attrs["axis"]
    powers = np.exp(x - x.max(axis=along, keepdims=True))
    return [powers / powers.sum(axis=along, keepdims=True)]


def _log_softmax(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    along = node.attrs["axis"]
    shifted = x - x.max(axis=along, keepdims=True)
    return [shifted - np.log(np.exp(shifted).sum(axis=along, keepdims=True))]


def _infer_top_k(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    require(node, [x], NUMBERS)
    along = axis(node, node.attrs["axis"], len(x.shape))
    k = int(node.attrs["k"])
    if not 1 <= k <= x.shape[along]:
        raise fault(node, f"wants {k} elements along axis {along} of {show(x.shape)}")
    shape = (*x.shape[:along], k, *x.shape[along + 1 :])
    return [tensor(node, x.dtype, shape), tensor(node, DType.I64, shape)]


def _top_k(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    along, size = node.attrs["axis"], x.shape[node.attrs["axis"]]
    if node.attrs["largest"]:
        # Sorting the mirror image keeps the lower index first among equals, once reversed.
        mirrored = np.argsort(np.flip(x, along), axis=along, kind="stable")
        order = size - 1 - np.flip(mirrored, along)
    else:
        order = np.argsort(x, axis=along, kind="stable")
    chosen = np.take(order, range(node.attrs["k"]), axis=along)
    return [np.take_along_axis(x, chosen, axis=along), chosen.astype(np.int64)]


REDUCTION = (
    _reduce("ReduceSum", _sum, "sum"),
    _reduce("ReduceMean", _mean, "mean"),
    _reduce("ReduceMax", np.max, "largest", Flow.MOVEMENT),
    _reduce("ReduceMin", np.min, "smallest", Flow.MOVEMENT),
    _reduce("ReduceProd", np.prod, "product"),
    _reduce("ReduceL1", lambda x, **over: _sum(np.abs(x), **over), "sum of |x|"),
    _reduce(
        "ReduceL2",
        lambda x, **over: np.sqrt(_sum_square(x, **over)),
        "square root of the sum of squares",
    ),
    _reduce("ReduceSumSquare", _sum_square, "sum of squares"),
    _arg("ArgMax", np.argmax, "index of the largest element along axis, the first of equals"),
    _arg("ArgMin", np.argmin, "index of the smallest element along axis, the first of equals"),
    Op("Softmax", _infer_softmax, _softmax, {"axis": -1}, doc="exp(x) / sum exp(x) along axis"),
    Op("LogSoftmax", _infer_softmax, _log_softmax, {"axis": -1}, doc="log of Softmax"),
    Op(
        "TopK",
        _infer_top_k,
        _top_k,
        {"axis": -1, "k": REQUIRED, "largest": True},
        doc="values and indices, in order; of equals the lower index first; NaN is the largest",
    ),
)
