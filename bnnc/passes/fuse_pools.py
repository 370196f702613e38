"""Pool on the way into a blur."""

from __future__ import annotations

from bnnc.ir.graph import Graph, Node
from bnnc.ir.types import DType
from bnnc.passes.report import Report

_WIDEST = 512
"""Columns of output that one row in registers may have."""
_LARGEST_POOL = 3


def fuse_pools(graph: Graph, report: Report) -> int:
    """A max-pool at stride 1 that only a 3x3 convolution of every channel reads is computed row by
    row inside of it; the tensor between them, as large as the input, never reaches memory::

        x -> MaxPool(2x2) -> Conv(3x3, group=C) -> y          x -> PooledConv -> y
    """
    changed = 0
    for node in graph.nodes():
        if node.op.name != "Conv" or not _slides(node):
            continue
        pool = node.operand(0).producer
        if not _pools(pool) or graph.only_consumer(pool.output) is not node:
            continue
        kept = {key: node.attrs[key] for key in ("strides", "pads", "group", "steps")}
        inputs = [pool.operand(0), *node.inputs[1:]]
        names = [value.name for value in node.outputs]
        attrs = {"pool": tuple(pool.attrs["kernel"]), **kept}
        fused = graph.add("PooledConv", inputs, attrs, name=node.name, values=names)
        graph.inherit(fused, pool, node)
        for old, new in zip(node.outputs, fused.outputs):
            new.stands_for = old.stands_for
            graph.take_over(old, new)
        graph.remove(node)
        graph.remove(pool)
        changed += 1
    return changed


def _slides(node: Node) -> bool:
    """Whether a 3x3 window with one column left of its pixel slides over each channel."""
    x, w, bias, attrs = node.operand(0), node.operand(1), node.optional(2), node.attrs
    return (
        x.dtype is DType.F32
        and w.is_constant
        and (bias is None or bias.is_constant)
        and w.shape[1:] == (1, 3, 3)
        and attrs["group"] == x.shape[1]
        and tuple(attrs["strides"]) in ((1, 1), (2, 2))
        and tuple(attrs["dilations"]) == (1, 1)
        and attrs["pads"][1] == 1
        and node.outputs[0].shape[3] <= _WIDEST
    )


def _pools(node: Node) -> bool:
    return (
        node.op.name == "MaxPool"
        and max(node.attrs["kernel"]) <= _LARGEST_POOL
        and tuple(node.attrs["strides"]) == tuple(node.attrs["dilations"]) == (1, 1)
        and not any(node.attrs["pads"])
    )
