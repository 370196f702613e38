"""The reference interpreter: what a graph means, in numpy.

Compiled code is checked against it, and it is itself checked against onnxruntime. Bits (``b1``)
are numpy bools here, and layouts play no part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from bnnc.errors import InputError
from bnnc.ir.graph import Graph, Node, Value

Observer = Callable[[Node, Sequence[np.ndarray]], None]
"""Called after each node but inputs and constants, with the node and its outputs' arrays."""


def run(
    graph: Graph, inputs: Mapping[str, np.ndarray], *, observe: Observer | None = None
) -> list[np.ndarray]:
    """Run the whole graph.

    Args:
        inputs: one array per graph input, by name, of exactly its type and shape.
        observe: called after each node.

    Returns:
        One array per graph output, in order.

    Raises:
        InputError: for a missing or unknown input, or one of another type or shape.
    """
    names = [value.name for value in graph.inputs]
    for name in inputs:
        if name not in names:
            raise InputError(f"there is no input {name!r}", hint=f"inputs are {names}")
    known = {}
    for value in graph.inputs:
        if value.name not in inputs:
            raise InputError(f"input {value.name!r} is missing")
        array = np.asarray(inputs[value.name])
        if array.dtype != value.dtype.numpy or array.shape != value.shape:
            raise InputError(
                f"input {value.name!r} is {array.dtype}{list(array.shape)}, "
                f"expected {value.dtype.numpy}{list(value.shape)}"
            )
        known[value] = array
    found = evaluate(graph, known, graph.outputs, observe=observe)
    return [found[value] for value in graph.outputs]


def evaluate(
    graph: Graph,
    known: Mapping[Value, np.ndarray],
    wanted: Iterable[Value],
    *,
    observe: Observer | None = None,
) -> dict[Value, np.ndarray]:
    """Compute ``wanted`` from ``known``, running no node that this does not need.

    Args:
        known: arrays of any values; nothing above them is computed.
        wanted: values to return. One that is known is returned as it is.

    Returns:
        The wanted values' arrays. Treat them as read-only.

    Raises:
        InputError: if a graph input is needed and not known.
    """
    targets = list(wanted)
    needed = _needed(known, targets)
    plan = [node for node in graph.all_nodes() if node in needed]
    uses = Counter(v for node in plan for v in node.inputs if v is not None)
    uses.update(targets)
    arrays = {value: array for value, array in known.items() if uses[value]}
    with np.errstate(all="ignore"):
        for node in plan:
            if node.op.name == "Input":
                raise InputError(f"input {node.output.name!r} is missing")
            operands = [None if v is None else arrays[v] for v in node.inputs]
            results = _compute(node, operands)
            for value, result in zip(node.outputs, results):
                if uses[value]:
                    arrays.setdefault(value, result)
            if observe and node.op.name != "Constant":
                observe(node, results)
            del operands, results
            for operand in node.inputs:
                if operand is None:
                    continue
                uses[operand] -= 1
                if not uses[operand]:
                    del arrays[operand]
    return {value: arrays[value] for value in targets}


def _needed(known: Mapping[Value, np.ndarray], targets: Iterable[Value]) -> set[Node]:
    """The nodes that must run."""
    needed: set[Node] = set()
    pending = [value for value in targets if value not in known]
    while pending:
        node = pending.pop().producer
        if node not in needed:
            needed.add(node)
            pending.extend(v for v in node.inputs if v is not None and v not in known)
    return needed


def _compute(node: Node, operands: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    results = node.op.compute(node, operands)
    assert len(results) == len(node.outputs), f"{node}: {len(results)} results"
    for value, result in zip(node.outputs, results):
        assert result.shape == value.shape, f"{node}: gave shape {result.shape}"
        assert result.dtype == value.dtype.numpy, f"{node}: gave {result.dtype}"
    return results
