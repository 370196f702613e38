"""Let a table normalise pixels."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.rewriting import channel_vector

_LEVELS = 256
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div"))


def look_up(graph: Graph, report: Report) -> int:
    """Whatever is done to each of the 256 values that a pixel of a channel can have is done now::

        x u8 [N, H, W, C] -> Cast -> Transpose -> Mul, Add... -> y        x -> LookUp(table) -> y

    The table holds the very numbers that float32 arithmetic gives, so that pixels fed to the model
    and pixels normalised by the user give the same bits.
    """
    changed = 0
    for value in graph.inputs:
        chain = _chain(graph, value)
        if chain is None:
            continue
        table = _through(chain)
        last = chain[-1].output
        node = graph.add("LookUp", [value], {"table": table}, name=value.name)
        graph.take_over(last, graph.inherit(node, *chain).output)
        changed += 1
    return changed


def _chain(graph: Graph, pixels: Value) -> list[Node] | None:
    """The nodes from ``pixels`` on that make floats of them and change each by itself."""
    if pixels.dtype is not DType.U8 or len(pixels.shape) != 4:
        return None
    cast = graph.only_consumer(pixels)
    if cast is None or cast.op.name != "Cast" or cast.output.dtype is not DType.F32:
        return None
    turn = graph.only_consumer(cast.output)
    if turn is None or turn.op.name != "Transpose" or turn.attrs["perm"] != (0, 3, 1, 2):
        return None
    chain, channels = [cast, turn], pixels.shape[3]
    while True:
        value = chain[-1].output
        after = graph.only_consumer(value)
        if after is None or after.op.name not in _ARITHMETIC:
            return chain
        others = [v for v in after.inputs if v is not value and v is not None]
        data = others[0].data if len(others) == 1 else None
        if data is None or channel_vector(data, 4, channels) is None:
            return chain
        chain.append(after)


def _through(chain: list[Node]) -> np.ndarray:
    """What the chain makes of each value of each channel: float32 [C, 256]."""
    channels = chain[1].output.shape[1]
    levels = np.broadcast_to(np.arange(_LEVELS, dtype=np.float32), (channels, _LEVELS))
    now = levels[None, :, :, None]
    before = chain[1].output
    for node in chain[2:]:
        arrays = [now if v is before else v.data for v in node.inputs if v is not None]
        (now,) = node.op.compute(node, arrays)
        before = node.output
    return np.ascontiguousarray(now[0, :, :, 0], np.float32)
