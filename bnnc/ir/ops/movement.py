"""Ops that move elements without changing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Flow, Op
from bnnc.ir.ops.rules import (
    axis,
    broadcast,
    distinct_axes,
    fault,
    given,
    operands,
    require,
    same_dtype,
    show,
    tensor,
)
from bnnc.ir.types import DType, TensorType

PAD_MODES = ("constant", "reflect", "edge", "wrap")


def _infer_pad(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    pads, mode = node.attrs["pads"], node.attrs["mode"]
    axes = len(x.shape)
    if len(pads) != 2 * axes:
        raise fault(node, f"has {len(pads)} pads for {axes} axes; needs {2 * axes}")
    if mode not in PAD_MODES:
        raise fault(node, f"has mode {mode!r}; bnnc knows {', '.join(PAD_MODES)}")
    shape = []
    for size, before, after in zip(x.shape, pads[:axes], pads[axes:]):
        kept = size + min(before, 0) + min(after, 0)
        most = {"constant": None, "edge": None, "reflect": kept - 1, "wrap": kept}[mode]
        if kept < (0 if mode == "constant" else 1):
            raise fault(node, f"crops {[before, after]} from an axis of {size}")
        if most is not None and max(before, after) > most:
            raise fault(node, f"pads {[before, after]} by {mode} onto an axis of {size}")
        shape.append(size + before + after)
    return [tensor(node, x.dtype, shape)]


def _pad(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    pads, mode = node.attrs["pads"], node.attrs["mode"]
    pairs = list(zip(pads[: x.ndim], pads[x.ndim :]))
    kept = x[tuple(slice(-min(b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, pairs))]
    widths = [(max(b, 0), max(a, 0)) for b, a in pairs]
    if mode == "constant":
        fill = np.asarray(node.attrs["value"]).astype(x.dtype)
        return [np.pad(kept, widths, constant_values=fill)]
    return [np.pad(kept, widths, mode=mode)]


def _infer_concat(node: Node) -> list[TensorType]:
    values = operands(node, max(1, len(node.inputs)))
    kind = same_dtype(node, values)
    first = values[0].shape
    along = axis(node, node.attrs["axis"], len(first))
    for value in values[1:]:
        others = [s[:along] + s[along + 1 :] for s in (first, value.shape)]
        if len(value.shape) != len(first) or others[0] != others[1]:
            raise fault(
                node, f"cannot join {show(first)} and {show(value.shape)} along axis {along}"
            )
    total = sum(value.shape[along] for value in values)
    return [tensor(node, kind, (*first[:along], total, *first[along + 1 :]))]


def _concat(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [np.concatenate(given(arrays, len(arrays)), axis=node.attrs["axis"])]


def slice_ranges(node: Node, shape: Sequence[int]) -> list[range]:
    """The indices a Slice keeps along each axis of ``shape``, clamped as ONNX says."""
    a = node.attrs
    steps = a["steps"] or (1,) * len(a["axes"])
    if not len(a["starts"]) == len(a["ends"]) == len(a["axes"]) == len(steps):
        raise fault(node, "has starts, ends, axes and steps of different lengths")
    kept = [range(size) for size in shape]
    along = distinct_axes(node, a["axes"], len(shape))
    for number, start, end, step in zip(along, a["starts"], a["ends"], steps):
        if step == 0:
            raise fault(node, f"has step 0 on axis {number}")
        kept[number] = slice_range(shape[number], start, end, step)
    return kept


def slice_range(size: int, start: int, end: int, step: int) -> range:
    """The indices that a Slice keeps of an axis, clamped as ONNX says (Python clamps otherwise)."""
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def _infer_slice(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    return [tensor(node, x.dtype, map(len, slice_ranges(node, x.shape)))]


def _slice(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    keys = [
        slice(kept.start, kept.stop if kept.stop >= 0 else None, kept.step)
        for kept in slice_ranges(node, x.shape)
    ]
    return [x[tuple(keys)].copy()]


def _infer_reshape(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    shape = node.attrs["shape"]
    if any(size < 0 for size in shape) or math.prod(shape) != x.type.elements:
        raise fault(node, f"cannot turn {show(x.shape)} into {show(shape)}")
    return [tensor(node, x.dtype, shape)]


def _reshape(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    return [x.reshape(node.attrs["shape"])]


def _infer_transpose(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    perm = node.attrs["perm"]
    if sorted(perm) != list(range(len(x.shape))):
        raise fault(node, f"has perm {list(perm)} for an input of {len(x.shape)} axes")
    return [tensor(node, x.dtype, [x.shape[number] for number in perm])]


def _transpose(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    return [x.transpose(node.attrs["perm"]).copy()]


def _infer_expand(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    return [tensor(node, x.dtype, broadcast(node, [x.shape, tuple(node.attrs["shape"])]))]


def _expand(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    shape = np.broadcast_shapes(x.shape, tuple(node.attrs["shape"]))
    return [np.broadcast_to(x, shape).copy()]


def _infer_gather(node: Node) -> list[TensorType]:
    x, indices = operands(node, 2)
    require(node, [indices], {DType.I32, DType.I64})
    along = axis(node, node.attrs["axis"], len(x.shape))
    size = x.shape[along]
    if not size:
        raise fault(node, "gathers from an empty axis")
    data = indices.data
    if data is not None and data.size and not (-size <= data.min() and data.max() < size):
        raise fault(node, f"has indices outside its axis {along} of {size}")
    shape = x.shape[:along] + indices.shape + x.shape[along + 1 :]
    return [tensor(node, x.dtype, shape)]


def _gather(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, indices = given(arrays, 2)
    along = node.attrs["axis"]
    size = x.shape[along]
    # Indices computed in a run may be anything; like the C kernel, stay inside the tensor.
    safe = np.clip(np.where(indices < 0, indices + size, indices), 0, size - 1)
    return [np.take(x, safe, axis=along)]


MOVEMENT = (
    Op(
        "Pad",
        _infer_pad,
        _pad,
        {"pads": REQUIRED, "mode": "constant", "value": 0.0},
        Flow.MOVEMENT,
        doc="pads: before each axis, then after each; negative ones crop",
    ),
    Op("Concat", _infer_concat, _concat, {"axis": REQUIRED}, Flow.MOVEMENT, doc="joined on axis"),
    Op(
        "Slice",
        _infer_slice,
        _slice,
        {"starts": REQUIRED, "ends": REQUIRED, "axes": REQUIRED, "steps": ()},
        Flow.MOVEMENT,
        doc="x[start:end:step] along each of axes, clamped as ONNX says; steps () means all 1",
    ),
    Op("Reshape", _infer_reshape, _reshape, {"shape": REQUIRED}, Flow.MOVEMENT, doc="same order"),
    Op(
        "Transpose",
        _infer_transpose,
        _transpose,
        {"perm": REQUIRED},
        Flow.MOVEMENT,
        doc="output axis i is input axis perm[i]",
    ),
    Op(
        "Expand",
        _infer_expand,
        _expand,
        {"shape": REQUIRED},
        Flow.MOVEMENT,
        doc="x broadcast together with shape",
    ),
    Op(
        "Gather",
        _infer_gather,
        _gather,
        {"axis": 0},
        Flow.MOVEMENT,
        data_inputs=1,
        doc="slices of x along axis; negative indices count from the end, others are clamped",
    ),
)
