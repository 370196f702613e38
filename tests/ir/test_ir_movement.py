"""Ops that move elements mean what they mean in onnxruntime."""

from __future__ import annotations

from typing import Any

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

from bnnc.ir import interpreter
from bnnc.ir.graph import Graph
from bnnc.ir.op import Flow
from bnnc.ir.ops import OPS

i64 = np.int64


@st.composite
def padded(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int], str]:
    shape = draw(shapes(1, 4, 5).filter(lambda s: all(n > 1 for n in s)))
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    pads = [draw(st.integers(0, n - 1)) for n in shape + shape]
    return shape, pads, mode


@few
@given(padded(), seeds)
def test_pad_equals_onnxruntime_in_every_mode(
    case: tuple[tuple[int, ...], list[int], str], seed: int
) -> None:
    shape, pads, mode = case
    x = normal(seed, *shape)
    value = np.array(0.25, np.float32)
    theirs = by_onnxruntime("Pad", [x, np.array(pads, i64), value], {"mode": mode})
    assert_same(by_interpreter("Pad", [x], {"pads": pads, "mode": mode, "value": 0.25}), theirs)


def test_negative_pads_crop() -> None:
    x = normal(0, 1, 2, 5, 6)
    pads = [0, 0, -1, 2, 0, 0, 1, -3]
    theirs = by_onnxruntime("Pad", [x, np.array(pads, i64)])
    assert_same(by_interpreter("Pad", [x], {"pads": pads}), theirs)


