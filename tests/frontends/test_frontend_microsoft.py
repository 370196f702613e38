"""What onnxruntime's optimiser and quantiser write in its own domain, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_models import assert_agrees, info, load, model_of, normal, ops_of

from bnnc.errors import UnsupportedError

DOMAIN = "com.microsoft"


def agrees(
    op: str, arrays: list[np.ndarray | None], tolerance: float = 1e-5, **attrs: Any
) -> list[str]:
    """One node of the domain; the first operand is the input. Returns the ops it becomes."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(arrays)]
    node = helper.make_node(op, names, ["y"], domain=DOMAIN, **attrs)
    given = {name: array for name, array in zip(names, arrays) if array is not None}
    first = names[0]
    inputs = [info(first, given[first].dtype, given[first].shape)]
    constants = {name: array for name, array in given.items() if name != first}
    model = model_of([node], inputs, ["y"], constants, domains={DOMAIN: 1})
    return ops_of(assert_agrees(model, {first: given[first]}, tolerance))


@pytest.mark.parametrize(
    ("activation", "numbers"),
    [
        ("Relu", []),
        ("Sigmoid", []),
        ("Tanh", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [-0.5, 1.5]),
        ("HardSigmoid", [0.3, 0.4]),
    ],
)
def test_fused_conv(activation: str, numbers: list[float]) -> None:
    attrs: dict[str, Any] = {"activation": activation, "pads": [1, 1, 1, 1]}
    if numbers:
        attrs["activation_params"] = numbers
    x, w, bias = normal(1, 1, 3, 6, 6), normal(2, 4, 3, 3, 3), normal(3, 4)
    assert agrees("FusedConv", [x, w, bias], **attrs) == ["Conv", activation]


def test_fused_conv_with_a_sum() -> None:
    arrays = [normal(1, 1, 3, 6, 6), normal(2, 4, 3, 1, 1), normal(3, 4), normal(4, 1, 4, 6, 6)]
    assert agrees("FusedConv", arrays, activation="Relu") == ["Conv", "Add", "Relu"]


def test_fused_gemm_and_matmul() -> None:
    a, b = normal(1, 3, 5), normal(2, 4, 5)
    attrs = {"activation": "LeakyRelu", "activation_alpha": 0.3}
    agrees("FusedGemm", [a, b, normal(3, 4)], transB=1, **attrs)
    agrees("FusedMatMul", [normal(1, 2, 5, 3), normal(2, 2, 4, 5)], transA=1, transB=1, alpha=0.5)


