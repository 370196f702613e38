"""Integer convolutions and matrix products, exactly as onnxruntime computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    few,
    info,
    load,
    model_of,
    normal,
    one_node,
    ops_of,
    seeds,
)

from bnnc.errors import UnsupportedError


def integers(seed: int, dtype: Any, *shape: int) -> np.ndarray:
    """Integers over all of the type's range."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def factors(seed: int, dtype: Any, *shape: int) -> np.ndarray:
    """Integers that uint8 are multiplied by. Signed ones have seven bits: on processors without
    instructions for it, onnxruntime adds up pairs of such products in 16 bits."""
    found = integers(seed, dtype, *shape)
    return found // 2 if found.dtype == np.int8 else found


def scale(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@few
@given(
    weights=st.sampled_from([np.uint8, np.int8]),
    zeros=st.booleans(),
    group=st.sampled_from([1, 2]),
    depth=st.sampled_from([2, 40]),
    constant=st.booleans(),
    seed=seeds,
)
def test_conv_integer(
    weights: Any, zeros: bool, group: int, depth: int, constant: bool, seed: int
) -> None:
    """Forty channels of 3x3 need more than one sum that a float holds exactly."""
    if group * depth > 40:
        depth = 2
    x = integers(seed, np.uint8, 1, group * depth, 5, 4)
    w = factors(seed + 1, weights, 2 * group, depth, 3, 3)
    attrs = {"pads": [1, 0, 1, 1], "group": group}
    fixed = {2: np.array(7, np.uint8), 3: np.array(3, weights)} if zeros else {}
    fixed |= {1: w} if constant else {}
    assert_node_agrees("ConvInteger", [x, None if constant else w], attrs, fixed=fixed)


def test_a_long_sum_is_cut_and_a_short_one_is_not() -> None:
    x = integers(1, np.uint8, 1, 40, 4, 4)
    few_products, many = (
        assert_node_agrees("ConvInteger", [x[:, :n], integers(2, np.uint8, 3, n, 3, 3)])
        for n in (8, 40)
    )
    assert ops_of(few_products).count("Conv") == 1
    assert ops_of(many).count("Conv") == 2


@few
@given(
    left=st.sampled_from([(3, 5), (2, 3, 5), (2, 3, 600)]),
    signed=st.booleans(),
    zeros=st.sampled_from(["none", "tensor", "axis"]),
    seed=seeds,
)
def test_matmul_integer(left: tuple[int, ...], signed: bool, zeros: str, seed: int) -> None:
    right = np.int8 if signed else np.uint8
    a, b = integers(seed, np.uint8, *left), factors(seed + 1, right, left[-1], 4)
    fixed = {}
    if zeros != "none":
        fixed[2] = np.array(9, np.uint8)
        fixed[3] = np.array(5, right) if zeros == "tensor" else integers(seed, right, 4)
    assert_node_agrees("MatMulInteger", [a, b], fixed=fixed)


@few
@given(
    signed=st.booleans(),
    per_channel=st.booleans(),
    bias=st.booleans(),
    depth=st.sampled_from([3, 30]),
    seed=seeds,
)
def test_qlinear_conv(signed: bool, per_channel: bool, bias: bool, depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.int8 if signed else np.uint8
    w_scale = rng.uniform(0.001, 0.01, 4).astype(np.float32) if per_channel else scale(0.005)
    w_zero = np.zeros(4, weights) if per_channel else np.array(0 if signed else 120, weights)
    fixed = {
        1: scale(0.02),
        2: np.array(128, np.uint8),
        3: factors(seed + 1, weights, 4, depth, 3, 3),
        4: w_scale,
        5: w_zero,
        6: scale(0.05),
        7: np.array(100, np.uint8),
    }
    if bias:
        fixed[8] = rng.integers(-(2**20), 2**20, 4).astype(np.int32)
    x = integers(seed, np.uint8, 1, depth, 5, 5)
    assert_node_agrees("QLinearConv", [x], {"pads": [1, 1, 1, 1]}, fixed=fixed)


@few
@given(signed=st.booleans(), inner=st.sampled_from([7, 700]), seed=seeds)
def test_qlinear_matmul(signed: bool, inner: int, seed: int) -> None:
    kind = np.int8 if signed else np.uint8
    fixed = {
        1: scale(0.01),
        2: np.array(3, kind),
        3: integers(seed + 1, kind, inner, 5),
        4: scale(0.02),
        5: np.array(4, kind),
        6: scale(0.1 if inner < 100 else 1.0),
        7: np.array(5, kind),
    }
    assert_node_agrees("QLinearMatMul", [integers(seed, kind, 3, inner)], fixed=fixed)


def test_dynamic_quantisation() -> None:
    """What onnxruntime's dynamic quantiser makes of a MatMul."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=1),
        helper.make_node("Mul", ["s", "ws"], ["scale"]),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    constants = {"w": factors(1, np.int8, 6, 4), "wz": np.zeros((), np.int8), "ws": scale(0.01)}
    model = model_of(nodes, [info("x", shape=[3, 6])], ["y", "q", "z"], constants)
    assert_agrees(model, {"x": normal(2, 3, 6)})


def test_a_sum_that_cannot_be_cut_is_refused() -> None:
    x, w = integers(1, np.uint8, 1, 80, 4, 4), integers(2, np.uint8, 2, 40, 3, 3)
    model, _ = one_node("ConvInteger", [x], {"group": 2}, fixed={1: w})
    with pytest.raises(UnsupportedError, match="y0: ConvInteger adds up more than floats hold"):
        load(model)
