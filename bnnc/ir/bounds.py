"""Intervals: between which numbers a tensor's elements lie, and on what grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from bnnc.ir.graph import Node, Value
from bnnc.ir.ops import OPS
from bnnc.ir.types import DType


@dataclass(frozen=True)
class Real:
    """Any number from ``low`` to ``high``, or NaN; only multiples of ``step``, a power of two, if
    that is not 0."""

    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether there are but integers."""
        return self.step >= 1


UNKNOWN = Real()

_MONOTONE = (
    *("Sigmoid", "HardSigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Erf"),
    *("Softplus", "Softsign", "Floor", "Ceil", "Round", "Cast", "Add", "Sub", "Mul"),
    *("Sign", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)
"""Ops that are monotone in each operand, in whichever direction: their extremes lie at corners."""

_ROUNDING = ("Round", "Floor", "Ceil", "Sign")
_ON_GRID = ("Relu", "Clip", "Neg", "Abs", "Cast", "Add", "Sub", "Max", "Min", "Where")
"""Ops that keep to the grid that all of their operands lie on."""

SUMMING = ("AveragePool", "ReduceMean", "ReduceSum")
"""Ops that add up an operand's elements, perhaps to divide by their number."""

_FINEST = 2.0**-40
_MOST_ENTRIES = 4096
"""Grids are looked for in constants of so many elements."""
_PIECE = 1 << 20
"""Elements that are looked at together."""


def bounds(node: Node, operands: Sequence[Real]) -> Real:
    """Bounds of an elementwise op's result, where they are easily had, from its operands'."""
    found = _ends(node, operands)
    return replace(found, step=_step(node, operands))


def sums(real: Real) -> Real:
    """On which side of 0 sums of such numbers lie: rounding moves none to the other."""
    return Real(-math.inf if real.low < 0 else 0.0, math.inf if real.high > 0 else 0.0)


def by_type(kind: DType, real: Real) -> Real:
    """What an element type says by itself."""
    if kind.is_float:
        return real
    step = max(real.step, 1.0)
    if kind in (DType.BOOL, DType.B1) or kind.numpy.itemsize > 2:
        return replace(real, step=step)
    limits = np.iinfo(kind.numpy)
    return Real(max(real.low, limits.min), min(real.high, limits.max), step)


def hull(operands: Sequence[Real]) -> Real:
    """The smallest interval around several."""
    ends = [end for real in operands for end in (real.low, real.high)]
    if any(math.isnan(end) for end in ends):
        return UNKNOWN
    return Real(min(ends), max(ends), min(real.step for real in operands))


def interval(arrays: Sequence[np.ndarray]) -> Real:
    """The interval that the elements of ``arrays`` span, but for NaN."""
    arrays = [array for array in arrays if array.size]
    lows = [float(np.fmin.reduce(array, axis=None)) for array in arrays]
    highs = [float(np.fmax.reduce(array, axis=None)) for array in arrays]
    if all(math.isnan(low) for low in lows):
        return UNKNOWN
    low, high = (ends[ends == ends] for ends in (np.array(lows), np.array(highs)))
    return Real(float(low.min()), float(high.max()), _grid(arrays))


def _grid(arrays: Sequence[np.ndarray]) -> float:
    """The coarsest step that all numbers in ``arrays`` are multiples of, 1 at most; 0 if it is
    finer than any that is of use."""
    if all(_whole(piece) for array in arrays for piece in _pieces(array)):
        return 1.0
    if sum(array.size for array in arrays) > _MOST_ENTRIES:
        return 0.0
    numbers = np.unique(np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64))
    numbers = numbers[numbers == numbers]
    if not np.isfinite(numbers).all():
        return 0.0
    finest = min(Fraction(1, Fraction(number).denominator) for number in numbers)
    return float(finest) if finest >= _FINEST else 0.0


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array's elements, few enough at a time for copies of them to be small."""
    flat = array.reshape(-1)
    return (flat[at : at + _PIECE] for at in range(0, flat.size, _PIECE))


def _whole(numbers: np.ndarray) -> bool:
    """Whether all are whole but for NaN."""
    if numbers.dtype.kind != "f":
        return True
    return bool(((numbers == np.round(numbers)) | (numbers != numbers)).all())


