"""Which values can a tensor take? The analysis that proves tensors binary.

A :class:`Finite` domain maps the *states* of a root to values. There are two kinds of root:

* a real tensor x compared with a constant c: an element is below, at, or above c, or not a number;
* a tensor that is known to take few values: its state is which of them.

An elementwise op on operands that share a root is evaluated state by state, with the op's own
numpy meaning. So Sign, Sign(Sign(x) + 0.1), Where(x >= 0, 1, -1), comparison and Cast, {0, 1}
forms, Clip or BatchNormalization of a sign all come out two-valued, and no form is named anywhere.
Ops that move elements keep the set of values. Everything else is :class:`Real`, with bounds where
they are easily known: rounding something bounded gives few values again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bnnc.ir import levels as sets
from bnnc.ir.epilogue import steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.op import Flow
from bnnc.ir.ops import OPS
from bnnc.ir.ops.resize import is_nearest
from bnnc.ir.types import DType

BELOW, EQUAL, ABOVE, NAN = range(4)
"""States of an element compared with a constant."""

MAX_BYTES = 1 << 30
"""Constants that have not been folded are computed up to this size in all."""


@dataclass(frozen=True, eq=False)
class Exact:
    """The tensor is a constant."""

    array: np.ndarray


@dataclass(frozen=True)
class Real:
    """Any number from ``low`` to ``high``, or NaN."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class Root:
    """What decides the state of each element: ``value`` compared with ``at`` (an array that
    broadcasts to it), or, where ``at`` is None, which of its few values ``value`` takes."""

    value: Value
    at: np.ndarray | None = None

    def same(self, other: Root) -> bool:
        if self.value is not other.value:
            return False
        if self.at is None or other.at is None:
            return self.at is other.at
        return np.array_equal(self.at, other.at)


@dataclass(frozen=True, eq=False)
class Finite:
    """Few values, decided by a root.

    Attributes:
        root: what decides.
        states: the value in each state, an array that broadcasts to the tensor's shape; None for
            a state that cannot occur. Four states if the root is a comparison.
    """

    root: Root
    states: tuple[np.ndarray | None, ...]

    def levels(self) -> np.ndarray | None:
        """The values it takes where nothing is NaN, see :mod:`bnnc.ir.levels`; None if many."""
        reached = self.states if self.root.at is None else self.states[:NAN]
        return sets.merge([state for state in reached if state is not None])


Domain = Exact | Real | Finite
UNKNOWN = Real()


