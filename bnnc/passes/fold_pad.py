"""Let float convolutions do their own padding."""

from __future__ import annotations

from bnnc.ir.binary import pads_planes, plane_pads
from bnnc.ir.graph import Graph
from bnnc.passes.report import Report


def fold_pad(graph: Graph, report: Report) -> int:
    """Zeros that a Pad puts around H and W become the convolution's::

        x -> Pad(0) -> Conv(pads=p) -> y          x -> Conv(pads=p + Pad's) -> y

    A Pad in front of a binary convolution, with whatever value, is ``lower_binary``'s.
    """
    changed = 0
    for node in graph.nodes():
        if node.op.name != "Conv":
            continue
        padder = node.operand(0).producer
        if pads_planes(padder) and padder.attrs["value"] == 0:
            more = plane_pads(padder)
            node.attrs["pads"] = tuple(a + b for a, b in zip(node.attrs["pads"], more))
            graph.set_input(node, 0, padder.operand(0))
            changed += 1
    return changed
