"""Reductions, ArgMax and ArgMin, TopK, Softmax and its kin."""

from __future__ import annotations

import math

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.ir.graph import Value
from bnnc.ir.types import DType


def reduction_axes(call: Call, x: Value) -> tuple[int, ...] | None:
    """The axes to reduce, None if the operator then leaves its input as it is."""
    since = 13 if call.op == "ReduceSum" else 18
    numbers = call.numbers_twice("axes", 1, since, "axes")
    if numbers:
        return call.axes(numbers, len(x.shape))
    if call.version >= since and call.attr_flag("noop_with_empty_axes"):
        return None
    return tuple(range(len(x.shape)))


def _reduce(call: Call) -> Value:
    x = call.input(0)
    axes = reduction_axes(call, x)
    if axes is None:
        if call.op in ("ReduceL1", "ReduceL2"):
            return call.add("Abs", x)
        return call.add("Mul", x, x) if call.op == "ReduceSumSquare" else x
    keepdims = call.attr_flag("keepdims", True)
    if x.dtype is not DType.BOOL:
        return call.add(call.op, x, axes=axes, keepdims=keepdims)
    reduced = call.add(call.op, call.cast(x, DType.U8), axes=axes, keepdims=keepdims)
    return call.cast(reduced, DType.BOOL)


def _reduce_log_sum(call: Call) -> Value:
    x = call.input(0)
    axes = reduction_axes(call, x)
    if axes is not None:
        x = call.add("ReduceSum", x, axes=axes, keepdims=call.attr_flag("keepdims", True))
    return call.add("Log", x)


def _reduce_log_sum_exp(call: Call) -> Value:
    """log sum exp(x - m) + m with m the largest, so that nothing overflows."""
    x = call.input(0)
    axes = reduction_axes(call, x)
    if axes is None:
        return x
    largest = call.add("ReduceMax", x, axes=axes, keepdims=True)
    powers = call.add("Exp", call.add("Sub", x, largest))
    total = call.add("ReduceSum", powers, axes=axes, keepdims=True)
    result = call.add("Add", call.add("Log", total), largest)
    if call.attr_flag("keepdims", True):
        return result
    return call.reshape(result, [n for axis, n in enumerate(x.shape) if axis not in axes])


def _arg(call: Call) -> Value:
    x = call.input(0)
    return call.add(
        call.op,
        x,
        axis=call.axis(call.attr_int("axis", 0), len(x.shape)),
        keepdims=call.attr_flag("keepdims", True),
        select_last_index=call.attr_flag("select_last_index"),
    )


def _top_k(call: Call) -> tuple[Value, ...]:
    x = call.input(0)
    k = call.attr_int("k") if call.version < 10 else call.number(1, "k")
    values, indices = call.add_all(
        "TopK",
        call.narrow_as_float(x),
        axis=call.axis(call.attr_int("axis", -1), len(x.shape)),
        k=int(k),
        largest=call.attr_flag("largest", True),
    )
    return call.cast(values, x.dtype), indices


def _softmax(call: Call) -> Value:
    return softmax(call, call.op, call.input(0), call.version)


def softmax(call: Call, op: str, x: Value, version: int) -> Value:
    """Softmax, or its like; before version 13, everything from ``axis`` on is one axis."""
    rank = len(x.shape)
    if version >= 13:
        return call.add(op, x, axis=call.axis(call.attr_int("axis", -1), rank))
    axis = call.axis(call.attr_int("axis", 1), rank)
    if math.prod(x.shape[axis + 1 :]) == 1:
        return call.add(op, x, axis=axis)
    flat = call.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return call.reshape(call.add(op, flat, axis=1), x.shape)


def _hardmax(call: Call) -> Value:
    """1 at the first of the largest elements; before version 13 everything from ``axis`` on is one
    axis."""
    x = call.input(0)
    rank = len(x.shape)
    axis = call.axis(call.attr_int("axis", -1 if call.version >= 13 else 1), rank)
    flat = x
    if call.version < 13:
        flat, axis = call.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), 1
    best = call.add("ArgMax", flat, axis=axis, keepdims=True)
    size = flat.shape[axis]
    call.make_room((size,), np.dtype(np.int64))
    count = np.arange(size).reshape(size, *(1 for _ in flat.shape[axis + 1 :]))
    hit = call.add("Equal", best, call.constant(count))
    return call.reshape(call.cast(hit, x.dtype), x.shape)


REDUCTION: dict[str, Importer] = {
    **dict.fromkeys(
        (
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
        ),
        _reduce,
    ),
    "ReduceLogSum": _reduce_log_sum,
    "ReduceLogSumExp": _reduce_log_sum_exp,
    "ArgMax": _arg,
    "ArgMin": _arg,
    "TopK": _top_k,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _hardmax,
}
"""Importers by operator."""
