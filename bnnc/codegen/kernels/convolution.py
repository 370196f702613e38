"""Float convolutions, pooling, resize and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from bnnc.codegen.emitter import Emitter
from bnnc.codegen.kernels import scratch
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.codegen.packing import floats
from bnnc.ir.graph import Node


@dataclass(frozen=True)
class ConvShape:
    """``bnnc_conv_shape``."""

    batch: int
    groups: int
    ic: int
    ih: int
    iw: int
    oc: int
    oh: int
    ow: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int

    @property
    def text(self) -> str:
        """Its C initialiser."""
        fields = asdict(self).items()
        return "{" + ", ".join(f".{name} = {value}" for name, value in fields if value) + "}"


def conv_shape(node: Node, kernel: tuple[int, int] | None = None) -> ConvShape:
    """The geometry of a node on NCHW tensors, or on (N, C).

    Args:
        kernel: the window's height and width, of one group; default: those of the node's weights.
    """
    batch, ic, ih, iw = (*node.operand(0).shape, 1, 1)[:4]
    _, oc, oh, ow = (*node.outputs[0].shape, 1, 1)[:4]
    attrs = node.attrs
    height, width = node.operand(1).shape[2:] if kernel is None else kernel
    groups = attrs["group"] if kernel is None else 1
    strides, dilations = (attrs.get(name, (1, 1))[:2] for name in ("strides", "dilations"))
    sizes = (batch, groups, ic, ih, iw, oc, oh, ow, height, width)
    return ConvShape(*sizes, *strides, *attrs["pads"][:2], *dilations)


def by_shape(needs: Callable[[scratch.Shape], int]) -> Callable[[Node], int]:
    """The scratch of a kernel that needs so much for a node with weights."""
    return lambda node: needs(conv_shape(node))


def _constant_weights(node: Node) -> bool:
    bias = node.optional(2)
    return node.operand(1).is_constant and (bias is None or bias.is_constant)


def _weights(node: Node) -> np.ndarray:
    data = node.operand(1).data
    assert data is not None
    return data.astype(np.float32, copy=False)


def _is_depthwise(node: Node) -> bool:
    groups = node.attrs["group"]
    return _constant_weights(node) and groups > 1 and groups == node.operand(0).shape[1]


def _emit_conv(
    kernel: str, packed: np.ndarray, node: Node, emitter: Emitter, **fields: int
) -> None:
    bias = node.optional(2)
    emitter.call(
        kernel,
        "bnnc_conv_f32_args",
        node,
        shape=conv_shape(node).text,
        x=emitter.address(node.operand(0)),
        w=emitter.pack(packed),
        bias=0 if bias is None else emitter.address(bias),
        **fields,
    )


def _conv(node: Node, emitter: Emitter) -> None:
    _emit_conv("conv_f32", floats.pack_conv(_weights(node), node.attrs["group"]), node, emitter)


WINOGRAD_CHANNELS = 4, 256
"""Input channels for which Winograd's transformation pays, and keeps its working set in scratch."""

WINOGRAD_PIXELS = 400
"""Output pixels below which tiles and vectors of tiles are too often cut short."""


def _winograd_pays(node: Node) -> bool:
    if not _constant_weights(node) or len(node.operand(0).shape) != 4:
        return False
    attrs = node.attrs
    _, ic, _, width = node.operand(0).shape
    least, most = WINOGRAD_CHANNELS
    return (
        node.operand(1).shape[2:] == (3, 3)
        and attrs["group"] == 1
        and tuple(attrs["strides"]) == tuple(attrs["dilations"]) == (1, 1)
        and least <= ic <= most
        and node.outputs[0].shape[1] >= 8
        and math.prod(node.outputs[0].shape[2:]) >= WINOGRAD_PIXELS
        and width <= 16384
    )


def _winograd(node: Node, emitter: Emitter) -> None:
    _emit_conv("conv_f32_winograd", floats.pack_conv_winograd(_weights(node)), node, emitter)


def _branched_scratch(node: Node) -> int:
    hidden = max(node.operand(branch.inputs[0]).shape[0] for branch in node.attrs["branches"])
    return scratch.winograd(conv_shape(node, (3, 3)), hidden=hidden)


