"""Sequences of tensors, whose length must be known: exporters write them for split and chunk."""

from __future__ import annotations

import itertools

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.nodes import TensorSequence
from bnnc.frontends.onnx.ops.movement import cut
from bnnc.ir.graph import Value

_LONGEST = 4096


def _bounded(call: Call, count: int) -> int:
    """``count``, if a sequence may have so many tensors: each is a node of its own."""
    if count > _LONGEST:
        raise call.unsupported(f"makes a sequence of {count} tensors; at most {_LONGEST} may be")
    return count


def _split_to_sequence(call: Call) -> TensorSequence:
    """Parts of the given sizes, or of one element each, which then lose the axis."""
    x = call.input(0)
    axis = call.axis(call.attr_int("axis", 0), len(x.shape))
    total = x.shape[axis]
    given = None if call.optional(1) is None else call.integers(1, "sizes of its parts")
    if given is None:
        sizes: tuple[int, ...] = (1,) * _bounded(call, total)
    elif call.array(1, "sizes of its parts").ndim:
        sizes = given[: _bounded(call, len(given))]
    else:
        (size,) = given
        if size < 1:
            raise call.error(f"cannot cut {total} into parts of {size}")
        count = _bounded(call, -(-total // size))
        sizes = tuple(min(size, total - size * i) for i in range(count))
    if sum(sizes) != total or any(size < 0 for size in sizes):
        raise call.error(f"cannot cut {total} into parts of {list(sizes)[:8]}")
    ends = itertools.accumulate(sizes)
    parts = [cut(call, x, axis, end - size, end) for end, size in zip(ends, sizes)]
    if given is None and not call.attr_flag("keepdims", True):
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        parts = [call.reshape(part, shape) for part in parts]
    return TensorSequence(tuple(parts))


def _position(call: Call, slot: int, count: int, *, behind: bool = False) -> int:
    """Operand ``slot`` as a place among ``count``, or ``behind`` all of them."""
    number = int(call.number(slot, "a position"))
    if not -count <= number < count + behind:
        raise call.error(f"has position {number}, but there are {count}")
    return number if number >= 0 else number + count


def _at(call: Call) -> Value:
    values = call.sequence(0)
    return values[_position(call, 1, len(values))]


def _construct(call: Call) -> TensorSequence:
    return TensorSequence(tuple(call.input(slot) for slot in range(len(call.inputs))))


def _insert(call: Call) -> TensorSequence:
    """Before the given position, or behind all."""
    values, x = call.sequence(0), call.input(1)
    count = _bounded(call, len(values) + 1) - 1
    place = count if call.optional(2) is None else _position(call, 2, count, behind=True)
    return TensorSequence((*values[:place], x, *values[place:]))


def _erase(call: Call) -> TensorSequence:
    values = call.sequence(0)
    last = len(values) - 1
    place = last if call.optional(1) is None else _position(call, 1, len(values))
    return TensorSequence((*values[:place], *values[place + 1 :]))


def _length(call: Call) -> Value:
    return call.constant(np.int64(len(call.sequence(0))))


def _concat(call: Call) -> Value:
    """The tensors behind one another, along an axis they have or along a new one."""
    values = call.sequence(0)
    if not values:
        raise call.error("has nothing to join")
    new = call.attr_flag("new_axis")
    axis = call.axis(call.attr_int("axis"), len(values[0].shape) + new)
    if new:
        shapes = [(*x.shape[:axis], 1, *x.shape[axis:]) for x in values]
        values = tuple(call.reshape(x, shape) for x, shape in zip(values, shapes))
    return values[0] if len(values) == 1 else call.add("Concat", *values, axis=axis)


SEQUENCE: dict[str, Importer] = {
    "SplitToSequence": _split_to_sequence,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": lambda call: TensorSequence(()),
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceLength": _length,
    "ConcatFromSequence": _concat,
}
"""Importers by operator."""
