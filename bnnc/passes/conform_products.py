"""Bring binary products into the two forms that there are kernels for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from math import prod

import numpy as np

from bnnc.ir.binary import PRODUCTS, Verdict, by_output, data_slot, part_of, verdicts
from bnnc.ir.costs import share_of, values_behind
from bnnc.ir.graph import Graph, Node, Share, Value
from bnnc.ir.weights import TwoValued
from bnnc.passes.report import Report


def conform_products(graph: Graph, report: Report) -> int:
    """Binary products become convolutions, or matrix products of two axes with their weights on
    the right::

        [..., K] -> MatMul(w) -> y           [..., K] -> Reshape(rows, K) -> MatMul(w) -> Reshape
        W @ x [K, N]                         x -> Transpose -> MatMul(W') -> Transpose
        [..., P, M, K] -> MatMul([P, K, N])  [..., P * K, M, 1] -> Conv(group=P) -> [..., P, M, N]
        W @ x, each [P, ...]                 [..., P * K, N, 1] -> Conv(group=P) -> [..., P, M, N]
    x -> ConvTranspose(stride s) -> y    x -> s * s Convs -> interleaved -> y

    Each of the s * s phases of a transposed convolution's output is a convolution of the input
    with some of the weights. Where all have as many, one convolution computes all of them.

    The verdicts in the report are those of the products as the model has them, one for each of its
    layers. What these are stays written on the products, see :class:`bnnc.ir.graph.Share`.
    """
    changed = 0
    found = verdicts(graph)
    by_layer: dict[Hashable, Verdict] = {}
    for node, verdict in found.items():
        by_layer.setdefault(part_of(node, verdict), verdict)
        if verdict.packing is not None:
            node.share = _share(graph, node, verdict.packing.weights)
    report.verdicts = tuple(by_layer.values())
    for node, verdict in found.items():
        if verdict.packing is None or node.op.name == "Conv":
            continue
        if node.op.name == "ConvTranspose":
            value = _phased(graph, node)
        elif prod(node.operand(1 - data_slot(node)).shape[:-2]) > 1:
            value = _grouped(graph, node)
        elif data_slot(node) == 1:
            value = _swapped(graph, node)
        elif any(len(node.operand(slot).shape) != 2 for slot in (0, 1)):
            value = _flattened(graph, node)
        else:
            continue
        graph.take_over(node.output, value)
        graph.remove(node)
        changed += 1
    return changed


def _share(graph: Graph, node: Node, weights: TwoValued) -> Share:
    """All of a binary product, with a bias that was moved behind it. Its weights' scales and
    offsets are parameters where they differ between the output channels."""
    share = share_of(node)
    parameters = dict(share.parameters or {})
    parameters |= {value.name: value.type.elements for value in values_behind(graph, node)}
    for what, vector in (("scale", weights.scale), ("offset", weights.offset)):
        if (vector != vector[0]).any():
            parameters[share.layer, what] = vector.size
    return replace(share, parameters=parameters)


class _Chain:
    """Nodes one behind the other, all in the place of ``node``; products have this ``share``."""

    def __init__(self, graph: Graph, node: Node, value: Value, share: Share | None = None) -> None:
        self.graph, self.node, self.value = graph, node, value
        self.share = share or node.share

    def __call__(self, op: str, *operands: Value | None, **attrs: object) -> _Chain:
        inputs = [self.value, *operands]
        added = self.graph.add(op, inputs, attrs, name=self.node.name)
        if op in PRODUCTS:
            added.share = self.share
        self.value = self.graph.inherit(added, self.node).output
        return self

    def bias(self) -> Value:
        """Add the product's bias, if it has one."""
        bias = self.node.optional(2)
        return self.value if bias is None else self("Add", bias).value


def _flattened(graph: Graph, node: Node) -> Value:
    a, b = node.operand(0), node.operand(1)
    chain = _Chain(graph, node, a)
    weights = b
    if len(b.shape) > 2:
        weights = graph.constant(np.asarray(b.data).reshape(b.shape[-2:]), b.name)
    chain("Reshape", shape=(a.type.elements // a.shape[-1], a.shape[-1]))("MatMul", weights)
    return chain("Reshape", shape=node.output.shape).bias()


def _grouped(graph: Graph, node: Node) -> Value:
    """Each matrix is a group of a convolution of 1x1; its pixels are the rows it multiplies, or the
    columns that multiply it."""
    slot = data_slot(node)
    x, w = node.operand(slot), node.operand(1 - slot)
    kernels = by_output(node, np.asarray(w.data))
    groups, depth = prod(w.shape[:-2]), kernels.shape[1]
    pixels = x.shape[-1 if slot else -2]
    batch = x.type.elements // (groups * depth * pixels)
    chain = _Chain(graph, node, x)
    if slot == 0:
        chain("Reshape", shape=(batch, groups, pixels, depth))("Transpose", perm=(0, 1, 3, 2))
    chain("Reshape", shape=(batch, groups * depth, pixels, 1))
    chain("Conv", graph.constant(kernels.reshape(-1, depth, 1, 1), w.name), group=groups)
    if slot == 0:
        chain("Reshape", shape=(batch, groups, len(kernels) // groups, pixels))
        chain("Transpose", perm=(0, 1, 3, 2))
    return chain("Reshape", shape=node.output.shape).bias()


def _swapped(graph: Graph, node: Node) -> Value:
    w, x = node.operand(0), node.operand(1)
    weights = by_output(node, np.asarray(w.data))
    turned = graph.constant(np.ascontiguousarray(weights.T), w.name)
    rank = len(x.shape)
    chain = _Chain(graph, node, x)
    if rank == 1:
        chain("Reshape", shape=(1, *x.shape))
    else:
        swap = (*range(rank - 2), rank - 1, rank - 2)
        chain("Transpose", perm=swap)
        rows = chain.value.shape[:-1]
        chain("Reshape", shape=(prod(rows), x.shape[-2]))
    chain("MatMul", turned)
    if rank > 1:
        chain("Reshape", shape=(*rows, len(weights)))("Transpose", perm=swap)
    return chain("Reshape", shape=node.output.shape).bias()


def _phased(graph: Graph, node: Node) -> Value:
    """Output i * s + r of the full result is the sum over t of x[i - t] w[t * s + r]: for each
    phase r a convolution of every s-th weight, turned around."""
    w, a = node.operand(1), node.attrs
    (sy, sx), dilations = a["strides"], a["dilations"]
    # ``by_output`` turned the weights around already.
    taps = by_output(node, np.asarray(w.data))[:, :, ::-1, ::-1]
    phases = [taps[:, :, y::sy, x::sx][:, :, ::-1, ::-1] for y in range(sy) for x in range(sx)]
    channels, bias = len(taps), node.optional(2)
    beyond = [max(0, extra - end) for extra, end in zip(a["output_padding"], a["pads"][2:])]
    kept = None
    if bias is not None and not any(beyond) and bias.is_constant:
        bias, kept = None, bias
    if all(phase.shape == phases[0].shape for phase in phases):
        joined = np.stack(phases, axis=1).reshape(-1, *phases[0].shape[1:])
        phases = [joined]
        if kept is not None:
            kept = graph.constant(np.repeat(np.asarray(kept.data), sy * sx), kept.name)
    reach = [d * (max(p.shape[2 + i] for p in phases) - 1) for i, d in enumerate(dilations)]
    parts, share = [], share_of(node)
    for phase in phases:
        before = [d * (size - 1) for d, size in zip(dilations, phase.shape[2:])]
        weights = graph.constant(np.ascontiguousarray(phase), w.name)
        geometry = {"pads": (*before, *reach), "dilations": dilations, "group": a["group"]}
        part = _Chain(graph, node, node.operand(0), share)("Conv", weights, kept, **geometry)
        share = share.rest
        batch, _, height, width = part.value.shape
        if len(phases) > 1:
            part("Reshape", shape=(batch, channels, 1, height, width))
        parts.append(part)
    chain = parts[0]
    if len(parts) > 1:
        chain("Concat", *(part.value for part in parts[1:]), axis=2)
    if sy * sx > 1:
        chain("Reshape", shape=(batch, channels, sy, sx, height, width))
        chain("Transpose", perm=(0, 1, 4, 2, 5, 3))
        chain("Reshape", shape=(batch, channels, height * sy, width * sx))
    if any(beyond):
        chain("Pad", pads=(0,) * 6 + tuple(beyond))
    begin, sizes = a["pads"][:2], node.output.shape[2:]
    ends = tuple(first + size for first, size in zip(begin, sizes))
    if (*begin, *ends) != (0, 0, *chain.value.shape[2:]):
        chain("Slice", starts=begin, ends=ends, axes=(2, 3), steps=(1, 1))
    if bias is not None:
        chain("Add", graph.add("Reshape", [bias], {"shape": (channels, 1, 1)}).output)
    return chain.value