def _step(node: Node, operands: Sequence[Real]) -> float:
    """Of powers of two, the least divides all."""
    name = node.op.name
    if name in _ROUNDING:
        return 1.0
    if name == "Clip":
        ends = [node.attrs[end] for end in ("min", "max")]
        return min(operands[0].step, *(1.0 if math.isinf(end) else _grid_of(end) for end in ends))
    if name == "Mul":
        return _useful(operands[0].step * operands[1].step)
    if name == "Div":
        divisor = abs(operands[1].low)
        halves = operands[1].low == operands[1].high and 0 < divisor < math.inf
        return _useful(operands[0].step / divisor) if halves and _is_power(divisor) else 0.0
    if name == "Mod":
        return 1.0 if all(operand.whole for operand in operands) else 0.0
    data = operands[1:] if name == "Where" else operands
    return min(operand.step for operand in data) if name in _ON_GRID else 0.0


def _grid_of(number: float) -> float:
    return _grid([np.array([number], np.float32)])


def _is_power(number: float) -> bool:
    return math.frexp(number)[0] == 0.5


def _useful(step: float) -> float:
    return step if _FINEST <= step < math.inf else 0.0


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
    if name == "Equal":
        return Real(0, 0 if _apart(*known) else 1)
    if name == "Cast" and node.output.dtype is DType.BOOL:
        return Real(1 if _apart(first, Real(0, 0)) else 0, 1)
    if name == "Mod" and not node.attrs["fmod"] and all(real.whole for real in known):
        divisor = known[1]
        return Real(0, divisor.high - 1) if divisor.low == divisor.high > 0 else UNKNOWN
    if (period := _divisor(node)) is not None and 0 < first.step <= period:
        return Real(0, period - first.step)
    divides = name == "Div" and not known[1].low <= 0 <= known[1].high
    if name not in _MONOTONE and not divides:
        return UNKNOWN
    return _at_corners(node, known)


def _apart(one: Real, other: Real) -> bool:
    """Whether no number lies in both."""
    return one.high < other.low or other.high < one.low


def _divisor(node: Node) -> float | None:
    """c where ``node`` is x - c * floor(x / c), the remainder, and c a power of two, 1 or more:
    with other numbers, rounding may lead out of [0, c)."""
    if node.op.name != "Sub":
        return None
    x, product = node.operand(0), node.operand(1).producer
    for slot in (0, 1) if product.op.name == "Mul" else ():
        floor, number = product.operand(slot).producer, _number(product.operand(1 - slot))
        if floor.op.name != "Floor" or number is None or not _is_divisor(number):
            continue
        division = floor.operand(0).producer
        if division.op.name == "Div" and division.operand(0) is x:
            return number if _number(division.operand(1)) == number else None
    return None


def _is_divisor(number: float) -> bool:
    return 1 <= number <= 1 / _FINEST and _is_power(number)


def _number(value: Value) -> float | None:
    """The only element of a constant."""
    data = value.data
    return float(data.reshape(())) if data is not None and data.size == 1 else None


def _at_corners(node: Node, known: Sequence[Real]) -> Real:
    kinds = [value.dtype for value in node.inputs if value is not None]
    target = node.output.dtype
    ends = [end for real in known for end in (real.low, real.high)]
    decides = target is DType.BOOL
    if not (all(kind.is_float for kind in kinds) and (target.is_float or decides)):
        # Integers wrap around and know no infinity.
        if math.inf in map(abs, ends):
            return UNKNOWN
        if node.op.name != "Cast":
            kinds = [DType.F64] * len(kinds)
    found = []
    for corner in itertools.product(*((real.low, real.high) for real in known)):
        arrays = [np.array(end).astype(kind.numpy) for end, kind in zip(corner, kinds)]
        end = float(node.op.compute(node, arrays)[0])
        found.append(end if target.is_float or not math.isfinite(end) else float(math.trunc(end)))
    result = UNKNOWN if any(math.isnan(end) for end in found) else Real(min(found), max(found))
    return result if target.is_float or _fits(result, target) else UNKNOWN


def _fits(real: Real, kind: DType) -> bool:
    if kind is DType.BOOL:
        return True
    limits = np.iinfo(kind.numpy)
    return bool(limits.min <= real.low and real.high <= limits.max)


assert all(name in OPS for name in (*_MONOTONE, *_ROUNDING, *_ON_GRID))
