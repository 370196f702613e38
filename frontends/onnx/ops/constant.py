"""Operators that make constants, and those that bnnc computes on constants only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import AttributeProto

from bnnc.frontends.onnx.builder import compute
from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.tensors import MAX_FOLDED_BYTES
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

_LITERALS: dict[str, Callable[[AttributeProto], np.ndarray]] = {
    "value_float": lambda attr: np.array(attr.f, np.float32),
    "value_floats": lambda attr: np.array(attr.floats, np.float32),
    "value_int": lambda attr: np.array(attr.i, np.int64),
    "value_ints": lambda attr: np.array(attr.ints, np.int64),
}


def _constant(call: Call) -> Value:
    if len(call.node.attrs) != 1:
        raise call.error(f"needs one attribute, but has {len(call.node.attrs)}")
    ((name, attr),) = call.node.attrs.items()
    if name in _LITERALS:
        return call.constant(_LITERALS[name](attr))
    if name == "value":
        return call.constant_of(attr.t)
    if name == "sparse_value":
        return call.constant_of(attr.sparse_tensor)
    raise call.unsupported("holds strings")


def _refuse_large(call: Call, size: int) -> None:
    if size > MAX_FOLDED_BYTES:
        raise call.error(
            f"would make a constant of {size / 2**20:.0f} MiB; at most "
            f"{MAX_FOLDED_BYTES // 2**20} MiB are allowed"
        )


def _constant_of_shape(call: Call) -> Value:
    shape = call.integers(0, "a shape")
    value = np.zeros(1, np.float32)
    if call.has("value"):
        value = call.decode(call.node.attrs["value"].t)
    if any(size < 0 for size in shape) or value.size != 1:
        raise call.error(f"has shape {dims(shape)} and a value of shape {dims(value.shape)}")
    _refuse_large(call, math.prod(shape) * value.itemsize)
    (array,) = compute(lambda: [np.full(shape, value.reshape(()), value.dtype)])
    return call.constant(array)


def _range(call: Call) -> Value:
    start, limit, delta = (call.number(slot, "bounds") for slot in range(3))
    dtype = call.array(0, "bounds").dtype
    if not all(map(math.isfinite, (start, limit, delta))) or delta == 0:
        raise call.error(f"counts from {start} to {limit} by {delta}")
    count = max(math.ceil((limit - start) / delta), 0)
    _refuse_large(call, count * dtype.itemsize)
    return call.constant((start + np.arange(count) * delta).astype(dtype))


# ---- on constants only ------------------------------------------------------------------------


def _non_zero(call: Call) -> np.ndarray:
    x = call.array(0, "an operand")
    _refuse_large(call, int(np.count_nonzero(x)) * x.ndim * 8)
    return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


def _cum_sum(call: Call) -> np.ndarray:
    x, axis = call.array(0, "an operand"), int(call.number(1, "an axis"))
    axis = call.axis(axis, x.ndim)
    reverse = call.attr_flag("reverse")
    x = np.flip(x, axis) if reverse else x
    total = np.cumsum(x, axis, x.dtype)
    if call.attr_flag("exclusive"):
        total -= x
    return np.flip(total, axis) if reverse else total


def _trilu(call: Call) -> np.ndarray:
    x = call.array(0, "an operand")
    if x.ndim < 2:
        raise call.error(f"needs a matrix, but has {dims(x.shape)}")
    k = 0 if call.optional(1) is None else int(call.number(1, "k"))
    return (np.triu if call.attr_flag("upper", True) else np.tril)(x, k)


def _scatter_nd(call: Call) -> np.ndarray:
    x, index = call.array(0, "an operand").copy(), call.array(1, "indices")
    if call.attr_string("reduction", "none") != "none":
        raise call.unsupported("with a reduction is not supported")
    x[tuple(np.moveaxis(index, -1, 0))] = call.array(2, "updates")
    return x


def _folded(function: Callable[[Call], np.ndarray]) -> Importer:
    def importer(call: Call) -> Value:
        (array,) = compute(lambda: [function(call)])
        return call.constant(array)

    return importer


CONSTANT: dict[str, Importer] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "NonZero": _folded(_non_zero),
    "CumSum": _folded(_cum_sum),
    "Trilu": _folded(_trilu),
    "ScatterND": _folded(_scatter_nd),
}
"""Importers by operator."""
