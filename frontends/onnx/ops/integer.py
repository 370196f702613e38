"""Integer convolutions and matrix products, in floats, which hold every integer below 2^24 exactly.

Longer sums are cut along the channels they run over into parts that stay below, and the parts are
added as integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.convolution import conv_of
from bnnc.frontends.onnx.ops.matmul import matmul
from bnnc.frontends.onnx.ops.movement import cut
from bnnc.frontends.onnx.ops.quantization import held
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value
from bnnc.ir.types import DType

_EXACT = 2**24
_Product = Callable[[Value, Value], Value]


def _centered(call: Call, x: Value, zero: Value | None) -> Value:
    """x - zero point, as floats."""
    y = call.cast(x, DType.F32)
    if zero is None or (zero.data is not None and not zero.data.any()):
        return y
    return call.add("Sub", y, call.cast(zero, DType.F32))


def _reach(x: Value, zero: Value | None) -> int:
    """The largest absolute value of x - zero point."""
    if x.data is not None and (zero is None or zero.data is not None):
        wide = x.data.astype(np.int64) - (0 if zero is None else zero.data.astype(np.int64))
        return int(np.abs(wide).max(initial=0))
    info = np.iinfo(x.dtype.numpy)
    if zero is None or zero.data is None:
        return max(-info.min, info.max) if zero is None else int(info.max) - int(info.min)
    least, most = (int(pick(zero.data)) for pick in (np.min, np.max))
    return max(int(info.max) - least, most - int(info.min))


def _sum_of_products(
    call: Call,
    operands: tuple[Value, Value],
    reaches: tuple[int, int],
    axes: tuple[int, int],
    per_channel: int,
    product: _Product,
    bias: Value | None = None,
) -> Value:
    """The exact product as int32.

    Args:
        operands: float tensors of integers.
        reaches: the largest absolute value of each.
        axes: along which axis of each the sum runs.
        per_channel: how many products each step along these axes adds up.
        product: the product of two operands, or of parts of them.
        bias: int32, to be added.
    """
    (x, w), (along, across) = operands, axes
    each = reaches[0] * reaches[1] * per_channel
    channels = w.shape[across]
    most = max((_EXACT - 1) // max(each, 1), 0)
    if most == 0 or (most < channels and x.shape[along] != channels):
        raise call.unsupported("adds up more than floats hold exactly; no exact form is known")
    total: Value | None = None
    for start in range(0, channels, most):
        end = min(start + most, channels)
        whole = (start, end) == (0, channels)
        parts = (
            (x, w) if whole else (cut(call, x, along, start, end), cut(call, w, across, start, end))
        )
        part = call.cast(product(*parts), DType.I32)
        total = part if total is None else call.add("Add", total, part)
    assert total is not None
    return total if bias is None else call.add("Add", total, bias)


def _along(call: Call, value: Value, rank: int, axis: int) -> Value:
    """A number per tensor, or one per element of ``axis`` of a tensor of ``rank`` axes."""
    if value.type.elements == 1:
        return call.reshape(value, ())
    if len(value.shape) > 1:
        return value
    return call.reshape(value, [value.shape[0] if i == axis else 1 for i in range(rank)])


def _conv(
    call: Call, x: Value, w: Value, zeros: tuple[Value | None, Value | None], bias: Value | None
) -> Value:
    """int32 convolution of integers; ``bias`` is int32 [OC]."""
    rank = len(x.shape)
    if len(w.shape) != rank or rank < 3:
        raise call.error(f"has an input of {dims(x.shape)} and weights of {dims(w.shape)}")
    x_zero, w_zero = zeros
    x_zero = None if x_zero is None else _along(call, x_zero, rank, 1)
    w_zero = None if w_zero is None else _along(call, w_zero, rank, 0)
    per_channel = int(np.prod(w.shape[2:]))
    if bias is not None:
        bias = call.reshape(bias, (*bias.shape, *(1 for _ in range(rank - 2))))
    return _sum_of_products(
        call,
        (_centered(call, x, x_zero), _centered(call, w, w_zero)),
        (_reach(x, x_zero), _reach(w, w_zero)),
        (1, 1),
        per_channel,
        lambda part, weights: conv_of(call, part, weights, None),
        bias,
    )


def matmul_integer(
    call: Call, a: Value, b: Value, zeros: tuple[Value | None, Value | None]
) -> Value:
    """int32 matrix product of integers."""
    if not a.shape or not b.shape:
        raise call.error(f"cannot multiply {dims(a.shape)} by {dims(b.shape)}")
    a_zero, b_zero = zeros
    a_zero = None if a_zero is None else _along(call, a_zero, len(a.shape), len(a.shape) - 2)
    b_zero = None if b_zero is None else _along(call, b_zero, len(b.shape), len(b.shape) - 1)
    return _sum_of_products(
        call,
        (_centered(call, a, a_zero), _centered(call, b, b_zero)),
        (_reach(a, a_zero), _reach(b, b_zero)),
        (len(a.shape) - 1, max(len(b.shape) - 2, 0)),
        1,
        lambda x, y: matmul(call, x, y),
    )


def _conv_integer(call: Call) -> Value:
    zeros = call.optional(2), call.optional(3)
    return _conv(call, call.input(0), call.input(1), zeros, None)


def _matmul_of_integers(call: Call) -> Value:
    return matmul_integer(call, call.input(0), call.input(1), (call.optional(2), call.optional(3)))


def _requantize(call: Call, total: Value, factor: Value, zero: Value) -> Value:
    """round(total * factor) + zero point, as integers of the zero point's type."""
    y = call.add("Round", call.add("Mul", call.cast(total, DType.F32), factor))
    return held(call, y, call.reshape(zero, ()), zero.dtype)


def _factor(call: Call, first: Value, second: Value, result: Value) -> Value:
    """The scale from sums of products to the result."""
    product = call.add("Mul", call.cast(first, DType.F32), call.cast(second, DType.F32))
    return call.add("Div", product, call.cast(call.reshape(result, ()), DType.F32))


def _qlinear_conv(call: Call) -> Value:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = map(call.input, range(8))
    total = _conv(call, x, w, (x_zero, w_zero), call.optional(8))
    w_scale = _along(call, w_scale, len(x.shape), 1)
    factor = _factor(call, call.reshape(x_scale, ()), w_scale, y_scale)
    return _requantize(call, total, factor, y_zero)


def _qlinear_matmul(call: Call) -> Value:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = map(call.input, range(8))
    total = matmul_integer(call, a, b, (a_zero, b_zero))
    rank = len(total.shape)
    scales = _along(call, a_scale, rank, rank - 2), _along(call, b_scale, rank, rank - 1)
    return _requantize(call, total, _factor(call, *scales, y_scale), y_zero)


INTEGER: dict[str, Importer] = {
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_of_integers,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
"""Importers by operator."""