@few
@given(shapes(1, 4), st.data(), seeds)
def test_concat_equals_onnxruntime(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    arrays = []
    for i, length in enumerate(lengths):
        sizes = list(shape)
        sizes[axis] = length
        arrays.append(normal(seed + i, *sizes))
    attrs = {"axis": axis}
    assert_same(by_interpreter("Concat", arrays, attrs), by_onnxruntime("Concat", arrays, attrs))


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A shape and a Slice that keeps something; bounds may lie far outside."""
    shape = draw(shapes(1, 4, 6))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(1, len(shape)))]
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        first, last = sorted(draw(st.tuples(*[st.integers(0, size - 1)] * 2)))
        step = draw(st.integers(1, 3))
        if draw(st.booleans()):
            start, end = first, last + 1
            end = draw(st.sampled_from([end, end - size if end < size else 2**63 - 1]))
        else:
            start, end, step = last, first - 1, -step
            end = end if end >= 0 else draw(st.sampled_from([-size - 1, -(2**63)]))
        starts.append(draw(st.sampled_from([start, start - size])))
        ends.append(end)
        steps.append(step)
    named = [axis - draw(st.sampled_from([0, len(shape)])) for axis in axes]
    return shape, {"starts": starts, "ends": ends, "axes": named, "steps": steps}


@few
@given(slices(), seeds)
def test_slice_equals_onnxruntime(case: tuple[tuple[int, ...], dict[str, Any]], seed: int) -> None:
    shape, attrs = case
    x = normal(seed, *shape)
    theirs = by_onnxruntime("Slice", [x, *(np.array(v, i64) for v in attrs.values())])
    assert_same(by_interpreter("Slice", [x], attrs), theirs)


def test_slice_clamps_bounds_outside_the_axis() -> None:
    x = np.arange(5, dtype=np.float32)
    for start, end, step in ((-99, 99, 1), (99, -99, -1), (-99, -100, -1), (3, 99, 2)):
        theirs = by_onnxruntime("Slice", [x, *(np.array([v], i64) for v in (start, end, 0, step))])
        attrs = {"starts": [start], "ends": [end], "axes": [0], "steps": [step]}
        assert_same(by_interpreter("Slice", [x], attrs), theirs)


def test_slice_without_steps_takes_every_element() -> None:
    x = np.arange(5, dtype=np.float32)
    assert_same(by_interpreter("Slice", [x], {"starts": [1], "ends": [4], "axes": [0]}), [x[1:4]])


@few
@given(shapes(0, 4), st.data(), seeds)
def test_transpose_equals_onnxruntime(
    shape: tuple[int, ...], data: st.DataObject, seed: int
) -> None:
    perm = data.draw(st.permutations(range(len(shape))))
    x = np.asarray(normal(seed, *shape))
    assert_same(
        by_interpreter("Transpose", [x], {"perm": tuple(perm)}),
        by_onnxruntime("Transpose", [x], {"perm": perm} if perm else {}),
    )


def test_reshape_keeps_the_order() -> None:
    x = normal(0, 2, 3, 4)
    for shape in ((24,), (4, 6), (1, 2, 1, 12)):
        theirs = by_onnxruntime("Reshape", [x, np.array(shape, i64)])
        assert_same(by_interpreter("Reshape", [x], {"shape": shape}), theirs)


@pytest.mark.parametrize(
    ("shape", "to"), [((3, 1), (2, 3, 4)), ((3, 4), (1, 1)), ((), (2, 2)), ((1, 3, 1), (2, 1, 2))]
)
def test_expand_broadcasts_both_ways(shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    x = np.asarray(normal(0, *shape))
    theirs = by_onnxruntime("Expand", [x, np.array(to, i64)])
    assert_same(by_interpreter("Expand", [x], {"shape": to}), theirs)


@few
@given(shapes(1, 3), shapes(0, 2, 3), st.data(), seeds)
def test_gather_equals_onnxruntime(
    shape: tuple[int, ...], wanted: tuple[int, ...], data: st.DataObject, seed: int
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    indices = np.asarray(np.random.default_rng(seed).integers(-size, size, wanted), i64)
    arrays = [normal(seed, *shape), indices]
    attrs = {"axis": axis}
    assert_same(by_interpreter("Gather", arrays, attrs), by_onnxruntime("Gather", arrays, attrs))


def test_gather_clamps_indices_computed_in_the_run() -> None:
    x = np.arange(3, dtype=np.float32)
    (mine,) = by_interpreter("Gather", [x, np.array([-9, -1, 0, 7], i64)])
    np.testing.assert_array_equal(mine, [0, 2, 0, 2])


def test_movement_ops_move_bits() -> None:
    graph = Graph()
    bits = graph.constant(np.array([[True, False, True]]), b1=True)
    value = graph.add("Transpose", [bits], {"perm": (1, 0)}).output
    value = graph.add("Concat", [value, value], {"axis": 1}).output
    value = graph.add("Pad", [value], {"pads": (0, 1, 0, 0), "value": 1.0}).output
    assert str(value.type) == "b1[3x3]"
    (found,) = interpreter.evaluate(graph, {}, [value]).values()
    np.testing.assert_array_equal(found, [[1, 1, 1], [1, 0, 0], [1, 1, 1]])


MOVERS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "Identity": ([(1, 2, 4, 4)], {}),
    "Copy": ([(1, 2, 4, 4)], {}),
    "Pad": ([(1, 2, 4, 4)], {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "value": 7.0}),
    "Concat": ([(2, 3), (2, 1)], {"axis": 1}),
    "Slice": ([(5, 3)], {"starts": (4,), "ends": (-9,), "axes": (0,), "steps": (-2,)}),
    "Reshape": ([(2, 6)], {"shape": (3, 4)}),
    "Transpose": ([(2, 3, 4)], {"perm": (2, 0, 1)}),
    "Expand": ([(3, 1)], {"shape": (2, 3, 4)}),
    "Gather": ([(3, 4)], {"axis": 1}),
    "MaxPool": ([(1, 2, 4, 4)], {"kernel": (2, 2), "pads": (1, 0, 0, 1)}),
    "ReduceMax": ([(2, 3, 4)], {"axes": (0, 2)}),
    "ReduceMin": ([(2, 3, 4)], {"axes": (1,), "keepdims": False}),
}


@pytest.mark.parametrize("op", [op.name for op in OPS.values() if op.flow is Flow.MOVEMENT])
def test_movement_ops_only_give_elements_of_their_data_or_the_pad_value(op: str) -> None:
    sizes, attrs = MOVERS[op]
    data = [normal(i, *shape) - 5 for i, shape in enumerate(sizes)]
    others = [np.array([[1, 0]], i64)] if op == "Gather" else []
    (result,) = by_interpreter(op, [*data, *others], attrs)
    allowed = {float(v) for array in data for v in array.flat} | {
        attrs.get("value", data[0].flat[0])
    }
    assert set(map(float, result.flat)) <= allowed
