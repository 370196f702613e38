"""Compute what is already known."""

from __future__ import annotations

import numpy as np

from bnnc.ir.domains import MAX_BYTES
from bnnc.ir.graph import Graph
from bnnc.passes.report import Report


def fold_constants(graph: Graph, report: Report) -> int:
    """A node whose inputs are all constants becomes one::

    constant -> Sign -> Transpose -> y          constant -> y
    """
    changed, budget = 0, MAX_BYTES
    for node in graph.nodes():
        arrays = [None if value is None else value.data for value in node.inputs]
        known = all(v is None or a is not None for v, a in zip(node.inputs, arrays))
        size = sum(v.type.bytes for v in node.outputs)
        if not node.inputs or not known or size > budget:
            continue
        budget -= size
        with np.errstate(all="ignore"):
            results = node.op.compute(node, arrays)
        for value, result in zip(node.outputs, results):
            constant = graph.constant(result, value.name)
            graph.take_over(value, constant)
        graph.remove(node)
        changed += 1
    return changed
