"""Gather and its kin. GatherElements and GatherND become a Gather along one flat axis, with the
index arithmetic in the graph."""

from __future__ import annotations

import math

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.movement import cut
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value
from bnnc.ir.types import DType


def _gather(call: Call) -> Value:
    x = call.input(0)
    axis = call.axis(call.attr_int("axis", 0), len(x.shape))
    return call.add("Gather", x, call.input(1), axis=axis)


def _gather_elements(call: Call) -> Value:
    """out[i, j, k] = x[i, index[i, j, k], k] for axis 1, and so on."""
    x, index = call.input(0), call.cast(call.input(1), DType.I64)
    rank = len(x.shape)
    axis = call.axis(call.attr_int("axis", 0), rank)
    if len(index.shape) != rank or any(
        wanted > size
        for number, (wanted, size) in enumerate(zip(index.shape, x.shape))
        if number != axis
    ):
        raise call.error(f"cannot pick {dims(index.shape)} elements from {dims(x.shape)}")
    source = _before_expand(index)
    if source.type.elements == index.shape[axis]:  # the same indices everywhere else
        for number in range(rank):
            if number != axis:
                x = cut(call, x, number, 0, index.shape[number])
        return call.add("Gather", x, call.reshape(source, (source.type.elements,)), axis=axis)
    strides = [math.prod(x.shape[number + 1 :]) for number in range(rank)]
    call.make_room(index.shape, np.dtype(np.int64))
    grid = np.indices(index.shape, sparse=True)
    base = sum(grid[number] * strides[number] for number in range(rank) if number != axis)
    base = np.asarray(base, np.int64).reshape((1,) * rank if rank == 1 else np.shape(base))
    flat = call.add("Mul", from_front(call, index, x.shape[axis]), call.like(index, strides[axis]))
    flat = call.add("Add", flat, call.constant(base))
    return call.add("Gather", call.reshape(x, (x.type.elements,)), flat, axis=0)


def _before_expand(value: Value) -> Value:
    """What an Expand to the same rank was made from, else the value."""
    node = value.producer
    if node.op.name == "Expand" and len(node.operand(0).shape) == len(value.shape):
        return node.operand(0)
    return value


def from_front(call: Call, index: Value, size: int) -> Value:
    """Indices with negative ones counted from the front."""
    if index.data is not None and index.type.elements and index.data.min() >= 0:
        return index
    shifted = call.add("Add", index, call.like(index, size))
    return call.add("Where", call.add("Less", index, call.like(index, 0)), shifted, index)


def _gather_nd(call: Call) -> Value:
    """The last axis of the indices holds positions in x's axes after ``batch_dims``."""
    x, index = call.input(0), call.cast(call.input(1), DType.I64)
    batch = call.attr_int("batch_dims", 0)
    count = index.shape[-1] if index.shape else 0
    fits = 0 <= batch < len(index.shape) and x.shape[:batch] == index.shape[:batch]
    if not fits or not 1 <= count <= len(x.shape) - batch:
        raise call.error(f"has indices of shape {dims(index.shape)} into {dims(x.shape)}")
    end = batch + count
    flat: Value | None = None
    for axis in range(count):
        part = cut(call, index, len(index.shape) - 1, axis, axis + 1)
        part = from_front(call, call.reshape(part, index.shape[:-1]), x.shape[batch + axis])
        stride = math.prod(x.shape[batch + axis + 1 : end])
        if stride != 1:
            part = call.add("Mul", part, call.like(part, stride))
        flat = part if flat is None else call.add("Add", flat, part)
    assert flat is not None
    if batch:
        call.make_room(x.shape[:batch], np.dtype(np.int64))
        own = np.arange(math.prod(x.shape[:batch]), dtype=np.int64) * math.prod(x.shape[batch:end])
        own = own.reshape(*x.shape[:batch], *(1 for _ in index.shape[batch:-1]))
        flat = call.add("Add", flat, call.constant(own))
    rows = call.reshape(x, (math.prod(x.shape[:end]), *x.shape[end:]))
    return call.add("Gather", rows, flat, axis=0)


def _one_hot(call: Call) -> Value:
    """values[1] where a new axis of ``depth`` elements counts to the index, else values[0]."""
    index, depth, values = call.input(0), call.number(1, "a depth"), call.input(2)
    depth = int(depth)
    if not 1 <= depth < 2**20 or values.shape != (2,):
        raise call.error(f"has depth {depth} and values of shape {dims(values.shape)}")
    index = call.cast(index, DType.I64)
    rank = len(index.shape) + 1
    axis = call.axis(call.attr_int("axis", -1), rank)
    index = call.reshape(index, (*index.shape[:axis], 1, *index.shape[axis:]))
    count = np.arange(depth, dtype=np.int64).reshape(depth, *(1 for _ in range(rank - axis - 1)))
    chosen = call.add("Equal", from_front(call, index, depth), call.constant(count))
    off, on = (call.reshape(cut(call, values, 0, i, i + 1), ()) for i in (0, 1))
    return call.add("Where", chosen, on, off)


def _compress(call: Call) -> Value:
    """The slices along an axis for which a constant says yes."""
    x, condition = call.input(0), call.array(1, "a condition")
    axis = call.axis(call.attr_int("axis"), len(x.shape)) if call.has("axis") else 0
    if not call.has("axis"):
        x = call.reshape(x, (x.type.elements,))
    if condition.ndim != 1 or condition.size > x.shape[axis]:
        raise call.error(f"has a condition of shape {dims(condition.shape)} for {dims(x.shape)}")
    chosen = np.nonzero(condition)[0].astype(np.int64)
    return call.add("Gather", x, call.constant(chosen), axis=axis)


GATHER: dict[str, Importer] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "Compress": _compress,
}
"""Importers by operator."""
