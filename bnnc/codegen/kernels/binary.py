"""Binary convolutions: two kernels, and what each needs its bits to look like."""

from __future__ import annotations

import numpy as np

from bnnc.codegen.emitter import Emitter
from bnnc.codegen.kernels import scratch
from bnnc.codegen.kernels.convolution import by_shape, conv_shape
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.codegen.packing import bits
from bnnc.ir.graph import Node
from bnnc.ir.layout import BITS_NHWC, BITS_PLANAR


def _planar_fits(node: Node) -> bool:
    attrs = node.attrs
    geometry = (attrs["strides"], attrs["pads"], attrs["dilations"], attrs["group"])
    weights = node.operand(1).shape
    ic, height, width = (*node.operand(0).shape[1:], 1, 1)[:3]
    return (
        geometry == ((1, 1), (1, 1, 1, 1), (1, 1), 1)
        and weights[2:] == (3, 3)
        and bits.planar_pays(ic, height, width, weights[0], attrs["pad"])
    )


def _emit(kernel: str, node: Node, emitter: Emitter) -> None:
    weights = node.operand(1).data
    assert weights is not None
    pad = node.attrs["pad"]
    raw = not node.attrs["steps"]
    planar = kernel == "binary_conv_planar"
    border = bits.border_correction(weights, pad) if planar else None
    emitter.call(
        kernel,
        "bnnc_binary_conv_args",
        None if raw else node,
        shape=conv_shape(node).text,
        x=emitter.address(node.operand(0)),
        w=emitter.pack(bits.pack_planar(weights) if planar else bits.pack_nhwc(weights)),
        pad=int(pad),
        border=0 if border is None else emitter.pack(border.astype(np.int32)),
        raw=int(raw),
        out=emitter.address(node.output) if raw else 0,
    )


def _planar(node: Node, emitter: Emitter) -> None:
    _emit("binary_conv_planar", node, emitter)


def _nhwc(node: Node, emitter: Emitter) -> None:
    _emit("binary_conv_nhwc", node, emitter)


KERNELS = (
    Kernel(
        "BinaryConv",
        "binary_conv_planar",
        _planar,
        _planar_fits,
        reads=BITS_PLANAR,
        scratch=by_shape(scratch.planar),
    ),
    Kernel("BinaryConv", "binary_conv_nhwc", _nhwc, reads=BITS_NHWC),
)
