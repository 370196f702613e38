"""Elementwise ops on several operands, which broadcast as in numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import Flow, Op
from bnnc.ir.ops.rules import (
    EVERYTHING,
    FLOATS,
    LOGICAL,
    NUMBERS,
    broadcast,
    fault,
    given,
    operands,
    require,
    same_dtype,
    show,
    tensor,
)
from bnnc.ir.types import DType, TensorType


def _binary(
    name: str,
    function: Callable[..., np.ndarray],
    doc: str,
    kinds: Collection[DType] = NUMBERS,
    result: DType | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Op:
    """An op on two operands of one element type; ``result`` is the output's, where it differs."""

    def infer(node: Node) -> list[TensorType]:
        pair = operands(node, 2)
        require(node, pair, kinds)
        kind = same_dtype(node, pair)
        return [tensor(node, result or kind, broadcast(node, [value.shape for value in pair]))]

    def compute(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, y = given(arrays, 2)
        kind = result.numpy if result else x.dtype
        return [np.asarray(function(x, y, **node.attrs), kind)]

    return Op(name, infer, compute, attrs or {}, Flow.ELEMENTWISE, doc=doc)


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.asarray(np.divide(x, y))
    floor = np.floor_divide(x, y)
    inexact = floor * y != x
    return np.asarray(floor + (inexact & ((x < 0) != (y < 0)) & (y != 0)), x.dtype)


def _infer_mod(node: Node) -> list[TensorType]:
    pair = operands(node, 2)
    require(node, pair, NUMBERS)
    kind = same_dtype(node, pair)
    if kind.is_float and not node.attrs["fmod"]:
        raise fault(node, "on floating-point numbers needs fmod = 1")
    return [tensor(node, kind, broadcast(node, [value.shape for value in pair]))]


def _mod(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, y = given(arrays, 2)
    return [np.asarray(np.fmod(x, y) if node.attrs["fmod"] else np.mod(x, y))]


def _infer_pow(node: Node) -> list[TensorType]:
    pair = operands(node, 2)
    require(node, pair, NUMBERS)
    return [tensor(node, pair[0].dtype, broadcast(node, [value.shape for value in pair]))]


def _pow(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, y = given(arrays, 2)
    if x.dtype.kind == "f":
        return [np.asarray(np.power(x, y.astype(x.dtype)))]
    # numpy refuses negative integer exponents; a float64 power is truncated instead.
    return [np.asarray(np.power(x.astype(np.float64), y)).astype(x.dtype)]


def _infer_prelu(node: Node) -> list[TensorType]:
    x, slope = operands(node, 2)
    require(node, [x, slope], FLOATS)
    same_dtype(node, [x, slope])
    if broadcast(node, [x.shape, slope.shape]) != x.shape:
        raise fault(
            node, f"has a slope of shape {show(slope.shape)}, which does not fit {show(x.shape)}"
        )
    return [x.type]


def _prelu(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, slope = given(arrays, 2)
    return [np.asarray(np.where(x >= 0, x, x * slope))]


def _infer_where(node: Node) -> list[TensorType]:
    condition, x, y = operands(node, 3)
    require(node, [condition], LOGICAL)
    kind = same_dtype(node, [x, y])
    return [tensor(node, kind, broadcast(node, [condition.shape, x.shape, y.shape]))]


def _where(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    condition, x, y = given(arrays, 3)
    return [np.asarray(np.where(condition, x, y))]


_BOOL = DType.BOOL

BROADCASTING = (
    _binary("Add", np.add, "x + y"),
    _binary("Sub", np.subtract, "x - y"),
    _binary("Mul", np.multiply, "x * y"),
    _binary("Div", _divide, "x / y; integers truncate towards zero"),
    Op("Pow", _infer_pow, _pow, flow=Flow.ELEMENTWISE, doc="x to the power y, of x's type"),
    _binary("Max", np.maximum, "the larger; NaN if either is"),
    _binary("Min", np.minimum, "the smaller; NaN if either is"),
    Op(
        "Mod",
        _infer_mod,
        _mod,
        {"fmod": 0},
        Flow.ELEMENTWISE,
        doc="remainder with y's sign, or with x's (C's fmod)",
    ),
    Op(
        "PRelu",
        _infer_prelu,
        _prelu,
        flow=Flow.ELEMENTWISE,
        learned=(1,),
        doc="x where x >= 0, else x * slope; the slope broadcasts to x",
    ),
    _binary("Equal", np.equal, "x == y", EVERYTHING - {DType.B1}, _BOOL),
    _binary("Greater", np.greater, "x > y", result=_BOOL),
    _binary("GreaterOrEqual", np.greater_equal, "x >= y", result=_BOOL),
    _binary("Less", np.less, "x < y", result=_BOOL),
    _binary("LessOrEqual", np.less_equal, "x <= y", result=_BOOL),
    _binary("And", np.logical_and, "x and y", LOGICAL),
    _binary("Or", np.logical_or, "x or y", LOGICAL),
    _binary("Xor", np.logical_xor, "x xor y", LOGICAL),
    Op("Where", _infer_where, _where, flow=Flow.ELEMENTWISE, doc="y where x, else z"),
)
