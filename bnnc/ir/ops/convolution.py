"""Conv, ConvTranspose and MatMul: the ops with multiply-adds and an epilogue."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnnc.ir.epilogue import run_steps
from bnnc.ir.graph import Node
from bnnc.ir.op import Flow, Op
from bnnc.ir.ops.rules import (
    FLOATS,
    NUMBERS,
    broadcast,
    fault,
    given,
    operands,
    rank,
    require,
    same_dtype,
    show,
    tensor,
    with_steps,
)
from bnnc.ir.ops.windows import check_geometry, convolve, convolve_transposed, window_counts
from bnnc.ir.types import TensorType


def conv_shape(node: Node) -> tuple[int, ...]:
    """The result's shape of a convolution of x [N, C, H, W] with w [OC, C / group, KH, KW].

    Raises:
        ModelError: where channels, groups, kernel and pads contradict each other.
    """
    x, w = operands(node, 2, optional=1)
    rank(node, x, 4, "NCHW")
    rank(node, w, 4, "OC, C / group, KH, KW")
    check_geometry(node)
    batch, channels, *sizes = x.shape
    out_channels, depth, *kernel = w.shape
    group = _group(node, channels)
    if depth * group != channels:
        raise fault(
            node,
            f"has an input of {channels} channels, but weights of shape {show(w.shape)} in "
            f"{group} group(s) take {depth * group}",
        )
    if out_channels % group:
        raise fault(node, f"has {out_channels} output channels, not a multiple of group {group}")
    _bias(node, out_channels)
    return (batch, out_channels, *window_counts(node, sizes, kernel, node.attrs["pads"]))


def _group(node: Node, channels: int) -> int:
    group = int(node.attrs["group"])
    if group < 1 or channels % group:
        raise fault(node, f"has group {group}, which does not divide its {channels} channels")
    return group


def _bias(node: Node, channels: int) -> None:
    bias = node.optional(2)
    if bias is not None and bias.shape != (channels,):
        raise fault(node, f"has a bias of shape {show(bias.shape)} for {channels} output channels")


def _one_float_type(node: Node) -> None:
    values = [value for value in node.inputs[:3] if value is not None]
    require(node, values, FLOATS)
    same_dtype(node, values)


def _infer_conv(node: Node) -> list[TensorType]:
    shape = conv_shape(node)
    _one_float_type(node)
    return with_steps(node, tensor(node, node.operand(0).dtype, shape))


def _conv(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, w = given(arrays, 2)
    a = node.attrs
    raw = convolve(
        x, w, strides=a["strides"], pads=a["pads"], dilations=a["dilations"], group=a["group"]
    )
    return run_steps(node, _add_bias(raw, arrays, (-1, 1, 1)), arrays)


def _add_bias(
    raw: np.ndarray, arrays: Sequence[np.ndarray | None], shape: tuple[int, ...]
) -> np.ndarray:
    bias = arrays[2] if len(arrays) > 2 else None
    return raw if bias is None else raw + bias.reshape(shape)


def conv_macs(node: Node) -> int:
    """Output elements x kernel area x input channels per group."""
    return math.prod(node.outputs[0].shape) * math.prod(node.operand(1).shape[1:])


def _infer_transposed(node: Node) -> list[TensorType]:
    x, w = operands(node, 2, optional=1)
    rank(node, x, 4, "NCHW")
    rank(node, w, 4, "C, OC / group, KH, KW")
    check_geometry(node)
    batch, channels, *sizes = x.shape
    group = _group(node, channels)
    if w.shape[0] != channels:
        raise fault(
            node,
            f"has an input of {channels} channels, but weights of shape {show(w.shape)} take "
            f"{w.shape[0]}",
        )
    out_channels = w.shape[1] * group
    _bias(node, out_channels)
    _one_float_type(node)
    a = node.attrs
    full = [
        (size - 1) * stride + dilation * (kernel - 1) + 1 + extra
        for size, stride, dilation, kernel, extra in zip(
            sizes, a["strides"], a["dilations"], w.shape[2:], a["output_padding"]
        )
    ]
    tensor(node, x.dtype, (batch, out_channels, *full))
    top, left, bottom, right = a["pads"]
    cropped = [full[0] - top - bottom, full[1] - left - right]
    if min(cropped) < 1:
        raise fault(node, f"crops pads {list(a['pads'])} from a full result of {show(full)}")
    return with_steps(node, tensor(node, x.dtype, (batch, out_channels, *cropped)))


def _conv_transposed(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, w = given(arrays, 2)
    a = node.attrs
    raw = convolve_transposed(
        x,
        w,
        strides=a["strides"],
        pads=a["pads"],
        output_padding=a["output_padding"],
        dilations=a["dilations"],
        group=a["group"],
    )
    return run_steps(node, _add_bias(raw, arrays, (-1, 1, 1)), arrays)


def _transposed_macs(node: Node) -> int:
    """Input elements x kernel area x output channels per group: taps that pads crop count too."""
    return math.prod(node.operand(0).shape) * math.prod(node.operand(1).shape[1:])


def _transposed_paper_macs(node: Node) -> int:
    """The same per *output* pixel, as if every tap met an input pixel there."""
    batch, _, height, width = node.outputs[0].shape
    return batch * height * width * math.prod(node.operand(1).shape)


def _infer_matmul(node: Node) -> list[TensorType]:
    a, b = operands(node, 2, optional=1)
    bias = node.optional(2)
    values = [a, b] if bias is None else [a, b, bias]
    require(node, values, NUMBERS)
    kind = same_dtype(node, values)
    if not a.shape or not b.shape:
        raise fault(node, "needs operands of at least one axis")
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise fault(node, f"cannot multiply {show(a.shape)} by {show(b.shape)}")
    shape = broadcast(node, [left[:-2], right[:-2]])
    shape += left[-2:-1] if len(a.shape) > 1 else ()
    shape += right[-1:] if len(b.shape) > 1 else ()
    if bias is not None and broadcast(node, [shape, bias.shape]) != shape:
        raise fault(node, f"has a bias of shape {show(bias.shape)} for a result of {show(shape)}")
    return with_steps(node, tensor(node, kind, shape))


def _matmul(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    a, b = given(arrays, 2)
    raw = np.asarray(np.matmul(a, b))
    bias = arrays[2] if len(arrays) > 2 else None
    return run_steps(node, raw if bias is None else raw + bias, arrays)


def _matmul_macs(node: Node) -> int:
    """Output elements x inner length."""
    return math.prod(node.outputs[0].shape) * node.operand(0).shape[-1]


CONVOLUTION = (
    Op(
        "Conv",
        _infer_conv,
        _conv,
        {
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "dilations": (1, 1),
            "group": 1,
            "steps": (),
        },
        Flow.OPAQUE,
        macs=conv_macs,
        learned=(1, 2),
        doc="2-D cross-correlation; x, w[OC, C/g, KH, KW], [bias], step operands; pads t, l, b, r",
    ),
    Op(
        "ConvTranspose",
        _infer_transposed,
        _conv_transposed,
        {
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "output_padding": (0, 0),
            "dilations": (1, 1),
            "group": 1,
            "steps": (),
        },
        Flow.OPAQUE,
        macs=_transposed_macs,
        paper_macs=_transposed_paper_macs,
        learned=(1, 2),
        doc="2-D transposed convolution; x, w[C, OC/g, KH, KW], [bias], step operands",
    ),
    Op(
        "MatMul",
        _infer_matmul,
        _matmul,
        {"steps": ()},
        Flow.OPAQUE,
        macs=_matmul_macs,
        learned=(0, 1, 2),
        doc="numpy's matmul; a, b, [bias that broadcasts to the result], step operands",
    ),
)
