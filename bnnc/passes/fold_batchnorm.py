"""Fold constant factors and summands into the weights before them."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Graph, Node
from bnnc.passes.affine import Affine, affine_of
from bnnc.passes.report import Report
from bnnc.passes.rewriting import channel_vector


def fold_batchnorm(graph: Graph, report: Report) -> int:
    """BatchNormalization and its like disappear in float convolutions and matrix products::

        Conv(w, b) -> BatchNormalization -> Mul -> y          Conv(w * a, b * a + c) -> y

    Computed in float64, over the whole run of such nodes at once.
    """
    changed = 0
    for node in graph.nodes():
        if node.op.name in ("Conv", "ConvTranspose", "MatMul") and not node.attrs["steps"]:
            changed += _fold(graph, node)
    return changed


def _fold(graph: Graph, node: Node) -> int:
    w, bias = node.operand(1).data, node.optional(2)
    value = node.output
    axis = 1 if node.op.name != "MatMul" else len(value.shape) - 1
    if w is None or w.dtype != np.float32 or axis < 0 or (node.op.name == "MatMul" and w.ndim != 2):
        return 0
    channels = value.shape[axis]
    summand = np.zeros(channels)
    if bias is not None:
        vector = (
            None
            if bias.data is None
            else channel_vector(bias.data, len(value.shape), channels, axis)
        )
        if node.op.name != "MatMul":
            vector = bias.data
        if vector is None:
            return 0
        summand = vector.astype(np.float64)
    factor = np.ones(channels)
    folded = [node]
    while (step := _next(graph, folded[-1], axis)) is not None:
        follower, (a, b) = step
        factor, summand = factor * a, summand * a + b
        folded.append(follower)
    if len(folded) == 1:
        return 0
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = _scaled(node, w, factor)
    if not (np.isfinite(scaled).all() and np.isfinite(summand.astype(np.float32)).all()):
        return 0
    weights = graph.constant(scaled, node.operand(1).name)
    biases = graph.constant(summand.astype(np.float32), f"{node.title}.bias")
    last = folded[-1].output
    new = graph.add(
        node.op.name,
        [node.operand(0), weights, biases],
        node.attrs,
        name=node.name,
        values=[last.name],
    )
    graph.take_over(last, graph.inherit(new, *folded).output)
    for dead in reversed(folded):
        graph.remove(dead)
    return 1


def _next(graph: Graph, node: Node, axis: int) -> tuple[Node, Affine] | None:
    """The affine node behind ``node`` that alone reads its result."""
    follower = graph.only_consumer(node.output)
    if follower is None:
        return None
    affine = affine_of(follower, node.output, axis)
    return None if affine is None else (follower, affine)


def _scaled(node: Node, w: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The weights with each output channel multiplied by its factor."""
    if node.op.name == "Conv":
        shaped = factor[:, None, None, None]
    elif node.op.name == "ConvTranspose":
        # [C, OC / group, KH, KW]: a group's rows make its own output channels.
        groups = node.attrs["group"]
        shaped = np.repeat(factor.reshape(groups, -1), w.shape[0] // groups, axis=0)[
            :, :, None, None
        ]
    else:
        shaped = factor[None]
    return np.asarray(w * shaped, np.float32)
