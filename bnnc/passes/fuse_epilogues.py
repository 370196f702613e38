"""Compute what follows a product while its result is still at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import networkx as nx
import numpy as np

from bnnc.ir.epilogue import Step
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.steps import Piece, pieces_of

_PRODUCTS = ("BinaryConv", "Conv", "ConvTranspose", "MatMul")
_PAYS_ALONE = ("affine", "prelu", "scale")
"""Steps worth a Map of their own; other single nodes have kernels that do as well."""
_LOOK_AHEAD = 4
_LARGEST = 1e30
"""Factors that float32 could hardly hold are not multiplied out."""


def fuse_epilogues(graph: Graph, report: Report) -> int:
    """What acts on each element of a product's result, or with constants of its channel, becomes
    steps of the product's epilogue; so do residual additions, gates, and the next layers' signs::

        BinaryConv -> Cast -> Relu -> BatchNormalization -> Add(x) -> y -> Map(sign) -> bits
        BinaryConv(relu, affine, add x, store y, sign bits)

    A value that someone else reads as well gets a ``store``. Runs of constant factors and summands
    become one, computed in float64. What is left of such chains elsewhere becomes a Map.
    """
    fuser = _Fuser(graph)
    nodes = graph.nodes()
    products = [node for name in _PRODUCTS for node in nodes if node.op.name == name]
    changed = sum(fuser.fuse_product(node) for node in products)
    return changed + sum(fuser.make_maps(value) for value in list(graph.values()))


class _Epilogue:
    """An epilogue in the making, and the nodes it replaces."""

    def __init__(self, graph: Graph, inputs: Sequence[Value | None]) -> None:
        self.graph = graph
        self.inputs = list(inputs)
        self.steps: list[Step] = []
        self.written: list[Value] = []
        self.parts: list[Node] = []
        self._affine: tuple[np.ndarray, np.ndarray] | None = None

    def apply(self, node: Node, pieces: Sequence[Piece]) -> None:
        """Do what ``node`` does."""
        self.parts.append(node)
        for piece in pieces:
            if piece.kind == "affine":
                a, b = (np.asarray(x, np.float64) for x in piece.operands)
                self._multiply(a, b)
            else:
                self._flush()
                slots = tuple(self._slot(operand, node) for operand in piece.operands)
                self.steps.append(Step(piece.kind, slots, None, piece.params))

    def store(self, value: Value) -> None:
        """Write the running value as ``value``."""
        self._flush()
        self.steps.append(Step("store", (), len(self.written)))
        self.written.append(value)

    def sign(self, node: Node) -> None:
        """Write the bits that ``node``, a Map of one sign, writes."""
        self._flush()
        (step,) = node.attrs["steps"]
        slot = self._slot(node.operand(step.operands[0]), node)
        self.steps.append(Step("sign", (slot,), len(self.written), step.params))
        self.written.append(node.output)
        self.parts.append(node)

    def replace(self, op: str, attrs: dict[str, object], *anchor: Node) -> Node:
        """Put one node of ``op`` in the place of ``anchor`` and all parts."""
        names = [value.name for value in self.written]
        old = (*anchor, *self.parts)
        steps = {"steps": tuple(self.steps)}
        new = self.graph.add(op, self.inputs, {**attrs, **steps}, name=old[0].name, values=names)
        self.graph.inherit(new, *old)
        for value, result in zip(self.written, new.outputs):
            result.stands_for = value.stands_for
            self.graph.take_over(value, result)
        for node in reversed(old):
            self.graph.remove(node)
        return new

    def _multiply(self, a: np.ndarray, b: np.ndarray) -> None:
        """Make (a, b) part of the factor and summand that wait to be applied."""
        if self._affine is not None:
            factor, summand = self._affine
            merged = factor * a, summand * a + b
            if all((np.abs(x) < _LARGEST).all() for x in merged):
                self._affine = merged
                return
            self._flush()
        self._affine = a, b

    def _flush(self) -> None:
        if self._affine is None:
            return
        factor, summand = (x.astype(np.float32) for x in self._affine)
        self._affine = None
        if (factor != 1).any() or summand.any():
            slots = self._slot(factor, self.parts[-1]), self._slot(summand, self.parts[-1])
            self.steps.append(Step("affine", slots))

    def _slot(self, operand: Value | np.ndarray, node: Node) -> int:
        """The input slot that holds ``operand``, a new one if need be."""
        if isinstance(operand, np.ndarray):
            vector = np.ascontiguousarray(operand, np.float32)
            operand = self.graph.constant(vector, f"{node.title}.{len(self.inputs)}")
        # The leading slots have meanings of their own and are not shared.
        for slot in range(3, len(self.inputs)):
            if self.inputs[slot] is operand:
                return slot
        self.inputs.append(operand)
        return len(self.inputs) - 1


class _Fuser:
    """Finds what to fuse.

    ``order`` numbers the nodes in a topological order, at all times: a fused node takes the place
    of its first part. So an operand that stands before a node in it does not depend on the node,
    whatever has been fused since, and no cycle can come about.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # As late as possible, but small tensors first, and products after their peers: what they
        # are multiplied by or added to shall be there.
        backwards = nx.lexicographical_topological_sort(
            graph.dag.reverse(copy=False),
            key=lambda n: (-_elements(n), n.op.name not in _PRODUCTS, -n.serial),
        )
        self.order = {node: -place for place, node in enumerate(backwards)}

    def fuse_product(self, node: Node) -> int:
        """Give a product the steps that follow it."""
        value = node.output if not node.attrs["steps"] else None
        if value is None or len(value.shape) != (2 if node.op.name == "MatMul" else 4):
            return 0  # axis 1 of a product of many matrices is none of its columns
        epilogue = _Epilogue(self.graph, [*node.inputs, None][:3])
        if node.op.name == "BinaryConv":
            cast = self.graph.only_consumer(value)
            if cast is None or cast.op.name != "Cast" or cast.output.dtype is not DType.F32:
                return 0
            epilogue.parts.append(cast)
            value = cast.output
        if value.dtype is not DType.F32:
            return 0
        self._grow(epilogue, value, self.order[node])
        if not epilogue.parts:
            return 0
        attrs = {key: given for key, given in node.attrs.items() if key != "steps"}
        place = self.order[node]
        self.order[epilogue.replace(node.op.name, attrs, node)] = place
        return 1

    def make_maps(self, value: Value) -> int:
        """Turn chains that start at a stored ``value`` into Maps, where that is worth it."""
        kernels = value.dtype is DType.F32 and len(value.shape) in (2, 4) and not value.is_constant
        if not kernels or value.producer not in self.graph.dag:
            return 0
        signs, others = self._readers(value)
        changed = 0
        for node in others:
            if node in self.graph.dag and self._make_map(value, signs, node):
                changed += 1
                signs, _ = self._readers(value)
        return changed + self._make_map(value, signs, None)

    def _make_map(self, value: Value, signs: Sequence[Node], first: Node | None) -> int:
        """One Map that writes the signs of ``value`` and goes on with ``first``."""
        starts = [*signs, first] if first is not None else signs
        if not starts:
            return 0
        place = min(self.order[node] for node in starts)
        epilogue = _Epilogue(self.graph, [value])
        for node in signs:
            epilogue.sign(node)
        if first is not None:
            pieces = self._pieces(first, value, place)
            if pieces is None:
                return 0
            epilogue.apply(first, pieces)
            self._grow(epilogue, first.output, place)
        if len(epilogue.parts) < 2 and not any(s.kind in _PAYS_ALONE for s in epilogue.steps):
            return 0
        self.order[epilogue.replace("Map", {})] = place
        return 1

    def _grow(self, epilogue: _Epilogue, value: Value, place: int) -> None:
        """Write what is needed of ``value``, and go on from there as far as steps can."""
        while True:
            signs, others = self._readers(value)
            found = next(
                ((n, p) for n in others if (p := self._pieces(n, value, place)) is not None), None
            )
            if found is not None and len(others) > 1 and self._comes_back(found[0], value):
                found = None
            goes_on = signs or found is not None
            if len(others) > (found is not None) or self.graph.is_output(value) or not goes_on:
                epilogue.store(value)
            for node in signs:
                epilogue.sign(node)
            if found is None:
                return
            epilogue.apply(*found)
            value = found[0].output

    def _readers(self, value: Value) -> tuple[list[Node], list[Node]]:
        """Who reads ``value``: Maps of one sign, and others."""
        nodes = list(dict.fromkeys(node for node, _ in self.graph.consumers(value)))
        signs = [n for n in nodes if n.op.name == "Map" and _kinds(n) == ["sign"]]
        return signs, [node for node in nodes if node not in signs]

    def _pieces(self, node: Node, value: Value, place: int) -> tuple[Piece, ...] | None:
        return pieces_of(node, value, lambda v: v.is_constant or self.order[v.producer] < place)

    def _comes_back(self, node: Node, value: Value) -> bool:
        """Whether the chain from ``node`` soon needs ``value`` again, as in x * sigmoid(x): then
        a Map that reads it once is better."""
        for _ in range(_LOOK_AHEAD):
            follower = self.graph.only_consumer(node.output) if len(node.outputs) == 1 else None
            if follower is None or follower.op.name in (*_PRODUCTS, "Map"):
                return False
            if any(operand is value for operand in follower.inputs):
                return True
            node = follower
        return False


def _kinds(node: Node) -> list[str]:
    return [step.kind for step in node.attrs["steps"]]


def _elements(node: Node) -> int:
    return sum(math.prod(value.shape) for value in node.outputs)
