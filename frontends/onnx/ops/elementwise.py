"""Operators that act on each element."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
from onnx import TensorProto

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.tensors import DTYPES, type_name
from bnnc.ir.graph import Value
from bnnc.ir.types import DType


def _unary(**floats: float | None) -> Importer:
    """The IR has the same op; ``floats`` are its attributes with ONNX's defaults."""

    def importer(call: Call) -> Value:
        attrs = {name: call.attr_float(name, default) for name, default in floats.items()}
        return call.add(call.op, call.input(0), **attrs)

    return importer


def _binary(call: Call) -> Value:
    return call.add(call.op, call.input(0), call.input(1))


def _pow(call: Call) -> Value:
    """The result has the type of the base; compiled code has powers of one type only."""
    x, y = call.input(0), call.input(1)
    if x.dtype is y.dtype or x.dtype.is_float:
        return call.add("Pow", x, call.cast(y, x.dtype))
    if not y.dtype.is_float or (y.data is not None and (y.data == np.floor(y.data)).all()):
        return call.add("Pow", x, call.cast(y, x.dtype))
    return call.cast(call.add("Pow", call.cast(x, DType.F32), y), x.dtype)


def _variadic(op: str) -> Importer:
    """``op`` between all operands, from the left."""

    def importer(call: Call) -> Value:
        values = [call.input(slot) for slot in range(len(call.inputs))]
        return reduce(lambda x, y: call.add(op, x, y), values)

    return importer


def _mean(call: Call) -> Value:
    total = _variadic("Add")(call)
    assert isinstance(total, Value)
    return call.add("Div", total, call.like(total, len(call.inputs)))


def _mod(call: Call) -> Value:
    return call.add("Mod", call.input(0), call.input(1), fmod=call.attr_int("fmod", 0))


def _where(call: Call) -> Value:
    return call.add("Where", call.input(0), call.input(1), call.input(2))


def _identity(call: Call) -> Value:
    return call.input(0)


def _dropout(call: Call) -> list[Value | None]:
    """The identity, as always outside training."""
    x = call.input(0)
    training = call.optional(2)
    if training is not None and (training.data is None or bool(training.data.any())):
        raise call.unsupported("is in training mode", hint="export the model for inference")
    mask = None
    if call.wants(1) and call.version >= 12:
        mask = call.add("Expand", call.constant(np.True_), shape=x.shape)
    return [x, mask]


def _clip(call: Call) -> Value:
    x = call.input(0)
    if call.version < 11:
        low = call.attr_float("min", -math.inf)
        high = call.attr_float("max", math.inf)
        return call.add("Clip", x, min=low, max=high)
    bounds = [call.optional(1), call.optional(2)]
    for bound in bounds:
        if bound is not None and bound.type.elements != 1:
            raise call.error("has a bound that is not one number")
    if x.dtype.is_float and all(bound is None or bound.is_constant for bound in bounds):
        low, high = (
            default if bound is None else float(call.number(slot, "bounds"))
            for slot, bound, default in zip((1, 2), bounds, (-math.inf, math.inf))
        )
        return call.add("Clip", x, min=low, max=high)
    for op, bound in zip(("Max", "Min"), bounds):
        if bound is not None:
            x = call.add(op, x, call.reshape(bound, ()))
    return x


def cast_target(call: Call, number: int) -> DType:
    """The IR's element type for ONNX's; every float is float32 inside.

    Raises:
        UnsupportedError: for types the IR does not have.
    """
    if number == TensorProto.BFLOAT16:
        return DType.F32
    if number not in DTYPES:
        raise call.unsupported(f"gives elements of type {type_name(number)}")
    return DType.F32 if DTYPES[number].is_float else DTYPES[number]


def _cast(call: Call) -> Value:
    """Half precision computes in float32, which is no worse; but a tensor that is cast there and
    back was to be rounded."""
    x, to = call.input(0), call.attr_int("to")
    if to == TensorProto.FLOAT16:
        call.note_half()
    elif to in (TensorProto.FLOAT, TensorProto.DOUBLE) and call.is_half(0):
        x = call.cast(x, DType.F16)
    return call.cast(x, cast_target(call, to))


def _cast_like(call: Call) -> Value:
    narrow = call.narrow(call.input(1))
    if narrow is not None:
        raise call.unsupported(f"gives elements of {narrow[0]} bits")
    return call.cast(call.input(0), call.input(1).dtype)


def _is_nan(call: Call) -> Value:
    x = call.input(0)
    return call.add("Not", call.add("Equal", x, x))


