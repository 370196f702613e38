"""Let transposes cancel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.op import Flow
from bnnc.passes.report import Report

Perm = tuple[int, ...]

_SMALL = 16
"""An operand this many times smaller than the result may be transposed on its own."""
_MAX_ROUNDS = 8


def sink_transposes(graph: Graph, report: Report) -> int:
    """Transposes move towards the outputs, through everything that does not care, and cancel where
    they meet their inverse::

        x -> Transpose(NHWC) -> Relu -> Pad -> Transpose(NCHW) -> Conv
        x -> Relu -> Pad -> Conv

    What lies between is rewritten for the other order of axes, a whole region at a time: nodes
    whose operands are transposed alike, or constant, or small. A region moves if that does not
    make transposes more.
    """
    changed = 0
    for _ in range(_MAX_ROUNDS):
        transposes = [node for node in graph.nodes() if node.op.name == "Transpose"]
        perms = dict.fromkeys(tuple(node.attrs["perm"]) for node in transposes)
        moved = sum(_sink(graph, perm) for perm in perms)
        _drop_identities(graph)
        changed += moved
        if not moved:
            break
    return changed


def _drop_identities(graph: Graph) -> None:
    for node in graph.nodes():
        if node.op.name == "Transpose" and list(node.attrs["perm"]) == sorted(node.attrs["perm"]):
            graph.replace(node.output, node.operand(0))
    graph.prune()


def _sink(graph: Graph, perm: Perm) -> int:
    """Move every Transpose by ``perm`` for which that is worth it."""
    sources = {
        node.output: node.operand(0)
        for node in graph.nodes()
        if node.op.name == "Transpose" and tuple(node.attrs["perm"]) == perm
    }
    region = _region(graph, sources, perm)
    ties: nx.Graph = nx.Graph()
    for node in region:
        ties.add_node(node)
        for value in node.inputs:
            if value in sources or (value is not None and value.producer in region):
                ties.add_edge(node, value.producer)
    place = {node: index for index, node in enumerate(region)}
    moved = 0
    for part in list(nx.connected_components(ties)):
        nodes = sorted((node for node in part if node in region), key=place.__getitem__)
        if _is_fresh(nodes, sources, perm) and _is_worth_it(graph, nodes, sources):
            _move(graph, nodes, sources, perm)
            moved += 1
    return moved


def _region(graph: Graph, sources: dict[Value, Value], perm: Perm) -> dict[Node, None]:
    """The nodes, in order, that can compute on operands before their Transpose by ``perm``."""
    ordered = graph.nodes()
    region: dict[Node, None] = {}
    inside: set[Value] = set(sources)
    for node in ordered:
        if any(value in inside for value in node.inputs) and _is_passable(node, perm):
            region[node] = None
            inside.update(node.outputs)
    while True:
        inside = {*sources, *(value for node in region for value in node.outputs)}
        refused = [
            node
            for node in region
            if not all(v is None or v in inside or _is_cheap(v, node, perm) for v in node.inputs)
            or not any(v in inside for v in node.inputs)
        ]
        if not refused:
            return region
        for node in refused:
            del region[node]


def _is_passable(node: Node, perm: Perm) -> bool:
    if len(node.outputs) != 1:
        return False
    if node.op.flow is not Flow.ELEMENTWISE and node.op.name not in _REWRITES:
        return False
    if _drops_axes(node):
        dropped = _positive(node.attrs["axes"], perm)
        kept = [axis for place, axis in enumerate(perm) if place not in dropped]
        return kept == sorted(kept)
    return len(node.output.shape) == len(perm)


def _drops_axes(node: Node) -> bool:
    return "keepdims" in node.attrs and not node.attrs["keepdims"]


def _is_cheap(value: Value, node: Node, perm: Perm) -> bool:
    """Whether a value that is not transposed can be brought into the other order."""
    if value.is_constant or not value.shape:
        return True
    small = value.type.elements * _SMALL <= node.output.type.elements
    return small and len(value.shape) == len(perm)


def _is_fresh(nodes: list[Node], sources: dict[Value, Value], perm: Perm) -> bool:
    """Whether moving another region has left this one's Transposes as they were."""
    found = [v.producer for node in nodes for v in node.inputs if v is not None and v in sources]
    return all(
        tuple(node.attrs["perm"]) == perm and node.operand(0) is sources[node.output]
        for node in found
    )


