"""Compare before monotone functions instead of behind them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnc.ir.epilogue import COMPARES, Step, steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.passes.affine import affine_of
from bnnc.passes.report import Report
from bnnc.passes.rewriting import channel_vector

_MAX_NODES = 64


def compare_earlier(graph: Graph, report: Report) -> int:
    """A function that never falls moves from the compared tensor into the threshold::

        x -> BatchNormalization -> Clip -> Map(>= 0) -> bits          x -> Map(>= t) -> bits

    t is the smallest float32 for which the chain, computed by its own ops, compares true; bisection
    over all floats finds it. So not one bit changes, and nothing that rounds is left in front of
    the decision. It is done where nothing but signs reads the chain.
    """
    return sum(_move(graph, node) for node in graph.nodes() if _is_sign(node))


def _is_sign(node: Node) -> bool:
    return node.op.name == "Map" and [step.kind for step in steps_of(node)] == ["sign"]


def _move(graph: Graph, node: Node) -> int:
    chain: list[Node] = []
    x, reader = node.operand(0), node
    while len(chain) < _MAX_NODES and _serves_signs_alone(graph, x, reader):
        source = _argument(x)
        if source is None:
            break
        chain.insert(0, x.producer)
        x, reader = source, x.producer
    if not chain:
        return 0
    found = _threshold(node, chain, x)
    if found is None:
        return 0
    at, compare = found
    inputs = [x, graph.constant(at, node.operand(1).name)]
    steps = (Step("sign", (1,), 0, (compare,)),)
    new = graph.inherit(graph.add("Map", inputs, {"steps": steps}), node, *chain)
    new.output.stands_for = node.output.stands_for
    graph.take_over(node.output, new.output)
    graph.remove(node)
    return 1


def _serves_signs_alone(graph: Graph, x: Value, reader: Node) -> bool:
    others = [node for node, _ in graph.consumers(x) if node is not reader]
    return not graph.is_output(x) and all(_is_sign(node) for node in others)


def _argument(y: Value) -> Value | None:
    """The tensor that ``y`` is a function of, channel by channel, if that never falls."""
    node = y.producer
    moving = [v for v in node.inputs if v is not None and not v.is_constant]
    if len(moving) != 1 or moving[0].type != y.type or y.dtype is not DType.F32:
        return None
    (x,) = moving
    affine = affine_of(node, x)
    if affine is not None:
        rises = (affine[0] > 0).all() and all(np.isfinite(vector).all() for vector in affine)
        return x if rises else None
    test = _RISING.get(node.op.name)
    return x if test is not None and test(node) else None


def _constant_of(node: Node) -> np.ndarray | None:
    """The constant operand of a node of two, as a vector [C]."""
    data = next((v.data for v in node.inputs if v is not None and v.is_constant), None)
    shape = node.output.shape
    return None if data is None else channel_vector(data, len(shape), shape[1])


def _bounded(node: Node) -> bool:
    bound = _constant_of(node)
    return bound is not None and not np.isnan(bound).any()


def _slope_rises(node: Node) -> bool:
    slope = _constant_of(node)
    return slope is not None and node.operand(1).is_constant and bool((slope > 0).all())


_RISING: dict[str, Callable[[Node], bool]] = {
    **dict.fromkeys(("Relu", "Round", "Floor", "Ceil", "Sign"), lambda node: True),
    "Clip": lambda node: bool(node.attrs["min"] <= node.attrs["max"]),
    "HardSigmoid": lambda node: bool(node.attrs["alpha"] > 0),
    "LeakyRelu": lambda node: bool(node.attrs["alpha"] > 0),
    "PRelu": _slope_rises,
    "Max": _bounded,
    "Min": _bounded,
}
"""Ops that never fall, however they round, and when. (A slope of 0 makes NaN of infinity.)"""


def _threshold(node: Node, chain: list[Node], x: Value) -> tuple[np.ndarray, str] | None:
    """(t, compare) that decide the bits of ``node`` from ``x``; t is float32 [C]. None where no
    comparison does what the chain does with NaN."""
    (step,) = steps_of(node)
    shape = (1, -1) + (1,) * (len(x.shape) - 2)
    limit = np.asarray(node.operand(step.operands[0]).data).reshape(shape)

    def is_set(numbers: np.ndarray) -> np.ndarray:
        value, array = x, numbers.reshape(shape)
        for part in chain:
            operands = [array if v is value else None if v is None else v.data for v in part.inputs]
            (array,) = part.op.compute(part, operands)
            value = part.output
        return np.asarray(COMPARES[step.params[0]](array, limit)).reshape(-1)

    with np.errstate(all="ignore"):
        at = smallest(is_set, x.shape[1])
        nan_is_set = is_set(np.full(x.shape[1], np.nan, np.float32))
    if not nan_is_set.any():
        return at, "ge"
    return (at, "nlt") if nan_is_set.all() and not np.isnan(at).any() else None


def smallest(is_set: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """The smallest float32 for which ``is_set`` is true, infinities included.

    Args:
        is_set: float32 [count] to bool [count], element by element; as its argument rises it never
            goes from true to false.

    Returns:
        float32 [count]; NaN where it is true for none.
    """
    infinity = 0x7F800000
    low, high = np.full(count, -infinity), np.full(count, infinity + 1)
    while (open_ := low < high).any():
        middle = (low + high) // 2
        found = is_set(_float(np.minimum(middle, infinity)))
        high = np.where(open_ & found, middle, high)
        low = np.where(open_ & ~found, middle + 1, low)
    numbers = _float(np.minimum(low, infinity))
    return np.where(low > infinity, np.float32(np.nan), numbers)


def _float(places: np.ndarray) -> np.ndarray:
    """The float32s at ``places`` in the row of all of them in ascending order; zero is at 0."""
    bits = np.where(places >= 0, places, -places | 0x80000000)
    return bits.astype(np.uint32).view(np.float32)
