"""Operators that make constants, and those that bnnc computes on constants only or at best."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import AttributeProto

from bnnc.frontends.onnx.builder import compute
from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.elementwise import cast_target
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


def _constant_of_shape(call: Call) -> Value:
    shape = call.integers(0, "a shape")
    value = np.zeros(1, np.float32)
    if call.has("value"):
        value = call.decode(call.node.attrs["value"].t)
    if any(size < 0 for size in shape) or value.size != 1:
        raise call.error(f"has shape {dims(shape)} and a value of shape {dims(value.shape)}")
    call.make_room(shape, value.dtype)
    (array,) = compute(lambda: [np.full(shape, value.reshape(()), value.dtype)])
    return call.constant(array)


def _range(call: Call) -> Value:
    start, limit, delta = (call.number(slot, "bounds") for slot in range(3))
    dtype = call.array(0, "bounds").dtype
    if not all(map(math.isfinite, (start, limit, delta))) or delta == 0:
        raise call.error(f"counts from {start} to {limit} by {delta}")
    count = max(math.ceil((limit - start) / delta), 0)
    call.make_room((count,), np.dtype(np.float64))
    return call.constant((start + np.arange(count) * delta).astype(dtype))


# ---- on constants only ------------------------------------------------------------------------


def _non_zero(call: Call) -> np.ndarray:
    x = call.array(0, "an operand")
    call.make_room((int(np.count_nonzero(x)), x.ndim), np.dtype(np.int64))
    return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)


def _cumulate(call: Call, x: np.ndarray) -> np.ndarray:
    axis = call.axis(int(call.number(1, "an axis")), x.ndim)
    product, reverse = call.op == "CumProd", call.attr_flag("reverse")
    x = np.flip(x, axis) if reverse else x
    total = (np.cumprod if product else np.cumsum)(x, axis, x.dtype)
    if call.attr_flag("exclusive"):
        first = np.full_like(np.take(x, [0], axis), int(product))
        rest = np.take(total, range(x.shape[axis] - 1), axis)
        total = np.concatenate([first, rest], axis)
    return np.flip(total, axis) if reverse else total


def _cum_prod(call: Call) -> np.ndarray:
    return _cumulate(call, call.array(0, "an operand"))


def _cum_sum(call: Call) -> Value:
    """On a constant folded; else the sums of ever longer stretches, each of two half as long."""
    x = call.input(0)
    if x.data is not None:
        data = x.data
        (array,) = compute(lambda: [_cumulate(call, data)])
        return call.constant(array)
    axis = call.axis(int(call.number(1, "an axis")), len(x.shape))
    size, length = x.shape[axis], 1
    if call.attr_flag("exclusive"):
        x = _moved_on(call, x, axis, min(1, size))
    while length < size:
        x = call.add("Add", x, _moved_on(call, x, axis, length))
        length *= 2
    return x


def _moved_on(call: Call, x: Value, axis: int, places: int) -> Value:
    """``x`` moved along ``axis`` in the sum's direction; zeros take the places left."""
    before = -places if call.attr_flag("reverse") else places
    rank = len(x.shape)
    pads = [0] * 2 * rank
    pads[axis], pads[rank + axis] = before, -before
    return call.add("Pad", x, pads=tuple(pads))


def _trilu(call: Call) -> Value:
    x = call.input(0)
    if len(x.shape) < 2:
        raise call.error(f"needs a matrix, but has {dims(x.shape)}")
    k = 0 if call.optional(1) is None else int(call.number(1, "k"))
    k = min(max(k, -x.shape[-2] - 1), x.shape[-1] + 1)
    call.make_room(x.shape[-2:], np.dtype(bool))
    keep = np.ones(x.shape[-2:], bool)
    kept = np.triu(keep, k) if call.attr_flag("upper", True) else np.tril(keep, k)
    return call.add("Where", call.constant(kept), x, call.like(x, 0))


def _eye_like(call: Call) -> Value:
    x, k = call.input(0), call.attr_int("k", 0)
    if len(x.shape) != 2:
        raise call.error(f"needs a matrix, but has {dims(x.shape)}")
    dtype = cast_target(call, call.attr_int("dtype")) if call.has("dtype") else x.dtype
    call.make_room(x.shape, dtype.numpy)
    k = min(max(k, -x.shape[0]), x.shape[1])
    return call.constant(np.eye(*x.shape, k, dtype.numpy))


def _bitwise(function: Callable[..., np.ndarray]) -> Callable[[Call], np.ndarray]:
    def compute_bits(call: Call) -> np.ndarray:
        operands = [call.array(slot, "operands") for slot in range(len(call.inputs))]
        return np.asarray(function(*operands))

    return compute_bits


def _bit_shift(call: Call) -> np.ndarray:
    x, count = call.array(0, "an operand"), call.array(1, "a count")
    direction = call.attr_string("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise call.error(f"has direction {direction[:20]!r}")
    last = x.dtype.itemsize * 8 - 1
    inside = (count >= 0) & (count <= last)
    if direction == "LEFT":
        return np.asarray(np.where(inside, np.left_shift(x, count & last), 0), x.dtype)
    # by the last place, which leaves nothing but a signed number's sign
    far = np.right_shift(x, np.array(last, x.dtype)) if x.dtype.kind == "i" else np.zeros_like(x)
    return np.asarray(np.where(inside, np.right_shift(x, count & last), far), x.dtype)


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
    "CumSum": _cum_sum,
    "CumProd": _folded(_cum_prod),
    "Trilu": _trilu,
    "EyeLike": _eye_like,
    "BitwiseAnd": _folded(_bitwise(np.bitwise_and)),
    "BitwiseOr": _folded(_bitwise(np.bitwise_or)),
    "BitwiseXor": _folded(_bitwise(np.bitwise_xor)),
    "BitwiseNot": _folded(_bitwise(np.bitwise_not)),
    "BitShift": _folded(_bit_shift),
}
"""Importers by operator."""
