"""Layouts of bits: producers write what readers want; a conversion only where two differ."""

from __future__ import annotations

from collections.abc import Mapping

from bnnc.codegen.kernels import Kernel
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.layout import BITS_NHWC, DENSE
from bnnc.ir.types import DType


def assign(graph: Graph, chosen: Mapping[Node, Kernel]) -> None:
    """Set ``layout`` of every value and insert a Copy where a reader needs another one.

    A tensor of bits is stored as its first reader wants it; the Copy for the other layout is shared
    by all readers of that layout.
    """
    for value in list(graph.values()):
        if value.is_constant:
            continue
        if value.dtype is not DType.B1:
            value.layout = DENSE
            continue
        readers = graph.consumers(value)
        wanted = [(node, slot, _wanted(chosen[node])) for node, slot in readers]
        value.layout = next((layout for _, _, layout in wanted if layout), BITS_NHWC)
        copies: dict[str, Value] = {}
        for node, slot, layout in wanted:
            if layout and layout != value.layout:
                if layout not in copies:
                    copy = graph.add("Copy", [value], name=node.name)
                    copy.output.layout = layout
                    copy.output.stands_for = value.stands_for
                    copies[layout] = copy.output
                graph.set_input(node, slot, copies[layout])


def _wanted(kernel: Kernel) -> str:
    return kernel.reads if kernel.reads != DENSE else ""
