"""Pad as late as possible."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.op import Flow
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.rewriting import inherit, same_everywhere


def sink_pads(graph: Graph, report: Report) -> int:
    """A constant's way through elementwise ops is known, so padding may as well be done behind::

        x -> Pad(0) -> Sign -> Mul(0.3) -> Conv          x -> Sign -> Mul(0.3) -> Pad(0) -> Conv

    There a convolution takes it in; and zeros around a tensor whose signs are taken stay zeros, as
    ONNX has it, whatever is decided about zeros inside.
    """
    changed = 0
    for node in graph.nodes():
        found = _padded(graph, node)
        if found is not None:
            _move(graph, node, *found)
            changed += 1
    return changed


def _padded(graph: Graph, node: Node) -> tuple[Node, float] | None:
    """The Pad that ``node`` alone reads, and what ``node`` makes of the padding."""
    moving = [v for v in node.inputs if v is not None and not v.is_constant]
    if node.op.flow is not Flow.ELEMENTWISE or len(moving) != 1 or len(node.outputs) != 1:
        return None
    (x,) = moving
    pad = x.producer
    alone = pad.op.name == "Pad" and graph.only_consumer(x) is node
    if not alone or pad.attrs["mode"] != "constant" or node.output.type != x.type:
        return None
    if x.dtype is not DType.F32 or min(pad.attrs["pads"]) < 0:
        return None
    if any(same_everywhere(v) is None for v in node.inputs if v is not None and v is not x):
        return None
    value = np.full((1,) * len(x.shape), pad.attrs["value"], np.float32)
    with np.errstate(all="ignore"):
        operands = [value if v is x else None if v is None else v.data for v in node.inputs]
        (result,) = node.op.compute(node, [_single(operand) for operand in operands])
    return (pad, float(result.flat[0])) if np.isfinite(result).all() else None


def _single(operand: np.ndarray | None) -> np.ndarray | None:
    return None if operand is None else operand.flat[0].reshape((1,) * operand.ndim)


def _move(graph: Graph, node: Node, pad: Node, value: float) -> None:
    x = pad.output
    inputs = [pad.operand(0) if v is x else v and _shrunk(graph, v) for v in node.inputs]
    new = inherit(graph.add(node.op.name, inputs, node.attrs, name=node.name), node)
    attrs = {"pads": pad.attrs["pads"], "value": value}
    padded = inherit(graph.add("Pad", [new.output], attrs, name=pad.name), pad, node)
    graph.take_over(node.output, padded.output)
    graph.remove(node)
    graph.remove(pad)


def _shrunk(graph: Graph, constant: Value) -> Value:
    """A constant that is one number throughout, as one number."""
    if constant.data is None or constant.data.size == 1:
        return constant
    return graph.constant(constant.data.flat[0], constant.name)
