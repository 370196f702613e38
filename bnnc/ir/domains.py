"""Which values can a tensor take? The analysis that proves tensors binary.

A :class:`Finite` domain maps the *states* of a root to values. There are two kinds of root:

* a real tensor x compared with a constant c: an element is below, at, or above c, or not a number;
* a tensor that is known to take few values: its state is which of them.

An elementwise op on operands that share a root is evaluated state by state, with the op's own
numpy meaning. So Sign, Sign(Sign(x) + 0.1), Where(x >= 0, 1, -1), comparison and Cast, {0, 1}
forms, Clip or BatchNormalization of a sign all come out two-valued, and no form is named anywhere.
Ops that move elements keep the set of values. Everything else is :class:`Real`, with bounds where
they are easily known; integers, and halves and quarters, between near bounds are few values again.

What has one value in some states and many in others is real too, but in :class:`Pieces`: where x
is below c, x itself is a number below c. So Where(x >= 0, 1, x) is 1 or negative, and few values
as soon as what is negative is replaced, or compared with 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bnnc.ir import levels as sets
from bnnc.ir.bounds import SUMMING, UNKNOWN, Real, bounds, by_type, hull, interval, sums
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

MAX_MOVED = 1 << 24
"""Sets that differ between places are followed through tensors of so many elements."""


@dataclass(frozen=True, eq=False)
class Exact:
    """The tensor is a constant."""

    array: np.ndarray


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
        numbers = [state for state in reached if state is not None and (state == state).any()]
        return sets.merge(numbers) if numbers else None


State = np.ndarray | Real | None
"""One value, as in :class:`Finite`; or any between bounds; or, where it is None, none at all."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pieces(Real):
    """Many values, but one in some states of a root.

    Attributes:
        root: what decides.
        states: what there is in each state.
    """

    root: Root
    states: tuple[State, ...]


Domain = Exact | Real | Finite


