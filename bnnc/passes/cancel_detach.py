"""Remove what straight-through estimators leave behind."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.passes.report import Report
from bnnc.passes.rewriting import same_everywhere

_ADDING = ("Add", "Sub", "ReduceSum")
_MAX_TERMS = 8
_MAX_EXPANSIONS = 24
_MAX_ROUNDS = 8


def cancel_detach(graph: Graph, report: Report) -> int:
    """A float path that is added and subtracted around a sign cancels::

        x -> Sign -> Sub -> Add -> y          x -> Sign -> y
         `-> f -------'------'

    In exact arithmetic y is the sign; in floats it is the sign and rounding noise. A sum is
    expanded into terms, the last computed first, so that whatever f is, its two occurrences meet
    before either is taken apart. It is rewritten only if something cancels and only tensors of
    few values remain, or what Round and its like give. Equal computations count as the same term.
    So 0 * f goes too, though with bounds of f the sum is proven few-valued as it is.
    """
    total = 0
    for _ in range(_MAX_ROUNDS):
        changed = _cancel(graph)
        total += changed
        if not changed:
            break
        graph.prune()
    return total


def _cancel(graph: Graph) -> int:
    """What has cancelled may leave few values where many were, and more to cancel behind."""
    domains = Domains(graph)
    numbers = _Numbers(graph)
    changed = 0
    for node in graph.nodes():
        values = (value for value in (*node.inputs, *node.outputs) if value is not None)
        if node.op.name not in _ADDING or all(_is_few(domains, value) for value in values):
            continue
        terms = _remaining_terms(node.output, numbers, domains)
        if terms is None:
            continue
        graph.replace(node.output, _sum(graph, terms, node))
        changed += 1
    return changed


class _Numbers:
    """Numbers values so that equal computations get equal numbers, producers before consumers."""

    def __init__(self, graph: Graph) -> None:
        self._of: dict[Value, int] = {}
        known: dict[Hashable, int] = {}
        self.values: list[Value] = []
        for node in graph.all_nodes():
            operands = tuple(-1 if v is None else self._of[v] for v in node.inputs)
            key = (node.op.name, operands, _key(node))
            for value in node.outputs:
                number = known.setdefault((key, value.index), len(self.values))
                if number == len(self.values):
                    self.values.append(value)
                self._of[value] = number

    def __getitem__(self, value: Value) -> int:
        return self._of[value]


def _key(node: Node) -> Hashable:
    if node.op.name == "Input":
        return id(node)
    if node.op.name == "Constant" and node.attrs["data"].size > 4096:
        return id(node.attrs["data"])
    return tuple((name, _frozen(given)) for name, given in node.attrs.items())


def _frozen(given: Any) -> Hashable:
    if isinstance(given, np.ndarray):
        return given.dtype.str, given.shape, given.tobytes()
    return given if isinstance(given, Hashable) else repr(given)


def _remaining_terms(
    value: Value, numbers: _Numbers, domains: Domains
) -> list[tuple[Value, float]] | None:
    """``value`` as a sum of few-valued terms with factors, if other terms cancel in it."""
    whole = numbers[value]
    terms, cancelled = {whole: 1.0}, False
    for _ in range(_MAX_EXPANSIONS):
        rest = [n for n in terms if n == whole or not _may_remain(domains, numbers.values[n])]
        if not rest:
            break
        last = max(rest)
        parts = _parts(numbers.values[last])
        if parts is None:
            return None
        factor = terms.pop(last)
        cancelled |= not parts
        for part, times in parts:
            number = numbers[part]
            terms[number] = terms.get(number, 0.0) + factor * times
            if terms[number] == 0:
                del terms[number]
                cancelled = True
        if len(terms) > _MAX_TERMS:
            return None
    found = [(numbers.values[number], factor) for number, factor in sorted(terms.items())]
    done = all(_may_remain(domains, term) for term, _ in found)
    alive = any(
        not isinstance(domains.of(term), Exact) and term.shape == value.shape for term, _ in found
    )
    return found if cancelled and done and alive else None


def _is_few(domains: Domains, value: Value) -> bool:
    return isinstance(domains.of(value), (Finite, Exact))


def _may_remain(domains: Domains, value: Value) -> bool:
    return _is_few(domains, value) or value.producer.op.name in ("Round", "Floor", "Ceil")


def _parts(value: Value) -> list[tuple[Value, float]] | None:
    """The terms and factors that a linear node adds up; None if it is not one."""
    node = value.producer
    if node.op.name in ("Add", "Sub"):
        return [(node.operand(0), 1.0), (node.operand(1), 1.0 if node.op.name == "Add" else -1.0)]
    if node.op.name == "Neg":
        return [(node.operand(0), -1.0)]
    if node.op.name == "ReduceSum":
        stacked = _stacked(node)
        return None if stacked is None else [(part, 1.0) for part in stacked]
    if node.op.name in ("Mul", "Div"):
        for slot in (1, 0) if node.op.name == "Mul" else (1,):
            number = same_everywhere(node.operand(slot))
            if number == 0 and node.op.name == "Mul":
                return []
            if number:
                return [(node.operand(1 - slot), number if node.op.name == "Mul" else 1 / number)]
    return None


def _stacked(node: Node) -> list[Value] | None:
    """What is added up by a sum over the new axis that tensors were stacked along."""
    stack = node.operand(0).producer
    if stack.op.name != "Concat" or len(stack.inputs) > _MAX_TERMS:
        return None
    rank = len(stack.output.shape)
    if [axis % rank for axis in node.attrs["axes"]] != [stack.attrs["axis"] % rank]:
        return None
    parts = [value.producer for value in stack.inputs if value is not None]
    if any(part.op.name != "Reshape" for part in parts):
        return None
    found = [part.operand(0) for part in parts]
    return found if all(value.type == node.output.type for value in found) else None


def _sum(graph: Graph, terms: list[tuple[Value, float]], after: Node) -> Value:
    """The sum of the terms, a whole tensor first."""
    terms = sorted(terms, key=lambda term: term[0].shape != after.output.shape)
    total: Value | None = None
    for value, factor in terms:
        part = value
        if factor != 1:
            scale = graph.constant(np.array(factor, value.dtype.numpy), f"{value.name}.factor")
            part = graph.add("Mul", [value, scale], name=after.name).output
        total = part if total is None else graph.add("Add", [total, part], name=after.name).output
    assert total is not None
    return total
