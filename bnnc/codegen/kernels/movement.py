"""Kernels that only move elements: strided copies, fills, gathers and lookups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.codegen.emitter import Emitter
from bnnc.codegen.kernels.elementwise import broadcast_strides
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.ir.graph import Node, Value
from bnnc.ir.ops.movement import slice_ranges


def dense_strides(shape: Sequence[int]) -> list[int]:
    """Element strides of a dense tensor."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def strided_copy(
    emitter: Emitter,
    x: Value,
    out: Value,
    shape: Sequence[int],
    x_strides: Sequence[int],
    out_strides: Sequence[int],
    x_start: int = 0,
    out_start: int = 0,
) -> None:
    """Add a copy of ``shape`` elements; starts and strides count elements."""
    size = x.dtype.numpy.itemsize
    axes = [axis for axis, n in enumerate(shape) if n != 1] or [0]
    emitter.call(
        "copy",
        "bnnc_copy_args",
        rank=len(axes),
        element_bytes=size,
        shape=[shape[a] if shape else 1 for a in axes],
        x_strides=[x_strides[a] if shape else 0 for a in axes],
        out_strides=[out_strides[a] if shape else 0 for a in axes],
        x=emitter.address(x, x_start * size),
        out=emitter.address(out, out_start * size),
    )


def _transpose(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    strides = dense_strides(x.shape)
    moved = [strides[axis] for axis in node.attrs["perm"]]
    strided_copy(emitter, x, out, out.shape, moved, dense_strides(out.shape))


def _expand(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    strided_copy(
        emitter, x, out, out.shape, broadcast_strides(x, out.shape), dense_strides(out.shape)
    )


def _slice(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    strides = dense_strides(x.shape)
    kept = slice_ranges(node, x.shape)
    start = sum(indices.start * stride for indices, stride in zip(kept, strides))
    steps = [indices.step * stride for indices, stride in zip(kept, strides)]
    strided_copy(emitter, x, out, out.shape, steps, dense_strides(out.shape), x_start=start)


def _concat(node: Node, emitter: Emitter) -> None:
    out, axis = node.output, node.attrs["axis"]
    out_strides = dense_strides(out.shape)
    start = 0
    for slot in range(len(node.inputs)):
        part = node.operand(slot)
        offset = start * out_strides[axis]
        size = part.dtype.numpy.itemsize
        if emitter.address(part) != emitter.address(out, offset * size):
            strided_copy(
                emitter, part, out, part.shape, dense_strides(part.shape), out_strides, 0, offset
            )
        start += part.shape[axis]


def _pad(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    pads = node.attrs["pads"]
    value = np.asarray(node.attrs["value"], x.dtype.numpy)
    emitter.call(
        "fill",
        "bnnc_fill_args",
        count=out.type.elements,
        element_bytes=x.dtype.numpy.itemsize,
        value=list(np.frombuffer(value.tobytes(), np.uint8)),
        out=emitter.address(out),
    )
    before = pads[: len(x.shape)]
    after = pads[len(x.shape) :]
    x_strides, out_strides = dense_strides(x.shape), dense_strides(out.shape)
    cropped = [max(0, -amount) for amount in before]
    inner = [n - c - max(0, -a) for n, c, a in zip(x.shape, cropped, after)]
    strided_copy(
        emitter,
        x,
        out,
        inner,
        x_strides,
        out_strides,
        sum(c * s for c, s in zip(cropped, x_strides)),
        sum(max(0, b) * s for b, s in zip(before, out_strides)),
    )


def _constant_pad(node: Node) -> bool:
    return bool(node.attrs["mode"] == "constant")


def _gather(node: Node, emitter: Emitter) -> None:
    x, indices, axis = node.operand(0), node.operand(1), node.attrs["axis"]
    emitter.call(
        "gather",
        "bnnc_gather_args",
        outer=math.prod(x.shape[:axis]),
        axis=x.shape[axis],
        inner=math.prod(x.shape[axis + 1 :]),
        indices_count=indices.type.elements,
        element_bytes=x.dtype.numpy.itemsize,
        x=emitter.address(x),
        indices=emitter.address(indices),
        out=emitter.address(node.output),
    )


def _look_up(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    batch, height, width, channels = x.shape
    emitter.call(
        "look_up",
        "bnnc_look_up_args",
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        x=emitter.address(x),
        table=emitter.pack(node.attrs["table"]),
        out=emitter.address(node.output),
    )


KERNELS = (
    Kernel("Transpose", "copy", _transpose, scratch=0),
    Kernel("Expand", "copy", _expand, scratch=0),
    Kernel("Slice", "copy", _slice, scratch=0),
    Kernel("Concat", "copy", _concat, scratch=0),
    Kernel("Pad", "copy", _pad, _constant_pad, scratch=0),
    Kernel("Gather", "gather", _gather, scratch=0),
    Kernel("LookUp", "look_up", _look_up, scratch=0),
)
