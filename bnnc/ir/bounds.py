"""Intervals: between which numbers a tensor's elements lie, and whether they are integers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.ops import OPS
from bnnc.ir.types import DType


@dataclass(frozen=True)
class Real:
    """Any number from ``low`` to ``high``, or NaN; only integers if ``whole``."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


UNKNOWN = Real()

_MONOTONE = (
    *("Sigmoid", "HardSigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Erf"),
    *("Softplus", "Softsign", "Floor", "Ceil", "Round", "Cast", "Add", "Sub", "Mul"),
)
"""Ops that are monotone in each operand, in whichever direction: their extremes lie at corners."""

_ROUNDING = ("Round", "Floor", "Ceil", "Sign")
_WHOLE = ("Relu", "Clip", "Neg", "Abs", "Cast", "Add", "Sub", "Mul", "Max", "Min", "Mod", "Where")
"""Ops that make integers of integers."""


def bounds(node: Node, operands: Sequence[Real]) -> Real:
    """Bounds of an elementwise op's result, where they are easily had, from its operands'."""
    found = _ends(node, operands)
    return replace(found, whole=_is_whole(node, operands))


def by_type(kind: DType, real: Real) -> Real:
    """What an element type says by itself."""
    if kind.is_float:
        return real
    if kind in (DType.BOOL, DType.B1) or kind.numpy.itemsize > 2:
        return replace(real, whole=True)
    limits = np.iinfo(kind.numpy)
    return Real(max(real.low, limits.min), min(real.high, limits.max), True)


def hull(operands: Sequence[Real]) -> Real:
    """The smallest interval around several."""
    ends = [end for real in operands for end in (real.low, real.high)]
    if any(math.isnan(end) for end in ends):
        return UNKNOWN
    return Real(min(ends), max(ends), all(real.whole for real in operands))


def interval(arrays: Sequence[np.ndarray]) -> Real:
    """The interval that the elements of ``arrays`` span, but for NaN."""
    found = np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64)
    found = found[found == found]
    if not found.size:
        return UNKNOWN
    whole = bool((found == np.round(found)).all())
    return Real(float(found.min()), float(found.max()), whole)


def _is_whole(node: Node, operands: Sequence[Real]) -> bool:
    name = node.op.name
    if name in _ROUNDING:
        return True
    if name == "Clip" and not all(_integral(node.attrs[end]) for end in ("min", "max")):
        return False
    data = operands[1:] if name == "Where" else operands
    return name in _WHOLE and all(operand.whole for operand in data)


def _integral(number: float) -> bool:
    return math.isinf(number) or float(number).is_integer()


def _ends(node: Node, known: Sequence[Real]) -> Real:
    name = node.op.name
    first = known[0]
    if name == "Abs":
        return Real(max(first.low, -first.high, 0.0), max(-first.low, first.high))
    if name in ("Relu", "Clip"):
        low, high = (0.0, math.inf) if name == "Relu" else (node.attrs["min"], node.attrs["max"])
        return Real(min(max(first.low, low), high), min(max(first.high, low), high))
    if name in ("Max", "Min"):
        pick: Callable[..., float] = max if name == "Max" else min
        return Real(pick(real.low for real in known), pick(real.high for real in known))
    if name == "Where":
        return hull(known[1:])
    if name == "Mod" and not node.attrs["fmod"] and all(real.whole for real in known):
        divisor = known[1]
        return Real(0, divisor.high - 1) if divisor.low == divisor.high > 0 else UNKNOWN
    divides = name == "Div" and not known[1].low <= 0 <= known[1].high
    if name not in _MONOTONE and not divides:
        return UNKNOWN
    return _at_corners(node, known)


def _at_corners(node: Node, known: Sequence[Real]) -> Real:
    kinds = [value.dtype for value in node.inputs if value is not None]
    target = node.output.dtype
    ends = [end for real in known for end in (real.low, real.high)]
    if not all(kind.is_float for kind in (*kinds, target)):
        # Integers wrap around and know no infinity.
        if math.inf in map(abs, ends) or node.op.name == "Div":
            return UNKNOWN
        if node.op.name != "Cast":
            kinds = [DType.F64] * len(kinds)
    found = []
    for corner in itertools.product(*((real.low, real.high) for real in known)):
        arrays = [np.array(end).astype(kind.numpy) for end, kind in zip(corner, kinds)]
        found.append(float(node.op.compute(node, arrays)[0]))
    result = UNKNOWN if any(math.isnan(end) for end in found) else Real(min(found), max(found))
    return result if target.is_float or _fits(result, target) else UNKNOWN


def _fits(real: Real, kind: DType) -> bool:
    if kind is DType.BOOL:
        return True
    limits = np.iinfo(kind.numpy)
    return bool(limits.min <= real.low and real.high <= limits.max)


assert all(name in OPS for name in (*_MONOTONE, *_ROUNDING, *_WHOLE))