@pytest.mark.parametrize("op", ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"])
def test_gelus(op: str) -> None:
    bias = [] if op in ("Gelu", "QuickGelu") else [normal(2, 8)]
    agrees(op, [normal(1, 3, 8), *bias], tolerance=1e-4)


def test_skip_layer_norm() -> None:
    arrays = [normal(1, 2, 3, 8), normal(2, 2, 3, 8), normal(3, 8), normal(4, 8), normal(5, 8)]
    agrees("SkipLayerNormalization", arrays, epsilon=1e-3)


# ---- quantised --------------------------------------------------------------------------------


def quantised(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def parameters(scale: float, zero: int) -> list[np.ndarray]:
    return [np.array(scale, np.float32), np.array(zero, np.uint8)]


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_quantised_arithmetic(op: str) -> None:
    first, second = quantised(1, 1, 3, 8, 8), quantised(2, 1, 3, 8, 8)
    result = parameters(0.0613 if op == "QLinearAdd" else 0.2, 120)
    agrees(op, [first, *parameters(0.02173, 100), second, *parameters(0.03319, 130), *result])


@pytest.mark.parametrize(
    ("op", "attrs"), [("QLinearLeakyRelu", {"alpha": 0.2}), ("QLinearGlobalAveragePool", {})]
)
def test_quantised_functions(op: str, attrs: dict[str, Any]) -> None:
    agrees(
        op, [quantised(1, 1, 3, 8, 8), *parameters(0.02173, 100), *parameters(0.03319, 90)], **attrs
    )


def test_quantised_pool_and_concat() -> None:
    x = [quantised(1, 1, 3, 8, 8), *parameters(0.02173, 100)]
    agrees(
        "QLinearAveragePool", [*x, *parameters(0.03319, 90)], kernel_shape=[2, 2], strides=[2, 2]
    )
    node = helper.make_node(
        "QLinearConcat", ["s", "z", "a", "as", "az", "b", "bs", "bz"], ["y"], domain=DOMAIN, axis=1
    )
    names = ["s", "z", "as", "az", "bs", "bz"]
    numbers = [*parameters(0.04127, 110), *parameters(0.02173, 100), *parameters(0.03319, 90)]
    inputs = [info("a", np.uint8, [1, 2, 4]), info("b", np.uint8, [1, 3, 4])]
    model = model_of([node], inputs, ["y"], dict(zip(names, numbers)), domains={DOMAIN: 1})
    assert_agrees(model, {"a": quantised(1, 1, 2, 4), "b": quantised(2, 1, 3, 4)})


@pytest.mark.parametrize("attrs", [{"opset": 13, "axis": 1}, {"opset": 11, "axis": 2}])
def test_quantised_softmax(attrs: dict[str, int]) -> None:
    x = [quantised(1, 1, 3, 4, 5), *parameters(0.02173, 100)]
    agrees("QLinearSoftmax", [*x, *parameters(1 / 256, 0)], **attrs)


@pytest.mark.parametrize("result", [[], parameters(0.07, 128)])
@pytest.mark.parametrize("bias", [None, np.arange(4, dtype=np.int32) * 100])
def test_quantised_gemm(result: list[np.ndarray], bias: np.ndarray | None) -> None:
    scales = np.linspace(0.01, 0.02, 4, dtype=np.float32)
    zeros = np.array([120, 128, 130, 0], np.uint8)
    given = [quantised(1, 3, 6), *parameters(0.02173, 100), quantised(2, 4, 6), scales, zeros]
    arrays = {f"x{slot}": array for slot, array in enumerate(given)}
    arrays |= {f"x{7 + slot}": array for slot, array in enumerate(result)}
    if bias is not None:
        arrays["x6"] = bias
    names = [f"x{slot}" if f"x{slot}" in arrays else "" for slot in range(9 if result else 7)]
    node = helper.make_node("QGemm", names, ["y"], domain=DOMAIN, transB=1, alpha=0.5)
    x = arrays.pop("x0")
    model = model_of([node], [info("x0", np.uint8, [3, 6])], ["y"], arrays, domains={DOMAIN: 1})
    assert_agrees(model, {"x0": x})


# ---- models as onnxruntime saves them ---------------------------------------------------------


def test_a_model_that_onnxruntime_optimised_is_read(tmp_path: Any) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["y"]),
    ]
    constants = {"w": normal(1, 4, 3, 3, 3), "m": normal(2, 64, 5)}
    model = model_of(nodes, [info("x", shape=[1, 3, 4, 4])], ["y"], constants, opset=17)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fast.onnx")
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.graph_optimization_level = level
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    optimised = onnx.load(tmp_path / "fast.onnx")
    assert "FusedConv" in [node.op_type for node in optimised.graph.node]
    assert_agrees(optimised, {"x": normal(3, 1, 3, 4, 4)})


def test_layouts_of_onnxruntimes_own_are_refused_with_advice() -> None:
    node = helper.make_node("Conv", ["x", "x"], ["y"], domain="com.microsoft.nchwc", name="c")
    model = model_of([node], [info("x", shape=[1])], ["y"])
    with pytest.raises(UnsupportedError) as caught:
        load(model)
    assert str(caught.value) == (
        "uses operator that bnnc does not know: 'com.microsoft.nchwc.Conv' (node 'c'); its layout "
        "is one processor's own: give bnnc the model as exported, or as onnxruntime optimises it "
        "at ORT_ENABLE_EXTENDED"
    )
