"""A network for Larq Compute Engine, as its converter would write it.

The converter needs TensorFlow; the engine and its file format do not. Tensors are NHWC. What LCE
can fuse is fused: ReLU into any convolution, a normalisation behind that into a binary one.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from bnnc.ir.graph import Value
from tests.benchmarks.pieces import Layer, Piece

_SAME, _VALID = 0, 1
_RELU = 1


def interpreter(piece: Piece, threads: int) -> Any:
    """An engine for ``piece``; its ``predict`` takes and gives lists of NHWC arrays."""
    engine = _module("tflite/python/interpreter_wrapper_lite.so")
    reference, indirect, xnnpack = False, True, True  # by far the fastest on x86
    return engine.LiteInterpreter(_Builder(piece).file(), threads, reference, indirect, xnnpack)


@functools.cache
def _module(path: str) -> ModuleType:
    """A file of the package, without the package, which imports TensorFlow."""
    for file in importlib.metadata.files("larq-compute-engine") or ():
        if str(file) == f"larq_compute_engine/{path}":
            spec = importlib.util.spec_from_file_location(file.stem, file.locate())
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise ImportError(f"larq-compute-engine has no {path}")


class _Builder:
    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.schema: Any = _module("mlir/python/tflite_schema.py")
        self.buffers = [self.schema.BufferT()]
        self.tensors: list[Any] = []
        self.codes: list[Any] = []
        self.operators: list[Any] = []
        self.places: dict[Value, int] = {}
        self.absorbed: set[Layer] = set()

    def file(self) -> bytes:
        """The model in TensorFlow Lite's format."""
        for value in self.piece.inputs:
            self.places[value] = self.tensor(_nhwc(value.shape))
        for layer in self.piece.layers:
            if layer not in self.absorbed:
                build: Callable[..., None] = getattr(self, layer.kind)
                build(layer, *(self.places[v] for v in layer.inputs))
        graph, model = self.schema.SubGraphT(), self.schema.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs = [self.places[v] for v in self.piece.inputs]
        graph.outputs = [self.places[v] for v in self.piece.outputs]
        model.version, model.subgraphs = 3, [graph]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        writer = flatbuffers.Builder(1 << 20)
        writer.Finish(model.Pack(writer), file_identifier=b"TFL3")
        return bytes(writer.Output())

    # ---- layers ---------------------------------------------------------------------------

    def BinaryConv(self, layer: Layer, x: int) -> None:
        packing, attrs = layer.packing, layer.node.attrs
        assert packing is not None and packing.pad == 1 and attrs["group"] == 1
        _, channels, height, width = layer.inputs[0].shape
        words = -(-channels // 32)
        bits = self.tensor((1, height, width, words), np.int32)
        self.operator("LceQuantize", [x], bits)
        negative = np.zeros((*packing.signs.transpose(0, 2, 3, 1).shape[:3], 32 * words), bool)
        negative[..., :channels] = ~packing.signs.transpose(0, 2, 3, 1)
        weights = np.packbits(negative, axis=-1, bitorder="little").view(np.int32)
        scale, shift = packing.alpha, np.zeros_like(packing.alpha)
        end = relu = self.absorb(layer, "Relu")
        if relu is not layer and (norm := self.absorb(relu, "BatchNormalization")) is not relu:
            gamma, beta, mean, variance = norm.constants
            factor = gamma / np.sqrt(variance + norm.node.attrs["epsilon"])
            end, scale, shift = norm, scale * factor, beta - mean * factor
        options = {
            "channels_in": channels,
            "dilation_height_factor": attrs["dilations"][0],
            "dilation_width_factor": attrs["dilations"][1],
            "fused_activation_function": 0 if relu is layer else _RELU,
            "pad_values": packing.pad,
            "padding": _padding(layer, packing.pads, packing.signs.shape[2:]),
            "stride_height": attrs["strides"][0],
            "stride_width": attrs["strides"][1],
        }
        constants = [self.constant(array) for array in (weights, scale, shift)]
        self.operator("LceBconv2d", [bits, *constants, -1], self.output(end), custom=options)

    def Conv(self, layer: Layer, x: int) -> None:
        attrs, (weights, *bias) = layer.node.attrs, layer.constants
        pads, padding = attrs["pads"], _padding(layer, attrs["pads"], weights.shape[2:])
        if padding is None:
            x, padding = self.padded(layer, x, pads), _VALID
        depthwise = attrs["group"] > 1
        kind = "DepthwiseConv2D" if depthwise else "Conv2D"
        axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        more = {"depthMultiplier": 1} if depthwise else {}
        options = {**self.strides(layer), **more, "padding": padding}
        options["dilationHFactor"], options["dilationWFactor"] = attrs["dilations"]
        shift = bias[0] if bias else np.zeros(len(weights), np.float32)
        operands = [x, self.constant(weights.transpose(axes)), self.constant(shift)]
        self.fused(layer, kind, operands, options)

    def ConvTranspose(self, layer: Layer, x: int) -> None:
        attrs, (weights, *bias) = layer.node.attrs, layer.constants
        total = [sum(attrs["pads"][axis::2]) for axis in range(2)]
        spare = [k - s for k, s in zip(weights.shape[2:], attrs["strides"])]
        assert total in (spare, [0, 0]) and attrs["group"] == 1
        shape = self.constant(np.asarray(_nhwc(layer.output.shape), np.int32))
        operands = [shape, self.constant(weights.transpose(1, 2, 3, 0)), x]
        operands += [self.constant(array) for array in bias]
        options = {**self.strides(layer), "padding": _SAME if total == spare else _VALID}
        self.fused(layer, "TransposeConv", operands, options, version=3)

    def MaxPool(self, layer: Layer, x: int) -> None:
        attrs = layer.node.attrs
        padding = _padding(layer, attrs["pads"], attrs["kernel"])
        assert padding is not None
        options = {**self.strides(layer), "padding": padding}
        options["filterHeight"], options["filterWidth"] = attrs["kernel"]
        self.operator("MaxPool2D", [x], self.output(layer), options, kind="Pool2D")

    def Relu(self, layer: Layer, x: int) -> None:
        self.operator("Relu", [x], self.output(layer))

    def Sigmoid(self, layer: Layer, x: int) -> None:
        self.operator("Logistic", [x], self.output(layer))

    def Add(self, layer: Layer, x: int, y: int) -> None:
        self.operator("Add", [x, y], self.output(layer), {})

    def fused(
        self,
        layer: Layer,
        name: str,
        operands: list[int],
        options: dict[str, int],
        version: int = 1,
    ) -> None:
        """A convolution, with the ReLU behind it if there is one."""
        relu = self.absorb(layer, "Relu")
        options["fusedActivationFunction"] = 0 if relu is layer else _RELU
        self.operator(name, operands, self.output(relu), options, version=version)

    def absorb(self, layer: Layer, kind: str) -> Layer:
        """The ``kind`` behind ``layer``, not to be built on its own; else ``layer`` itself."""
        behind = self.piece.then(layer, kind)
        if behind is None:
            return layer
        self.absorbed.add(behind)
        return behind

    def padded(self, layer: Layer, x: int, pads: Sequence[int]) -> int:
        top, left, bottom, right = pads
        _, channels, height, width = layer.inputs[0].shape
        wider = self.tensor((1, top + height + bottom, left + width + right, channels))
        amounts = np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        self.operator("Pad", [x, self.constant(amounts)], wider)
        return wider

    def strides(self, layer: Layer) -> dict[str, int]:
        return dict(zip(("strideH", "strideW"), layer.node.attrs["strides"]))

    # ---- file -----------------------------------------------------------------------------

    def operator(
        self,
        name: str,
        inputs: list[int],
        output: int,
        options: Mapping[str, int] | None = None,
        *,
        kind: str = "",
        version: int = 1,
        custom: Mapping[str, int] | None = None,
    ) -> None:
        """One operator; ``kind`` is what its options are called if not ``name``."""
        operator, code, schema = self.schema.OperatorT(), self.schema.OperatorCodeT(), self.schema
        code.version = version
        if name.startswith("Lce"):
            code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, name
            operator.customOptions = list(flexbuffers.Dumps(dict(custom or {})))
        else:
            constant = _ENUM.get(name, name.upper())
            code.builtinCode = getattr(schema.BuiltinOperator, constant)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        if options is not None:
            title = f"{kind or name}Options"
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, title)
            operator.builtinOptions = getattr(schema, f"{title}T")()
            vars(operator.builtinOptions).update(options)
        operator.opcodeIndex = len(self.codes)
        operator.inputs, operator.outputs = inputs, [output]
        self.codes.append(code)
        self.operators.append(operator)

    def output(self, layer: Layer) -> int:
        self.places[layer.output] = place = self.tensor(_nhwc(layer.output.shape))
        return place

    def constant(self, array: np.ndarray) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.buffers.append(buffer)
        return self.tensor(array.shape, array.dtype, len(self.buffers) - 1)

    def tensor(self, shape: Sequence[int], dtype: Any = np.float32, buffer: int = 0) -> int:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.buffer, tensor.name = list(shape), buffer, f"t{len(self.tensors)}"
        tensor.type = {"float32": 0, "int32": 2}[np.dtype(dtype).name]
        self.tensors.append(tensor)
        return len(self.tensors) - 1


_ENUM = {
    "Conv2D": "CONV_2D",
    "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
    "TransposeConv": "TRANSPOSE_CONV",
    "MaxPool2D": "MAX_POOL_2D",
}


def _nhwc(shape: Sequence[int]) -> tuple[int, ...]:
    return shape[0], *shape[2:], shape[1]


def _padding(layer: Layer, pads: Sequence[int], kernel: Sequence[int]) -> int | None:
    """SAME or VALID, or None where pads are neither."""
    if not any(pads):
        return _VALID
    attrs, same = layer.node.attrs, []
    for size, out, k, stride, dilation in zip(
        layer.inputs[0].shape[2:],
        layer.output.shape[2:],
        kernel,
        attrs["strides"],
        attrs["dilations"],
    ):
        total = max((out - 1) * stride + dilation * (k - 1) + 1 - size, 0)
        same.append((total // 2, total - total // 2))
    return _SAME if list(zip(pads[:2], pads[2:])) == same else None
