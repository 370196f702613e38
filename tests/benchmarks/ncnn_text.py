"""A network for ncnn, as its param text and weights.

ncnn knows no signs. A HardSigmoid steep enough gives bits of 0 and 1 in one go, and the convolution
behind it takes twice the weights and starts at minus their sum; it is a float one, with Winograd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import ncnn
import numpy as np

from bnnc.ir.graph import Value
from tests.benchmarks.pieces import Layer, Piece

_STEEP = 1e30


class Net:
    """``piece`` in ncnn; ``run`` takes and gives NCHW arrays of batch 1."""

    def __init__(self, piece: Piece, threads: int) -> None:
        self.piece, self.builder = piece, _Builder(piece)
        self.weights = self.builder.weights()
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        assert self.net.load_param_mem(self.builder.param()) == 0
        self.net.load_model_mem(self.weights)

    def run(self, feeds: Sequence[ncnn.Mat]) -> list[np.ndarray]:
        extractor = self.net.create_extractor()
        for name, feed in zip(self.builder.inputs, feeds):
            extractor.input(name, feed)
        found = (extractor.extract(name)[1] for name in self.builder.outputs)
        return [np.asarray(mat)[None] for mat in found]


class _Builder:
    def __init__(self, piece: Piece) -> None:
        self.lines: list[str] = []
        self.arrays: list[bytes] = []
        self.blobs = 0
        self.waiting: dict[Value, list[str]] = {}
        self.absorbed: set[Layer] = set()
        self.piece = piece
        reads = (*(v for layer in piece.layers for v in layer.inputs), *piece.outputs)
        self.reads = Counter(reads)
        self.inputs = [self.layer("Input", [], self.name(v)) for v in piece.inputs]
        for value, blob in zip(piece.inputs, self.inputs):
            self.offer(value, blob)
        for layer in piece.layers:
            if layer not in self.absorbed:
                build: Callable[..., None] = getattr(self, layer.kind)
                build(layer, *(self.waiting[v].pop() for v in layer.inputs))
        self.outputs = [self.waiting[v].pop() for v in piece.outputs]

    def param(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def weights(self) -> bytes:
        return b"".join(self.arrays)

    # ---- layers ---------------------------------------------------------------------------

    def BinaryConv(self, layer: Layer, x: str) -> None:
        packing = layer.packing
        assert packing is not None and packing.pad == 1
        bits = self.layer("HardSigmoid", [x], f"{x}_bits", {0: _STEEP, 1: 1.0})
        signs = np.where(packing.signs, 1, -1) * packing.alpha.reshape(-1, 1, 1, 1)
        shift = -signs.sum((1, 2, 3))
        self.convolution(layer, bits, "Convolution", 2 * signs, shift, packing.pads, {18: 1.0})

    def Conv(self, layer: Layer, x: str) -> None:
        (weights, *bias), group = layer.constants, layer.node.attrs["group"]
        kind, more = ("ConvolutionDepthWise", {7: group}) if group > 1 else ("Convolution", {})
        shift = bias[0] if bias else np.zeros(len(weights))
        self.convolution(layer, x, kind, weights, shift, layer.node.attrs["pads"], more)

    def ConvTranspose(self, layer: Layer, x: str) -> None:
        (weights, *bias), attrs = layer.constants, layer.node.attrs
        assert attrs["group"] == 1 and not any(attrs["output_padding"])
        shift = bias[0] if bias else np.zeros(weights.shape[1])
        swapped = weights.swapaxes(0, 1)
        self.convolution(layer, x, "Deconvolution", swapped, shift, attrs["pads"], {})

    def convolution(
        self,
        layer: Layer,
        x: str,
        kind: str,
        weights: np.ndarray,
        shift: np.ndarray,
        pads: Sequence[int],
        more: dict[int, float],
    ) -> None:
        attrs, (top, left, bottom, right) = layer.node.attrs, pads
        relu = self.piece.then(layer, "Relu")
        if relu is not None:
            self.absorbed.add(relu)
        height, width = weights.shape[2:]
        options = {0: len(weights), 1: width, 11: height, 5: 1, 6: weights.size, **more}
        options |= {4: left, 14: top, 15: right, 16: bottom, 9: int(relu is not None)}
        options |= dict(zip((13, 3), attrs["strides"])) | dict(zip((12, 2), attrs["dilations"]))
        self.arrays.append(bytes(4))  # weights are float32
        self.store(weights, shift)
        self.emit(relu or layer, kind, [x], options)

    def BatchNormalization(self, layer: Layer, x: str) -> None:
        gamma, beta, mean, variance = layer.constants
        self.store(gamma, mean, variance, beta)
        options = {0: len(gamma), 1: layer.node.attrs["epsilon"]}
        self.emit(layer, "BatchNorm", [x], options)

    def MaxPool(self, layer: Layer, x: str) -> None:
        attrs = layer.node.attrs
        assert not any(attrs["pads"])
        options = {0: 0, 5: 1, **dict(zip((11, 1), attrs["kernel"]))}
        self.emit(layer, "Pooling", [x], options | dict(zip((12, 2), attrs["strides"])))

    def Relu(self, layer: Layer, x: str) -> None:
        self.emit(layer, "ReLU", [x])

    def Sigmoid(self, layer: Layer, x: str) -> None:
        self.emit(layer, "Sigmoid", [x])

    def Add(self, layer: Layer, x: str, y: str) -> None:
        self.emit(layer, "BinaryOp", [x, y], {0: 0})

    # ---- text -----------------------------------------------------------------------------

    def store(self, *arrays: np.ndarray) -> None:
        self.arrays += [np.ascontiguousarray(array, np.float32).tobytes() for array in arrays]

    def emit(
        self, layer: Layer, kind: str, inputs: list[str], options: dict[int, float] | None = None
    ) -> None:
        value = layer.output
        self.offer(value, self.layer(kind, inputs, self.name(value), options))

    def offer(self, value: Value, blob: str) -> None:
        """A blob is read once; more readers get copies."""
        copies = [blob]
        if self.reads[value] > 1:
            copies = [f"{blob}_{k}" for k in range(self.reads[value])]
            self.write("Split", [blob], copies)
        self.waiting[value] = copies

    def layer(
        self, kind: str, inputs: list[str], output: str, options: dict[int, float] | None = None
    ) -> str:
        self.write(kind, inputs, [output], options)
        return output

    def write(
        self,
        kind: str,
        inputs: list[str],
        outputs: list[str],
        options: dict[int, float] | None = None,
    ) -> None:
        counts = f"{len(inputs)} {len(outputs)}"
        said = (f"{key}={value}" for key, value in (options or {}).items())
        fields = [kind, f"layer{len(self.lines)}", counts, *inputs, *outputs, *said]
        self.lines.append(" ".join(fields))
        self.blobs += len(outputs)

    def name(self, value: Value) -> str:
        return value.name.replace(" ", "_")
