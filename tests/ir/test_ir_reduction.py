"""Reductions, softmax and top-k mean what they mean in onnxruntime."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_reference import (
    assert_same,
    by_interpreter,
    by_onnxruntime,
    few,
    normal,
    seeds,
    shapes,
)

REDUCTIONS = [
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare",
]  # fmt: skip


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reduction_equals_onnxruntime_over_any_axes(op: str) -> None:
    @few
    @given(shapes(1, 4), st.data(), st.booleans(), seeds)
    def check(shape: tuple[int, ...], data: st.DataObject, keep: bool, seed: int) -> None:
        count = data.draw(st.integers(1, len(shape)))
        axes = data.draw(st.permutations(range(len(shape))))[:count]
        axes = [axis - data.draw(st.sampled_from([0, len(shape)])) for axis in axes]
        x = normal(seed, *shape)
        theirs = by_onnxruntime(op, [x, np.array(axes, np.int64)], {"keepdims": int(keep)})
        assert_same(by_interpreter(op, [x], {"axes": tuple(axes), "keepdims": keep}), theirs)

    check()


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_reduction_of_integers_equals_onnxruntime(op: str) -> None:
    x = np.random.default_rng(0).integers(-5, 6, (3, 4)).astype(np.int32)
    theirs = by_onnxruntime(op, [x, np.array([1], np.int64)])
    assert_same(by_interpreter(op, [x], {"axes": (1,)}), theirs)


def test_reduction_over_no_axes_changes_no_shape() -> None:
    x = normal(0, 2, 3)
    assert_same(by_interpreter("ReduceSum", [x], {"axes": ()}), [x])


def test_sums_do_not_depend_on_which_axis_is_contiguous() -> None:
    x = normal(0, 700, 30)
    (down,) = by_interpreter("ReduceSum", [x], {"axes": (0,), "keepdims": False})
    (across,) = by_interpreter("ReduceSum", [x.T.copy()], {"axes": (1,), "keepdims": False})
    np.testing.assert_array_equal(down, across)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [False, True])
def test_arg_reduction_equals_onnxruntime_with_ties(op: str, last: bool) -> None:
    @few
    @given(shapes(1, 3), st.data(), st.booleans(), seeds)
    def check(shape: tuple[int, ...], data: st.DataObject, keep: bool, seed: int) -> None:
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
        attrs = {"axis": axis, "keepdims": int(keep), "select_last_index": int(last)}
        assert_same(by_interpreter(op, [x], attrs), by_onnxruntime(op, [x], attrs))

    check()


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_equals_onnxruntime(op: str) -> None:
    @few
    @given(shapes(1, 4), st.data(), seeds)
    def check(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
        attrs = {"axis": data.draw(st.integers(-len(shape), len(shape) - 1))}
        x = normal(seed, *shape) * 30
        assert_same(by_interpreter(op, [x], attrs), by_onnxruntime(op, [x], attrs))

    check()


@few
@given(shapes(1, 3), st.data(), st.booleans(), seeds)
def test_top_k_equals_onnxruntime_with_ties(
    shape: tuple[int, ...], data: st.DataObject, largest: bool, seed: int
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    x = np.random.default_rng(seed).integers(0, 4, shape).astype(np.float32)
    theirs = by_onnxruntime(
        "TopK", [x, np.array([k], np.int64)], {"axis": axis, "largest": int(largest)}, outputs=2
    )
    assert_same(by_interpreter("TopK", [x], {"axis": axis, "k": k, "largest": largest}), theirs)


def test_top_k_counts_nan_as_the_largest() -> None:
    x = np.array([1, math.nan, 3], np.float32)
    _, down = by_interpreter("TopK", [x], {"k": 3})
    _, up = by_interpreter("TopK", [x], {"k": 3, "largest": False})
    assert down.tolist() == [1, 2, 0]
    assert up.tolist() == [0, 2, 1]
