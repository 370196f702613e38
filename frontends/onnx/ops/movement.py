"""Operators that move elements: join, cut, pad, transpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value
from bnnc.ir.ops.movement import slice_range


def _concat(call: Call) -> Value:
    values = [call.input(slot) for slot in range(len(call.inputs))]
    axis = call.axis(call.attr_int("axis"), len(values[0].shape))
    kept = [x for x in values if len(x.shape) <= axis or x.shape[axis] != 0] or values[:1]
    return kept[0] if len(kept) == 1 else call.add("Concat", *kept, axis=axis)


def _split(call: Call) -> list[Value | None]:
    """A Slice for each output that is used."""
    x = call.input(0)
    axis = call.axis(call.attr_int("axis", 0), len(x.shape))
    total = x.shape[axis]
    sizes = call.numbers_twice("split", 1, 13, "sizes of its parts")
    count = len(call.node.outputs)
    if sizes is None:
        if call.attr_int("num_outputs", count) != count:
            raise call.error(f"says num_outputs, but has {count} outputs")
        part = -(-total // count)
        if call.version < 18 and total % count:
            raise call.error(f"cannot cut {total} into {count} equal parts")
        sizes = tuple(min(part, total - part * i) for i in range(count))
    if len(sizes) != count or sum(sizes) != total or any(size < 0 for size in sizes):
        raise call.error(f"cannot cut {total} into {count} parts of {list(sizes)[:8]}")
    parts: list[Value | None] = []
    start = 0
    for slot, size in enumerate(sizes):
        wanted = call.wants(slot)
        parts.append(cut(call, x, axis, start, start + size) if wanted else None)
        start += size
    return parts


def cut(call: Call, x: Value, axis: int, start: int, end: int) -> Value:
    """Elements ``start`` to ``end`` of ``x`` along ``axis``; ``x`` itself if that is all."""
    if (start, end) == (0, x.shape[axis]):
        return x
    if start == end:
        return nothing(call, x, [0 if i == axis else n for i, n in enumerate(x.shape)])
    return call.add("Slice", x, starts=(start,), ends=(end,), axes=(axis,))


def nothing(call: Call, x: Value, shape: Sequence[int]) -> Value:
    """A tensor of no elements, of the type of ``x``: only a Concat can do something with it."""
    return call.constant(np.zeros(tuple(shape), x.dtype.numpy))


def _slice(call: Call) -> Value:
    x = call.input(0)
    rank = len(x.shape)
    if call.version < 10:
        starts, ends = call.attr_ints("starts"), call.attr_ints("ends")
        given = call.attr_ints("axes") if call.has("axes") else None
        steps: tuple[int, ...] | None = None
    else:
        starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
        given = None if call.optional(3) is None else call.integers(3, "axes")
        steps = None if call.optional(4) is None else call.integers(4, "steps")
    axes = call.axes(range(len(starts)) if given is None else given, rank)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise call.error("has starts, ends, axes and steps of different lengths")
    if 0 in steps:
        raise call.error("has a step of 0")
    found = {
        axis: slice_range(x.shape[axis], start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps)
    }
    if not all(found.values()):
        return nothing(call, x, [len(found.get(i, range(n))) for i, n in enumerate(x.shape)])
    kept = [
        cut for cut in zip(axes, starts, ends, steps) if found[cut[0]] != range(x.shape[cut[0]])
    ]
    if not kept:
        return x
    axes, starts, ends, steps = zip(*kept)
    return call.add("Slice", x, starts=starts, ends=ends, axes=axes, steps=steps)


def _pad(call: Call) -> Value:
    x = call.input(0)
    rank = len(x.shape)
    if call.version < 11:
        pads, value = call.attr_ints("pads"), call.attr_float("value", 0.0)
    else:
        pads = call.integers(1, "pads")
        value = 0 if call.optional(2) is None else call.number(2, "a padding value")
    given = None if call.optional(3) is None else call.integers(3, "axes")
    axes = call.axes(range(rank) if given is None else given, rank)
    if len(pads) != 2 * len(axes):
        raise call.error(f"has {len(pads)} pads for {len(axes)} axes")
    spread = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        spread[axis], spread[rank + axis] = pads[index], pads[len(axes) + index]
    if not any(spread):
        return x
    mode = call.attr_string("mode", "constant")
    return call.add("Pad", x, pads=tuple(spread), mode=mode, value=value)


def _transpose(call: Call) -> Value:
    x = call.input(0)
    perm = call.attr_ints("perm", tuple(range(len(x.shape)))[::-1])
    if sorted(perm) != list(range(len(x.shape))):
        raise call.error(f"has perm {list(perm)[:8]} for an input of {len(x.shape)} axes")
    return call.transpose(x, perm)


def _blocks(call: Call) -> tuple[Value, int]:
    x, block = call.input(0), call.attr_int("blocksize")
    if len(x.shape) != 4 or not 1 <= block < 2**15:
        raise call.error(f"has blocksize {block} and an input of shape {dims(x.shape)}")
    return x, block


def _depth_to_space(call: Call) -> Value:
    (x, block), mode = _blocks(call), call.attr_string("mode", "DCR")
    batch, channels, height, width = x.shape
    depth, rest = divmod(channels, block * block)
    if rest or mode not in ("DCR", "CRD"):
        raise call.error(f"has blocksize {block}, mode {mode[:20]!r} and {channels} channels")
    if mode == "DCR":
        split, perm = (batch, block, block, depth, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, perm = (batch, depth, block, block, height, width), (0, 1, 4, 2, 5, 3)
    moved = call.transpose(call.reshape(x, split), perm)
    return call.reshape(moved, (batch, depth, height * block, width * block))


def _space_to_depth(call: Call) -> Value:
    (x, block), mode = _blocks(call), call.attr_string("mode", "DCR")
    batch, channels, height, width = x.shape
    if height % block or width % block or mode not in ("DCR", "CRD"):
        raise call.error(f"has blocksize {block}, mode {mode[:20]!r} and {height}x{width} pixels")
    split = (batch, channels, height // block, block, width // block, block)
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = call.transpose(call.reshape(x, split), perm)
    return call.reshape(moved, (batch, channels * block * block, height // block, width // block))


MOVEMENT: dict[str, Importer] = {
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Transpose": _transpose,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
"""Importers by operator."""
