"""Valid models to start from: small ones of every kind that bnnc reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

_LARGEST = 20_000


def seeds(*, with_cases: bool) -> list[ModelProto]:
    """The models.

    Args:
        with_cases: ONNX's own test cases too, which takes some seconds to collect.
    """
    own = [_binary(), _padded(), _decoded(), _quantised(), _shapes(), _branching(), _function()]
    own += [_transformed(), _taken_apart()]
    return [*own, *own, *own, *(_cases() if with_cases else [])]


def _cases() -> list[ModelProto]:
    from tests.frontends.onnx_cases import cases

    return [case.model for case in cases() if case.model.ByteSize() < _LARGEST]


def _model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[Any]],
    outputs: Sequence[str],
    constants: dict[str, np.ndarray],
    *,
    opset: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "seed",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    imports += [helper.make_opsetid(domain, 1) for domain in (_QONNX, _LAST, _OPENVINO)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def _signs(*shape: int) -> np.ndarray:
    return np.sign(_normal(*shape))


_node = helper.make_node
_QONNX, _LAST = "qonnx.custom_op.general", "qonnx.custom_op.channels_last"
_OPENVINO = "org.openvinotoolkit"


def _batch_norm(
    name: str, x: str, y: str, channels: int
) -> tuple[NodeProto, dict[str, np.ndarray]]:
    vectors = {f"{name}.{part}": np.abs(_normal(channels)) for part in ("s", "b", "m", "v")}
    return _node("BatchNormalization", [x, *vectors], [y], name=name), vectors


def _binary() -> ModelProto:
    """A stem, two binary convolutions with a residual, a head."""
    norm, vectors = _batch_norm("norm", "c", "n", 8)
    nodes = [
        _node("Conv", ["x", "stem"], ["f"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        _node("Sign", ["f"], ["s"], name="sign"),
        _node("Conv", ["s", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        norm,
        _node("Add", ["n", "f"], ["r"]),
        _node("PRelu", ["r", "slope"], ["p"]),
        _node("Sign", ["p"], ["t"]),
        _node("Conv", ["t", "v", "bias"], ["d"], group=2, dilations=[2, 2], pads=[2, 2, 2, 2]),
        _node("GlobalAveragePool", ["d"], ["g"]),
        _node("Flatten", ["g"], ["l"]),
        _node("Gemm", ["l", "dense", "last"], ["y"], transB=1),
    ]
    constants = {
        "stem": _normal(8, 3, 3, 3),
        "w": _signs(8, 8, 3, 3) * np.float32(0.5),
        "slope": _normal(8, 1, 1),
        "v": _signs(8, 4, 3, 3),
        "bias": _normal(8),
        "dense": _normal(5, 8),
        "last": _normal(5),
        **vectors,
    }
    return _model(nodes, {"x": [1, 3, 16, 16]}, ["y"], constants)


def _padded() -> ModelProto:
    """One-padding by a Pad in NHWC, signs by Where, weights transposed in the graph."""
    nodes = [
        _node("Transpose", ["x"], ["h"], perm=[0, 2, 3, 1]),
        _node("GreaterOrEqual", ["h", "zero"], ["up"]),
        _node("Where", ["up", "one", "minus"], ["s"]),
        _node("Pad", ["s", "pads", "one"], ["p"]),
        _node("Transpose", ["p"], ["c"], perm=[0, 3, 1, 2]),
        _node("Transpose", ["w"], ["k"], perm=[3, 2, 0, 1]),
        _node("Conv", ["c", "k"], ["y"]),
        _node("MaxPool", ["y"], ["z"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    ]
    constants = {
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "minus": -np.ones((), np.float32),
        "pads": np.array([0, 1, 1, 0, 0, 1, 1, 0]),
        "w": _signs(3, 3, 4, 6),
    }
    return _model(nodes, {"x": ["batch", 4, 9, 9]}, ["y", "z"], constants)


def _decoded() -> ModelProto:
    """A head and its decoding: Resize, Concat, Split, TopK, gathers."""
    nodes = [
        _node("Resize", ["x", "", "scales"], ["up"], mode="linear"),
        _node("ConvTranspose", ["x", "w"], ["other"], strides=[2, 2]),
        _node("Concat", ["up", "other"], ["both"], axis=1),
        _node("Split", ["both", "parts"], ["a", "b"], axis=1),
        _node("Sigmoid", ["a"], ["heat"]),
        _node("Reshape", ["heat", "flat"], ["scores"]),
        _node("TopK", ["scores", "k"], ["best", "place"]),
        _node("Mod", ["place", "cells"], ["cell"]),
        _node("Reshape", ["b", "rows"], ["r"]),
        _node("Gather", ["r", "cell"], ["boxes"], axis=2),
        _node("Softmax", ["best"], ["y"]),
    ]
    constants = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "w": _normal(3, 5, 2, 2),
        "parts": np.array([6, 2]),
        "flat": np.array([1, -1]),
        "k": np.array([4]),
        "cells": np.array(100),
        "rows": np.array([1, 2, -1]),
    }
    return _model(nodes, {"x": [1, 3, 5, 5]}, ["y", "boxes"], constants)


def _quantised() -> ModelProto:
    """QLinearConv between QuantizeLinear and DequantizeLinear, and a local quantiser's ops."""
    nodes = [
        _node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        _node("QLinearConv", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["c"], pads=[1] * 4),
        _node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        _node("BipolarQuant", ["d", "s"], ["b"], domain="onnx.brevitas"),
        _node("Quant", ["k", "s", "zero", "bits"], ["kq"], domain="qonnx.custom_op.general"),
        _node("Conv", ["b", "kq"], ["y"]),
    ]
    constants = {
        "s": np.array(0.1, np.float32),
        "z": np.array(128, np.uint8),
        "w": (_normal(4, 3, 3, 3) * 50).astype(np.int8),
        "wz": np.array(0, np.int8),
        "k": _normal(2, 4, 1, 1),
        "zero": np.array(0, np.float32),
        "bits": np.array(1, np.float32),
    }
    return _model(nodes, {"x": [1, 3, 6, 6]}, ["y"], constants)


