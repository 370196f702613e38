"""What passes share: putting a new node in an old one's place, constants that lie along the channel
axis, and what few values are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from bnnc.ir.bounds import Real
from bnnc.ir.domains import Domains
from bnnc.ir.graph import Graph, Node, Value


def append(graph: Graph, value: Value, op: str, operand: np.ndarray, after: Node) -> Value:
    """Put ``op(value, operand)`` behind ``value``, under its name, for everyone who reads it."""
    constant = graph.constant(operand, f"{value.name}.{op.lower()}")
    node = graph.add(op, [value, constant], name=after.name, values=[value.name])
    graph.inherit(node, after)
    graph.take_over(value, node.output)
    return node.output


def channel_vector(array: np.ndarray, rank: int, channels: int, axis: int = 1) -> np.ndarray | None:
    """The vector [channels] that ``array`` is when it is broadcast to a tensor with so many axes
    and varies along ``axis`` alone; None if it varies along another one."""
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    along = shape[axis]
    if prod(shape) != along or along not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))


def same_everywhere(value: Value) -> float | None:
    """The number a constant consists of, if it is one number throughout."""
    data = value.data
    if data is None or not data.size or not (data == data.flat[0]).all():
        return None
    return float(data.flat[0])


def few_valued(
    domains: Domains, value: Value, ends: Callable[[Value], bool] = lambda value: False
) -> Iterator[Value]:
    """``value`` and what it is made of, each once, through tensors of few values alone; not what
    lies in front of one that ``ends`` it."""
    seen: set[Value] = set()
    pending = [value]
    while pending:
        value = pending.pop()
        if value in seen or isinstance(domains.of(value), Real):
            continue
        seen.add(value)
        yield value
        if not ends(value):
            pending += [v for v in value.producer.inputs if v is not None]
