"""Normalisations, most of them made of means and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

_LEAST_NORM = float(np.finfo(np.float32).tiny)


def _batch(call: Call) -> list[Value | None]:
    if call.attr_flag("training_mode"):
        raise call.unsupported("is in training mode", hint="export the model for inference")
    if call.version < 9 and not call.attr_flag("spatial", True):
        raise call.unsupported("with spatial = 0 is not supported")
    x, *statistics = (call.input(slot) for slot in range(5))
    epsilon = call.attr_float("epsilon", 1e-5)
    if all(value.is_constant for value in statistics):
        y = call.add("BatchNormalization", x, *statistics, epsilon=epsilon)
        return [y, None, None, None, None]
    scale, bias, mean, variance = (_channel_vector(call, value, x) for value in statistics)
    deviation = call.add("Sqrt", call.add("Add", variance, call.like(x, epsilon)))
    factor = call.add("Div", scale, deviation)
    y = _affine(call, call.add("Sub", x, mean), factor, bias)
    return [y, None, None, None, None]


def _standardized(
    call: Call, x: Value, axes: Sequence[int], epsilon: float
) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + epsilon) over ``axes``; the mean; the deviation."""
    mean = call.add("ReduceMean", x, axes=tuple(axes), keepdims=True)
    centered = call.add("Sub", x, mean)
    square = call.add("Mul", centered, centered)
    variance = call.add("ReduceMean", square, axes=tuple(axes), keepdims=True)
    deviation = call.add("Sqrt", call.add("Add", variance, call.like(x, epsilon)))
    return call.add("Div", centered, deviation), mean, deviation


def _affine(call: Call, x: Value, scale: Value, bias: Value | None) -> Value:
    y = call.add("Mul", x, scale)
    return y if bias is None else call.add("Add", y, bias)


def _channel_vector(call: Call, value: Value, x: Value) -> Value:
    """A vector of one element per channel, so that it broadcasts to (N, C, ...)."""
    if len(x.shape) < 2 or value.shape != (x.shape[1],):
        raise call.error(f"has an input of {dims(x.shape)} and a vector of {dims(value.shape)}")
    return call.reshape(value, (x.shape[1],) + (1,) * (len(x.shape) - 2))


def _instance(call: Call) -> Value:
    x = call.input(0)
    scale, bias = (_channel_vector(call, call.input(slot), x) for slot in (1, 2))
    axes = range(2, len(x.shape))
    y, _, _ = _standardized(call, x, axes, call.attr_float("epsilon", 1e-5))
    return _affine(call, y, scale, bias)


def _layer(call: Call) -> list[Value]:
    x = call.input(0)
    rank = len(x.shape)
    axes = range(call.axis(call.attr_int("axis", -1), rank), rank)
    epsilon = call.attr_float("epsilon", 1e-5)
    y, mean, deviation = layer_norm(call, x, axes, epsilon, call.input(1), call.optional(2))
    return [y, mean, call.add("Reciprocal", deviation) if call.wants(2) else deviation]


def layer_norm(
    call: Call, x: Value, axes: Sequence[int], epsilon: float, scale: Value, bias: Value | None
) -> tuple[Value, Value, Value]:
    """``x`` standardised over ``axes`` and scaled; its mean; its deviation."""
    y, mean, deviation = _standardized(call, x, axes, epsilon)
    return _affine(call, y, scale, bias), mean, deviation


def _group(call: Call) -> Value:
    """Groups of channels; before version 21 scale and bias are per group."""
    x, groups = call.input(0), call.attr_int("num_groups")
    if len(x.shape) < 3 or groups < 1 or x.shape[1] % groups:
        raise call.error(f"has num_groups {groups} and an input of shape {dims(x.shape)}")
    grouped = call.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    y, _, _ = _standardized(call, grouped, (2,), call.attr_float("epsilon", 1e-5))
    if call.version < 21:
        vectors = [_channel_vector(call, call.input(slot), grouped) for slot in (1, 2)]
        return call.reshape(_affine(call, y, *vectors), x.shape)
    vectors = [_channel_vector(call, call.input(slot), x) for slot in (1, 2)]
    return _affine(call, call.reshape(y, x.shape), *vectors)


def _rms(call: Call) -> Value:
    x = call.input(0)
    rank = len(x.shape)
    axes = tuple(range(call.axis(call.attr_int("axis", -1), rank), rank))
    square = call.add("ReduceMean", call.add("Mul", x, x), axes=axes, keepdims=True)
    epsilon = call.like(x, call.attr_float("epsilon", 1e-5))
    y = call.add("Div", x, call.add("Sqrt", call.add("Add", square, epsilon)))
    return call.add("Mul", y, call.input(1))


def _lp(call: Call) -> Value:
    """x / |x|_p; where the norm is 0 so is the result."""
    x, order = call.input(0), call.attr_int("p", 2)
    if order not in (1, 2):
        raise call.unsupported(f"of order {order} is not supported; 1 and 2 are")
    axis = call.axis(call.attr_int("axis", -1), len(x.shape))
    norm = call.add(f"ReduceL{order}", x, axes=(axis,), keepdims=True)
    return call.add("Div", x, call.add("Max", norm, call.like(x, _LEAST_NORM)))


def _mean_variance(call: Call) -> Value:
    """(x - mean) / (deviation + 1e-9)."""
    x = call.input(0)
    axes = call.axes(call.attr_ints("axes", (0, 2, 3)), len(x.shape))
    _, mean, deviation = _standardized(call, x, axes, 0.0)
    floor = call.add("Add", deviation, call.like(x, 1e-9))
    return call.add("Div", call.add("Sub", x, mean), floor)


def _local_response(call: Call) -> Value:
    """x / (bias + alpha * mean of x^2 over ``size`` channels around)^beta."""
    x, size = call.input(0), call.attr_int("size")
    if len(x.shape) < 3 or not 1 <= size < 2**15:
        raise call.error(f"has size {size} and an input of shape {dims(x.shape)}")
    batch, channels, *rest = x.shape
    square = call.reshape(call.add("Mul", x, x), (batch, 1, channels, math.prod(rest)))
    mean = call.add(
        "AveragePool",
        square,
        kernel=(size, 1),
        pads=((size - 1) // 2, 0, size // 2, 0),
        count_include_pad=True,
    )
    scaled = call.add("Mul", mean, call.like(x, call.attr_float("alpha", 1e-4)))
    base = call.add("Add", scaled, call.like(x, call.attr_float("bias", 1.0)))
    power = call.add("Pow", base, call.like(x, call.attr_float("beta", 0.75)))
    return call.add("Div", x, call.reshape(power, x.shape))


NORMALIZATION: dict[str, Importer] = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "GroupNormalization": _group,
    "RMSNormalization": _rms,
    "LpNormalization": _lp,
    "MeanVarianceNormalization": _mean_variance,
    "LRN": _local_response,
}
"""Importers by operator."""
