"""Operators on shapes. A shape is always known, so what computes with shapes folds away."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value


def _shape(call: Call) -> Value:
    shape = call.input(0).shape
    start = call.attr_int("start", 0)
    end = call.attr_int("end", len(shape)) if call.has("end") else None
    return call.constant(np.array(shape[start:end], np.int64))


def _size(call: Call) -> Value:
    return call.constant(np.array(call.input(0).type.elements, np.int64))


def _reshape(call: Call) -> Value:
    x, wanted = call.input(0), call.integers(1, "a shape")
    sizes = list(wanted)
    if not call.attr_flag("allowzero"):
        if any(size == 0 for size in wanted[len(x.shape) :]):
            raise call.error(f"cannot turn {dims(x.shape)} into {dims(wanted)}")
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        if known and x.type.elements % known == 0:
            sizes[sizes.index(-1)] = x.type.elements // known
    if any(size < 0 for size in sizes) or math.prod(sizes) != x.type.elements:
        raise call.error(f"cannot turn {dims(x.shape)} into {dims(wanted)}")
    return call.reshape(x, sizes)


def _flatten(call: Call) -> Value:
    x, axis = call.input(0), call.attr_int("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise call.error(f"has axis {axis}, but there are {rank} axes")
    axis = axis + rank if axis < 0 else axis
    return call.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(call: Call) -> Value:
    x = call.input(0)
    given = call.numbers_twice("axes", 1, 13, "axes")
    if not given:  # onnxruntime takes an empty list for none given
        given = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    axes = call.axes(given, len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise call.error(f"would remove axes {list(axes)} of {dims(x.shape)}; not all have size 1")
    return call.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in axes])


def _unsqueeze(call: Call) -> Value:
    x = call.input(0)
    given = call.numbers_twice("axes", 1, 13, "axes")
    if given is None:
        raise call.error("lacks its axes")
    rank = len(x.shape) + len(given)
    axes = call.axes(given, rank)
    sizes = iter(x.shape)
    return call.reshape(x, [1 if axis in axes else next(sizes) for axis in range(rank)])


def _expand(call: Call) -> Value:
    x, wanted = call.input(0), call.integers(1, "a shape")
    return expand(call, x, wanted)


def expand(call: Call, x: Value, wanted: Sequence[int]) -> Value:
    """``x`` broadcast together with ``wanted``; itself if that changes nothing."""
    rank = max(len(x.shape), len(wanted))
    own = (1,) * (rank - len(x.shape)) + x.shape
    other = (1,) * (rank - len(wanted)) + tuple(wanted)
    if any(a != b and a != 1 and b != 1 for a, b in zip(own, other)):
        raise call.error(f"cannot broadcast {dims(x.shape)} to {dims(wanted)}")
    shape = tuple(b if a == 1 else a for a, b in zip(own, other))
    return x if shape == x.shape else call.add("Expand", x, shape=shape)


def _tile(call: Call) -> Value:
    """Each axis in two, (1, size), of which the first is broadcast."""
    x, repeats = call.input(0), call.integers(1, "repeats")
    if len(repeats) != len(x.shape) or any(times < 1 for times in repeats):
        raise call.error(f"has repeats {list(repeats)[:8]} for an input of shape {dims(x.shape)}")
    split, spread = [], []
    for size, times in zip(x.shape, repeats):
        whole = times == 1 or size == 1  # needs no axis of its own
        split += [size] if whole else [1, size]
        spread += [max(size, times) if size == 1 else size] if whole else [times, size]
    y = expand(call, call.reshape(x, split), spread)
    return call.reshape(y, [size * times for size, times in zip(x.shape, repeats)])


SHAPE: dict[str, Importer] = {
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Tile": _tile,
}
"""Importers by operator."""
