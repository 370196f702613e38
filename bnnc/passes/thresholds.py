"""Decide bits from integers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bnnc.ir.epilogue import Step
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.op import Flow
from bnnc.passes.report import Report
from bnnc.passes.rewriting import channel_vector

_MAX_NODES = 64


def thresholds(graph: Graph, report: Report) -> int:
    """A chain of floats that ends in nothing but bits becomes an integer comparison::

        BinaryConv -> Cast -> BatchNormalization -> PRelu -> Map(sign) -> bits
        BinaryConv(threshold) -> bits

    Every integer the convolution can give is sent through the very ops of the chain, in float32 as
    the reference computes them. If each channel's bits change at most once along the way, the place
    of the change is the threshold, so rounding inside the chain cannot move it. Otherwise the chain
    stays.
    """
    return sum(_lower(graph, n) for n in graph.nodes() if n.op.name == "BinaryConv")


def _lower(graph: Graph, conv: Node) -> int:
    if conv.attrs["steps"]:
        return 0
    chain = _chain(graph, conv)
    if chain is None:
        return 0
    sums = _sums(conv)
    maps = [node for node in chain if node.op.name == "Map"]
    found = [_threshold(bits, sums) for bits in _evaluate(conv, chain, maps, sums)]
    inputs: list[Value | None] = [*conv.inputs[:2], None]
    steps = []
    for index, (node, pair) in enumerate(zip(maps, found)):
        if pair is None:
            return 0
        at, flip = pair
        inputs += [
            graph.constant(at, f"{node.output.name}.threshold"),
            graph.constant(flip, f"{node.output.name}.flip"),
        ]
        steps.append(Step("threshold", (len(inputs) - 2, len(inputs) - 1), index))
    attrs = {**conv.attrs, "steps": tuple(steps)}
    new = graph.add("BinaryConv", inputs, attrs, name=conv.name)
    graph.inherit(new, conv, *chain)
    for node, value in zip(maps, new.outputs):
        value.stands_for = node.output.stands_for
        graph.take_over(node.output, value)
    for dead in (*reversed(chain), conv):
        graph.remove(dead)
    return 1


def _chain(graph: Graph, conv: Node) -> list[Node] | None:
    """Everything between the accumulator and the bits, in order of computation, if all that
    depends on the accumulator is a function of it alone and ends in bits."""
    inside = {conv.output}
    chain: dict[Node, None] = {}
    pending = [conv.output]
    while pending:
        value = pending.pop(0)
        uses = graph.consumers(value)
        if graph.is_output(value) or not uses or len(chain) > _MAX_NODES:
            return None
        for node, _ in uses:
            if node in chain or not all(_fits(v, inside, value, node) for v in node.inputs):
                continue
            chain[node] = None
            if node.op.name != "Map":
                inside.add(node.output)
                pending.append(node.output)
    reached = [node for value in inside for node, _ in graph.consumers(value)]
    return list(chain) if all(node in chain for node in reached) else None


def _fits(operand: Value | None, inside: set[Value], value: Value, node: Node) -> bool:
    """Whether the accumulator and constants of the channels are all that ``operand`` depends on."""
    if operand is None or operand in inside:
        signs = node.op.name == "Map" and [s.kind for s in node.attrs["steps"]] == ["sign"]
        simple = node.op.flow is Flow.ELEMENTWISE or node.op.name == "BatchNormalization" or signs
        return simple and all(out.shape == value.shape for out in node.outputs)
    if operand.data is None:
        return False
    if node.op.name in ("BatchNormalization", "Map"):
        return True
    return channel_vector(operand.data, len(value.shape), value.shape[1]) is not None


def _sums(conv: Node) -> np.ndarray:
    """Every integer the convolution can give, ascending. Each tap changes it by two; only taps
    that padding leaves out break that pattern."""
    taps = math.prod(conv.operand(1).shape[1:])
    left_out = conv.attrs["pad"] == 0 and any(conv.attrs["pads"])
    return np.arange(-taps, taps + 1, 1 if left_out else 2, dtype=np.int32)


def _evaluate(
    conv: Node, chain: list[Node], maps: list[Node], sums: np.ndarray
) -> Iterator[np.ndarray]:
    """The bits that each of ``maps`` makes of ``sums``: bool [C, len(sums)]."""
    rank, channels = len(conv.output.shape), conv.output.shape[1]
    laid_out = sums.reshape(-1, 1) if rank == 2 else sums.reshape(1, 1, -1, 1)
    arrays = {conv.output: laid_out}
    with np.errstate(all="ignore"):
        for node in chain:
            operands = [None if v is None else arrays.get(v, v.data) for v in node.inputs]
            (arrays[node.output],) = node.op.compute(node, operands)
    for node in maps:
        bits = arrays[node.output]
        rows = bits.T if rank == 2 else bits[0, :, :, 0]
        yield np.broadcast_to(rows, (channels, len(sums)))


def _threshold(bits: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(t, flip) with ``bits == (sums >= t) ^ flip`` in each channel; None if there are none."""
    changes = bits[:, 1:] != bits[:, :-1]
    if (changes.sum(axis=1) > 1).any():
        return None
    flip = bits[:, 0] & changes.any(axis=1)
    first = np.where(bits[:, 0], 0, len(sums))
    place = np.where(changes.any(axis=1), changes.argmax(axis=1) + 1 if len(sums) > 1 else 0, first)
    at = np.append(sums, sums[-1] + 1)[place]
    return at.astype(np.int32), flip
