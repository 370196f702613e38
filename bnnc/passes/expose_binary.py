"""Write every binary product as +-1 times +-1, so that its sums are integers."""

from __future__ import annotations

from math import prod

import numpy as np

from bnnc.ir.binary import verdicts
from bnnc.ir.costs import share_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.packing import Packing
from bnnc.passes.report import Report
from bnnc.passes.rewriting import append


def expose_binary(graph: Graph, report: Report) -> int:
    """Scales and biases of binary products move behind them::

        x in {lo, hi} -> Conv(+-alpha, bias) -> y
        x -> Sign(x - m) -> Conv(+-1) -> Mul(alpha * d) -> Add(alpha * m * sum(+-1) + bias) -> y

    Weights of two values that are not opposite need the sum of the signs as well, from weights of
    1, and padding that is none of lo, m and hi a constant that differs near the border, see
    :mod:`bnnc.ir.packing`::

        s -> Conv(+-1) -> Mul(a * d) -> Add -> Add(border) -> y
        s -> Conv(1) --> Mul(u * d) ----'

    What is left adds up without rounding, whoever does it in whatever order: from here on the
    model's meaning in float32 is the meaning of integers, and bits decided from them can be
    exactly equal everywhere. Rounding noise in |weights| disappears on the way. Activations whose
    sums are exact as they are, such as {-1, 1} and {0, 1}, stay.
    """
    found = verdicts(graph)
    signs: dict[Value, Value] = {}
    return sum(
        _expose(graph, node, verdict.packing, signs)
        for node, verdict in found.items()
        if verdict.packing is not None
    )


def _expose(graph: Graph, node: Node, packing: Packing, signs: dict[Value, Value]) -> int:
    channels = len(packing.weights.scale)
    scale = packing.weights.scale.astype(np.float64)
    offset = packing.weights.offset.astype(np.float64)
    shift = np.zeros(channels)
    changed = 0
    if offset.any() or not packing.sums_exactly:
        shift = packing.constants(node)
        scale, offset = scale * packing.half, offset * packing.half
        _use_signs(graph, node, packing, signs)
        changed = 1
    bipolar = np.where(packing.weights.signs, np.float32(1), np.float32(-1))
    weights = bipolar.T if node.op.name == "MatMul" else bipolar
    w = node.operand(1)
    if w.data is None or not np.array_equal(w.data, weights):
        graph.set_input(node, 1, graph.constant(weights, w.name))
        changed = 1
    bias = node.optional(2)
    if bias is not None:
        graph.set_input(node, 2, None)
        changed = 1
    vector = (-1, 1, 1) if node.op.name == "Conv" else (-1,)
    if bias is not None and bias.data is not None and bias.data.size in (1, channels):
        shift = shift + bias.data.reshape(vector if shift.ndim > 1 else -1)
        bias = None
    sums = _sums(graph, node, offset.astype(np.float32)) if offset.any() else None
    value = node.output
    if (scale != 1).any():
        value = append(graph, value, "Mul", scale.astype(np.float32).reshape(vector), node)
        changed = 1
    if sums is not None:
        value = _add(graph, value, sums, node)
    if shift.any():
        shaped = shift if shift.ndim > 1 else shift.reshape(vector)
        value = append(graph, value, "Add", shaped.astype(np.float32), node)
    if bias is not None:
        if node.op.name == "Conv":
            bias = graph.add("Reshape", [bias], {"shape": (channels, 1, 1)}).output
        _add(graph, value, bias, node)
    return changed


def _add(graph: Graph, value: Value, summand: Value, node: Node) -> Value:
    """Add ``summand`` to ``value`` for everyone who reads it."""
    add = graph.add("Add", [value, summand], name=node.name, values=[value.name])
    graph.take_over(value, graph.inherit(add, node).output)
    return add.output


def _sums(graph: Graph, node: Node, offset: np.ndarray) -> Value:
    """What ``node`` would give if all weights of output channel o were ``offset[o]``: the sums of
    its windows, once for each group of channels."""
    w = node.operand(1)
    group = node.attrs["group"] if node.op.name == "Conv" else 1
    shape = (group, *w.shape[1:]) if node.op.name == "Conv" else (w.shape[0], 1)
    ones = graph.constant(np.ones(shape, np.float32), f"{w.name}.ones")
    inputs = [node.operand(0), ones]
    product = graph.inherit(graph.add(node.op.name, inputs, node.attrs, name=node.name), node)
    product.share = share_of(node).rest
    sums = product.output
    if node.op.name == "MatMul":
        factors: tuple[int, ...] = (-1,)
    elif group in (1, len(offset)):
        factors = (-1, 1, 1)
    else:
        batch, _, *plane = sums.shape
        apart = graph.add("Reshape", [sums], {"shape": (batch, group, 1, *plane)}, name=node.name)
        sums, factors = graph.inherit(apart, node).output, (group, -1, 1, 1)
    scaled = graph.add("Mul", [sums, graph.constant(offset.reshape(factors))], name=node.name)
    result = graph.inherit(scaled, node).output
    if result.shape != node.output.shape:
        assert prod(result.shape) == prod(node.output.shape), node
        back = graph.add("Reshape", [result], {"shape": node.output.shape}, name=node.name)
        result = graph.inherit(back, node).output
    return result


def _use_signs(graph: Graph, node: Node, packing: Packing, signs: dict[Value, Value]) -> None:
    """Let ``node`` read the signs of its two-valued source, padded as the packing says."""
    source = packing.source
    if source not in signs:
        centred, middle = source, packing.middle.astype(np.float32)
        if middle.any():
            if (middle == middle[0]).all():
                middle = middle[0]
            elif node.op.name == "Conv":
                middle = middle.reshape(-1, 1, 1)
            constant = graph.constant(middle, f"{source.name}.middle")
            centred = graph.inherit(graph.add("Sub", [source, constant]), source.producer).output
        sign = graph.add("Sign", [centred], {"zero": 1}, values=[f"{source.name}.sign"])
        signs[source] = graph.inherit(sign, source.producer).output
    x = signs[source]
    if node.op.name == "Conv":
        pads = packing.pads
        if packing.pad and any(pads):
            top, left, bottom, right = pads
            around = {"pads": (0, 0, top, left, 0, 0, bottom, right), "value": float(packing.pad)}
            x = graph.inherit(graph.add("Pad", [x], around, name=node.name), node).output
            pads = (0, 0, 0, 0)
        node.attrs["pads"] = pads
    graph.set_input(node, 0, x)
