"""Ops that act on each element: one operand here, several in ``broadcasting``."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Flow, Op
from bnnc.ir.ops.rules import EVERYTHING, FLOATS, LOGICAL, NUMBERS, fault, given, operands, require
from bnnc.ir.types import DType, TensorType

Function = Callable[..., np.ndarray]


def _unary(
    name: str,
    function: Function,
    doc: str,
    attrs: Mapping[str, Any] | None = None,
    kinds: Collection[DType] = FLOATS,
) -> Op:
    """An op that keeps shape and element type; ``function`` takes the attributes by name."""

    def infer(node: Node) -> list[TensorType]:
        (x,) = operands(node, 1)
        require(node, [x], kinds)
        return [x.type]

    def compute(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,) = given(arrays, 1)
        return [np.asarray(function(x, **node.attrs), x.dtype)]

    return Op(name, infer, compute, attrs or {}, Flow.ELEMENTWISE, doc=doc)


def _clip(x: np.ndarray, min: float, max: float) -> np.ndarray:
    if x.dtype.kind == "f":
        low, high = x.dtype.type(min), x.dtype.type(max)
    else:
        info = np.iinfo(x.dtype)
        # Not np.clip: as a float, the largest int64 is one too large.
        low, high = (
            info.min if bound <= info.min else info.max if bound >= info.max else int(bound)
            for bound in (min, max)
        )
    return np.asarray(np.minimum(np.maximum(x, low), high))


def _sign(x: np.ndarray, zero: int) -> np.ndarray:
    if zero == 0:
        return np.asarray(np.sign(x))
    # Zero and -0.0 take the policy's value; NaN compares false with everything and lands on -1.
    up = x >= 0 if zero > 0 else x > 0
    return np.where(up, x.dtype.type(1), -np.ones((), x.dtype))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1))


def _leaky(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x >= 0, x, x * x.dtype.type(alpha))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x >= 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def _selu(x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    return np.asarray(x.dtype.type(gamma) * _elu(x, alpha))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), x.dtype)


def _infer_sign(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    require(node, [x], NUMBERS)
    assert node.attrs["zero"] in (-1, 0, 1), node
    assert node.attrs["zero"] == 0 or x.dtype.numpy.kind in "fi", f"{node}: -1 has no room"
    return [x.type]


def _infer_cast(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    to = DType(node.attrs["to"])
    if DType.B1 in (to, x.dtype):
        raise fault(node, f"cannot turn {x.dtype.value} into {to.value}")
    return [TensorType(to, x.shape)]


def _cast(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    return [x.astype(DType(node.attrs["to"]).numpy)]


def _infer_identity(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    require(node, [x], EVERYTHING)
    return [x.type]


_SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}

UNARY = (
    _unary("Relu", lambda x: np.maximum(x, x.dtype.type(0)), "max(x, 0)", kinds=NUMBERS),
    _unary("LeakyRelu", _leaky, "x where x >= 0, else alpha * x", {"alpha": 0.01}),
    _unary(
        "Clip",
        _clip,
        "min(max(x, min), max)",
        {"min": -math.inf, "max": math.inf},
        NUMBERS,
    ),
    _unary("Sigmoid", _sigmoid, "1 / (1 + exp(-x))"),
    _unary("Tanh", np.tanh, "tanh(x)"),
    _unary("HardSwish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), "x * clip(x / 6 + 1/2, 0, 1)"),
    _unary(
        "HardSigmoid", _hard_sigmoid, "clip(alpha * x + beta, 0, 1)", {"alpha": 0.2, "beta": 0.5}
    ),
    _unary("Exp", np.exp, "exp(x)"),
    _unary("Log", np.log, "natural logarithm"),
    _unary("Sqrt", np.sqrt, "square root"),
    _unary("Neg", np.negative, "-x", kinds=NUMBERS),
    _unary("Abs", np.abs, "|x|", kinds=NUMBERS),
    _unary("Floor", np.floor, "the nearest integer below"),
    _unary("Ceil", np.ceil, "the nearest integer above"),
    _unary("Round", np.rint, "the nearest integer, halves to even"),
    _unary("Reciprocal", lambda x: 1 / x, "1 / x"),
    _unary("Erf", _erf, "the error function"),
    _unary("Softplus", lambda x: np.logaddexp(x, x.dtype.type(0)), "log(1 + exp(x))"),
    _unary("Elu", _elu, "x where x >= 0, else alpha * (exp(x) - 1)", {"alpha": 1.0}),
    _unary("Selu", _selu, "gamma * Elu(x, alpha)", _SELU),
    _unary("Softsign", lambda x: x / (1 + np.abs(x)), "x / (1 + |x|)"),
    Op(
        "Sign",
        _infer_sign,
        lambda node, arrays: [np.asarray(_sign(given(arrays, 1)[0], node.attrs["zero"]))],
        {"zero": 0},
        Flow.ELEMENTWISE,
        doc="-1, zero or 1; NaN gives NaN where zero is 0 (ONNX), else -1 (it compares false)",
    ),
    _unary("Not", np.logical_not, "logical negation", kinds=LOGICAL),
    _unary("Sin", np.sin, "sine"),
    _unary("Cos", np.cos, "cosine"),
    _unary("Asin", np.arcsin, "arc sine"),
    _unary("Acos", np.arccos, "arc cosine"),
    _unary("Atan", np.arctan, "arc tangent"),
    _unary("Asinh", np.arcsinh, "inverse of the hyperbolic sine"),
    _unary("Acosh", np.arccosh, "inverse of the hyperbolic cosine"),
    _unary("Atanh", np.arctanh, "inverse of the hyperbolic tangent"),
    Op("Cast", _infer_cast, _cast, {"to": REQUIRED}, Flow.ELEMENTWISE, doc="numpy's astype"),
    Op(
        "Identity",
        _infer_identity,
        lambda node, arrays: given(arrays, 1),
        flow=Flow.MOVEMENT,
        doc="x",
    ),
)
