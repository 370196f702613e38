"""ScatterND and ScatterElements, with fixed indices: where an element comes from is known, so that
they are a Concat where a box is replaced, and a Gather elsewhere. A mask, or a few indices along an
axis, may be computed in the run: then Where chooses."""

from __future__ import annotations

import math

import numpy as np

from bnnc.errors import ModelError, UnsupportedError
from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.gather import from_front
from bnnc.frontends.onnx.ops.movement import cut
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value
from bnnc.ir.types import DType

_COMBINE = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_MOST_COMPUTED = 16
"""Indices along an axis that may depend on the input."""

_LARGEST = 2**24
"""No tensor of more elements is scattered into: the table of origins would be too large."""


def _scatter_nd(call: Call) -> Value:
    """The last axis of the indices holds positions in the leading axes."""
    x, index, updates = call.input(0), call.array(1, "indices"), call.input(2)
    count = index.shape[-1] if index.ndim else 0
    if not 1 <= count <= len(x.shape) or updates.shape != index.shape[:-1] + x.shape[count:]:
        raise call.error(
            f"has indices of shape {dims(index.shape)} and updates of shape {dims(updates.shape)} "
            f"for {dims(x.shape)}"
        )
    _refuse_large(call, x)
    limits = np.array(x.shape[:count])
    rows = _from_front(call, index.reshape(-1, count), limits)
    leading = np.ravel_multi_index(tuple(rows.T), tuple(limits))
    inner = math.prod(x.shape[count:])
    places = leading[:, None] * inner + np.arange(inner)
    return _replace(call, x, updates, places.reshape(-1))


def _scatter_elements(call: Call) -> Value:
    """x[i, index[i, j, k], k] = updates[i, j, k] for axis 1, and so on."""
    x, updates = call.input(0), call.input(2)
    axis = call.axis(call.attr_int("axis", 0), len(x.shape))
    if _replaces_few(call, axis):
        return _where_indexed(call, axis)
    index = call.array(1, "indices")
    inside = len(index.shape) == len(x.shape) and all(
        size <= most
        for number, (size, most) in enumerate(zip(index.shape, x.shape))
        if number != axis
    )
    if index.shape != updates.shape or not inside:
        raise call.error(
            f"has indices of shape {dims(index.shape)} and updates of shape {dims(updates.shape)} "
            f"for {dims(x.shape)}"
        )
    _refuse_large(call, x)
    grid = list(np.indices(index.shape))
    grid[axis] = _from_front(call, index, np.array(x.shape[axis]))
    return _replace(call, x, updates, np.ravel_multi_index(tuple(grid), x.shape).reshape(-1))


def _replaces_few(call: Call, axis: int) -> bool:
    """Whether indices computed in the run replace few elements of each row along ``axis``."""
    x, index, updates = (call.input(slot).shape for slot in range(3))
    few = index == updates and len(index) == len(x) and index[axis] <= _MOST_COMPUTED
    others = index[:axis] + index[axis + 1 :] == x[:axis] + x[axis + 1 :]
    replaces = call.attr_string("reduction", "none") == "none"
    return few and others and replaces and not call.input(1).is_constant


def _where_indexed(call: Call, axis: int) -> Value:
    """One choice for each index: what a one-hot code of the largest is made by."""
    x, index, updates = call.input(0), call.cast(call.input(1), DType.I64), call.input(2)
    size, behind = x.shape[axis], len(x.shape) - axis - 1
    count = call.constant(np.arange(size, dtype=np.int64).reshape(size, *(1,) * behind))
    for number in range(index.shape[axis]):
        place, update = (cut(call, value, axis, number, number + 1) for value in (index, updates))
        x = call.add("Where", call.add("Equal", from_front(call, place, size), count), update, x)
    return x


def assign_masked(call: Call) -> Value:
    """``x[mask] = number``, where the mask covers x's leading axes."""
    x, mask, number = call.input(0), call.cast(call.input(1), DType.BOOL), call.input(2)
    if number.type.elements != 1:
        found = dims(number.shape)
        raise UnsupportedError(
            f"ScatterND under a mask that is computed takes one number, not {found}"
        )
    if mask.shape != x.shape[: len(mask.shape)] or number.dtype is not x.dtype:
        raise ModelError(f"ScatterND has a mask of {dims(mask.shape)} for {dims(x.shape)}")
    whole = call.reshape(mask, mask.shape + (1,) * (len(x.shape) - len(mask.shape)))
    return call.add("Where", whole, call.reshape(number, ()), x)


def _refuse_large(call: Call, x: Value) -> None:
    if x.type.elements > _LARGEST:
        raise call.unsupported(f"into {dims(x.shape)} elements is not supported")


def _from_front(call: Call, index: np.ndarray, limits: np.ndarray) -> np.ndarray:
    if (index < -limits).any() or (index >= limits).any():
        raise call.error("has indices outside its input")
    return np.asarray(np.where(index < 0, index + limits, index))


def _replace(call: Call, x: Value, updates: Value, places: np.ndarray) -> Value:
    """``x`` with the elements at flat ``places`` from ``updates``; the last one counts."""
    reduction = call.attr_string("reduction", "none")
    if reduction not in ("none", *_COMBINE):
        raise call.error(f"has reduction {reduction[:20]!r}")
    if not places.size:
        return x
    if reduction != "none":
        if len(np.unique(places)) != len(places):
            raise call.unsupported(f"with reduction '{reduction}' onto one element twice")
        old = call.add("Gather", call.reshape(x, (x.type.elements,)), call.constant(places), axis=0)
        new = call.reshape(updates, (updates.type.elements,))
        updates = call.add(_COMBINE[reduction], old, new)
    box = _box(x, places)
    if box is not None:
        return _put(call, x, call.reshape(updates, [end - start for start, end in box]), box)
    origin = np.arange(x.type.elements)
    origin[places] = x.type.elements + np.arange(len(places))
    parts = [call.reshape(value, (value.type.elements,)) for value in (x, updates)]
    flat = call.add("Gather", call.add("Concat", *parts, axis=0), call.constant(origin), axis=0)
    return call.reshape(flat, x.shape)


def _box(x: Value, places: np.ndarray) -> list[tuple[int, int]] | None:
    """Starts and ends of the box that ``places`` fill in order, None if they do not."""
    if not x.shape:
        return []
    first, last = (np.unravel_index(place, x.shape) for place in (places[0], places[-1]))
    box = [(int(start), int(end) + 1) for start, end in zip(first, last)]
    if any(start >= end for start, end in box) or len(places) != math.prod(e - s for s, e in box):
        return None
    grid = np.ix_(*(np.arange(start, end) for start, end in box))
    return box if (np.ravel_multi_index(grid, x.shape).reshape(-1) == places).all() else None


def _put(call: Call, x: Value, updates: Value, box: list[tuple[int, int]], axis: int = 0) -> Value:
    """``x`` with ``updates`` in the place of a box that is whole along the axes before ``axis``."""
    if axis == len(box):
        return updates
    start, end = box[axis]
    middle = _put(call, cut(call, x, axis, start, end), updates, box, axis + 1)
    parts = [middle]
    if start > 0:
        parts.insert(0, cut(call, x, axis, 0, start))
    if end < x.shape[axis]:
        parts.append(cut(call, x, axis, end, x.shape[axis]))
    return middle if len(parts) == 1 else call.add("Concat", *parts, axis=axis)


SCATTER: dict[str, Importer] = {
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
}
"""Importers by operator."""
