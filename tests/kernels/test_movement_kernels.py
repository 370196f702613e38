"""copy, fill and gather."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import Arguments, Guarded, Isa, fenced, library
from hypothesis import given, settings
from hypothesis import strategies as st

ITEMS = st.sampled_from([np.uint8, np.uint16, np.float32, np.int64])
SEEDS = st.integers(0, 2**31)


def elements(size: Any, dtype: Any, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.integers(0, 250, size).astype(dtype)
    array = fenced(drawn.nbytes).view(dtype).reshape(drawn.shape)
    array[...] = drawn
    return array


def run_copy(isa: Isa, source: np.ndarray, target: np.ndarray, splits: Any) -> None:
    """Copy between views by the kernel."""
    item = source.itemsize
    args = Arguments(
        "bnnc_copy_args",
        rank=source.ndim,
        element_bytes=item,
        shape=list(source.shape),
        x_strides=[step // item for step in source.strides],
        out_strides=[step // item for step in target.strides],
        x=pointer(source),
        out=pointer(target),
    )
    isa.run("copy", args, splits)


def pointer(view: np.ndarray) -> Any:
    """A view's first element, of which a kernel may read others by the strides."""
    ffi, _ = library()
    return ffi.cast("void *", view.ctypes.data)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 3, 4, 5, 31, 32, 33, 70]), max_size=5).filter(
        lambda shape: np.prod(shape) <= 40000
    ),
    ITEMS,
    SEEDS,
)
def test_any_transpose(isa: Isa, shape: list[int], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = elements(shape, dtype, rng).transpose(rng.permutation(len(shape)))
    out = Guarded(source.shape, dtype)
    run_copy(isa, source, out.array, rng.random(2))
    np.testing.assert_array_equal(out.check(), source)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), ITEMS, SEEDS)
def test_slices_forwards_and_backwards_into_a_part_of_the_output(
    isa: Isa, shape: list[int], dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = shape[:3] if np.prod(shape) > 40000 else shape
    steps = rng.choice([1, 1, 2, 3, -1, -2], len(shape))
    source = elements(shape, dtype, rng)[tuple(slice(None, None, step) for step in steps)]
    whole = Guarded([n + 2 for n in source.shape], dtype)
    wanted = whole.array.copy()
    middle = tuple(slice(1, 1 + n) for n in source.shape)
    wanted[middle] = source
    run_copy(isa, source, whole.array[middle], rng.random(2))
    np.testing.assert_array_equal(whole.check(), wanted)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), ITEMS, SEEDS)
def test_expanding(isa: Isa, shape: list[int], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = [n if keep else 1 for n, keep in zip(shape, rng.random(len(shape)) < 0.5)]
    source = np.broadcast_to(elements(small, dtype, rng), shape)
    out = Guarded(shape, dtype)
    run_copy(isa, source, out.array, rng.random(2))
    np.testing.assert_array_equal(out.check(), source)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.int64])
@pytest.mark.parametrize("count", [0, 1, 1024, 3000])
def test_fill(isa: Isa, dtype: Any, count: int) -> None:
    out = Guarded(count, dtype)
    value = np.array([77], dtype).view(np.uint8).tolist()
    args = Arguments(
        "bnnc_fill_args",
        count=count,
        element_bytes=np.dtype(dtype).itemsize,
        value=value + [0] * (8 - len(value)),
        out=out.array,
    )
    isa.run("fill", args, [0.5])
    assert (out.check() == 77).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9), ITEMS, SEEDS)
def test_gather_counts_from_the_end_and_stays_inside(
    isa: Isa, outer: int, axis: int, inner: int, count: int, dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = elements((outer, axis, inner), dtype, rng)
    indices = rng.integers(-2 * axis - 1, 2 * axis + 1, count)
    out = Guarded((outer, count, inner), dtype)
    args = Arguments(
        "bnnc_gather_args",
        outer=outer,
        axis=axis,
        inner=inner,
        indices_count=count,
        element_bytes=x.itemsize,
        x=x,
        indices=indices,
        out=out.array,
    )
    isa.run("gather", args, rng.random(2))
    inside = np.clip(np.where(indices < 0, indices + axis, indices), 0, axis - 1)
    np.testing.assert_array_equal(out.check(), x[:, inside])
