"""Pools and Resize mean what they mean in onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx_reference import (
    assert_same,
    by_interpreter,
    by_onnxruntime,
    few,
    normal,
    pairs,
    seeds,
)

from bnnc.ir import interpreter
from bnnc.ir.graph import Graph
from bnnc.ir.ops.resize import is_nearest


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, int], dict[str, Any]]:
    """An input size and a pool that fits it."""
    size = draw(pairs(1, 9))
    kernel, strides = draw(pairs(1, 4)), draw(pairs(1, 3))
    dilations = draw(pairs(1, 2))
    begin, end = (tuple(draw(st.integers(0, k - 1)) for k in kernel) for _ in range(2))
    for axis in (0, 1):
        assume(dilations[axis] * (kernel[axis] - 1) < size[axis] + begin[axis] + end[axis])
        assume(dilations[axis] <= size[axis])
    pads = (*begin, *end)
    return size, {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}


def as_onnx(attrs: dict[str, Any]) -> dict[str, Any]:
    return {{"kernel": "kernel_shape"}.get(key, key): value for key, value in attrs.items()}


@few
@given(pools(), seeds)
def test_max_pool_equals_onnxruntime(
    pool: tuple[tuple[int, int], dict[str, Any]], seed: int
) -> None:
    size, attrs = pool
    # All negative, so that a pad that wins would show.
    x = -np.abs(normal(seed, 2, 3, *size)) - 1
    assert_same(
        by_interpreter("MaxPool", [x], attrs), by_onnxruntime("MaxPool", [x], as_onnx(attrs))
    )


@few
@given(pools(), st.booleans(), seeds)
def test_average_pool_equals_onnxruntime(
    pool: tuple[tuple[int, int], dict[str, Any]], count: bool, seed: int
) -> None:
    size, attrs = pool
    x = normal(seed, 2, 3, *size)
    theirs = by_onnxruntime("AveragePool", [x], as_onnx(attrs) | {"count_include_pad": int(count)})
    assert_same(by_interpreter("AveragePool", [x], attrs | {"count_include_pad": count}), theirs)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_max_pool_of_integers_never_picks_a_pad(dtype: type) -> None:
    x = np.full((1, 1, 3, 3), np.iinfo(dtype).min, dtype)
    attrs = {"kernel": (2, 2), "pads": (1, 1, 1, 1)}
    assert_same(
        by_interpreter("MaxPool", [x], attrs), by_onnxruntime("MaxPool", [x], as_onnx(attrs))
    )


def test_max_pool_of_bits_is_their_or() -> None:
    graph = Graph()
    bits = graph.constant(np.eye(4, dtype=bool).reshape(1, 1, 4, 4), b1=True)
    node = graph.add("MaxPool", [bits], {"kernel": (2, 2), "strides": (2, 2)})
    (pooled,) = interpreter.evaluate(graph, {}, [node.output]).values()
    np.testing.assert_array_equal(pooled[0, 0], np.eye(2, dtype=bool))


def test_a_pool_that_counts_its_pads_may_end_in_cells_that_never_count() -> None:
    # ONNX's ceil_mode: explicit pads count, what rounding up adds behind them does not.
    x = normal(0, 1, 1, 4, 4)
    theirs = by_onnxruntime(
        "AveragePool",
        [x],
        {
            "kernel_shape": (3, 3),
            "strides": (2, 2),
            "pads": (1, 1, 0, 0),
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
    )
    (padded,) = by_interpreter("Pad", [x], {"pads": (0, 0, 1, 1, 0, 0, 0, 0)})
    mine = by_interpreter(
        "AveragePool",
        [padded],
        {"kernel": (3, 3), "strides": (2, 2), "pads": (0, 0, *ceil_rest(4))},
    )
    assert_same(mine, theirs)


def ceil_rest(size: int) -> tuple[int, int]:
    """Cells that rounding up adds behind ``size`` + 1 with kernel 3 and stride 2."""
    rest = math.ceil((size + 1 - 3) / 2) * 2 + 3 - (size + 1)
    return rest, rest


# ---- resize ---------------------------------------------------------------------------------


def table(coordinates: np.ndarray, size: int, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights for nearest (floor) or linear interpolation."""
    if taps == 1:
        index = np.floor(coordinates).astype(int)[:, None]
        return np.clip(index, 0, size - 1).astype(np.int32), np.ones_like(index, np.float32)
    clipped = np.clip(coordinates, 0, size - 1)
    low = np.floor(clipped).astype(int)
    index = np.stack([low, np.minimum(low + 1, size - 1)], 1).astype(np.int32)
    rest = clipped - low
    return index, np.stack([1 - rest, rest], 1).astype(np.float32)


def tables(size: tuple[int, int], out: tuple[int, int], mode: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {"out_h": out[0], "out_w": out[1]}
    for key, n, m in (("y", size[0], out[0]), ("x", size[1], out[1])):
        centres = np.arange(m) * n / m if mode == "nearest" else (np.arange(m) + 0.5) * n / m - 0.5
        index, weight = table(centres, n, 1 if mode == "nearest" else 2)
        attrs |= {f"i{key}": index, f"w{key}": weight}
    return attrs


@few
@given(pairs(1, 6), pairs(1, 3), st.sampled_from(["nearest", "linear"]), seeds)
def test_resize_by_whole_factors_equals_onnxruntime(
    size: tuple[int, int], factors: tuple[int, int], mode: str, seed: int
) -> None:
    out = (size[0] * factors[0], size[1] * factors[1])
    x = normal(seed, 2, 3, *size)
    attrs = {"mode": mode}
    if mode == "nearest":
        attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    theirs = by_onnxruntime("Resize", [x, None, None, np.array((2, 3, *out), np.int64)], attrs)
    assert_same(by_interpreter("Resize", [x], tables(size, out, mode)), theirs)


def test_resize_knows_when_it_only_moves_elements() -> None:
    graph = Graph()
    x = graph.constant(normal(0, 1, 1, 4, 4))
    assert is_nearest(graph.add("Resize", [x], tables((4, 4), (8, 8), "nearest")))
    assert not is_nearest(graph.add("Resize", [x], tables((4, 4), (8, 8), "linear")))
    graph.check()


def test_nearest_resize_moves_bytes_and_bits_too() -> None:
    x = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    (mine,) = by_interpreter("Resize", [x], tables((2, 2), (4, 4), "nearest"))
    np.testing.assert_array_equal(mine, x.repeat(2, axis=2).repeat(2, axis=3))
