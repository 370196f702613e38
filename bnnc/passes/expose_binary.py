"""Write every binary product as +-1 times +-1, so that its sums are integers."""

from __future__ import annotations

import numpy as np

from bnnc.ir.binary import Packing, verdicts
from bnnc.ir.graph import Graph, Node, Value
from bnnc.passes.report import Report
from bnnc.passes.rewriting import append, inherit


def expose_binary(graph: Graph, report: Report) -> int:
    """Scales and biases of binary products move behind them::

        x in {lo, hi} -> Conv(+-alpha, bias) -> y
        x -> Sign(x - m) -> Conv(+-1) -> Mul(alpha * d) -> Add(alpha * m * sum(+-1) + bias) -> y

    What is left adds up without rounding, whoever does it in whatever order: from here on the
    model's meaning in float32 is the meaning of integers, and bits decided from them can be
    exactly equal everywhere. Rounding noise in |weights| disappears on the way. Activations whose
    sums are exact as they are, such as {-1, 1} and {0, 1}, stay.

    This is the last semantic pass; it also writes the verdicts into the report.
    """
    found = verdicts(graph)
    flattened = sum(_flatten(graph, node) for node, verdict in found.items() if verdict.binary)
    if flattened:
        found = verdicts(graph)
    report.verdicts = tuple(found.values())
    signs: dict[Value, Value] = {}
    return flattened + sum(
        _expose(graph, node, verdict.packing, signs)
        for node, verdict in found.items()
        if verdict.packing is not None
    )


def _flatten(graph: Graph, node: Node) -> int:
    """Matrix products get a left operand of two axes: [..., K] is seen as [rows, K]."""
    a, b = node.operand(0), node.operand(1)
    if node.op.name != "MatMul" or len(a.shape) == 2:
        return 0
    shapes = {"shape": (a.type.elements // a.shape[-1], a.shape[-1])}, {"shape": node.output.shape}
    rows = inherit(graph.add("Reshape", [a], shapes[0], name=node.name), node)
    product = inherit(graph.add("MatMul", [rows.output, b], name=node.name), node)
    value = inherit(graph.add("Reshape", [product.output], shapes[1], name=node.name), node).output
    graph.take_over(node.output, value)
    bias = node.optional(2)
    if bias is not None:
        add = graph.add("Add", [value, bias], name=node.name, values=[value.name])
        graph.take_over(value, inherit(add, node).output)
    graph.remove(node)
    return 1


def _expose(graph: Graph, node: Node, packing: Packing, signs: dict[Value, Value]) -> int:
    bipolar = np.where(packing.signs, np.float32(1), np.float32(-1))
    scale = packing.alpha.astype(np.float64)
    shift = np.zeros(len(scale))
    changed = 0
    if not packing.sums_exactly:
        shift += scale * packing.middle * bipolar.reshape(len(scale), -1).sum(1, np.float64)
        scale = scale * packing.half
        _use_signs(graph, node, packing, signs)
        changed = 1
    weights = bipolar.T if node.op.name == "MatMul" else bipolar
    w = node.operand(1)
    if w.data is None or not np.array_equal(w.data, weights):
        graph.set_input(node, 1, graph.constant(weights, w.name))
        changed = 1
    bias = node.optional(2)
    if bias is not None:
        graph.set_input(node, 2, None)
        changed = 1
        if bias.data is not None and bias.data.size in (1, len(shift)):
            shift += bias.data.reshape(-1)
            bias = None
    vector = (-1, 1, 1) if node.op.name == "Conv" else (-1,)
    value = node.output
    if (scale != 1).any():
        value = append(graph, value, "Mul", scale.astype(np.float32).reshape(vector), node)
        changed = 1
    if shift.any():
        value = append(graph, value, "Add", shift.astype(np.float32).reshape(vector), node)
    if bias is not None:
        if node.op.name == "Conv":
            bias = graph.add("Reshape", [bias], {"shape": (len(scale), 1, 1)}).output
        add = inherit(graph.add("Add", [value, bias], name=node.name, values=[value.name]), node)
        graph.take_over(value, add.output)
    return changed


def _use_signs(graph: Graph, node: Node, packing: Packing, signs: dict[Value, Value]) -> None:
    """Let ``node`` read the signs of its two-valued source, padded as the packing says."""
    source = packing.source
    if source not in signs:
        centred = source
        if packing.middle != 0:
            middle = graph.constant(np.float32(packing.middle), f"{source.name}.middle")
            centred = inherit(graph.add("Sub", [source, middle]), source.producer).output
        sign = graph.add("Sign", [centred], {"zero": 1}, values=[f"{source.name}.sign"])
        signs[source] = inherit(sign, source.producer).output
    x = signs[source]
    if node.op.name == "Conv":
        pads = packing.pads
        if packing.pad and any(pads):
            top, left, bottom, right = pads
            around = {"pads": (0, 0, top, left, 0, 0, bottom, right), "value": float(packing.pad)}
            x = inherit(graph.add("Pad", [x], around, name=node.name), node).output
            pads = (0, 0, 0, 0)
        node.attrs["pads"] = pads
    graph.set_input(node, 0, x)
