"""A network for OpenVINO with its BinaryConvolution op, which its importers never make.

The op is silently wrong unless

- the FakeQuantize before it, with two levels, gives 0 and 1 (not -1 and 1),
- the bits in each byte of the u1 weights run from low to high, against what OpenVINO says of u1,
- channels are multiples of 8.

So tensors of binary layers are widened. The channels added hold zeros, whose sign is +1; half of
the weights they meet are +1 and half are -1, so that they add nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset8 as ops

from bnnc.ir.graph import Value
from tests.benchmarks.pieces import Layer, Piece

_BELOW_ZERO = -np.finfo(np.float32).tiny
"""FakeQuantize compares by >, the networks by >= 0."""


def model(piece: Piece) -> ov.Model:
    """``piece`` with binary convolutions on bits."""
    return _Builder(piece).model()


class _Builder:
    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        binary = (layer for layer in piece.layers if layer.kind == "BinaryConv")
        counts = {v.shape[1] for layer in binary for v in (*layer.inputs, layer.output)}
        self.widths = {count: -(-count // 8) * 8 for count in counts}
        self.nodes: dict[Value, ov.Output] = {}

    def model(self) -> ov.Model:
        parameters = []
        for value in self.piece.inputs:
            parameter = ops.parameter(value.shape, np.float32, name=value.name)
            parameters.append(parameter)
            missing = self.width(value.shape[1]) - value.shape[1]
            self.nodes[value] = _padded(parameter, missing)
        for layer in self.piece.layers:
            build: Callable[[Layer, ov.Output], ov.Output] = getattr(self, layer.kind)
            self.nodes[layer.output] = build(layer, *(self.nodes[v] for v in layer.inputs))
        results = [_cropped(self.nodes[v], v.shape[1]) for v in self.piece.outputs]
        return ov.Model(results, parameters)

    def width(self, channels: int) -> int:
        return self.widths.get(channels, channels)

    def widened(self, array: np.ndarray, *axes: int, fill: float = 0.0) -> np.ndarray:
        """``array`` with its channels on ``axes``."""
        more = [(0, 0)] * array.ndim
        for axis in axes:
            more[axis] = (0, self.width(array.shape[axis]) - array.shape[axis])
        return np.pad(array, more, constant_values=fill)

    # ---- layers ---------------------------------------------------------------------------

    def BinaryConv(self, layer: Layer, x: ov.Output) -> ov.Output:
        packing, attrs = layer.packing, layer.node.attrs
        assert packing is not None and attrs["group"] == 1
        signs = self.widened(packing.signs, 0, 1)
        signs[:, packing.signs.shape[1] :: 2] = True
        edges = [np.full((1, 1, 1, 1), edge, np.float32) for edge in (_BELOW_ZERO,) * 2 + (0, 1)]
        bits = ops.fake_quantize(x, *edges, levels=2)
        # The tensor owns its memory: one made from an array would not keep the array alive.
        weights = ov.Tensor(ov.Type.u1, ov.Shape(signs.shape))
        weights.data.reshape(-1)[:] = np.packbits(signs, bitorder="little")
        top, left, bottom, right = packing.pads
        y = ops.binary_convolution(
            bits,
            ov.op.Constant(weights),
            list(attrs["strides"]),
            [top, left],
            [bottom, right],
            list(attrs["dilations"]),
            "xnor-popcount",
            float(packing.pad),
        )
        if (packing.alpha == 1).all():
            return y
        return ops.multiply(y, self.per_channel(packing.alpha))

    def Conv(self, layer: Layer, x: ov.Output) -> ov.Output:
        attrs, (weights, *bias) = layer.node.attrs, layer.constants
        (top, left, bottom, right), group = attrs["pads"], attrs["group"]
        geometry = list(attrs["strides"]), [top, left], [bottom, right], list(attrs["dilations"])
        if group == 1:
            y = ops.convolution(x, self.widened(weights, 0, 1), *geometry)
        else:
            assert weights.shape[:2] == (group, 1), "depthwise"
            y = ops.group_convolution(x, self.widened(weights, 0)[:, None], *geometry)
        return ops.add(y, self.per_channel(*bias)) if bias else y

    def ConvTranspose(self, layer: Layer, x: ov.Output) -> ov.Output:
        attrs, (weights, *bias) = layer.node.attrs, layer.constants
        top, left, bottom, right = attrs["pads"]
        assert attrs["group"] == 1
        y = ops.convolution_backprop_data(
            x,
            ops.constant(self.widened(weights, 0, 1)),
            list(attrs["strides"]),
            pads_begin=[top, left],
            pads_end=[bottom, right],
            dilations=list(attrs["dilations"]),
            output_padding=list(attrs["output_padding"]),
        )
        return ops.add(y, self.per_channel(*bias)) if bias else y

    def BatchNormalization(self, layer: Layer, x: ov.Output) -> ov.Output:
        *shifts, variance = layer.constants
        arrays = [*(self.widened(array, 0) for array in shifts), self.widened(variance, 0, fill=1)]
        return ops.batch_norm_inference(x, *arrays, layer.node.attrs["epsilon"])

    def MaxPool(self, layer: Layer, x: ov.Output) -> ov.Output:
        attrs = layer.node.attrs
        top, left, bottom, right = attrs["pads"]
        geometry = list(attrs["strides"]), list(attrs["dilations"]), [top, left], [bottom, right]
        return ops.max_pool(x, *geometry, list(attrs["kernel"])).output(0)

    def Relu(self, layer: Layer, x: ov.Output) -> ov.Output:
        return ops.relu(x)

    def Sigmoid(self, layer: Layer, x: ov.Output) -> ov.Output:
        return ops.sigmoid(x)

    def Add(self, layer: Layer, x: ov.Output, y: ov.Output) -> ov.Output:
        return ops.add(x, y)

    def per_channel(self, array: np.ndarray) -> np.ndarray:
        return self.widened(array, 0).reshape(1, -1, 1, 1)


def _padded(x: ov.Output, missing: int) -> ov.Output:
    if not missing:
        return x
    return ops.pad(x, [0, 0, 0, 0], [0, missing, 0, 0], "constant", np.float32(0))


def _cropped(x: ov.Output, channels: int) -> ov.Output:
    return ops.slice(x, [0], [channels], [1], [1])