class Domains:
    """The domain of every value of a graph, as it is when this is made.

    Args:
        sign_zero: what to take ONNX Sign's value at zero for: 0 as it is, or 1 or -1.
    """

    def __init__(self, graph: Graph, *, sign_zero: int = 0) -> None:
        self._sign_zero = sign_zero
        self._budget = MAX_BYTES
        self._found: dict[Value, Domain] = {}
        with np.errstate(all="ignore"):
            for node in graph.all_nodes():
                self._visit(node)

    def of(self, value: Value) -> Domain:
        return self._found[value]

    def distinct(self, value: Value) -> np.ndarray | None:
        """The values ``value`` takes anywhere, ascending; None if they are many or unknown."""
        domain = self._found[value]
        if isinstance(domain, Finite):
            found = domain.levels()
            return None if found is None else sets.pool([found])
        return sets.pool([domain.array]) if isinstance(domain, Exact) else None

    # ---- one node -------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        domains = [self._found[value] for value in node.inputs if value is not None]
        if len(node.outputs) != 1 or steps_of(node):
            self._found.update((value, UNKNOWN) for value in node.outputs)
            return
        value = node.output
        if node.op.name == "Constant":
            domain: Domain = Exact(node.attrs["data"])
        elif domains and all(isinstance(d, Exact) for d in domains):
            domain = self._constant(node, [d.array for d in domains if isinstance(d, Exact)])
        elif node.op.flow is Flow.ELEMENTWISE or node.op.name == "BatchNormalization":
            domain = self._elementwise(node, domains)
        elif node.op.flow is Flow.MOVEMENT or (node.op.name == "Resize" and is_nearest(node)):
            domain = _moved(node, domains[: node.op.data_inputs])
        else:
            domain = UNKNOWN
        if isinstance(domain, Real):
            domain = _by_type(value, domain)
        self._found[value] = domain

    def _constant(self, node: Node, arrays: Sequence[np.ndarray]) -> Domain:
        self._budget -= node.output.type.bytes
        return Exact(self._compute(node, arrays)) if self._budget >= 0 else UNKNOWN

    def _compute(self, node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
        if node.op.name == "Sign" and node.attrs["zero"] == 0 and self._sign_zero:
            attrs = {"zero": self._sign_zero}
            node = Node(node.op, node.name, attrs, node.serial)
        (result,) = node.op.compute(node, arrays)
        return result

    def _elementwise(self, node: Node, domains: Sequence[Domain]) -> Domain:
        if any(isinstance(d, Real) for d in domains):
            return self._of_reals(node, domains)
        operands = [_states(d) for d in domains]
        roots = [d.root for d in domains if isinstance(d, Finite)]
        if all(root.same(roots[0]) for root in roots):
            count = max(len(states) for states in operands)
            columns = [s * count if len(s) == 1 else s for s in operands]
            states = tuple(self._state(node, column) for column in zip(*columns))
            return Finite(roots[0], states)
        # Unrelated operands: any state of one may meet any state of another.
        if math.prod(len(states) for states in operands) > sets.LIMIT:
            return UNKNOWN
        found = [self._state(node, column) for column in itertools.product(*operands)]
        return _members(node.output, [state for state in found if state is not None])

    def _state(self, node: Node, column: Sequence[np.ndarray | None]) -> np.ndarray | None:
        arrays = [array for array in column if array is not None]
        if len(arrays) < len(column):
            return None
        if node.op.name == "BatchNormalization":
            arrays[0] = sets.aligned(arrays[0][None], len(node.output.shape))[0]
        return sets.compress(self._compute(node, arrays))

    def _of_reals(self, node: Node, domains: Sequence[Domain]) -> Domain:
        """A comparison with a constant makes the states; rounding what is bounded, few values."""
        slot = next(i for i, d in enumerate(domains) if isinstance(d, Real))
        real, x = domains[slot], node.operand(slot)
        others = [d for i, d in enumerate(domains) if i != slot]
        constants = [d.array for d in others if isinstance(d, Exact)]
        assert isinstance(real, Real)
        if len(constants) < len(others):
            return _bounds(node, domains)
        at = _turning_point(node, x, constants)
        if at is not None:
            states = [
                self._state(node, [*constants[:slot], sample, *constants[slot:]])
                for sample in (np.nextafter(at, -math.inf), at, np.nextafter(at, math.inf))
            ]
            nan = self._state(
                node, [*constants[:slot], np.full_like(at, np.nan), *constants[slot:]]
            )
            reachable = (real.low < at.max(), True, real.high > at.min())
            kept = (state if ok else None for state, ok in zip(states, reachable))
            return Finite(Root(x, at), (*kept, nan))
        result = _bounds(node, domains)
        if node.op.name in _ROUNDING or _truncates(node):
            return _integers(node.output, result) or result
        return result


def _states(domain: Domain) -> tuple[np.ndarray | None, ...]:
    """A constant has one state."""
    if isinstance(domain, Exact):
        return (sets.compress(domain.array),)
    assert isinstance(domain, Finite)
    return domain.states


def _members(value: Value, arrays: Sequence[np.ndarray]) -> Domain:
    levels = sets.merge(arrays)
    return UNKNOWN if levels is None else Finite(Root(value), tuple(levels))


def _by_type(value: Value, real: Real) -> Domain:
    """What an element type says by itself."""
    if value.dtype is DType.BOOL:
        return Finite(Root(value), (np.array(False), np.array(True)))
    if value.dtype is DType.U8:
        return Real(max(real.low, 0), min(real.high, 255))
    return real


# ---- from reals to few values -----------------------------------------------------------------

_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_ROUNDING = ("Round", "Floor", "Ceil")


def _turning_point(node: Node, x: Value, others: Sequence[np.ndarray]) -> np.ndarray | None:
    """Where the op's result changes, if it depends on ``x`` only by comparing it with that."""
    if x.dtype is not DType.F32:
        return None
    if node.op.name == "Sign" or (node.op.name == "Cast" and node.output.dtype is DType.BOOL):
        return np.zeros((), np.float32)
    if node.op.name in _COMPARISONS:
        return sets.compress(others[0])
    return None


def _truncates(node: Node) -> bool:
    return node.op.name == "Cast" and not node.output.dtype.is_float


def _integers(value: Value, bounds: Real) -> Domain | None:
    if not bounds.high - bounds.low < sets.LIMIT:
        return None
    first, last = math.ceil(bounds.low), math.floor(bounds.high)
    kind = value.dtype.numpy
    return Finite(Root(value), tuple(np.array(i, kind) for i in range(first, last + 1)))


# ---- bounds -----------------------------------------------------------------------------------

_MONOTONE = (
    *("Relu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Erf"),
    *("Softplus", "Softsign", "Floor", "Ceil", "Round", "Cast", "Add", "Sub", "Mul"),
)
"""Ops that are monotone in each operand, in whichever direction: their extremes lie at corners."""


def _bounds(node: Node, domains: Sequence[Domain]) -> Real:
    """Bounds of an elementwise op's result, where they are easily had."""
    name = node.op.name
    kinds = [value.dtype for value in node.inputs if value is not None]
    intervals = [_interval(domain) for domain in domains]
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(domains):
        return UNKNOWN
    if name == "Abs":
        ((low, high),) = known
        return _hull([max(low, -high, 0.0), max(-low, high)])
    if name in ("Max", "Min"):
        pick: Callable[..., float] = max if name == "Max" else min
        return Real(pick(low for low, _ in known), pick(high for _, high in known))
    if name == "Where":
        return _hull([end for pair in known[1:] for end in pair])
    divides = name == "Div" and not known[1][0] <= 0 <= known[1][1]
    if name not in _MONOTONE and not divides:
        return UNKNOWN
    # Integers wrap around and know no infinity; only Cast turns them into something sure.
    whole = [*kinds, node.output.dtype]
    if not all(kind.is_float for kind in whole) and (
        name != "Cast" or math.inf in map(abs, known[0])
    ):
        return UNKNOWN
    ends = []
    for corner in itertools.product(*known):
        arrays = [np.array(end).astype(kind.numpy) for end, kind in zip(corner, kinds)]
        ends.append(float(node.op.compute(node, arrays)[0]))
    return _hull(ends)


def _hull(ends: Sequence[float]) -> Real:
    if any(math.isnan(end) for end in ends):
        return UNKNOWN
    return Real(min(ends), max(ends))


def _interval(domain: Domain) -> tuple[float, float] | None:
    if isinstance(domain, Real):
        return domain.low, domain.high
    arrays = [array for array in _states(domain) if array is not None]
    found = np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64)
    found = found[found == found]
    return (float(found.min()), float(found.max())) if found.size else None


