"""Pointwise convolutions on the heels of 3x3 ones."""

from __future__ import annotations

import math
from collections.abc import Hashable

from bnnc.ir.epilogue import Branch, Step
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.passes.report import Report

CHANNELS = 4, 256
"""Channels of x from which, and up to which, Winograd's transformation pays."""

HIDDEN = 8, 128
"""Channels between the two convolutions of a branch: a block of them, and what stays near for the
pixels that are computed together."""

PIXELS = 400
"""Pixels below which everything stays near in any case."""


def fuse_points(graph: Graph, report: Report) -> int:
    """3x3 convolutions of one tensor, each read by a 1x1 convolution alone, become one node: what
    lies between the two, often many times the size of everything around, never reaches memory::

        x -> Conv(3x3) -> relu -> Conv(1x1) -> y1          x -> BranchedConv -> y1
        x -> Conv(3x3) -> relu -> Conv(1x1) -> y2                            -> y2

    The heads of a detector are such branches.
    """
    groups: dict[Hashable, list[tuple[Node, Node]]] = {}
    for node in graph.nodes():
        if _slides(graph, node):
            points = graph.only_consumer(node.outputs[0])
            if points is not None and _points(points, node.outputs[0]):
                key = (node.operand(0), tuple(node.attrs["pads"]), bool(node.attrs["steps"]))
                groups.setdefault(key, []).append((node, points))
    for pairs in groups.values():
        _fuse(graph, pairs)
    return sum(map(len, groups.values()))


def _slides(graph: Graph, node: Node) -> bool:
    """Whether it is a 3x3 convolution at stride 1 with a relu or nothing behind it."""
    if not _is_plain(node, (3, 3)):
        return False
    x, out = node.operand(0), node.outputs[0]
    kinds = [step.kind for step in node.attrs["steps"]]
    return (
        kinds in ([], ["relu", "store"])
        and not graph.is_output(out)
        and CHANNELS[0] <= x.shape[1] <= CHANNELS[1]
        and HIDDEN[0] <= out.shape[1] <= HIDDEN[1]
        and math.prod(out.shape[2:]) >= PIXELS
        and x.shape[3] <= 16384
    )


def _points(node: Node, x: Value) -> bool:
    """Whether it is a 1x1 convolution of ``x``, and all it takes besides is constant."""
    slots = [slot for step in node.attrs.get("steps", ()) for slot in getattr(step, "operands", ())]
    return (
        _is_plain(node, (1, 1))
        and node.operand(0) is x
        and not any(node.attrs["pads"])
        and all(node.operand(slot).is_constant for slot in slots)
    )


def _is_plain(node: Node, kernel: tuple[int, int]) -> bool:
    if node.op.name != "Conv" or node.operand(0).dtype is not DType.F32:
        return False
    w, bias, attrs = node.operand(1), node.optional(2), node.attrs
    return (
        len(w.shape) == 4
        and tuple(w.shape[2:]) == kernel
        and attrs["group"] == 1
        and tuple(attrs["strides"]) == tuple(attrs["dilations"]) == (1, 1)
        and w.is_constant
        and (bias is None or bias.is_constant)
    )


def _fuse(graph: Graph, pairs: list[tuple[Node, Node]]) -> None:
    first = pairs[0][0]
    inputs: list[Value | None] = [first.operand(0)]
    branches: list[Branch] = []
    outputs: list[Value] = []
    titles: list[str] = []
    for node, points in pairs:
        slot = len(inputs)
        inputs += [node.operand(1), node.optional(2), points.operand(1), points.optional(2)]
        steps = []
        for step in points.attrs["steps"]:
            slots = tuple(range(len(inputs), len(inputs) + len(step.operands)))
            inputs += [points.operand(old) for old in step.operands]
            steps.append(Step(step.kind, slots, step.result, step.params))
        branches.append(Branch((slot, slot + 1, slot + 2, slot + 3), tuple(steps)))
        outputs += points.outputs
        titles.append(points.title)
    attrs = {
        "pads": first.attrs["pads"],
        "low": 0.0 if first.attrs["steps"] else -math.inf,
        "branches": tuple(branches),
    }
    names = [value.name for value in outputs]
    fused = graph.add("BranchedConv", inputs, attrs, name="+".join(titles), values=names)
    graph.inherit(fused, *(node for pair in pairs for node in pair))
    for old, new in zip(outputs, fused.outputs):
        new.stands_for = old.stands_for
        graph.take_over(old, new)
    for node, points in pairs:
        graph.remove(points)
        graph.remove(node)
