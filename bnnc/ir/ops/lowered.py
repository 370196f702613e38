"""Ops that only passes make, on the way to code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.ir.epilogue import run_steps
from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Flow, Op
from bnnc.ir.ops.convolution import conv_macs, conv_shape
from bnnc.ir.ops.rules import given, operands, tensor, with_steps
from bnnc.ir.ops.windows import convolve, window_counts, windows
from bnnc.ir.types import DType, TensorType


def _infer_binary_conv(node: Node) -> list[TensorType]:
    x, w = operands(node, 2, optional=1)
    assert x.dtype is DType.B1 and w.dtype is DType.B1 and w.is_constant, node
    assert node.optional(2) is None and node.attrs["pad"] in (-1, 0, 1), node
    if len(x.shape) == 2:
        assert w.shape[1:] == (x.shape[1], 1, 1) and not any(node.attrs["pads"]), node
        return with_steps(node, tensor(node, DType.I32, (x.shape[0], w.shape[0])))
    return with_steps(node, tensor(node, DType.I32, conv_shape(node)))


def _binary_conv(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, w = given(arrays, 2)
    a = node.attrs
    # Sums of +-1 are exact in floats as long as they stay within the mantissa.
    floats = np.float32 if math.prod(w.shape[1:]) < 2**24 else np.float64
    raw = convolve(
        _bipolar(x.reshape(*x.shape, *(1,) * (4 - x.ndim)), floats),
        _bipolar(w, floats),
        strides=a["strides"],
        pads=a["pads"],
        dilations=a["dilations"],
        group=a["group"],
        fill=a["pad"],
    )
    return run_steps(node, raw.reshape(raw.shape[: x.ndim]).astype(np.int32), arrays)


def _bipolar(bits: np.ndarray, floats: type[np.floating]) -> np.ndarray:
    return np.asarray(np.where(bits, floats(1), floats(-1)))


def _infer_pooled_conv(node: Node) -> list[TensorType]:
    x, w = operands(node, 2, optional=1)
    assert x.dtype is DType.F32 and len(x.shape) == 4 and w.is_constant, node
    batch, channels, *sizes = x.shape
    assert channels == node.attrs["group"] and w.shape[1] == 1, node
    pooled = [size - window + 1 for size, window in zip(sizes, node.attrs["pool"])]
    counts = window_counts(node, pooled, w.shape[2:], node.attrs["pads"])
    return with_steps(node, tensor(node, DType.F32, (batch, w.shape[0], *counts)))


def _pooled_conv(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, w = given(arrays, 2)
    a = node.attrs
    raw = convolve(
        windows(x, a["pool"], (1, 1), (1, 1)).max(axis=(4, 5)),
        w,
        strides=a["strides"],
        pads=a["pads"],
        dilations=(1, 1),
        group=a["group"],
    )
    bias = arrays[2] if len(arrays) > 2 else None
    return run_steps(node, raw if bias is None else raw + bias.reshape(-1, 1, 1), arrays)


def _infer_branched_conv(node: Node) -> list[TensorType]:
    x, (top, left, bottom, right) = node.operand(0), node.attrs["pads"]
    assert x.dtype is DType.F32 and len(x.shape) == 4, node
    height, width = x.shape[2] + top + bottom - 2, x.shape[3] + left + right - 2
    types: list[TensorType] = []
    for branch in node.attrs["branches"]:
        w, bias, points, point_bias = (node.inputs[slot] for slot in branch.inputs)
        assert w is not None and points is not None, node
        hidden, oc = w.shape[0], points.shape[0]
        assert w.shape == (hidden, x.shape[1], 3, 3) and points.shape == (oc, hidden, 1, 1), node
        assert bias is None or bias.shape == (hidden,), node
        assert point_bias is None or point_bias.shape == (oc,), node
        raw = tensor(node, DType.F32, (x.shape[0], oc, height, width))
        types += with_steps(node, raw, branch.steps)
    return types


def _branched_conv(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    results: list[np.ndarray] = []
    for branch in node.attrs["branches"]:
        w, bias, points, point_bias = (arrays[slot] for slot in branch.inputs)
        hidden = _plain_convolve(x, w, bias, node.attrs["pads"])
        hidden = np.maximum(hidden, np.float32(node.attrs["low"]))
        raw = _plain_convolve(hidden, points, point_bias, (0, 0, 0, 0))
        results += run_steps(node, raw, arrays, branch.steps)
    return results


def _plain_convolve(
    x: np.ndarray, w: np.ndarray | None, bias: np.ndarray | None, pads: Sequence[int]
) -> np.ndarray:
    assert w is not None
    raw = convolve(x, w, strides=(1, 1), pads=pads, dilations=(1, 1), group=1)
    return raw if bias is None else raw + bias.reshape(-1, 1, 1)


def _branched_macs(node: Node) -> int:
    total, first = 0, 0
    for branch in node.attrs["branches"]:
        w, points = node.operand(branch.inputs[0]), node.operand(branch.inputs[2])
        batch, _, height, width = node.outputs[first].shape
        total += batch * height * width * (w.type.elements + points.type.elements)
        first += branch.outputs
    return total


def _infer_map(node: Node) -> list[TensorType]:
    x = node.operand(0)
    assert x.dtype is DType.F32, node
    return with_steps(node, x.type)


def _map(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return run_steps(node, given(arrays, 1)[0], arrays)


def _infer_copy(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    return [x.type]


def _copy(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [given(arrays, 1)[0].copy()]


def _infer_unpack(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    assert x.dtype is DType.B1 and len(x.shape) > 1, node
    for key in ("low", "high"):
        vector = node.attrs[key]
        assert vector.dtype == np.float32 and vector.shape == x.shape[1:2], f"{node}: {key}"
    return [TensorType(DType.F32, x.shape)]


def _unpack(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    shape = (-1,) + (1,) * (x.ndim - 2)
    low, high = (node.attrs[key].reshape(shape) for key in ("low", "high"))
    return [np.asarray(np.where(x, high, low))]


def _infer_look_up(node: Node) -> list[TensorType]:
    (x,) = operands(node, 1)
    table = node.attrs["table"]
    assert x.dtype is DType.U8 and len(x.shape) == 4, node
    batch, height, width, channels = x.shape
    assert table.dtype == np.float32 and table.shape == (channels, 256), node
    return [TensorType(DType.F32, (batch, channels, height, width))]


def _look_up(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = given(arrays, 1)
    planes = np.moveaxis(x, 3, 1)
    channels = np.arange(planes.shape[1]).reshape(-1, 1, 1)
    return [np.asarray(node.attrs["table"][channels, planes])]


LOWERED = (
    Op(
        "BinaryConv",
        _infer_binary_conv,
        _binary_conv,
        {
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "dilations": (1, 1),
            "group": 1,
            "pad": 0,
            "steps": (),
        },
        macs=conv_macs,
        learned=(1,),
        doc="sum over taps of (+-1)(+-1), a padded tap counts pad * w; x [N, C, H, W] or [N, C] "
        "(one pixel each), w [OC, C/g, KH, KW], None, step operands",
    ),
    Op(
        "PooledConv",
        _infer_pooled_conv,
        _pooled_conv,
        {"pool": REQUIRED, "strides": (1, 1), "pads": (0, 0, 0, 0), "group": REQUIRED, "steps": ()},
        macs=conv_macs,
        learned=(1, 2),
        doc="Conv of every channel by itself over the largest values of all windows `pool` (rows, "
        "columns) of x; x, w, [bias], step operands",
    ),
    Op(
        "BranchedConv",
        _infer_branched_conv,
        _branched_conv,
        {"pads": (0, 0, 0, 0), "low": -math.inf, "branches": REQUIRED},
        macs=_branched_macs,
        doc="for each branch (w, bias, points, point bias; its steps) a 3x3 Conv of x, max(low, "
        "that), a 1x1 Conv of that, and the steps; x, the branches' inputs, step operands",
    ),
    Op("Map", _infer_map, _map, {"steps": ()}, doc="steps alone; x, step operands"),
    Op("Copy", _infer_copy, _copy, flow=Flow.MOVEMENT, doc="x, in memory of its own"),
    Op(
        "LookUp",
        _infer_look_up,
        _look_up,
        {"table": REQUIRED},
        doc="pixels u8 [N, H, W, C] through float32 [C, 256] to [N, C, H, W]",
    ),
    Op(
        "Unpack",
        _infer_unpack,
        _unpack,
        {"low": REQUIRED, "high": REQUIRED},
        doc="high[c] where the bit is set, else low[c]: float32 [C] each",
    ),
)
