"""Elementwise operators mean what they mean in onnxruntime, in every version."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    by_bnnc,
    info,
    load,
    model_of,
    normal,
    one_node,
    ops_of,
)

from bnnc.errors import UnsupportedError
from bnnc.ir.types import DType

X = np.concatenate([normal(1, 40) * 3, [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 6.0]]).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)


@pytest.mark.parametrize(
    "op",
    [
        "Relu",
        "Sigmoid",
        "Tanh",
        "HardSwish",
        "Exp",
        "Neg",
        "Abs",
        "Floor",
        "Ceil",
        "Round",
        "Erf",
        "Softplus",
        "Softsign",
        "Sign",
        "Sin",
        "Cos",
        "Mish",
        "Gelu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "HardSigmoid",
        "Celu",
        "ThresholdedRelu",
        "Shrink",
        "Sinh",
        "Cosh",
        "Identity",
        "IsNaN",
        "IsInf",
        "Clip",
        "Atan",
        "Asinh",
    ],
)
def test_unary_operators_with_their_defaults(op: str) -> None:
    assert_node_agrees(op, [X])


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal", "Tan"])
def test_unary_operators_on_positive_numbers(op: str) -> None:
    assert_node_agrees(op, [POSITIVE % 1.4 + np.float32(0.05)])


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh"])
def test_inverse_functions_within_their_range(op: str) -> None:
    assert_node_agrees(op, [np.linspace(-0.99, 0.99, 41, dtype=np.float32)])


def test_acosh_from_one_on() -> None:
    assert_node_agrees("Acosh", [np.linspace(1, 9, 41, dtype=np.float32)])


@pytest.mark.parametrize("up", [0, 1])
@pytest.mark.parametrize("down", [0, 1])
def test_infinities_are_found_by_sign(up: int, down: int) -> None:
    x = np.array([1, np.inf, -np.inf, np.nan, 0], np.float32)
    assert_node_agrees("IsInf", [x], {"detect_positive": up, "detect_negative": down})


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.7}),
        ("Selu", {"alpha": 1.5, "gamma": 1.1}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("Celu", {"alpha": 2.0}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("Shrink", {"bias": 0.3, "lambd": 0.8}),
        ("Gelu", {"approximate": "tanh"}),
    ],
)
def test_unary_operators_with_attributes(op: str, attrs: dict[str, float]) -> None:
    assert_node_agrees(op, [X], attrs)


@pytest.mark.parametrize(
    "op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Greater", "Less"]
)
@pytest.mark.parametrize("shape", [(), (5,), (4, 1), (3, 4, 5)])
def test_binary_operators_broadcast(op: str, shape: tuple[int, ...]) -> None:
    assert_node_agrees(op, [normal(1, 3, 4, 5), normal(2, *shape)])


@pytest.mark.parametrize("op", ["Equal", "GreaterOrEqual", "LessOrEqual", "Pow"])
def test_binary_operators_on_equal_elements(op: str) -> None:
    x = np.abs(np.round(normal(1, 3, 8)))
    assert_node_agrees(op, [x, np.abs(np.round(normal(2, 8)))])


@pytest.mark.parametrize("base", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize("exponent", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize("constant", [False, True])
def test_powers_of_mixed_types(base: type, exponent: type, constant: bool) -> None:
    x, y = np.arange(1, 7).astype(base), np.array([0, 1, 2, 3, 2, 1], exponent)
    graph = assert_node_agrees(
        "Pow", [x, None if constant else y], fixed={1: y} if constant else {}
    )
    (power,) = [node for node in graph.nodes() if node.op.name == "Pow"]
    assert len({value.dtype for value in power.inputs}) == 1


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logical_operators(op: str) -> None:
    assert_node_agrees(op, [normal(1, 9) > 0, normal(2, 3, 9) > 0])


def test_not_negates() -> None:
    assert_node_agrees("Not", [normal(1, 9) > 0])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Mod"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integer_arithmetic(op: str, dtype: type) -> None:
    x = np.arange(-12, 13, dtype=dtype).reshape(5, 5)
    assert_node_agrees(op, [x, np.array([-5, -3, 2, 3, 7], dtype)])


def test_mod_of_floats_follows_c() -> None:
    assert_node_agrees("Mod", [X, np.float32(1.7) * np.ones(1, np.float32)], {"fmod": 1})


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic_operators(op: str, count: int) -> None:
    assert_node_agrees(op, [normal(i, 3, 4) for i in range(count)])


def test_where_chooses() -> None:
    assert_node_agrees("Where", [normal(1, 4, 1) > 0, normal(2, 4, 5), normal(3, 5)])


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 21])
def test_clip_takes_bounds_as_attributes_and_later_as_inputs(opset: int) -> None:
    if opset < 11:
        graph = assert_node_agrees("Clip", [X], {"min": -1.0, "max": 2.0}, opset=opset)
    else:
        bounds = {1: np.array(-1, np.float32), 2: np.array(2, np.float32)}
        graph = assert_node_agrees("Clip", [X], fixed=bounds, opset=opset)
    (node,) = graph.nodes()
    assert (node.op.name, node.attrs["min"], node.attrs["max"]) == ("Clip", -1.0, 2.0)


@pytest.mark.parametrize("left_out", [1, 2])
def test_clip_with_one_bound(left_out: int) -> None:
    assert_node_agrees("Clip", [X], fixed={3 - left_out: np.array(0.5, np.float32)})


def test_clip_with_a_bound_that_is_computed() -> None:
    assert_node_agrees("Clip", [X, np.array(-0.5, np.float32), np.array(0.7, np.float32)])


def test_clip_of_the_largest_integers() -> None:
    x = np.array([-(2**63), -5, 0, 7, 2**63 - 1])
    assert_node_agrees("Clip", [x], fixed={1: np.array(-3), 2: np.array(2**63 - 1)})


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL])
def test_cast_from_float(to: int) -> None:
    assert_node_agrees("Cast", [X], {"to": to})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.bool_])
def test_cast_to_float(dtype: type) -> None:
    assert_node_agrees("Cast", [np.arange(0, 100, 7).astype(dtype)], {"to": TensorProto.FLOAT})


def test_cast_between_float_widths_is_dropped() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=TensorProto.DOUBLE),
    ]
    graph = load(model_of(nodes, [info("x", shape=[4])], ["y"]))
    assert ops_of(graph) == ["Relu"]
    assert graph.outputs[0].dtype is DType.F32


def test_cast_to_half_precision_and_back_rounds() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    x = np.array([1 + 2**-11, 1 + 3 * 2**-11, 65519, 65520, 2**-25, 3e-8, -0.0, 0.1], np.float32)
    model = model_of(nodes, [info("x", shape=[8])], ["y"])
    assert ops_of(assert_agrees(model, {"x": x}, tolerance=0)) == ["Cast", "Cast"]


def test_cast_like_takes_the_type_of_the_other() -> None:
    assert_node_agrees("CastLike", [X, np.zeros(1, np.int32)])


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
def test_dropout_is_the_identity(opset: int) -> None:
    graph = assert_node_agrees("Dropout", [X], opset=opset)
    assert ops_of(graph) == []


def test_dropout_mask_is_all_true() -> None:
    model, feeds = one_node("Dropout", [X], outputs=2)
    assert by_bnnc(model, feeds)[1].tolist() == [True] * len(X)


def test_dropout_in_training_is_refused() -> None:
    fixed = {1: np.array(0.5, np.float32), 2: np.array(True)}
    model, _ = one_node("Dropout", [X], fixed=fixed)
    with pytest.raises(UnsupportedError, match="y0: Dropout is in training mode; export"):
        load(model)


def test_operators_on_constants_leave_no_node() -> None:
    nodes = [
        helper.make_node("Sign", ["w"], ["s"]),
        helper.make_node("Mul", ["s", "a"], ["v"]),
        helper.make_node("Add", ["x", "v"], ["y"]),
    ]
    constants = {"w": normal(1, 3, 1), "a": normal(2, 4)}
    graph = assert_agrees(
        model_of(nodes, [info("x", shape=[4])], ["y"], constants), {"x": normal(3, 4)}
    )
    assert ops_of(graph) == ["Add"]
    assert [value.name for value in graph.values() if value.is_constant] == ["v"]
