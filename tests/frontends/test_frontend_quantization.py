"""Quantised models: DequantizeLinear, QuantizeLinear, QONNX's quantisers and OpenVINO's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    by_bnnc,
    few,
    info,
    load,
    model_of,
    normal,
    ops_of,
    seeds,
)

from bnnc.errors import BnncError, ModelError, UnsupportedError
from bnnc.ir.domains import Domains


def quantized(seed: int, dtype: type, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)


@few
@given(
    dtype=st.sampled_from([np.int8, np.uint8]),
    axis=st.sampled_from([None, 0, 1, -1]),
    zero=st.booleans(),
    constant=st.booleans(),
    seed=seeds,
)
def test_dequantize(dtype: type, axis: int | None, zero: bool, constant: bool, seed: int) -> None:
    x = quantized(seed, dtype, 3, 4, 5)
    shape = () if axis is None else (x.shape[axis],)
    fixed = {1: np.abs(normal(seed, *shape)) + np.float32(0.01)}
    if zero:
        fixed[2] = quantized(seed + 1, dtype, *shape)
    attrs = {} if axis is None else {"axis": axis}
    if constant:
        graph = assert_node_agrees("DequantizeLinear", [], attrs, fixed={0: x, **fixed})
        assert graph.nodes() == []
    else:
        assert_node_agrees("DequantizeLinear", [x], attrs, fixed=fixed)


@few
@given(
    dtype=st.sampled_from([np.int8, np.uint8, np.int16, np.uint16]),
    axis=st.sampled_from([None, 0, 1, -1]),
    seed=seeds,
)
def test_quantize(dtype: type, axis: int | None, seed: int) -> None:
    x = normal(seed, 3, 4, 5) * 60
    shape = () if axis is None else (x.shape[axis],)
    # Powers of two, so that a quotient near a tie is not rounded differently.
    scale = np.exp2(np.round(normal(seed, *shape))).astype(np.float32)
    fixed = {1: np.asarray(scale), 2: quantized(seed + 1, dtype, *shape)}
    assert_node_agrees("QuantizeLinear", [x], {} if axis is None else {"axis": axis}, fixed=fixed)


def test_quantize_without_a_zero_point_gives_bytes() -> None:
    x = normal(1, 30) * 200
    assert_node_agrees("QuantizeLinear", [x], fixed={1: np.array(1, np.float32)})


def test_quantize_to_a_named_type() -> None:
    attrs = {"output_dtype": TensorProto.INT8}
    x = normal(1, 30) * 200
    assert_node_agrees("QuantizeLinear", [x], attrs, fixed={1: np.array(1, np.float32)})


@pytest.mark.parametrize("axis", [0, 1])
def test_dequantize_by_blocks(axis: int) -> None:
    x = quantized(1, np.int8, 6, 9)
    shape = (3, 9) if axis == 0 else (6, 5)
    fixed = {0: x, 1: np.abs(normal(2, *shape)), 2: quantized(3, np.int8, *shape)}
    assert_node_agrees("DequantizeLinear", [], {"axis": axis, "block_size": 2}, fixed=fixed)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_four_bit_weights(kind: int) -> None:
    low = -8 if kind == TensorProto.INT4 else 0
    values = np.arange(15) + low
    weights = helper.make_tensor("w", kind, [3, 5], values)
    zero = helper.make_tensor("z", kind, [], [low + 3])
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"])
    add = helper.make_node("Add", ["x", "d"], ["y"])
    model = model_of(
        [node, add],
        [info("x", shape=[3, 5])],
        ["y"],
        {"w": weights, "s": np.array(0.5, np.float32), "z": zero},
    )
    assert_agrees(model, {"x": normal(1, 3, 5)})


def test_quantize_to_four_bits_stays_within_them() -> None:
    x = np.array([-40, -7.4, 0, 3.6, 40], np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    zero = helper.make_tensor("z", TensorProto.INT4, [], [0])
    constants = {"s": np.array(1, np.float32), "z": zero}
    (y,) = by_bnnc(model_of(nodes, [info("x", shape=[5])], ["y"], constants), {"x": x})
    assert y.tolist() == [-8, -7, 0, 4, 7]


def test_quantized_weights_become_float_constants() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    constants = {
        "q": np.sign(normal(1, 4, 2, 3, 3)).astype(np.int8),
        "s": np.abs(normal(2, 4)),
    }
    model = model_of(nodes, [info("x", shape=[1, 2, 5, 5])], ["y"], constants)
    graph = assert_agrees(model, {"x": normal(3, 1, 2, 5, 5)}, 1e-4)
    assert ops_of(graph) == ["Conv"]
    assert {value.name for value in graph.values()} == {"x", "w", "y"}


def test_a_scale_of_the_wrong_length_is_refused() -> None:
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, name="unpack")
    constants = {"q": np.zeros((4, 2), np.int8), "s": np.ones(3, np.float32)}
    with pytest.raises(ModelError, match="unpack: DequantizeLinear has an input of shape 4x2, but"):
        load(model_of([node], [], ["w"], constants))


# ---- QONNX ------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_bipolar_quant(domain: str, scale: float) -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=domain)
    constants = {"s": np.array(scale, np.float32)}
    model = model_of([node], [info("x", shape=[5])], ["y"], constants, domains={domain: 1})
    x = np.array([-2, -0.0, 0, 0.1, np.nan], np.float32)
    (y,) = by_bnnc(model, {"x": x})
    assert y.tolist() == [-scale, scale, scale, scale, -scale]
    plain = ["GreaterOrEqual", "Where"]
    assert ops_of(load(model)) == (plain if scale == 1 else [*plain, "Mul"])


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "expected"),
    [
        (2, 1, 0, [-2, -2, -1, 0, 0, 1, 1]),
        (2, 1, 1, [-1, -1, -1, 0, 0, 1, 1]),
        (2, 0, 0, [0, 0, 0, 0, 0, 2, 3]),
        (1, 0, 0, [0, 0, 0, 0, 0, 1, 1]),
        (1, 1, 1, [-1, -1, -1, 1, 1, 1, 1]),
    ],
)
def test_quant(bits: int, signed: int, narrow: int, expected: list[int]) -> None:
    domain = "qonnx.custom_op.general"
    node = helper.make_node(
        "Quant", ["x", "s", "z", "b"], ["y"], domain=domain, signed=signed, narrow=narrow
    )
    constants = {
        "s": np.array(0.5, np.float32),
        "z": np.array(0, np.float32),
        "b": np.array(bits, np.float32),
    }
    model = model_of([node], [info("x", shape=[7])], ["y"], constants, domains={domain: 1})
    x = np.array([-9, -1.1, -0.5, 0.0, 0.2, 0.8, 9], np.float32)
    (y,) = by_bnnc(model, {"x": x})
    assert y.tolist() == [0.5 * number for number in expected]


def test_quant_with_another_rounding_is_refused() -> None:
    domain = "qonnx.custom_op.general"
    node = helper.make_node(
        "Quant", ["x", "s", "s", "s"], ["y"], domain=domain, rounding_mode="HALF_UP"
    )
    model = model_of(
        [node], [info("x", shape=[7])], ["y"], {"s": np.ones((), np.float32)}, domains={domain: 1}
    )
    with pytest.raises(UnsupportedError, match="y: Quant has rounding mode 'HALF_UP'"):
        load(model)


@pytest.mark.parametrize(("layout", "axis"), [("NCHW", 1), ("NHWC", 3)])
@pytest.mark.parametrize("channels", [1, 4])
def test_multi_threshold(layout: str, axis: int, channels: int) -> None:
    """FINN's activations: how many of its channel's thresholds an element reaches."""
    domain = "finn.custom_op.general"
    x, thresholds = normal(1, 2, 4, 3, 4), np.sort(normal(2, channels, 3), 1)
    attrs = {"out_scale": 2.0, "out_bias": -3.0, "data_layout": layout, "out_dtype": "INT4"}
    node = helper.make_node("MultiThreshold", ["x", "t"], ["y"], domain=domain, **attrs)
    inputs = [info("x", shape=[2, 4, 3, 4])]
    model = model_of([node], inputs, ["y"], {"t": thresholds}, domains={domain: 1})
    shape = [1] * 4
    shape[axis] = channels
    reached = sum(x >= thresholds[:, i].reshape(shape) for i in range(3))
    np.testing.assert_array_equal(by_bnnc(model, {"x": x})[0], reached * 2.0 - 3.0)


def test_one_threshold_for_each_channel_makes_two_values() -> None:
    domain = "qonnx.custom_op.general"
    attrs = {"out_scale": 2.0, "out_bias": -1.0, "out_dtype": "BIPOLAR"}
    node = helper.make_node("MultiThreshold", ["x", "t"], ["y"], domain=domain, **attrs)
    inputs = [info("x", shape=[1, 4, 2, 2])]
    model = model_of([node], inputs, ["y"], {"t": normal(2, 4, 1)}, domains={domain: 1})
    graph = load(model)
    assert ops_of(graph) == ["GreaterOrEqual", "Where"]
    assert set(by_bnnc(model, {"x": normal(1, 1, 4, 2, 2)})[0].ravel()) == {-1.0, 1.0}


def test_trunc_drops_the_lowest_bits() -> None:
    domain = "qonnx.custom_op.general"
    node = helper.make_node("Trunc", ["x", "s", "z", "i", "o"], ["y"], domain=domain)
    numbers = {"s": 0.5, "z": 0.0, "i": 8.0, "o": 6.0}
    constants = {name: np.array(number, np.float32) for name, number in numbers.items()}
    model = model_of([node], [info("x", shape=[4])], ["y"], constants, domains={domain: 1})
    x = np.array([1.5, 3.5, 4.0, -0.5], np.float32)  # 3, 7, 8 and -1 halves
    assert by_bnnc(model, {"x": x})[0].tolist() == [0.0, 0.5, 1.0, -0.5]


# ---- OpenVINO ---------------------------------------------------------------------------------


def fake_quantize(levels: int, *ranges: object) -> ModelProto:
    names = ["low", "high", "out_low", "out_high"]
    constants = {name: np.array(given, np.float32) for name, given in zip(names, ranges)}
    domain = "org.openvinotoolkit"
    node = helper.make_node("FakeQuantize", ["x", *names], ["y"], domain=domain, levels=levels)
    shape = [1, 2, 1, 6]
    return model_of([node], [info("x", shape=shape)], ["y"], constants, domains={domain: 1})


@pytest.mark.parametrize(
    ("levels", "ranges", "expected"),
    [
        (2, (0.0, 0.0, -0.5, 0.5), [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5]),
        (2, (-1.0, 1.0, -1.0, 1.0), [-1, -1, -1, 1, 1, 1]),
        (2, (0.0, 2.0, 0.0, 3.0), [0, 0, 0, 0, 0, 3]),
        (5, (-1.0, 1.0, 0.0, 4.0), [0, 0, 2, 3, 4, 4]),
    ],
)
def test_fake_quantize(levels: int, ranges: tuple[float, ...], expected: list[float]) -> None:
    x = np.tile(np.array([-3, -1, 0, 0.6, 1, 3], np.float32), 2).reshape(1, 2, 1, 6)
    model = fake_quantize(levels, *ranges)
    np.testing.assert_allclose(by_bnnc(model, {"x": x})[0][0, 1, 0], expected, atol=1e-6)
    graph = load(model)
    values = Domains(graph).distinct(graph.outputs[0])
    assert values is not None and len(values) == levels


def test_fake_quantize_with_a_threshold_for_each_channel_makes_two_values() -> None:
    thresholds = np.array([-0.5, 0.5]).reshape(1, 2, 1, 1)
    model = fake_quantize(2, thresholds, thresholds, -1.0, 1.0)
    (y,) = by_bnnc(model, {"x": np.zeros((1, 2, 1, 6), np.float32)})
    assert (y[0, 0] == 1).all() and (y[0, 1] == -1).all()


@pytest.mark.parametrize(
    ("levels", "ranges", "message"),
    [(1, (0, 1, 0, 1), "has 1 levels"), (2, ([0, 0], [0, 1], 0, 1), "mixes thresholds and ranges")],
)
def test_other_fake_quantize_is_refused(
    levels: int, ranges: tuple[object, ...], message: str
) -> None:
    with pytest.raises(BnncError, match=f"FakeQuantize {message}"):
        load(fake_quantize(levels, *ranges))
