"""Where every tensor lives during a run: planned once, at compile time.

Tensors that are only another look at bytes already there (Reshape, a contiguous Slice, a part of a
Concat, the updated residual stream) share storage. What remains are *buffers* with a lifetime in
layers; they are laid into one arena, large ones first, each at the lowest offset where it meets no
buffer alive at the same time. Kernels' scratch is laid among them, each alive during one layer.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.layout import DENSE, stored_bytes
from bnnc.ir.ops.movement import slice_ranges

ALIGNMENT = 64


@dataclass
class Buffer:
    """A run of bytes and the layers ``first`` to ``last`` during which it must keep them."""

    space: str
    size: int
    first: int
    last: int
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Place:
    """A tensor's place: ``offset`` bytes into ``buffer``."""

    buffer: Buffer
    offset: int = 0


@dataclass
class Storage:
    """The plan.

    Attributes:
        places: where each value that is not a constant lives.
        arena_bytes: size of the arena.
        outputs: where in the arena a run may put its outputs, if nobody else gives them a place.
        live_bytes: the largest sum of tensors alive during one layer: no plan can need less.
        scratch: the buffer that each node's kernel works in.
    """

    places: dict[Value, Place]
    arena_bytes: int = 0
    live_bytes: int = 0
    buffers: list[Buffer] = field(default_factory=list)
    outputs: tuple[int, ...] = ()
    scratch: dict[Node, Buffer] = field(default_factory=dict)


def view_offset(node: Node) -> int | None:
    """Bytes from the input's first to the output's first element, if ``node`` only looks at its
    input's bytes in another way; None if it must move them."""
    if node.op.name == "Reshape":
        return 0
    if node.op.name != "Slice":
        return None
    source, shape = node.operand(0).type, node.output.shape
    kept = slice_ranges(node, source.shape)
    for axis, (indices, size) in enumerate(zip(kept, source.shape)):
        if len(indices) == size and indices.step == 1:
            continue
        whole_behind = source.shape[axis + 1 :] == shape[axis + 1 :]
        contiguous = indices.step == 1 or len(indices) == 1
        if not (contiguous and whole_behind and all(n == 1 for n in shape[:axis])):
            return None
    first = int(np.ravel_multi_index([indices.start for indices in kept], source.shape))
    return first * source.dtype.numpy.itemsize


def plan(
    graph: Graph,
    nodes: list[Node],
    scratch: Callable[[Node], int],
    overwrites: Callable[[Node], Iterable[tuple[Value, Value]]],
) -> Storage:
    """Plan storage for ``nodes``, the graph's nodes in the order they run.

    Args:
        scratch: bytes that a node's kernel needs beside the tensors.
        overwrites: (operand, result) pairs for which the node may write the result over the
            operand, element by element.
    """
    storage = Storage({})
    places = storage.places
    step_of = {node: index for index, node in enumerate(nodes)}
    end = len(nodes)

    def last_use(value: Value) -> int:
        uses = [step_of[node] for node, _ in graph.consumers(value) if node in step_of]
        return max(uses, default=-1)

    for index, value in enumerate(graph.inputs):
        size = stored_bytes(value.type, DENSE)
        places[value] = Place(Buffer("input", size, -1, end, index))
    for index, value in enumerate(graph.outputs):
        if not value.is_constant and value not in places:
            place = Place(Buffer("output", stored_bytes(value.type, DENSE), -1, end, index))
            places[value] = place
            while value.producer.op.name == "Reshape":
                value = value.producer.operand(0)
                if value in places or value.is_constant or value.layout not in (None, DENSE):
                    break
                places[value] = place

    _place_concatenations(nodes, step_of, places)

    for step, node in enumerate(nodes):
        offset = view_offset(node)
        if offset is not None and node.output not in places and not node.operand(0).is_constant:
            source = places[node.operand(0)]
            places[node.output] = Place(source.buffer, source.offset + offset)
        if offset is not None and node.output in places and not node.operand(0).is_constant:
            assert places[node.output].buffer is places[node.operand(0)].buffer, node
        reuse = {result: operand for operand, result in overwrites(node)}
        for value in node.outputs:
            operand = reuse.get(value)
            if value not in places and operand is not None:
                source = places[operand]
                dies = source.buffer.last <= step and last_use(operand) <= step
                if source.buffer.space == "arena" and dies and source.offset == 0:
                    places[value] = source
            if value not in places:
                size = stored_bytes(value.type, value.layout or DENSE)
                places[value] = Place(Buffer("arena", size, step, step))
            buffer = places[value].buffer
            buffer.first = min(buffer.first, step)
            buffer.last = max(buffer.last, step, _last_use_through_views(graph, value, step_of))

    storage.buffers = list(
        {id(p.buffer): p.buffer for p in places.values() if p.buffer.space == "arena"}.values()
    )
    storage.live_bytes = _most_at_once(storage.buffers)
    for step, node in enumerate(nodes):
        storage.scratch[node] = Buffer("arena", scratch(node), step, step)
    _assign_offsets(storage)
    return storage


