"""Operators of onnxruntime's own domain, which its optimiser and its quantiser write."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.convolution import conv_of
from bnnc.frontends.onnx.ops.elementwise import gelu
from bnnc.frontends.onnx.ops.integer import matmul_integer
from bnnc.frontends.onnx.ops.matmul import gemm, matmul, scaled
from bnnc.frontends.onnx.ops.normalization import layer_norm
from bnnc.frontends.onnx.ops.pooling import average_pool
from bnnc.frontends.onnx.ops.quantization import QUANTIZATION, held
from bnnc.frontends.onnx.ops.reduction import softmax
from bnnc.ir.graph import Value
from bnnc.ir.types import DType

# ---- fused ------------------------------------------------------------------------------------

_ACTIVATIONS: dict[str, Sequence[tuple[str, float]]] = {
    "": (),
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": (("alpha", 0.01),),
    "Clip": (("min", -math.inf), ("max", math.inf)),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": (),
}
"""What can be fused, and what its parameters are called."""


def _activated(call: Call, x: Value, given: Sequence[float | None]) -> Value:
    """``x`` after the function that the attribute ``activation`` names; given: its parameters."""
    name = call.attr_string("activation", "")
    if name not in _ACTIVATIONS:
        raise call.unsupported(f"has the activation '{name[:40]}'")
    padded = [*given, None, None]
    attrs = {
        key: default if number is None else number
        for (key, default), number in zip(_ACTIVATIONS[name], padded)
    }
    return call.add(name, x, **attrs) if name else x


def _fused_conv(call: Call) -> Value:
    """activation(Conv(x, w, b) + z)."""
    y = conv_of(call, call.input(0), call.input(1), call.optional(2))
    z = call.optional(3)
    if z is not None:
        y = call.add("Add", y, z)
    return _activated(call, y, call.attr_floats("activation_params", ()))


def _fused_gemm(call: Call) -> Value:
    names = ("activation_alpha", "activation_beta")
    given = [call.attr_float(name) if call.has(name) else None for name in names]
    return _activated(call, gemm(call), given)


def _fused_matmul(call: Call) -> Value:
    """alpha * A' B', where the last two axes of each may be swapped."""
    if call.attr_flag("transBatchA") or call.attr_flag("transBatchB"):
        raise call.unsupported("that moves the batch is not supported")
    operands = []
    for slot, name in enumerate(("transA", "transB")):
        x = call.input(slot)
        rank = len(x.shape)
        swap = call.attr_flag(name) and rank > 1
        perm = (*range(rank - 2), rank - 1, rank - 2) if swap else tuple(range(rank))
        operands.append(call.transpose(x, perm))
    y = matmul(call, *operands)
    return scaled(call, y, call.attr_float("alpha", 1.0))


# ---- activations ------------------------------------------------------------------------------


def _biased(function: Callable[[Call, Value], Value]) -> Importer:
    """``function`` of the sum of an operand and a bias, which may be left out."""

    def importer(call: Call) -> Value:
        x, bias = call.input(0), call.optional(1)
        return function(call, x if bias is None else call.add("Add", x, bias))

    return importer


def _quick_gelu(call: Call) -> Value:
    """x * sigmoid(alpha * x)."""
    x = call.input(0)
    gate = call.add("Sigmoid", scaled(call, x, call.attr_float("alpha", 1.702)))
    return call.add("Mul", x, gate)


def _skip_layer_norm(call: Call) -> list[Value | None]:
    """LayerNormalization of x + skip + bias; gamma and beta come before the bias."""
    x = call.add("Add", call.input(0), call.input(1))
    bias = call.optional(4)
    if bias is not None:
        x = call.add("Add", x, bias)
    axes = (len(x.shape) - 1,)
    epsilon = call.attr_float("epsilon", 1e-5)
    y, mean, deviation = layer_norm(call, x, axes, epsilon, call.input(2), call.optional(3))
    inverse = call.add("Reciprocal", deviation) if call.wants(2) else None
    return [y, mean, inverse, x]


# ---- quantised --------------------------------------------------------------------------------


def _dequantized(call: Call, slot: int) -> Value:
    """Operand ``slot``, of which the next two are scale and zero point, as floats."""
    y = call.cast(call.input(slot), DType.F32)
    zero = call.optional(slot + 2)
    if zero is not None and (zero.data is None or zero.data.any()):
        y = call.add("Sub", y, call.cast(call.reshape(zero, ()), DType.F32))
    return call.add("Mul", y, call.reshape(call.input(slot + 1), ()))


def _quantized(call: Call, y: Value, slot: int) -> Value:
    """``y`` in the scale and zero point of operands ``slot`` and the next."""
    zero = call.optional(slot + 1)
    y = call.add("Round", call.add("Div", y, call.reshape(call.input(slot), ())))
    if zero is None:
        return held(call, y, None, DType.U8)
    return held(call, y, call.reshape(zero, ()), zero.dtype)


def _qlinear_binary(op: str) -> Importer:
    """A and B, each with scale and zero point, then those of the result."""

    def importer(call: Call) -> Value:
        y = call.add(op, _dequantized(call, 0), _dequantized(call, 3))
        return _quantized(call, y, 6)

    return importer


def _qlinear_unary(op: str, **defaults: float) -> Importer:
    def importer(call: Call) -> Value:
        attrs = {name: call.attr_float(name, default) for name, default in defaults.items()}
        return _quantized(call, call.add(op, _dequantized(call, 0), **attrs), 3)

    return importer


def _qlinear_global_pool(call: Call) -> Value:
    x = _dequantized(call, 0)
    rank = len(x.shape)
    axes = tuple(range(1, rank - 1) if call.attr_flag("channels_last") else range(2, rank))
    return _quantized(call, call.add("ReduceMean", x, axes=axes, keepdims=True), 3)


def _qlinear_pool(call: Call) -> Value:
    if call.attr_flag("channels_last"):
        raise call.unsupported("with channels_last is not supported")
    return _quantized(call, average_pool(call, _dequantized(call, 0)), 3)


def _qlinear_concat(call: Call) -> Value:
    """Scale and zero point of the result, then three operands for each part."""
    if len(call.inputs) < 5 or len(call.inputs) % 3 != 2:
        raise call.error(f"has {len(call.inputs)} inputs")
    parts = [_dequantized(call, slot) for slot in range(2, len(call.inputs), 3)]
    axis = call.axis(call.attr_int("axis"), len(parts[0].shape))
    y = call.add("Concat", *parts, axis=axis)
    return _quantized(call, y, 0)


def _matmul_integer_to_float(call: Call) -> Value:
    """A, B, their scales, their zero points, a bias."""
    a_scale, b_scale = call.input(2), call.input(3)
    total = matmul_integer(call, call.input(0), call.input(1), (call.optional(4), call.optional(5)))
    y = call.cast(total, DType.F32)
    y = call.add("Mul", y, call.add("Mul", a_scale, b_scale))
    bias = call.optional(6)
    return y if bias is None else call.add("Add", y, bias)


def _qgemm(call: Call) -> Value:
    """A' B' + C of integers, A and B each with scale and zero point; floats where none are given
    for the result."""
    operands = [
        call.transpose(call.input(slot), (1, 0)) if call.attr_flag(name) else call.input(slot)
        for slot, name in ((0, "transA"), (3, "transB"))
    ]
    total = matmul_integer(call, operands[0], operands[1], (call.input(2), call.input(5)))
    bias = call.optional(6)
    if bias is not None:
        total = call.add("Add", total, bias)
    factor = call.add("Mul", call.reshape(call.input(1), ()), call.input(4))
    factor = scaled(call, factor, call.attr_float("alpha", 1.0))
    y = call.add("Mul", call.cast(total, DType.F32), factor)
    return y if call.optional(7) is None else _quantized(call, y, 7)


def _qlinear_softmax(call: Call) -> Value:
    y = softmax(call, "Softmax", _dequantized(call, 0), call.attr_int("opset"))
    return _quantized(call, y, 3)


MICROSOFT: dict[str, Importer] = {
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "Gelu": lambda call: gelu(call, call.input(0), "none"),
    "BiasGelu": _biased(lambda call, x: gelu(call, x, "none")),
    "FastGelu": _biased(lambda call, x: gelu(call, x, "tanh")),
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_norm,
    "QLinearAdd": _qlinear_binary("Add"),
    "QLinearMul": _qlinear_binary("Mul"),
    "QLinearSigmoid": _qlinear_unary("Sigmoid"),
    "QLinearLeakyRelu": _qlinear_unary("LeakyRelu", alpha=0.01),
    "QLinearGlobalAveragePool": _qlinear_global_pool,
    "QLinearAveragePool": _qlinear_pool,
    "QLinearConcat": _qlinear_concat,
    "QLinearSoftmax": _qlinear_softmax,
    "QGemm": _qgemm,
    "MatMulIntegerToFloat": _matmul_integer_to_float,
    **QUANTIZATION,
}
"""Importers by operator."""
