"""Which step of an epilogue a node is, seen from one of its operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.ir.graph import Node, Value
from bnnc.ir.op import Flow
from bnnc.ir.types import DType
from bnnc.passes.affine import affine_of
from bnnc.passes.rewriting import channel_vector, same_everywhere


@dataclass(frozen=True, eq=False)
class Piece:
    """One step before it has input slots: ``operands`` are tensors, or vectors [C]."""

    kind: str
    operands: tuple[Value | np.ndarray, ...] = ()
    params: tuple[Any, ...] = ()


_OTHERWISE = {"Relu", "LeakyRelu", "Clip", "Neg", "Identity", "Cast", "Not"}
"""Elementwise ops of one operand that are no ``unary`` step."""


def pieces_of(
    node: Node, value: Value, is_ready: Callable[[Value], bool]
) -> tuple[Piece, ...] | None:
    """The steps that ``node`` does to ``value``, or None if it cannot be said in steps.

    Args:
        is_ready: whether another operand will have been computed when the steps run.
    """
    if len(node.outputs) != 1 or node.output.type != value.type or value.dtype is not DType.F32:
        return None
    if [v for v in node.inputs if v is value] != [value]:
        return None
    affine = affine_of(node, value)
    if affine is not None:
        return (Piece("affine", affine),)
    channels = value.shape[1]
    attrs = node.attrs
    name = node.op.name
    if name == "Relu":
        return (Piece("relu"),)
    if name == "LeakyRelu":
        return (Piece("prelu", (np.full(channels, attrs["alpha"], np.float32),)),)
    if name == "Clip":
        return (Piece("clip", (), (attrs["min"], attrs["max"])),)
    if len(node.inputs) == 1 and node.op.flow is Flow.ELEMENTWISE and name not in _OTHERWISE:
        return (Piece("unary", (), (name, *attrs.items())),)
    return _of_two(node, value, is_ready) if len(node.inputs) == 2 else None


def _of_two(
    node: Node, value: Value, is_ready: Callable[[Value], bool]
) -> tuple[Piece, ...] | None:
    """Steps with another operand."""
    first = node.inputs[0] is value
    other = node.operand(1 if first else 0)
    name = node.op.name
    if name == "PRelu" and first and other.data is not None:
        slope = channel_vector(other.data, len(value.shape), value.shape[1])
        return None if slope is None else (Piece("prelu", (slope,)),)
    if name in ("Max", "Min"):
        bound = same_everywhere(other)
        if bound is None or math.isnan(bound):
            return None
        ends = (bound, math.inf) if name == "Max" else (-math.inf, bound)
        return (Piece("clip", (), ends),)
    if name == "Div" and not first:
        dividend = None
        if other.data is not None:
            dividend = channel_vector(other.data, len(value.shape), value.shape[1])
        if dividend is None:
            return None
        scale = dividend.astype(np.float64)
        return Piece("unary", (), ("Reciprocal",)), Piece("affine", (scale, np.zeros(len(scale))))
    if other.dtype is not DType.F32 or not is_ready(other):
        return None
    batch, channels, *pixels = value.shape
    negative = Piece("affine", (-np.ones(channels), np.zeros(channels)))
    if other.shape == value.shape:
        if name in ("Add", "Mul"):
            return (Piece(name.lower(), (other,)),)
        if name == "Sub":
            add = Piece("add", (other,))
            return (negative, add, negative) if first else (negative, add)
    elif name == "Mul" and pixels and other.shape == (batch, channels, *(1 for _ in pixels)):
        return (Piece("scale", (other,)),)
    return None