def keep_outputs(storage: Storage, graph: Graph) -> None:
    """Make room for the outputs behind everything else in the arena."""
    offsets = []
    for value in graph.outputs:
        offsets.append(storage.arena_bytes)
        storage.arena_bytes += _aligned(stored_bytes(value.type, DENSE))
    storage.outputs = tuple(offsets)


def _last_use_through_views(graph: Graph, value: Value, step_of: dict[Node, int]) -> int:
    """The last layer that reads ``value`` or anything that is a view of it."""
    last, pending = -1, [value]
    while pending:
        for node, _ in graph.consumers(pending.pop()):
            last = max(last, step_of.get(node, -1))
            if view_offset(node) is not None:
                pending.extend(node.outputs)
    return last


def _place_concatenations(
    nodes: list[Node], step_of: dict[Node, int], places: dict[Value, Place]
) -> None:
    """Let the producers of a Concat's parts write straight into it where the parts are contiguous.

    Walking backwards places an outer Concat before the inner ones that feed it.
    """
    for node in reversed(nodes):
        if node.op.name != "Concat" or any(n != 1 for n in node.output.shape[: node.attrs["axis"]]):
            continue
        target = places.get(node.output)
        if target is None:
            size = stored_bytes(node.output.type, DENSE)
            target = Place(Buffer("arena", size, step_of[node], step_of[node]))
            places[node.output] = target
        offset = target.offset
        for value in node.inputs:
            assert value is not None
            fresh = not value.is_constant and value not in places and value.producer in step_of
            if fresh and view_offset(value.producer) is None:
                places[value] = Place(target.buffer, offset)
            offset += value.type.bytes


def _assign_offsets(storage: Storage) -> None:
    """The largest buffers first, each at the lowest place that is free while it lives."""
    buffers = [*storage.buffers, *storage.scratch.values()]
    order = sorted(buffers, key=lambda b: (-b.size, b.first))
    first, last = (np.array([getattr(b, name) for b in order]) for name in ("first", "last"))
    starts = np.zeros(len(order), np.int64)
    for number, buffer in enumerate(order):
        size = _aligned(buffer.size)
        offset = 0
        beside = (first[:number] <= buffer.last) & (last[:number] >= buffer.first)
        rivals = np.flatnonzero(beside)
        for index in rivals[np.argsort(starts[rivals], kind="stable")]:
            other = order[index]
            if offset + size <= other.offset:
                break
            offset = max(offset, other.offset + _aligned(other.size))
        buffer.offset = starts[number] = offset
    storage.arena_bytes = max((b.offset + _aligned(b.size) for b in order), default=0)


def _most_at_once(buffers: Sequence[Buffer]) -> int:
    """The most bytes that live at one time."""
    changes: Counter[int] = Counter()
    for buffer in buffers:
        changes[buffer.first] += _aligned(buffer.size)
        changes[buffer.last + 1] -= _aligned(buffer.size)
    return max(itertools.accumulate(changes[step] for step in sorted(changes)), default=0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