class Domains:
    """The domain of every value of a graph, as it is when this is made.

    Args:
        sign_zero: what to take ONNX Sign's value at zero for: 0 as it is, or 1 or -1 wherever a
            zero is a single point among many; see :meth:`means_zero`.
        bounded: whether what lies between known bounds is compared within them alone.
    """

    def __init__(self, graph: Graph, *, sign_zero: int = 0, bounded: bool = True) -> None:
        self._sign_zero = sign_zero
        self._bounded = bounded
        self._budget = MAX_BYTES
        self._found: dict[Value, Domain] = {}
        self._means_zero: set[Node] = set()
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

    def means_zero(self, node: Node) -> bool:
        """Whether ``node`` is a Sign of few values with 0 among them, as in the ternary
        Sign(Sign(x + t) + Sign(x - t)): its zero is a value, and no accident to be settled."""
        return node in self._means_zero

    # ---- one node -------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        domains = [self._found[value] for value in node.inputs if value is not None]
        if len(node.outputs) != 1 or steps_of(node):
            self._found.update((value, UNKNOWN) for value in node.outputs)
            return
        value = node.output
        if node.op.name == "Sign" and _takes_zero(node.operand(0), domains[0]):
            self._means_zero.add(node)
        if node.op.name == "Constant":
            domain: Domain = Exact(node.attrs["data"])
        elif domains and all(isinstance(d, Exact) for d in domains):
            domain = self._constant(node, [d.array for d in domains if isinstance(d, Exact)])
        elif node.op.flow is Flow.ELEMENTWISE or node.op.name == "BatchNormalization":
            domain = self._elementwise(node, domains)
        elif node.op.flow is Flow.MOVEMENT or (node.op.name == "Resize" and is_nearest(node)):
            domain = _moved(node, domains)
        elif node.op.name in ("ArgMax", "ArgMin"):
            axis = node.attrs["axis"]
            domain = Real(0, node.operand(0).shape[axis] - 1, step=1)
        elif node.op.name in SUMMING and value.dtype.is_float:
            domain = sums(_interval(domains[0]))
        elif node.op.name == "Softmax":
            domain = Real(0, 1)
        else:
            domain = UNKNOWN
        self._found[value] = _settled(value, domain)

    def _constant(self, node: Node, arrays: Sequence[np.ndarray]) -> Domain:
        self._budget -= node.output.type.bytes
        return Exact(self._compute(node, arrays)) if self._budget >= 0 else UNKNOWN

    def _meant(self, node: Node) -> Node:
        """``node``; a Sign with its zero settled."""
        settled = self._sign_zero and node not in self._means_zero
        if settled and node.op.name == "Sign" and node.attrs["zero"] == 0:
            meant = Node(node.op, node.name, {"zero": self._sign_zero}, node.serial)
            meant.inputs, meant.outputs = node.inputs, node.outputs
            return meant
        return node

    def _compute(self, node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
        node = self._meant(node)
        (result,) = node.op.compute(node, arrays)
        return result

    def _elementwise(self, node: Node, domains: Sequence[Domain]) -> Domain:
        if any(isinstance(d, Real) for d in domains):
            return self._of_reals(node, domains)
        roots = [d.root for d in domains if isinstance(d, Finite)]
        for root in roots:
            if all(_depends(d, root) for d in domains):
                return self._by_state(node, domains, root) or UNKNOWN
        # Unrelated operands: any value of one may meet any value of another.
        each = [_levels(d) for d in domains]
        known = [levels for levels in each if levels is not None]
        if len(known) < len(each) or math.prod(map(len, known)) > sets.LIMIT**2:
            return UNKNOWN
        found = [self._state(node, column) for column in itertools.product(*known)]
        return _members(node.output, _numbers(found))

    def _by_state(
        self, node: Node, domains: Sequence[Domain], root: Root
    ) -> Finite | Pieces | None:
        """What there is in each state of ``root``; None if it is many values in all of them."""
        values = [value for value in node.inputs if value is not None]
        operands = [_states(value, d, root) for value, d in zip(values, domains)]
        count = max(len(states) for states in operands)
        columns = [s * count if len(s) == 1 else s for s in operands]
        states = tuple(self._state(node, column) for column in zip(*columns))
        sides = states if root.at is None else states[:NAN]
        if not any(isinstance(side, Real) for side in sides):
            # Many values where it is NaN are none: that is no number anyway.
            return Finite(root, tuple(None if isinstance(s, Real) else s for s in states))
        if not _numbers(sides):
            return None
        real = bounds(self._meant(node), [_interval(d) for d in domains])
        return Pieces(real.low, real.high, real.step, root=root, states=states)

    def _state(self, node: Node, column: Sequence[State]) -> State:
        if any(state is None for state in column):
            return None
        arrays = _numbers(column)
        if len(arrays) == len(column):
            if node.op.name == "BatchNormalization":
                arrays[0] = sets.aligned(arrays[0][None], len(node.output.shape))[0]
            return sets.compress(self._compute(node, arrays))
        if node.op.name == "Where" and arrays and arrays[0] is column[0] and _uniform(arrays[0]):
            return column[1] if arrays[0].any() else column[2]
        real = bounds(self._meant(node), [_spanned(state) for state in column])
        return np.array(real.low, node.output.dtype.numpy) if real.low == real.high else real

    def _of_reals(self, node: Node, domains: Sequence[Domain]) -> Domain:
        """States that an operand has already may leave few values."""
        pieces = None
        for root in (d.root for d in domains if isinstance(d, (Finite, Pieces))):
            found = self._by_state(node, domains, root)
            if isinstance(found, Finite):
                return found
            pieces = pieces or found
        decided = self._decided(node, domains)
        return decided or pieces or bounds(node, [_interval(d) for d in domains])

    def _decided(self, node: Node, domains: Sequence[Domain]) -> Domain | None:
        """A comparison with a constant makes new states; so does dividing by the magnitude."""
        by_magnitude = _divided_by_magnitude(node)
        if by_magnitude is not None:
            signs = [np.array(state, np.float32) for state in (-1, math.nan, 1, math.nan)]
            return Finite(Root(by_magnitude, np.zeros((), np.float32)), tuple(signs))
        slot = next(i for i, d in enumerate(domains) if isinstance(d, Real))
        real, x = domains[slot], node.operand(slot)
        assert isinstance(real, Real)
        if node.op.name == "Sign" and x.dtype.numpy.kind == "i":
            return self._of_integers(node, real)
        at = _turning_point(node, x, domains)
        if at is None:
            return None
        samples = (np.nextafter(at, -math.inf), at, np.nextafter(at, math.inf))
        states = [self._sampled(node, domains, sample) for sample in samples]
        reachable = (real.low < at.max(), True, real.high > at.min())
        reachable = reachable if self._bounded else (True, True, True)
        kept = [state if ok else None for state, ok in zip(states, reachable)]
        # A sign behind Relu: one value, but for NaN. It is no less a sign.
        if not _differ([state for state in kept if state is not None]):
            kept = states
        nan = self._sampled(node, domains, np.full_like(at, np.nan))
        return Finite(Root(x, at), (*kept, nan))

    def _sampled(
        self, node: Node, domains: Sequence[Domain], sample: np.ndarray
    ) -> np.ndarray | None:
        """What ``node`` makes of ``sample`` for whatever is no constant."""
        arrays = [d.array if isinstance(d, Exact) else sample for d in domains]
        return sets.compress(self._compute(node, arrays))

    def _of_integers(self, node: Node, real: Real) -> Domain:
        """The signs of integers, which have no neighbours at zero but 1 and -1."""
        low, high = (int(min(max(end, -1), 1)) for end in (real.low, real.high))
        numbers = np.arange(low, high + 1).astype(node.output.dtype.numpy)
        return _members(node.output, list(self._compute(node, [numbers])))


def _states(value: Value, domain: Domain, root: Root) -> tuple[State, ...]:
    """What there is of ``value`` in each state of ``root``; only one, if it is alike in all."""
    if isinstance(domain, Exact):
        return (sets.compress(domain.array),)
    if isinstance(domain, (Finite, Pieces)):
        if domain.root.same(root):
            return domain.states
        if _tells_nan(domain, root):
            side = next(state for state in domain.states if state is not None)
            return (side, side, side, domain.states[NAN])
    at = root.at
    if value is root.value and at is not None and not np.isnan(at).any():
        below = Real(-math.inf, float(np.nextafter(at, -math.inf).max()))
        above = Real(float(np.nextafter(at, math.inf).min()), math.inf)
        return (below, at, above, np.full_like(at, np.nan))
    return (_interval(domain),)


def _depends(domain: Domain, root: Root) -> bool:
    """Whether ``root``, and nothing else, decides what there is."""
    if isinstance(domain, Finite):
        return domain.root.same(root) or _tells_nan(domain, root)
    return isinstance(domain, Exact)


def _tells_nan(domain: Finite | Pieces, root: Root) -> bool:
    """Whether ``domain`` depends on ``root``'s tensor, but only by whether it is not a number."""
    if domain.root.value is not root.value or domain.root.at is None or root.at is None:
        return False
    sides = [state for state in domain.states[:NAN] if state is not None]
    known = _numbers(sides)
    return 0 < len(known) == len(sides) and not _differ(known)


def _members(value: Value, arrays: Sequence[np.ndarray]) -> Domain:
    levels = sets.merge(arrays)
    return UNKNOWN if levels is None else Finite(Root(value), tuple(levels))


def _numbers(states: Sequence[State]) -> list[np.ndarray]:
    """Those that are one value."""
    return [state for state in states if not (state is None or isinstance(state, Real))]


def _uniform(condition: np.ndarray) -> bool:
    return bool(condition.all() or not condition.any())


def _differ(states: Sequence[np.ndarray]) -> bool:
    return any((state != states[0]).any() for state in states[1:])


def _takes_zero(x: Value, domain: Domain) -> bool:
    """Whether 0 is one of the few values that were made ``x``'s, and not just what one point of a
    real tensor gives. Weights are real tensors, whatever they happen to hold."""
    if isinstance(domain, Finite):
        states = domain.states
        sides = states if domain.root.at is None else (states[BELOW], states[ABOVE])
        return any(state is not None and bool((state == 0).any()) for state in sides)
    if x.is_constant or not isinstance(domain, Exact) or (domain.array != 0).all():
        return False
    return sets.pool([domain.array]) is not None


def _settled(value: Value, domain: Domain) -> Domain:
    """With what the element type says; a grid between near bounds is few values."""
    if not isinstance(domain, Real):
        return domain
    if value.dtype is DType.BOOL:
        return Finite(Root(value), (np.array(False), np.array(True)))
    real = by_type(value.dtype, domain)
    step = real.step
    if not (step and real.high - real.low < sets.LIMIT * step):
        return real
    kind = value.dtype.numpy
    places = range(math.ceil(real.low / step), math.floor(real.high / step) + 1)
    return Finite(Root(value), tuple(np.array(place * step, kind) for place in places))


def _interval(domain: Domain) -> Real:
    if isinstance(domain, Real):
        return domain
    if isinstance(domain, Exact):
        return interval([sets.compress(domain.array)])
    return interval([array for array in domain.states if array is not None])


def _spanned(state: State) -> Real:
    assert state is not None
    return state if isinstance(state, Real) else interval([state])


def _levels(domain: Domain) -> np.ndarray | None:
    """What a domain that is not real takes where nothing is NaN."""
    if isinstance(domain, Finite):
        return domain.levels()
    assert isinstance(domain, Exact)
    return sets.compress(domain.array)[None]


# ---- comparisons ------------------------------------------------------------------------------

_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


def _turning_point(node: Node, x: Value, domains: Sequence[Domain]) -> np.ndarray | None:
    """Where the op's result changes, if it depends on ``x`` only by comparing it with that."""
    if x.dtype is not DType.F32:
        return None
    if node.op.name == "Sign" or (node.op.name == "Cast" and node.output.dtype is DType.BOOL):
        return np.zeros((), np.float32)
    if node.op.name in _COMPARISONS:
        if all(value is x for value in node.inputs):
            return np.zeros((), np.float32)  # Only NaN is not equal to itself.
        constants = [d.array for d in domains if isinstance(d, Exact)]
        return sets.compress(constants[0]) if constants else None
    return None


def _divided_by_magnitude(node: Node) -> Value | None:
    """x, if ``node`` is x / |x| or |x| / x."""
    if node.op.name != "Div" or node.output.dtype is not DType.F32:
        return None
    for slot in (0, 1):
        x, magnitude = node.operand(slot), node.operand(1 - slot).producer
        if magnitude.op.name == "Abs" and magnitude.operand(0) is x:
            return x
    return None


# ---- movement ---------------------------------------------------------------------------------

_CHOOSING = ("MaxPool", "ReduceMax", "ReduceMin", "TopK")
"""Ops that move elements, but which ones depends on the elements."""


def _moved(node: Node, domains: Sequence[Domain]) -> Domain:
    """Elements keep their values; which element goes where matters only to sets that differ
    between places."""
    moving = domains[: node.op.data_inputs]
    fills = [np.asarray(fill).astype(node.output.dtype.numpy) for fill in _fills(node)]
    if any(isinstance(d, Real) for d in moving):
        return hull([*map(_interval, moving), *(interval([fill]) for fill in fills)])
    found = [_levels(domain) for domain in moving]
    known = [levels for levels in found if levels is not None]
    if len(known) < len(found):
        return UNKNOWN
    levels = _place_by_place(node, domains, known)
    if levels is None:
        levels = sets.pool([*known, *fills])
    return UNKNOWN if levels is None else Finite(Root(node.output), tuple(levels))


def _fills(node: Node) -> Iterator[float]:
    """What padding adds; one that only crops adds nothing."""
    if node.op.name == "Pad" and node.attrs["mode"] == "constant" and max(node.attrs["pads"]) > 0:
        yield node.attrs["value"]


def _place_by_place(
    node: Node, domains: Sequence[Domain], known: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Levels that differ between places, moved by the op itself; None where they do not, or
    where that says nothing."""
    shapes = [node.operand(slot).shape for slot in range(len(known))]
    levels = [sets.aligned(each, len(shape)) for each, shape in zip(known, shapes)]
    if node.op.name == "Concat":
        return _joined(levels, shapes, node.attrs["axis"] % len(shapes[0]))
    if all(math.prod(each.shape[1:]) == 1 for each in levels):
        return None
    if node.op.name in _CHOOSING:
        return _chosen(node, levels[0], len(shapes[0]))
    others = domains[len(known) :]
    fixed = [d.array for d in others if isinstance(d, Exact)]
    count = max(len(each) for each in levels)
    if len(fixed) < len(others) or count * node.output.type.elements > MAX_MOVED:
        return None
    moved = []
    for level in range(count):
        arrays = [
            np.broadcast_to(each[min(level, len(each) - 1)], shape)
            for each, shape in zip(levels, shapes)
        ]
        moved.append(node.op.compute(node, [*arrays, *fixed])[0])
    return np.stack(sets.compress_alike(moved))


def _chosen(node: Node, levels: np.ndarray, rank: int) -> np.ndarray | None:
    """Levels that are alike wherever elements are chosen from."""
    if node.op.name == "MaxPool":
        return levels if math.prod(levels.shape[3:]) == 1 else None
    if node.op.name == "TopK":
        return None
    axes = tuple(1 + axis % rank for axis in node.attrs["axes"])
    if any(levels.shape[axis] > 1 for axis in axes):
        return None
    return levels if node.attrs["keepdims"] else levels.squeeze(axes)


def _joined(
    levels: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]], axis: int
) -> np.ndarray:
    """Levels side by side along ``axis``."""
    common = np.broadcast_shapes(*(np.delete(each.shape[1:], axis) for each in levels))
    count = max(map(len, levels))
    parts = []
    for each, shape in zip(levels, shapes):
        places = (*common[:axis], shape[axis], *common[axis:])
        more = np.minimum(np.arange(count), len(each) - 1)
        parts.append(np.broadcast_to(each, (len(each), *places))[more])
    return np.stack(sets.compress_alike(list(np.concatenate(parts, axis=1 + axis))))


assert all(name in OPS for name in (*_COMPARISONS, *_CHOOSING, *SUMMING))
