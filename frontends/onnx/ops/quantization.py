"""QuantizeLinear and DequantizeLinear as arithmetic in float32; on constants they fold."""

from __future__ import annotations

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.elementwise import cast_target
from bnnc.frontends.onnx.tensors import NARROW
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value
from bnnc.ir.types import DType


def _parameter(call: Call, value: Value, x: Value) -> Value:
    """A scale or zero point, per tensor, axis or block, so that it broadcasts to ``x``."""
    if value.type.elements == 1:
        return call.reshape(value, ())
    rank = len(x.shape)
    axis = call.axis(call.attr_int("axis", 1), rank)
    block = call.attr_int("block_size", 0)
    if block:
        return _blocks(call, value, x, axis, block)
    if value.shape != (x.shape[axis],):
        raise call.error(
            f"has an input of shape {dims(x.shape)}, but a scale or zero point of shape "
            f"{dims(value.shape)} for axis {axis}"
        )
    return call.reshape(value, value.shape + (1,) * (rank - axis - 1))


def _blocks(call: Call, value: Value, x: Value, axis: int, block: int) -> Value:
    """One element for each block along ``axis``, repeated over the block."""
    expected = list(x.shape)
    if block > 0:
        expected[axis] = -(-x.shape[axis] // block)
    if block < 0 or list(value.shape) != expected:
        raise call.error(
            f"has blocks of {block} and an input of shape {dims(x.shape)}, but a scale or zero "
            f"point of shape {dims(value.shape)}"
        )
    call.make_room((x.shape[axis],), np.dtype(np.int64))
    index = call.constant(np.arange(x.shape[axis], dtype=np.int64) // block)
    return call.add("Gather", value, index, axis=axis)


def _zero_point(call: Call, x: Value) -> Value | None:
    """The zero point as float32, None where it is 0."""
    value = call.optional(2)
    if value is None or (value.data is not None and not value.data.any()):
        return None
    return call.cast(_parameter(call, value, x), DType.F32)


def _dequantize(call: Call) -> Value:
    """(x - zero point) * scale."""
    x, scale = call.input(0), call.input(1)
    y, zero = call.cast(x, DType.F32), _zero_point(call, x)
    if zero is not None:
        y = call.add("Sub", y, zero)
    return call.add("Mul", y, _parameter(call, scale, x))


def _quantize(call: Call) -> Value:
    """round(x / scale) + zero point, held within the range of the type."""
    x = call.cast(call.input(0), DType.F32)
    scale = call.cast(call.input(1), DType.F32)
    to, limits = _target(call)
    y = call.add("Round", call.add("Div", x, _parameter(call, scale, x)))
    return held(call, y, _zero_point(call, x), to, limits)


def held(
    call: Call, y: Value, zero: Value | None, to: DType, limits: tuple[int, int] | None = None
) -> Value:
    """The integers ``y`` + zero point as ``to``, those out of range at its limits."""
    if limits is None:
        info = np.iinfo(to.numpy)
        limits = info.min, info.max
    if zero is not None:
        y = call.add("Add", y, call.cast(zero, DType.F32))
    low, high = map(float, limits)
    return call.cast(call.add("Clip", y, min=low, max=high), to)


def _target(call: Call) -> tuple[DType, tuple[int, int]]:
    """The element type to quantise to, and its range."""
    zero = call.optional(2)
    number = call.attr_int("output_dtype", 0)
    if zero is None and number in NARROW:
        return _narrow_range(*NARROW[number])
    if zero is not None and (narrow := call.narrow(zero)) is not None:
        return _narrow_range(*narrow)
    dtype = DType.U8
    if zero is not None:
        dtype = zero.dtype
    elif number:
        dtype = cast_target(call, number)
    if dtype.numpy.kind not in "iu":
        raise call.unsupported(f"to {dtype.value} is not supported")
    info = np.iinfo(dtype.numpy)
    return dtype, (info.min, info.max)


def _narrow_range(bits: int, signed: bool) -> tuple[DType, tuple[int, int]]:
    if signed:
        return DType.I8, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return DType.U8, (0, 2**bits - 1)


QUANTIZATION: dict[str, Importer] = {
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
"""Importers by operator."""