def _branched(node: Node, emitter: Emitter) -> None:
    branches = [(b, *(node.inputs[slot] for slot in b.inputs)) for b in node.attrs["branches"]]
    emitter.call(
        "branched_conv_f32",
        "bnnc_branched_conv_args",
        shape=conv_shape(node, (3, 3)).text,
        x=emitter.address(node.operand(0)),
        low=node.attrs["low"],
    )
    first = 0
    for branch, w, bias, points, point_bias in branches:
        outputs = node.outputs[first : first + branch.outputs]
        first += branch.outputs
        emitter.branch(
            node,
            branch.steps,
            outputs,
            hidden=w.shape[0],
            w=emitter.pack(floats.pack_conv_winograd(w.data)),
            bias=0 if bias is None else emitter.address(bias),
            points=emitter.pack(floats.pack_conv(points.data)),
            point_bias=0 if point_bias is None else emitter.address(point_bias),
        )


def _depthwise(node: Node, emitter: Emitter) -> None:
    _emit_conv("depthwise_f32", _weights(node), node, emitter)


def _pooled_depthwise(node: Node, emitter: Emitter) -> None:
    height, width = node.attrs["pool"]
    weights = _weights(node)
    _emit_conv("pooled_depthwise_f32", weights, node, emitter, pool_h=height, pool_w=width)


def _conv_transpose(node: Node, emitter: Emitter) -> None:
    attrs = node.attrs
    geometry = attrs["group"], attrs["strides"], attrs["dilations"]
    packed = floats.pack_conv_transpose(_weights(node), *geometry)
    _emit_conv("conv_transpose_f32", packed, node, emitter)


WINOGRAD_WEIGHTS = 1 << 18
"""Transformed weights, in floats, up to which those of a transposed convolution by tiles of 4x4 are
kept: they are six times the weights. With tiles of 2x2 they are two and a quarter times."""

WINOGRAD_FEW_PIXELS = 512
"""Input pixels up to which transforming more weights than that during the run pays."""


@dataclass(frozen=True)
class TransposedTiles:
    """How a transposed convolution goes by Winograd: tiles of ``size`` x ``size``, and whether its
    weights are transformed during the run."""

    size: int
    expand: bool


def _transposed_tiles(node: Node) -> TransposedTiles | None:
    """The tiles with which ``conv_transpose_f32_winograd`` pays, or None."""
    if not _constant_weights(node) or len(node.operand(0).shape) != 4:
        return None
    attrs = node.attrs
    _, ic, height, width = node.operand(0).shape
    if not (
        node.operand(1).shape[2:] == (4, 4)
        and attrs["group"] == 1
        and tuple(attrs["strides"]) == (2, 2)
        and tuple(attrs["dilations"]) == (1, 1)
        and 8 <= ic <= 512
        and height * width >= 64
        and width <= 16384
    ):
        return None
    expanded = 4 * 25 * math.prod(node.operand(1).shape[:2])
    if ic <= 256 and height * width >= 256:
        if expanded <= WINOGRAD_WEIGHTS:
            return TransposedTiles(4, expand=False)
        if height * width <= WINOGRAD_FEW_PIXELS:
            return TransposedTiles(4, expand=True)
    return TransposedTiles(2, expand=False)


def _conv_transpose_winograd(node: Node, emitter: Emitter) -> None:
    tiles = _transposed_tiles(node)
    assert tiles is not None
    top, left = node.attrs["pads"][:2]
    packed = floats.pack_conv_transpose_winograd(
        _weights(node), (top, left), tiles.size, expand=tiles.expand
    )
    _emit_conv(
        "conv_transpose_f32_winograd",
        packed,
        node,
        emitter,
        tile=tiles.size,
        expand=int(tiles.expand),
    )


def _conv_transpose_winograd_scratch(node: Node) -> int:
    tiles = _transposed_tiles(node)
    assert tiles is not None
    return scratch.winograd(conv_shape(node), tiles.size, phases=2, expand=tiles.expand)


def _pool(node: Node, emitter: Emitter) -> None:
    kernel = "max_pool_f32" if node.op.name == "MaxPool" else "average_pool_f32"
    emitter.call(
        kernel,
        "bnnc_pool_args",
        shape=conv_shape(node, node.attrs["kernel"]).text,
        count_pad=int(node.attrs.get("count_include_pad", 0)),
        x=emitter.address(node.operand(0)),
        out=emitter.address(node.output),
    )


