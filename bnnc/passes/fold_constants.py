"""Compute what is already known."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Graph
from bnnc.passes.report import Report

MAX_BYTES = 256 << 20
"""No constant larger than this is built."""


def fold_constants(graph: Graph, report: Report) -> int:
    """A node whose inputs are all constants becomes one::

    constant -> Sign -> Transpose -> y          constant -> y
    """
    changed = 0
    for node in graph.nodes():
        arrays = [None if value is None else value.data for value in node.inputs]
        known = all(v is None or a is not None for v, a in zip(node.inputs, arrays))
        if not node.inputs or not known or sum(v.type.bytes for v in node.outputs) > MAX_BYTES:
            continue
        with np.errstate(all="ignore"):
            results = node.op.compute(node, arrays)
        for value, result in zip(node.outputs, results):
            constant = graph.constant(result, value.name)
            graph.take_over(value, constant)
        graph.remove(node)
        changed += 1
    return changed