def _transformed() -> ModelProto:
    """Channels last, windows as rows, two levels, bits that are counted."""
    windows = {"kernel_size": [2, 2], "stride": [2, 2], "pad_amount": [0] * 4, "pad_value": 0}
    nodes = [
        _node(
            "FakeQuantize", ["x", "zero", "zero", "low", "high"], ["s"], domain=_OPENVINO, levels=2
        ),
        _node("Conv", ["s", "w"], ["c"], domain=_LAST, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("BatchNormalization", ["c", *["v"] * 4], ["n"], domain=_LAST),
        _node("MaxPoolNHWC", ["n"], ["p"], domain=_QONNX, kernel_shape=[2, 2], strides=[1, 1]),
        _node("MultiThreshold", ["p", "t"], ["b"], domain=_QONNX, data_layout="NHWC"),
        _node("Im2Col", ["b"], ["r"], domain=_QONNX, **windows),
        _node("XnorPopcountMatMul", ["r", "m"], ["y"], domain=_QONNX),
    ]
    constants = {
        "zero": np.zeros((), np.float32),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
        "w": _signs(8, 3, 3, 4),
        "v": np.abs(_normal(8)),
        "t": _normal(8, 1),
        "m": (_signs(32, 5) + 1) / 2,
    }
    return _model(nodes, {"x": [1, 7, 7, 4]}, ["y"], constants)


def _taken_apart() -> ModelProto:
    """A sequence, a pool over three axes, a rounding with its float path, matrices of a batch."""
    nodes = [
        _node("SplitToSequence", ["x", "two"], ["q"], axis=1),
        _node("SequenceAt", ["q", "one"], ["a"]),
        _node("Cast", ["a"], ["h"], to=10),
        _node("Cast", ["h"], ["f"], to=1),
        _node("Unsqueeze", ["f", "axis"], ["u"]),
        _node("AveragePool", ["u"], ["g"], kernel_shape=[1, 1, 3], pads=[0, 0, 1, 0, 0, 1]),
        _node("Squeeze", ["g", "axis"], ["v"]),
        _node("Round", ["v"], ["r"]),
        _node("Sub", ["r", "v"], ["d"]),
        _node("Add", ["d", "v"], ["e"]),
        _node("Mul", ["e", "half"], ["k"]),
        _node("Clip", ["k", "zero", "half"], ["b"]),
        _node("MatMul", ["b", "w"], ["y"]),
    ]
    constants = {
        "two": np.array(2),
        "one": np.array(1),
        "axis": np.array([1]),
        "half": np.array(0.5, np.float32),
        "zero": np.array(0, np.float32),
        "w": _signs(2, 16, 6),
    }
    return _model(nodes, {"x": [1, 4, 5, 16]}, ["y"], constants)


def _shapes() -> ModelProto:
    """Shape arithmetic that folds, scatters and slices."""
    nodes = [
        _node("Shape", ["x"], ["shape"]),
        _node("Gather", ["shape", "two"], ["h"], axis=0),
        _node("Div", ["h", "two"], ["half"]),
        _node("Unsqueeze", ["half", "zero"], ["end"]),
        _node("Slice", ["x", "zero", "end", "axis"], ["left"]),
        _node("ConstantOfShape", ["shape"], ["empty"]),
        _node("Add", ["x", "empty"], ["sum"]),
        _node("ScatterND", ["sum", "index", "row"], ["put"]),
        _node("Einsum", ["put", "put"], ["e"], equation="nchw,nchw->nc"),
        _node("ReduceMean", ["left"], ["m"], axes=[2, 3]),
        _node("Tile", ["e", "times"], ["y"]),
    ]
    constants = {
        "two": np.array(2),
        "zero": np.array([0]),
        "axis": np.array([2]),
        "index": np.array([[0, 1]]),
        "row": _normal(1, 6, 6),
        "times": np.array([1, 3]),
    }
    return _model(nodes, {"x": [1, 3, 6, 6]}, ["y", "m"], constants)


def _branching() -> ModelProto:
    """An If whose condition is computed from shapes."""

    def body(op: str) -> onnx.GraphProto:
        return helper.make_graph([_node(op, ["x"], ["r"])], op, [], [onnx.ValueInfoProto(name="r")])

    nodes = [
        _node("Size", ["x"], ["n"]),
        _node("Greater", ["n", "few"], ["many"]),
        _node("If", ["many"], ["y"], then_branch=body("Sign"), else_branch=body("Neg")),
    ]
    return _model(nodes, {"x": [2, 3]}, ["y"], {"few": np.array(4)})


def _function() -> ModelProto:
    """Local functions that call each other and take attributes."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    leaky = _node("LeakyRelu", ["a"], ["l"])
    slope = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    leaky.attribute.append(slope)
    inner = helper.make_function("local", "inner", ["a"], ["l"], [leaky], imports, ["slope"])
    call = _node("inner", ["a"], ["i"], domain="local", slope=0.25)
    body = [call, _node("Sign", ["i"], ["s"])]
    outer = helper.make_function("local", "outer", ["a"], ["s"], body, imports)
    nodes = [
        _node("outer", ["x"], ["s"], domain="local"),
        _node("MatMul", ["s", "w"], ["y"]),
    ]
    return _model(nodes, {"x": [2, 16]}, ["y"], {"w": _signs(16, 4)}, functions=[inner, outer])