# ---- movement ---------------------------------------------------------------------------------


def _moved(node: Node, domains: Sequence[Domain]) -> Domain:
    """Elements keep their values; which element goes where matters only to per-channel sets."""
    if any(isinstance(d, Real) for d in domains):
        ends = [end for d in domains for end in _interval(d) or (-math.inf, math.inf)]
        return _hull([*ends, *(float(fill) for fill in _fills(node))])
    value = node.output
    found = [_levels(domain) for domain in domains]
    if any(levels is None for levels in found):
        return UNKNOWN
    known = [levels for levels in found if levels is not None]
    per_channel = _per_channel(node, known)
    if per_channel is not None:
        return Finite(Root(value), tuple(per_channel))
    fills = [np.asarray(fill).astype(value.dtype.numpy) for fill in _fills(node)]
    pooled = sets.pool([*known, *fills])
    return UNKNOWN if pooled is None else Finite(Root(value), tuple(pooled))


def _levels(domain: Domain) -> np.ndarray | None:
    if isinstance(domain, Finite):
        return domain.levels()
    assert isinstance(domain, Exact)
    return sets.pool([domain.array])


def _fills(node: Node) -> Iterator[float]:
    """What padding adds."""
    if node.op.name == "Pad" and node.attrs["mode"] == "constant":
        yield node.attrs["value"]


def _per_channel(node: Node, known: Sequence[np.ndarray]) -> np.ndarray | None:
    """Levels that differ between channels, through ops that leave channels whole."""
    if len(known) != 1 or math.prod(known[0].shape[1:]) == 1:
        return None
    source = node.operand(0).shape
    levels = sets.aligned(known[0], len(source))
    if node.op.name == "Transpose":
        return np.transpose(levels, (0, *(1 + axis for axis in node.attrs["perm"])))
    spatial = node.op.name in ("MaxPool", "Resize", "Identity", "Copy")
    if spatial and math.prod(levels.shape[3:]) == 1:
        return levels
    return None


assert all(name in OPS for name in (*_COMPARISONS, *_ROUNDING, *_MONOTONE))