def _is_inf(call: Call) -> Value:
    x = call.input(0)
    up, down = call.attr_flag("detect_positive", True), call.attr_flag("detect_negative", True)
    if not up and not down:
        return call.add("Expand", call.constant(np.False_), shape=x.shape)
    if up and down:
        x = call.add("Abs", x)
    return call.add("Equal", x, call.like(x, math.inf if up else -math.inf))


# ---- activations made of others ---------------------------------------------------------------


def _gelu(call: Call) -> Value:
    return gelu(call, call.input(0), call.attr_string("approximate", "none"))


def gelu(call: Call, x: Value, approximate: str) -> Value:
    """x / 2 * (1 + erf(x / sqrt 2)), or its tanh approximation."""
    if approximate == "tanh":
        cube = call.add("Mul", call.add("Mul", x, x), x)
        inner = call.add("Add", x, call.add("Mul", cube, call.like(x, 0.044715)))
        gate = call.add("Tanh", call.add("Mul", inner, call.like(x, math.sqrt(2 / math.pi))))
    else:
        gate = call.add("Erf", call.add("Mul", x, call.like(x, math.sqrt(0.5))))
    half = call.add("Mul", x, call.like(x, 0.5))
    return call.add("Mul", half, call.add("Add", gate, call.like(x, 1)))


def _mish(call: Call) -> Value:
    x = call.input(0)
    return call.add("Mul", x, call.add("Tanh", call.add("Softplus", x)))


def _swish(call: Call) -> Value:
    x, alpha = call.input(0), call.attr_float("alpha", 1.0)
    inner = x if alpha == 1 else call.add("Mul", x, call.like(x, alpha))
    return call.add("Mul", x, call.add("Sigmoid", inner))


def _celu(call: Call) -> Value:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    x, alpha = call.input(0), call.attr_float("alpha", 1.0)
    scaled = call.add("Div", x, call.like(x, alpha))
    return call.add("Mul", call.add("Elu", scaled), call.like(x, alpha))


def _thresholded_relu(call: Call) -> Value:
    x, alpha = call.input(0), call.attr_float("alpha", 1.0)
    return call.add("Where", call.add("Greater", x, call.like(x, alpha)), x, call.like(x, 0))


def _shrink(call: Call) -> Value:
    """x - bias above lambd, x + bias below -lambd, else 0."""
    x, bias, lambd = call.input(0), call.attr_float("bias", 0.0), call.attr_float("lambd", 0.5)
    if not x.dtype.is_float:
        raise call.unsupported(f"on {x.dtype.value} is not supported")
    above = call.add("Greater", x, call.like(x, lambd))
    below = call.add("Less", x, call.like(x, -lambd))
    low = call.add("Where", below, call.add("Add", x, call.like(x, bias)), call.like(x, 0))
    return call.add("Where", above, call.add("Sub", x, call.like(x, bias)), low)


def _tan(call: Call) -> Value:
    x = call.input(0)
    return call.add("Div", call.add("Sin", x), call.add("Cos", x))


def _hyperbolic(op: str) -> Importer:
    """sinh or cosh, as half of exp(x) -/+ exp(-x)."""

    def importer(call: Call) -> Value:
        x = call.input(0)
        pair = call.add("Exp", x), call.add("Exp", call.add("Neg", x))
        return call.add("Mul", call.add(op, *pair), call.like(x, 0.5))

    return importer


def _same(names: str, importer: Callable[[Call], Value]) -> dict[str, Importer]:
    return dict.fromkeys(names.split(), importer)


ELEMENTWISE: dict[str, Importer] = {
    **_same(
        "Relu Sigmoid Tanh HardSwish Exp Log Sqrt Neg Abs Floor Ceil Round Reciprocal Erf "
        "Softplus Softsign Sign Not Sin Cos Asin Acos Atan Asinh Acosh Atanh",
        lambda call: call.add(call.op, call.input(0)),
    ),
    "LeakyRelu": _unary(alpha=0.01),
    "Elu": _unary(alpha=1.0),
    "Selu": _unary(alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "HardSigmoid": _unary(alpha=0.2, beta=0.5),
    **_same(
        "Add Sub Mul Div PRelu And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual",
        _binary,
    ),
    "Pow": _pow,
    "Mod": _mod,
    "Where": _where,
    "Max": _variadic("Max"),
    "Min": _variadic("Min"),
    "Sum": _variadic("Add"),
    "Mean": _mean,
    "Clip": _clip,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Identity": _identity,
    "Dropout": _dropout,
    "IsNaN": _is_nan,
    "IsInf": _is_inf,
    "Gelu": _gelu,
    "Mish": _mish,
    "Swish": _swish,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
    "Tan": _tan,
    "Sinh": _hyperbolic("Sub"),
    "Cosh": _hyperbolic("Add"),
}
"""Importers by operator."""