def _resize(node: Node, emitter: Emitter) -> None:
    batch, channels, ih, iw = node.operand(0).shape
    _, _, oh, ow = node.output.shape
    attrs = node.attrs
    emitter.call(
        "resize_f32",
        "bnnc_resize_args",
        planes=batch * channels,
        ih=ih,
        iw=iw,
        oh=oh,
        ow=ow,
        taps_h=attrs["iy"].shape[1],
        taps_w=attrs["ix"].shape[1],
        iy=emitter.pack(attrs["iy"].astype(np.int32)),
        ix=emitter.pack(attrs["ix"].astype(np.int32)),
        wy=emitter.pack(attrs["wy"].astype(np.float32)),
        wx=emitter.pack(attrs["wx"].astype(np.float32)),
        x=emitter.address(node.operand(0)),
        out=emitter.address(node.output),
    )


def _matmul_sizes(node: Node) -> tuple[int, int, int, int, int, int] | None:
    """(batch, m, k, n, a_stride, b_stride) with numpy's meaning, or None where the batch
    dimensions broadcast in a way one stride cannot say."""
    a, b = node.operand(0).shape, node.operand(1).shape
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    m, k, n = a[-2], a[-1], b[-1]
    a_batch, b_batch = math.prod(a[:-2]), math.prod(b[:-2])
    if b_batch == 1:
        return (1, a_batch * m, k, n, 0, 0)
    if a_batch == 1:
        return (b_batch, m, k, n, 0, k * n)
    if a[:-2] == b[:-2]:
        return (a_batch, m, k, n, m * k, k * n)
    return None


def _matmul_fits(node: Node) -> bool:
    bias, columns = node.optional(2), node.outputs[0].shape[-1:]
    return _matmul_sizes(node) is not None and (
        bias is None or (bias.is_constant and bias.shape[-1:] == columns == (bias.type.elements,))
    )


def _matmul(node: Node, emitter: Emitter) -> None:
    sizes = _matmul_sizes(node)
    assert sizes is not None
    batch, m, k, n, a_stride, b_stride = sizes
    b = node.operand(1)
    packed = b.is_constant and batch == 1
    bias = node.optional(2)
    steps = bool(node.attrs["steps"])
    emitter.call(
        "matmul_f32",
        "bnnc_matmul_args",
        node if steps else None,
        batch=batch,
        m=m,
        n=n,
        k=k,
        packed_b=int(packed),
        a_stride=a_stride,
        b_stride=b_stride,
        a=emitter.address(node.operand(0)),
        b=emitter.pack(floats.pack_matmul(_weights(node).reshape(k, n)))
        if packed
        else emitter.address(b),
        bias=0 if bias is None else emitter.address(bias),
        out=0 if steps else emitter.address(node.output),
    )


_RUNTIME_WEIGHTS = "takes weights that are computed during the run, which compiled code does not"

KERNELS = (
    Kernel(
        "Conv",
        "depthwise_f32",
        _depthwise,
        _is_depthwise,
        otherwise=_RUNTIME_WEIGHTS,
        scratch=by_shape(scratch.depthwise),
    ),
    Kernel(
        "Conv", "conv_f32_winograd", _winograd, _winograd_pays, scratch=by_shape(scratch.winograd)
    ),
    Kernel("Conv", "conv_f32", _conv, _constant_weights, scratch=by_shape(scratch.conv)),
    Kernel("BranchedConv", "branched_conv_f32", _branched, scratch=_branched_scratch),
    Kernel(
        "PooledConv", "pooled_depthwise_f32", _pooled_depthwise, scratch=by_shape(scratch.pooled)
    ),
    Kernel(
        "ConvTranspose",
        "conv_transpose_f32_winograd",
        _conv_transpose_winograd,
        lambda node: _transposed_tiles(node) is not None,
        scratch=_conv_transpose_winograd_scratch,
    ),
    Kernel(
        "ConvTranspose",
        "conv_transpose_f32",
        _conv_transpose,
        _constant_weights,
        otherwise=_RUNTIME_WEIGHTS,
        scratch=by_shape(scratch.conv_transpose),
    ),
    Kernel("MaxPool", "max_pool_f32", _pool, floats_only=True),
    Kernel("AveragePool", "average_pool_f32", _pool, floats_only=True),
    Kernel("Resize", "resize_f32", _resize, floats_only=True),
    Kernel(
        "MatMul",
        "matmul_f32",
        _matmul,
        _matmul_fits,
        otherwise="broadcasts its batch dimensions or bias in a way compiled code does not",
        floats_only=True,
    ),
)
