"""Convolutions, matrix products and BatchNormalization mean what they mean in onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from onnx_reference import (
    assert_same,
    by_interpreter,
    by_onnxruntime,
    few,
    normal,
    pairs,
    seeds,
    shapes,
)

from bnnc.ir.ops import windows

GEOMETRY = st.fixed_dictionaries(
    {
        "kernel": pairs(1, 4),
        "strides": pairs(1, 3),
        "dilations": pairs(1, 3),
        "pads": st.tuples(*[st.integers(0, 3)] * 4),
    }
)


def fits(geometry: dict[str, Any], size: tuple[int, int]) -> bool:
    pads = geometry["pads"]
    padded = (size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3])
    return all(
        d * (k - 1) < p for d, k, p in zip(geometry["dilations"], geometry["kernel"], padded)
    )


@few
@given(
    GEOMETRY, pairs(1, 9), st.integers(1, 3), pairs(1, 3), st.integers(1, 2), st.booleans(), seeds
)
@example(
    {"kernel": (3, 3), "strides": (2, 2), "dilations": (1, 1), "pads": (0, 0, 1, 1)},
    (8, 8), 4, (1, 1), 1, True, 0,
)  # fmt: skip
def test_conv_equals_onnxruntime(
    geometry: dict[str, Any],
    size: tuple[int, int],
    group: int,
    channels: tuple[int, int],
    batch: int,
    bias: bool,
    seed: int,
) -> None:
    assume(fits(geometry, size))
    depth, width = channels
    x = normal(seed, batch, group * depth, *size)
    w = normal(seed + 1, group * width, depth, *geometry["kernel"])
    b = normal(seed + 2, group * width) if bias else None
    attrs = {key: geometry[key] for key in ("strides", "dilations", "pads")} | {"group": group}
    arrays = [x, w, b] if bias else [x, w]
    assert_same(by_interpreter("Conv", arrays, attrs), by_onnxruntime("Conv", arrays, attrs))


def test_conv_in_blocks_of_rows_equals_conv_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [normal(0, 1, 3, 11, 7), normal(1, 4, 3, 3, 3)]
    attrs = {"pads": (1, 1, 1, 1), "strides": (2, 1)}
    at_once = by_interpreter("Conv", arrays, attrs)
    monkeypatch.setattr(windows, "_BLOCK_ELEMENTS", 400)
    assert_same(by_interpreter("Conv", arrays, attrs), at_once)


@few
@given(
    GEOMETRY,
    pairs(0, 2),
    pairs(1, 6),
    st.integers(1, 3),
    pairs(1, 3),
    st.integers(1, 2),
    st.booleans(),
    seeds,
)
def test_transposed_conv_equals_onnxruntime(
    geometry: dict[str, Any],
    output_padding: tuple[int, int],
    size: tuple[int, int],
    group: int,
    channels: tuple[int, int],
    batch: int,
    bias: bool,
    seed: int,
) -> None:
    strides, dilations, pads = (geometry[key] for key in ("strides", "dilations", "pads"))
    extra = tuple(min(o, s - 1) for o, s in zip(output_padding, strides))
    for axis in (0, 1):
        full = (size[axis] - 1) * strides[axis] + extra[axis] + 1
        full += dilations[axis] * (geometry["kernel"][axis] - 1)
        assume(full > pads[axis] + pads[axis + 2])
    depth, width = channels
    x = normal(seed, batch, group * depth, *size)
    w = normal(seed + 1, group * depth, width, *geometry["kernel"])
    arrays = [x, w, normal(seed + 2, group * width)] if bias else [x, w]
    attrs = {
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "group": group,
        "output_padding": extra,
    }
    assert_same(
        by_interpreter("ConvTranspose", arrays, attrs),
        by_onnxruntime("ConvTranspose", arrays, attrs),
    )


@st.composite
def factors(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of two matrices, vectors or stacks of matrices that can be multiplied."""
    m, k, n = (draw(st.integers(1, 5)) for _ in range(3))
    stack = draw(shapes(0, 2, 3))
    left: tuple[int, ...] = (*stack[draw(st.integers(0, len(stack))) :], m, k)
    right: tuple[int, ...] = (*stack[draw(st.integers(0, len(stack))) :], k, n)
    form = draw(st.sampled_from(["matrices", "row", "column"]))
    if form == "row":
        left = (k,)
    if form == "column":
        right = (k,)
    return left, right


@few
@given(factors(), seeds)
def test_matmul_equals_onnxruntime(
    both: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    arrays = [normal(seed, *both[0]), normal(seed + 1, *both[1])]
    assert_same(by_interpreter("MatMul", arrays), by_onnxruntime("MatMul", arrays))


def test_matmul_of_integers_is_exact() -> None:
    arrays = [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.arange(12, dtype=np.int32).reshape(3, 4),
    ]
    assert_same(by_interpreter("MatMul", arrays), by_onnxruntime("MatMul", arrays))


def test_matmul_with_a_bias_is_gemm() -> None:
    arrays = [normal(0, 3, 4), normal(1, 4, 5), normal(2, 5)]
    assert_same(by_interpreter("MatMul", arrays), by_onnxruntime("Gemm", arrays))


@few
@given(shapes(2, 5, 4), st.sampled_from([1e-5, 1e-3]), seeds)
def test_batch_normalization_equals_onnxruntime(
    shape: tuple[int, ...], epsilon: float, seed: int
) -> None:
    x = normal(seed, *shape)
    scale, bias, mean = (normal(seed + i, shape[1]) for i in (1, 2, 3))
    arrays = [x, scale, bias, mean, np.abs(normal(seed + 4, shape[1])) + np.float32(0.1)]
    attrs = {"epsilon": epsilon}
    assert_same(
        by_interpreter("BatchNormalization", arrays, attrs),
        by_onnxruntime("BatchNormalization", arrays, attrs),
    )
