"""Drop what changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.ops.movement import slice_ranges
from bnnc.ir.ops.resize import is_nearest
from bnnc.passes.report import Report
from bnnc.passes.rewriting import same_everywhere


def eliminate(graph: Graph, report: Report) -> int:
    """Identities disappear, and movements in a row become one::

        x -> Identity -> y          x -> y
        x -> Transpose -> Transpose -> y          x -> Transpose -> y
        x [N, C, 1, 1] -> Transpose -> y          x -> Reshape -> y
        x [1, ...] -> ReduceMean(axis 0) -> y          x -> Reshape -> y
        x -> AveragePool(1x1, strides 2) -> y          x -> Slice(steps 2) -> y

    Identity, Cast to the same type, Reshape, Expand, Slice and Resize to the same elements, Pad
    by nothing, pooling of single elements, x + 0, x * 1, Clip without bounds...
    """
    changed = 0
    for node in graph.nodes():
        if len(node.outputs) != 1:
            continue
        changed += _merge(graph, node)
        source = _source(node)
        if source is not None:
            graph.replace(node.output, source)
            graph.remove(node)
            changed += 1
        elif _reorders_nothing(node):
            shape = {"shape": node.output.shape}
            reshape = graph.add("Reshape", [node.operand(0)], shape, name=node.name)
            graph.take_over(node.output, graph.inherit(reshape, node).output)
            changed += 1
        elif _pools_single_elements(node):
            ends = {"starts": (0, 0), "ends": node.operand(0).shape[2:], "axes": (2, 3)}
            steps = {**ends, "steps": node.attrs["strides"]}
            cut = graph.add("Slice", [node.operand(0)], steps, name=node.name)
            graph.take_over(node.output, graph.inherit(cut, node).output)
            changed += 1
    return changed


def _merge(graph: Graph, node: Node) -> int:
    """Reach through a movement of the same kind in front."""
    if node.op.name not in ("Reshape", "Transpose", "Pad"):
        return 0
    before = node.operand(0).producer
    if before.op is not node.op or (node.op.name == "Pad" and not _pad_alike(before, node)):
        return 0
    if node.op.name == "Pad":
        node.attrs["pads"] = tuple(map(sum, zip(before.attrs["pads"], node.attrs["pads"])))
    if node.op.name == "Transpose":
        first = before.attrs["perm"]
        node.attrs["perm"] = tuple(first[axis] for axis in node.attrs["perm"])
    graph.set_input(node, 0, before.operand(0))
    return 1


def _pad_alike(first: Node, second: Node) -> bool:
    """Whether two Pads add the same constant."""
    a, b = first.attrs, second.attrs
    same = a["mode"] == b["mode"] == "constant" and a["value"] == b["value"]
    return bool(same and min((*a["pads"], *b["pads"])) >= 0)


def _reorders_nothing(node: Node) -> bool:
    """Whether a Transpose or a reduction moves or reduces only axes of one element."""
    if node.op.name in _REDUCTIONS:
        return node.operand(0).type.elements == node.output.type.elements
    if node.op.name != "Transpose":
        return False
    shape = node.operand(0).shape
    moved = [axis for axis in node.attrs["perm"] if shape[axis] > 1]
    return moved == sorted(moved)


def _source(node: Node) -> Value | None:
    """The value that the node's output equals, if it is one of its inputs."""
    test = _SAME.get(node.op.name)
    if test is not None:
        return node.operand(0) if test(node) else None
    neutral = _NEUTRAL.get(node.op.name)
    if neutral is None:
        return None
    number, slots = neutral
    for slot in slots:
        kept = node.operand(1 - slot)
        if same_everywhere(node.operand(slot)) == number and kept.type == node.output.type:
            return kept
    return None


def _same_type(node: Node) -> bool:
    return node.operand(0).type == node.output.type


def _pools_single_elements(node: Node) -> bool:
    pools = node.op.name in ("MaxPool", "AveragePool")
    return pools and node.attrs["kernel"] == (1, 1) and not any(node.attrs["pads"])


def _resizes_nothing(node: Node) -> bool:
    indices = [
        (node.attrs[key][:, 0], size) for key, size in zip(("iy", "ix"), node.output.shape[2:])
    ]
    return _same_type(node) and is_nearest(node) and all(
        np.array_equal(index, np.arange(size)) for index, size in indices
    )  # fmt: skip


_REDUCTIONS = tuple(f"Reduce{kind}" for kind in ("Sum", "Mean", "Max", "Min", "Prod"))
"""Those that leave single elements as they are."""

_SAME: dict[str, Callable[[Node], bool]] = {
    "Identity": lambda node: True,
    "Cast": _same_type,
    "Reshape": _same_type,
    "Expand": _same_type,
    "Concat": lambda node: len(node.inputs) == 1,
    "Transpose": lambda node: list(node.attrs["perm"]) == sorted(node.attrs["perm"]),
    "Pad": lambda node: not any(node.attrs["pads"]),
    "Slice": lambda node: (
        slice_ranges(node, node.operand(0).shape) == [range(n) for n in node.operand(0).shape]
    ),
    "Clip": lambda node: node.attrs["min"] == -np.inf and node.attrs["max"] == np.inf,
    **dict.fromkeys(
        ("MaxPool", "AveragePool"), lambda node: _pools_single_elements(node) and _same_type(node)
    ),
    "Resize": _resizes_nothing,
    **dict.fromkeys(_REDUCTIONS, _same_type),
}
"""Ops that may pass their first input on, and when they do."""

_NEUTRAL: dict[str, tuple[float, tuple[int, ...]]] = {
    "Add": (0, (0, 1)),
    "Sub": (0, (1,)),
    "Mul": (1, (0, 1)),
    "Div": (1, (1,)),
}
"""Numbers that change nothing, and the slots where they may stand."""
