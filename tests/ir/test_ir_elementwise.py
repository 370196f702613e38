"""Elementwise ops mean what they mean in onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_reference import (
    assert_same,
    by_interpreter,
    by_onnxruntime,
    few,
    normal,
    seeds,
    shapes,
)

from bnnc.ir.ops import OPS, apply_unary
from bnnc.ir.types import DType

UNARY = [
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Exp", "Sqrt", "Log",
    "Neg", "Abs", "Floor", "Ceil", "Round", "Reciprocal", "Erf", "Softplus", "Elu", "Selu",
    "Softsign", "Sign", "Sin", "Cos",
]  # fmt: skip
SPECIAL = np.array([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -3, 7, -7, 30, -30, 1e-30], np.float32)


@pytest.mark.parametrize("op", UNARY)
def test_unary_op_equals_onnxruntime_on_any_shape(op: str) -> None:
    @few
    @given(shapes(), seeds)
    def check(shape: tuple[int, ...], seed: int) -> None:
        x = normal(seed, *shape) * 4
        if op in ("Log", "Sqrt"):
            x = np.abs(x) + np.float32(1e-3)
        x = np.asarray(x, np.float32)
        assert_same(by_interpreter(op, [x]), by_onnxruntime(op, [x]))

    check()


@pytest.mark.parametrize("op", sorted(set(UNARY) - {"Log", "Sqrt", "Reciprocal"}))
def test_unary_op_equals_onnxruntime_at_special_values(op: str) -> None:
    assert_same(by_interpreter(op, [SPECIAL]), by_onnxruntime(op, [SPECIAL]))


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("Selu", {"alpha": 1.2, "gamma": 0.9}),
    ],
)
def test_attributes_are_onnx_attributes(op: str, attrs: dict[str, Any]) -> None:
    x = normal(0, 50) * 3
    assert_same(by_interpreter(op, [x], attrs), by_onnxruntime(op, [x], attrs))


def test_defaults_are_onnx_defaults() -> None:
    x = normal(0, 50) * 3
    for op in ("LeakyRelu", "Elu", "HardSigmoid", "Selu"):
        assert_same(by_interpreter(op, [x]), by_onnxruntime(op, [x]))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int8, np.uint8])
@pytest.mark.parametrize("bounds", [(-1, 2), (0, 6), (2, -1)])
def test_clip_equals_onnxruntime_even_with_crossed_bounds(
    dtype: type, bounds: tuple[int, int]
) -> None:
    x = np.arange(-5 if np.dtype(dtype).kind != "u" else 0, 9).astype(dtype)
    low, high = (np.clip(b, 0 if np.dtype(dtype).kind == "u" else b, None) for b in bounds)
    theirs = by_onnxruntime("Clip", [x, np.array(low, dtype), np.array(high, dtype)])
    assert_same(by_interpreter("Clip", [x], {"min": float(low), "max": float(high)}), theirs)


def test_clip_of_integers_has_no_bounds_by_default() -> None:
    x = np.array([-128, 0, 127], np.int8)
    assert_same(by_interpreter("Clip", [x]), [x])


# ---- sign -----------------------------------------------------------------------------------

SIGNS = np.array([math.inf, 2, 1e-45, 0.0, -0.0, -1e-45, -2, -math.inf, math.nan], np.float32)


@pytest.mark.parametrize(
    ("zero", "wanted"),
    [
        (0, [1, 1, 1, 0, 0, -1, -1, -1, math.nan]),
        (1, [1, 1, 1, 1, 1, -1, -1, -1, -1]),
        (-1, [1, 1, 1, -1, -1, -1, -1, -1, -1]),
    ],
)
def test_sign_takes_its_zero_for_both_zeros_and_counts_nan_as_false(
    zero: int, wanted: list[float]
) -> None:
    (mine,) = by_interpreter("Sign", [SIGNS], {"zero": zero})
    np.testing.assert_array_equal(mine, np.array(wanted, np.float32))


def test_strict_sign_equals_onnxruntime_but_at_nan() -> None:
    x = SIGNS[:-1]
    assert_same(by_interpreter("Sign", [x]), by_onnxruntime("Sign", [x]))


def test_sign_of_integers_keeps_their_type() -> None:
    x = np.array([-3, 0, 4], np.int32)
    assert_same(by_interpreter("Sign", [x], {"zero": 1}), [np.array([-1, 1, 1], np.int32)])


# ---- cast -----------------------------------------------------------------------------------

CASTABLE = {
    "f32": TensorProto.FLOAT,
    "f64": TensorProto.DOUBLE,
    "f16": TensorProto.FLOAT16,
    "i32": TensorProto.INT32,
    "i64": TensorProto.INT64,
    "i8": TensorProto.INT8,
    "u8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


@pytest.mark.parametrize("to", CASTABLE)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint8, np.bool_])
def test_cast_equals_onnxruntime_within_range(dtype: type, to: str) -> None:
    x = np.array([0, 0.5, 1, 2.75, 100, 127], np.float32).astype(dtype)
    theirs = by_onnxruntime("Cast", [x], {"to": CASTABLE[to]})
    assert_same(by_interpreter("Cast", [x], {"to": DType(to)}), theirs)


def test_cast_truncates_towards_zero() -> None:
    x = np.array([-2.7, -0.5, 2.7], np.float32)
    assert_same(by_interpreter("Cast", [x], {"to": DType.I32}), [np.array([-2, 0, 2], np.int32)])


# ---- several operands -----------------------------------------------------------------------


@st.composite
def broadcastable(draw: st.DrawFn, count: int = 2) -> list[tuple[int, ...]]:
    """Shapes that broadcast together."""
    full = draw(shapes(0, 4))
    found = []
    for _ in range(count):
        kept = draw(st.integers(0, len(full)))
        ones = draw(st.lists(st.booleans(), min_size=kept, max_size=kept))
        tail = full[len(full) - kept :]
        found.append(tuple(1 if one else size for one, size in zip(ones, tail)))
    return found


def operand(seed: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype is np.bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if np.dtype(dtype).kind == "i":
        return np.asarray(rng.integers(-4, 5, shape), dtype)
    # Few distinct values, so that equal elements meet.
    return np.asarray(np.round(rng.standard_normal(shape) * 2) / 2, dtype)


BINARY: list[tuple[str, type, dict[str, Any]]] = [
    *((op, np.float32, {}) for op in ("Add", "Sub", "Mul", "Max", "Min", "Equal")),
    *((op, np.float32, {}) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *((op, np.int64, {}) for op in ("Add", "Sub", "Mul", "Max", "Min", "Equal", "Less")),
    *((op, np.bool_, {}) for op in ("And", "Or", "Xor", "Equal")),
    ("Mod", np.float32, {"fmod": 1}),
    ("Mod", np.int64, {}),
    ("Mod", np.int64, {"fmod": 1}),
    ("Div", np.float32, {}),
    ("Div", np.int32, {}),
]


@pytest.mark.parametrize(
    ("op", "dtype", "attrs"), BINARY, ids=[f"{op}-{d.__name__}{a or ''}" for op, d, a in BINARY]
)
def test_binary_op_broadcasts_and_equals_onnxruntime(
    op: str, dtype: type, attrs: dict[str, Any]
) -> None:
    @few
    @given(broadcastable(), seeds)
    def check(both: list[tuple[int, ...]], seed: int) -> None:
        x, y = operand(seed, both[0], dtype), operand(seed + 1, both[1], dtype)
        if op in ("Div", "Mod"):
            y = np.asarray(np.where(y == 0, 3, y), dtype)
        assert_same(by_interpreter(op, [x, y], attrs), by_onnxruntime(op, [x, y], attrs))

    check()


@few
@given(broadcastable(), seeds)
def test_pow_equals_onnxruntime(both: list[tuple[int, ...]], seed: int) -> None:
    x = np.asarray(np.abs(operand(seed, both[0], np.float32)) + 0.5, np.float32)
    for y in (operand(seed + 1, both[1], np.float32), operand(seed + 1, both[1], np.int64)):
        assert_same(by_interpreter("Pow", [x, y]), by_onnxruntime("Pow", [x, y]))


@few
@given(broadcastable(3), seeds)
def test_where_broadcasts_all_three(three: list[tuple[int, ...]], seed: int) -> None:
    arrays = [
        operand(seed, three[0], np.bool_),
        operand(seed + 1, three[1], np.float32),
        operand(seed + 2, three[2], np.float32),
    ]
    assert_same(by_interpreter("Where", arrays), by_onnxruntime("Where", arrays))


@few
@given(st.integers(1, 4), st.sampled_from(["scalar", "channel", "full"]), seeds)
def test_prelu_slope_broadcasts_to_x(channels: int, form: str, seed: int) -> None:
    x = normal(seed, 2, channels, 3, 2)
    shape = {"scalar": (1,), "channel": (channels, 1, 1), "full": x.shape}[form]
    arrays = [x, normal(seed + 1, *shape)]
    assert_same(by_interpreter("PRelu", arrays), by_onnxruntime("PRelu", arrays))


def test_not_negates() -> None:
    x = np.array([True, False])
    assert_same(by_interpreter("Not", [x]), by_onnxruntime("Not", [x]))


def test_integer_division_truncates_towards_zero() -> None:
    x, y = np.array([7, -7, 7, -7, 6], np.int64), np.array([2, 2, -2, -2, -3], np.int64)
    assert_same(by_interpreter("Div", [x, y]), [np.array([3, -3, -3, 3, -2], np.int64)])


def test_comparisons_are_false_at_nan() -> None:
    nan, one = np.array([math.nan], np.float32), np.array([1], np.float32)
    for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        assert not by_interpreter(op, [nan, one])[0][0]


# ---- apply_unary ----------------------------------------------------------------------------


def test_apply_unary_fills_in_defaults() -> None:
    x = np.array([-1, 1], np.float32)
    np.testing.assert_array_equal(apply_unary("LeakyRelu", x, {}), np.array([-0.01, 1], np.float32))
    np.testing.assert_array_equal(
        apply_unary("LeakyRelu", x, {"alpha": 0.5}), np.array([-0.5, 1], np.float32)
    )


def test_apply_unary_stays_silent_where_numpy_would_warn() -> None:
    with np.errstate(all="raise"):
        assert apply_unary("Log", np.zeros(1, np.float32), {})[0] == -math.inf


def test_every_unary_op_keeps_float32() -> None:
    for op in UNARY:
        assert apply_unary(op, np.ones((2, 3), np.float32), {}).dtype == np.float32
        assert op in OPS
