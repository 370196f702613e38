"""Let convolutions that read the same tensor run as one."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from bnnc.ir.epilogue import Step
from bnnc.ir.graph import Graph, Node, Value
from bnnc.passes.report import Report

_MAX_CHANNELS = 128
"""A convolution of more output channels than this keeps a processor busy by itself."""


def merge_branches(graph: Graph, report: Report) -> int:
    """Narrow float convolutions of one tensor, of the same geometry and with the same steps, become
    one with all their output channels; slices give each its own result back::

        x -> Conv(w1) -> y1          x -> Conv(w1 : w2) -> Slice -> y1
        x -> Conv(w2) -> y2                             -> Slice -> y2

    With a batch of one a slice of channels is a view: nothing is copied.
    """
    groups: dict[Hashable, list[Node]] = {}
    for node in graph.nodes():
        key = _key(graph, node)
        if key is not None:
            groups.setdefault(key, []).append(node)
    merged = [nodes for nodes in groups.values() if len(nodes) > 1]
    for nodes in merged:
        _merge(graph, nodes)
    return sum(len(nodes) - 1 for nodes in merged)


def _key(graph: Graph, node: Node) -> Hashable | None:
    """What convolutions must have in common; None if the node cannot be merged."""
    if node.op.name != "Conv" or node.attrs["group"] != 1 or len(node.outputs) != 1:
        return None
    x, w, bias = node.operand(0), node.operand(1), node.optional(2)
    out = node.outputs[0]
    steps: tuple[Step, ...] = node.attrs["steps"]
    constant = [w, bias, *(node.inputs[slot] for step in steps for slot in step.operands)]
    if any(value is not None and not value.is_constant for value in constant):
        return None
    if any(step.kind == "sign" for step in steps) or graph.is_output(out):
        return None
    if out.shape[0] != 1 or out.shape[1] > _MAX_CHANNELS:
        return None
    geometry = (w.shape[1:], *(node.attrs[key] for key in ("strides", "pads", "dilations")))
    return (x, geometry, bias is None, tuple((step.kind, step.params) for step in steps))


def _merge(graph: Graph, nodes: list[Node]) -> None:
    first = nodes[0]
    steps: list[Step] = []
    inputs: list[Value | None] = [first.operand(0), _joined(graph, nodes, [1] * len(nodes)), None]
    if first.optional(2) is not None:
        inputs[2] = _joined(graph, nodes, [2] * len(nodes))
    for position, step in enumerate(first.attrs["steps"]):
        slots = []
        for number in range(len(step.operands)):
            own = [node.attrs["steps"][position].operands[number] for node in nodes]
            slots.append(len(inputs))
            inputs.append(_joined(graph, nodes, own))
        steps.append(Step(step.kind, tuple(slots), step.result, step.params))
    name = "+".join(node.title for node in nodes)
    new = graph.add("Conv", inputs, {**first.attrs, "steps": tuple(steps)}, name=name)
    graph.inherit(new, *nodes)
    start = 0
    for node in nodes:
        out = node.outputs[0]
        end = start + out.shape[1]
        bounds = {"starts": (start,), "ends": (end,), "axes": (1,), "steps": (1,)}
        part = graph.add("Slice", [new.outputs[0]], bounds, name=node.name, values=[out.name])
        graph.take_over(out, graph.inherit(part, node).output)
        graph.remove(node)
        start = end


def _joined(graph: Graph, nodes: list[Node], slots: list[int]) -> Value:
    """The nodes' constants at ``slots``, one behind the other along their first axis."""
    arrays = [node.operand(slot).data for node, slot in zip(nodes, slots)]
    joined = np.concatenate([array for array in arrays if array is not None])
    return graph.constant(joined, nodes[0].operand(slots[0]).name)
