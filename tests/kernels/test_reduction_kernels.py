"""reduce, softmax and top_k against the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import TYPES, Arguments, Guarded, Isa, function_codes, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.ir.types import DType

SEEDS = st.integers(0, 2**31)
COUNTS = st.one_of(st.integers(1, 40), st.sampled_from([100, 1000]))
INNERS = st.one_of(st.just(1), st.integers(2, 40), st.sampled_from([255, 256, 300]))
REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare")


def run(
    isa: Isa, kernel: str, name: str, x: np.ndarray, shape: Any, dtype: Any, **fields: Any
) -> np.ndarray:
    """Run a kernel of bnnc_reduce_args over the middle axis of ``x``."""
    out = Guarded(shape, dtype)
    outer, count, inner = x.shape
    args = Arguments(
        "bnnc_reduce_args",
        outer=outer,
        count=count,
        inner=inner,
        function=function_codes()[name],
        type=TYPES[DType.of(x.dtype)],
        x=x,
        out=out.array,
        **fields,
    )
    isa.run(kernel, args, [0.3, 0.6])
    return out.check()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(REDUCTIONS), st.integers(1, 3), COUNTS, INNERS, SEEDS)
def test_reductions_of_floats(
    isa: Isa, name: str, outer: int, count: int, inner: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (outer, count, inner)).astype(np.float32)
    if name in ("Max", "Min"):
        x.reshape(-1)[rng.integers(0, x.size, 2)] = np.nan
    got = run(isa, "reduce", f"Reduce{name}", x, (outer, inner), np.float32)
    (wanted,) = reference(f"Reduce{name}", x, axes=(1,), keepdims=False)
    rtol = max(1e-6, count * 1e-7) if name == "Prod" else 1e-6  # a rounding for each factor
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-37)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(REDUCTIONS),
    st.sampled_from([DType.I32, DType.I64, DType.U8, DType.I8]),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    SEEDS,
)
def test_reductions_of_integers(
    isa: Isa, name: str, dtype: DType, outer: int, count: int, inner: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    low = 0 if dtype is DType.U8 else -3
    x = rng.integers(low, 4, (outer, count, inner)).astype(dtype.numpy)
    got = run(isa, "reduce", f"Reduce{name}", x, (outer, inner), dtype.numpy)
    (wanted,) = reference(f"Reduce{name}", x, axes=(1,), keepdims=False)
    np.testing.assert_array_equal(got, wanted)


def test_a_long_sum_that_cancels_is_right(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    half = rng.uniform(0, 1000, 20000).astype(np.float32)
    x = np.concatenate([half, np.float32([0.125]), -half]).reshape(1, -1, 1)
    assert run(isa, "reduce", "ReduceSum", x, (1,), np.float32)[0] == 0.125


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["ArgMax", "ArgMin"]),
    st.booleans(),
    st.sampled_from([DType.F32, DType.I32, DType.I64, DType.U8]),
    COUNTS,
    INNERS,
    SEEDS,
)
def test_index_of_the_extreme(
    isa: Isa, name: str, last: bool, dtype: DType, count: int, inner: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (2, count, inner)).astype(dtype.numpy)
    if dtype is DType.F32:
        x = x - np.float32(2)
        x[x == 0] *= rng.choice([-1, 1])
        x.reshape(-1)[rng.integers(0, x.size, 2)] = np.nan
    got = run(isa, "reduce", name, x, (2, inner), np.int64, last=last)
    (wanted,) = reference(name, x, axis=1, keepdims=False, select_last_index=last)
    np.testing.assert_array_equal(got, wanted)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["Softmax", "LogSoftmax"]), st.integers(1, 3), COUNTS, INNERS, SEEDS)
def test_softmax(isa: Isa, name: str, outer: int, count: int, inner: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 5, (outer, count, inner)).astype(np.float32)
    got = run(isa, "softmax", name, x, x.shape, np.float32)
    (wanted,) = reference(name, x, axis=1)
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)


def test_softmax_of_large_and_infinite_values(isa: Isa) -> None:
    x = np.array([[[1000.0], [999.0], [-np.inf]]], np.float32)
    got = run(isa, "softmax", "Softmax", x, x.shape, np.float32)
    np.testing.assert_allclose(got, reference("Softmax", x, axis=1)[0], rtol=1e-6)


def run_top_k(isa: Isa, x: np.ndarray, k: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    outer, count, inner = x.shape
    values, indices = Guarded((outer, k, inner)), Guarded((outer, k, inner), np.int64)
    args = Arguments(
        "bnnc_top_k_args",
        outer=outer,
        count=count,
        inner=inner,
        k=k,
        largest=largest,
        x=x,
        values=values.array,
        indices=indices.array,
    )
    isa.run("top_k", args, [0.4])
    return values.check(), indices.check()


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.sampled_from([1, 1, 3]), st.booleans(), st.booleans(), SEEDS, st.data())
def test_top_k_orders_by_value_then_index(
    isa: Isa, count: int, inner: int, largest: bool, ties: bool, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, count))
    rng = np.random.default_rng(seed)
    shape = (2, count, inner)
    x = np.asarray(rng.integers(-3, 3, shape) if ties else rng.standard_normal(shape), np.float32)
    x[x == 0] *= rng.choice([-1, 1])
    x.reshape(-1)[rng.integers(0, x.size, 2)] = (np.nan, np.inf)
    values, indices = run_top_k(isa, x, k, largest)
    wanted_values, wanted_indices = reference("TopK", x, axis=1, k=k, largest=largest)
    np.testing.assert_array_equal(indices, wanted_indices)
    np.testing.assert_array_equal(values, wanted_values)


@pytest.mark.parametrize("largest", [True, False])
def test_top_k_of_nothing_but_nan(isa: Isa, largest: bool) -> None:
    x = np.full((1, 50, 1), np.nan, np.float32)
    _, indices = run_top_k(isa, x, 5, largest)
    assert indices.reshape(-1).tolist() == [0, 1, 2, 3, 4]
