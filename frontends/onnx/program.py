"""A model as one flat list of nodes: functions inlined, nodes in order, names checked."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, ValueInfoProto

from bnnc.errors import ModelError
from bnnc.frontends.onnx.functions import Inliner, graph_tensors, refuse_duplicates
from bnnc.frontends.onnx.masks import read_masks
from bnnc.frontends.onnx.nodes import OnnxNode, Tensor
from bnnc.frontends.onnx.text import listing, quote


@dataclass
class Program:
    """A flat model.

    Attributes:
        inputs: what the caller of the model gives.
        outputs: what it returns; a tensor may stand twice.
        initializers: constants by name, not yet decoded.
        nodes: every node that an output depends on, producers first.
        inliner: what reads further nodes, where one turns out to stand for several.
    """

    inputs: list[ValueInfoProto]
    outputs: list[ValueInfoProto]
    initializers: dict[str, Tensor]
    nodes: list[OnnxNode]
    inliner: Inliner


def flatten(model: ModelProto, native: Callable[[str, str], bool]) -> Program:
    """The model as a :class:`Program`.

    Args:
        model: the model.
        native: whether an operator (domain, name) needs no function.

    Raises:
        ModelError: for tensors that are undefined, defined twice or defined by each other, for
            functions that call themselves, and for more than ``MAX_NODES`` nodes.
    """
    graph = model.graph
    initializers = graph_tensors(graph)
    listed = [info.name for info in graph.input]
    refuse_duplicates(listed, "input of the graph")
    if not graph.output:
        raise ModelError("the graph has no outputs")
    if not all(info.name for info in graph.output):
        raise ModelError("an output of the graph has no name")
    inliner = Inliner(model, {*listed, *initializers}, native)
    outputs = [info.name for info in graph.output]
    nodes = read_masks(inliner.nodes(), set(listed).difference(initializers))
    nodes = arrange(nodes, {*listed, *initializers}, outputs)
    return Program(
        inputs=[info for info in graph.input if info.name not in initializers],
        outputs=list(graph.output),
        initializers=initializers,
        nodes=nodes,
        inliner=inliner,
    )


# ---- order ------------------------------------------------------------------------------------


def arrange(nodes: Sequence[OnnxNode], given: set[str], outputs: Sequence[str]) -> list[OnnxNode]:
    """Those of ``nodes`` that ``outputs`` depend on, producers first.

    Args:
        nodes: in any order.
        given: the tensors they may read and do not compute.
        outputs: the tensors wanted.

    Raises:
        ModelError: for tensors that are undefined, defined twice or defined by each other.
    """
    producers = _producers(nodes, given)
    ordered = _in_order(nodes, producers)
    for name in outputs:
        if name not in producers and name not in given:
            raise ModelError(f"nothing computes the graph's output {quote(name)}")
    return _alive(ordered, producers, outputs)


def _producers(nodes: Sequence[OnnxNode], given: set[str]) -> dict[str, int]:
    """Which node computes each tensor."""
    found: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in found or name in given:
                raise ModelError(f"tensor {quote(name)} is computed twice", node=node.title)
            found[name] = index
    for node in nodes:
        for name in filter(None, node.reads):
            if name not in found and name not in given:
                raise ModelError(
                    f"reads tensor {quote(name)}, which nothing computes", node=node.title
                )
    return found


def _in_order(nodes: Sequence[OnnxNode], producers: Mapping[str, int]) -> list[OnnxNode]:
    """The nodes with producers first, else in the model's order."""
    readers: list[list[int]] = [[] for _ in nodes]
    waiting = [0] * len(nodes)
    for index, node in enumerate(nodes):
        for source in {producers[name] for name in node.reads if name in producers}:
            readers[source].append(index)
            waiting[index] += 1
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        raise _cycle(nodes, producers, waiting)
    return order


def _cycle(
    nodes: Sequence[OnnxNode], producers: Mapping[str, int], waiting: Sequence[int]
) -> ModelError:
    """Walk upstream among the stuck nodes until one comes again: that one is on a cycle."""
    trail: dict[int, None] = {}
    index = next(i for i, count in enumerate(waiting) if count)
    while index not in trail:
        trail[index] = None
        sources = (producers[name] for name in nodes[index].reads if name in producers)
        index = next(source for source in sources if waiting[source])
    walked = list(trail)
    members = [quote(nodes[i].title) for i in walked[walked.index(index) :]]
    return ModelError(
        f"depends on itself: the nodes {listing(members, 4)} form a cycle"
        if len(members) > 1
        else "depends on itself",
        node=nodes[index].title,
    )


def _alive(
    ordered: Sequence[OnnxNode], producers: Mapping[str, int], outputs: Iterable[str]
) -> list[OnnxNode]:
    needed = set(outputs)
    kept = []
    for node in reversed(ordered):
        if needed.intersection(filter(None, node.outputs)):
            needed.update(node.reads)
            kept.append(node)
    return kept[::-1]
