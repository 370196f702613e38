"""Pad as late as possible."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.op import Flow
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.rewriting import same_everywhere


def sink_pads(graph: Graph, report: Report) -> int:
    """A constant's way through elementwise ops is known, so padding may as well be done behind::

        x -> Pad(0) -> Sign -> Mul(0.3) -> Conv          x -> Sign -> Mul(0.3) -> Pad(0) -> Conv

    There a convolution takes it in; and zeros around a tensor whose signs are taken stay zeros, as
    ONNX has it, whatever is decided about zeros inside. On the way lie Transposes, and Reshapes
    that add or drop axes of one element, as around a convolution over one axis.
    """
    changed = 0
    for node in graph.nodes():
        if len(node.outputs) != 1 or not node.inputs:
            continue
        changed += _reordered(graph, node) or _computed(graph, node)
    return changed


def _pad_before(graph: Graph, node: Node, x: Value) -> Node | None:
    """The Pad by a constant that makes ``x``, if ``node`` alone reads it."""
    pad = x.producer
    if pad.op.name != "Pad" or graph.only_consumer(x) is not node:
        return None
    plain = pad.attrs["mode"] == "constant" and min(pad.attrs["pads"]) >= 0
    return pad if plain else None


def _put_behind(
    graph: Graph, node: Node, new: Node, pad: Node, pads: tuple[int, ...], value: float
) -> None:
    """Let ``new`` and a Pad behind it take the places of ``pad`` and ``node``."""
    graph.inherit(new, node)
    attrs = {"pads": pads, "value": value}
    padded = graph.inherit(graph.add("Pad", [new.output], attrs, name=pad.name), pad, node)
    graph.take_over(node.output, padded.output)
    graph.remove(node)
    graph.remove(pad)


# ---- behind ops that move elements -------------------------------------------------------------


def _reordered(graph: Graph, node: Node) -> bool:
    if node.op.name not in ("Transpose", "Reshape"):
        return False
    x = node.operand(0)
    pad = _pad_before(graph, node, x)
    order = None if pad is None else _order(node, x.shape)
    if pad is None or order is None:
        return False
    pads, rank = pad.attrs["pads"], len(x.shape)
    before, after = (
        tuple(0 if axis is None else pads[side + axis] for axis in order) for side in (0, rank)
    )
    attrs = dict(node.attrs)
    if node.op.name == "Reshape":
        attrs["shape"] = tuple(n - a - b for n, a, b in zip(node.output.shape, before, after))
    new = graph.add(node.op.name, [pad.operand(0)], attrs, name=node.name)
    _put_behind(graph, node, new, pad, before + after, pad.attrs["value"])
    return True


def _order(node: Node, shape: tuple[int, ...]) -> list[int | None] | None:
    """Which axis of the input each axis of the output is, None for a new one of one element; None
    altogether if a Reshape does more than adding and dropping such axes."""
    if node.op.name == "Transpose":
        return list(node.attrs["perm"])
    kept = iter([axis for axis, size in enumerate(shape) if size > 1])
    order = [next(kept, None) if size > 1 else None for size in node.output.shape]
    sizes = [1 if axis is None else shape[axis] for axis in order]
    return order if sizes == list(node.output.shape) and next(kept, None) is None else None


# ---- behind ops that compute -------------------------------------------------------------------


def _computed(graph: Graph, node: Node) -> bool:
    moving = [v for v in node.inputs if v is not None and not v.is_constant]
    if node.op.flow is not Flow.ELEMENTWISE or len(moving) != 1:
        return False
    (x,) = moving
    pad = _pad_before(graph, node, x)
    if pad is None or x.dtype is not DType.F32 or node.output.type != x.type:
        return False
    if any(same_everywhere(v) is None for v in node.inputs if v is not None and v is not x):
        return False
    value = _of_padding(node, x, pad)
    if not np.isfinite(value):
        return False
    inputs = [pad.operand(0) if v is x else v and _shrunk(graph, v) for v in node.inputs]
    new = graph.add(node.op.name, inputs, node.attrs, name=node.name)
    _put_behind(graph, node, new, pad, pad.attrs["pads"], value)
    return True


def _of_padding(node: Node, x: Value, pad: Node) -> float:
    """What ``node`` makes of the padding."""
    value = np.full((1,) * len(x.shape), pad.attrs["value"], np.float32)
    operands = [value if v is x else None if v is None else v.data for v in node.inputs]
    with np.errstate(all="ignore"):
        (result,) = node.op.compute(node, [_single(operand) for operand in operands])
    return float(result.flat[0])


def _single(operand: np.ndarray | None) -> np.ndarray | None:
    return None if operand is None else operand.flat[0].reshape((1,) * operand.ndim)


def _shrunk(graph: Graph, constant: Value) -> Value:
    """A constant that is one number throughout, as one number."""
    if constant.data is None or constant.data.size == 1:
        return constant
    return graph.constant(constant.data.flat[0], constant.name)
