"""What each tensor of a run is computed from: the nearest tensors upstream that the same run
materialises. Verification recomputes it from those on the reference graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.ir.binary import PRODUCTS, Verdict, verdicts
from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value

_DENSE = {"layout": "dense", "stands_for": None}


@dataclass(frozen=True)
class Tensor:
    """One output of one layer, and what checking it takes.

    Attributes:
        described: it in the library's description.
        target: its counterpart in the reference graph; None if there is none.
        sources: the materialised values it is computed from.
        deciders: for a tensor of few values, the floats whose comparison decides it.
        exact: whether the run decides it from integers, not from those floats.
    """

    described: Mapping[str, Any]
    target: Value | None
    sources: frozenset[Value]
    deciders: tuple[Value, ...]
    exact: bool = False


def plan(graph: Graph, domains: Domains, layers: Sequence[Mapping[str, Any]]) -> list[list[Tensor]]:
    """For each layer of a library's description, its outputs' provenance; behind the layers, that
    of the graph outputs that no layer wrote."""
    by_name = {value.name: value for value in graph.values()}
    judged = verdicts(graph)
    available = set(graph.inputs)
    found = []
    for layer in layers:
        targets = [_counterpart(described, by_name) for described in layer["outputs"]]
        available.update(target for target in targets if target is not None)
        tensors = []
        for described, target in zip(layer["outputs"], targets):
            if target is None:
                tensors.append(Tensor(described, None, frozenset(), ()))
                continue
            others = available - {target}
            crossed, sources = _upstream(target, others)
            exact = "threshold" in layer["steps"] and all(_is_exact(n, judged) for n in crossed)
            deciders = _deciders(domains, target, others)
            tensors.append(Tensor(described, target, sources, deciders, exact))
        found.append(tensors)
    found.append(
        [
            Tensor(
                {"name": name, "dtype": value.dtype.value, "shape": list(value.shape), **_DENSE},
                value,
                _upstream(value, available)[1],
                _deciders(domains, value, available),
            )
            for name, value in zip(graph.output_names, graph.outputs)
            if value not in available
        ]
    )
    return found


def _counterpart(described: Mapping[str, Any], by_name: Mapping[str, Value]) -> Value | None:
    stands_for = described["stands_for"]
    if described["dtype"] == "b1" and stands_for is None:
        return None
    target = by_name.get(described["name"] if stands_for is None else stands_for["name"])
    same = target is not None and list(target.shape) == described["shape"]
    return target if same else None


def _upstream(target: Value, available: Collection[Value]) -> tuple[list[Node], frozenset[Value]]:
    """The nodes that lead to ``target`` from the nearest available values, and those values."""
    nodes: dict[Node, None] = {}
    sources = set()
    pending = [target]
    while pending:
        value = pending.pop()
        if value in available:
            sources.add(value)
        elif value.producer not in nodes:
            nodes[value.producer] = None
            pending += [v for v in value.producer.inputs if v is not None]
    return list(nodes), frozenset(sources)


def _deciders(domains: Domains, target: Value, available: Collection[Value]) -> tuple[Value, ...]:
    """The real tensors whose comparison decides a ``target`` of few values, unless bits that are
    available decide it."""
    if not isinstance(domains.of(target), Finite):
        return ()
    found: dict[Value, None] = {}
    seen = set()
    pending = [target]
    while pending:
        value = pending.pop()
        domain = domains.of(value)
        few = isinstance(domain, Finite) or not value.dtype.is_float
        if value in seen or (few and value in available) or isinstance(domain, Exact):
            continue
        seen.add(value)
        if few:
            pending += [v for v in value.producer.inputs if v is not None]
        else:
            found[value] = None
    return tuple(found)


def _is_exact(node: Node, judged: Mapping[Node, Verdict]) -> bool:
    """Whether the interpreter computes ``node`` without rounding that could reorder sums."""
    if node.op.name not in PRODUCTS:
        return True
    packing = judged[node].packing
    if packing is None or not packing.sums_exactly:
        return False
    weights = node.operand(1).data
    return weights is not None and bool((np.abs(weights) == 1).all())