def _is_worth_it(graph: Graph, nodes: list[Node], sources: dict[Value, Value]) -> bool:
    """Whether no more elements are transposed afterwards than before."""
    part = set(nodes)
    before = after = 0
    for value in dict.fromkeys(v for node in nodes for v in node.inputs if v in sources):
        assert value is not None
        before += value.type.elements * all(node in part for node, _ in graph.consumers(value))
    for node in nodes:
        if _drops_axes(node):
            continue
        readers = [reader for reader, _ in graph.consumers(node.output) if reader not in part]
        others = [reader for reader in readers if reader.op.name != "Transpose"]
        size = node.output.type.elements
        before += size * (len(readers) - len(others))
        after += size * (bool(others) or graph.is_output(node.output))
    return after <= before


def _move(graph: Graph, nodes: list[Node], sources: dict[Value, Value], perm: Perm) -> None:
    """Compute ``nodes`` before the Transposes, and transpose what others read of them."""
    turned: dict[Value, Value] = dict(sources)
    for node in nodes:
        attrs = dict(node.attrs)
        rewrite = _REWRITES.get(node.op.name)
        if rewrite is not None:
            rewrite(attrs, perm)
        inputs = [
            None if v is None else turned.get(v) or _turned(graph, v, perm) for v in node.inputs
        ]
        names = [node.output.name]
        new = graph.add(node.op.name, inputs, attrs, name=node.name, values=names)
        graph.inherit(new, node)
        turned[node.output] = new.output
    part = set(nodes)
    for node in nodes:
        old, new = node.output, turned[node.output].producer
        if _drops_axes(node):
            graph.take_over(old, new.output)
            continue
        readers = [reader for reader, _ in graph.consumers(old) if reader not in part]
        for reader in readers:
            if reader.op.name == "Transpose":
                reader.attrs["perm"] = tuple(perm[axis] for axis in reader.attrs["perm"])
                graph.set_input(reader, 0, new.output)
        if any(reader.op.name != "Transpose" for reader in readers) or graph.is_output(old):
            back = graph.add("Transpose", [new.output], {"perm": perm}, name=node.name)
            graph.take_over(old, graph.inherit(back, node).output)
    for node in reversed(nodes):
        graph.remove(node)


def _turned(graph: Graph, value: Value, perm: Perm) -> Value:
    """``value`` as a Transpose by ``perm`` would start from it."""
    if not value.shape:
        return value
    inverse = tuple(perm.index(axis) for axis in range(len(perm)))
    if value.data is not None:
        shape = (1,) * (len(perm) - len(value.shape)) + value.shape
        return graph.constant(value.data.reshape(shape).transpose(inverse), value.name)
    node = graph.add("Transpose", [value], {"perm": inverse}, name=value.producer.name)
    return graph.inherit(node, value.producer).output


# ---- ops whose attributes speak of axes --------------------------------------------------------

Attrs = dict[str, Any]


def _positive(axes: Iterable[int], perm: Perm) -> list[int]:
    return [axis % len(perm) for axis in axes]


def _pad(attrs: Attrs, perm: Perm) -> None:
    rank, pads = len(perm), attrs["pads"]
    places = [perm.index(axis) for axis in range(rank)]
    attrs["pads"] = tuple(pads[place + side] for side in (0, rank) for place in places)


def _axis(attrs: Attrs, perm: Perm) -> None:
    (attrs["axis"],) = (perm[axis] for axis in _positive([attrs["axis"]], perm))


def _axes(attrs: Attrs, perm: Perm) -> None:
    attrs["axes"] = tuple(perm[axis] for axis in _positive(attrs["axes"], perm))


_REWRITES = {
    "Pad": _pad,
    "Concat": _axis,
    "Softmax": _axis,
    "LogSoftmax": _axis,
    "Slice": _axes,
    **{
        f"Reduce{kind}": _axes
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare")
    },
}
"""How attributes change when an op moves before a Transpose."""
