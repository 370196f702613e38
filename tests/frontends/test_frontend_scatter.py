"""ScatterND, ScatterElements, OneHot, Compress, batched GatherND: what decoding is written with."""

from __future__ import annotations

import numpy as np
import onnx
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
    told,
)

from bnnc.errors import ModelError, UnsupportedError
from bnnc.ir.domains import Domains


@few
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    deep=st.integers(1, 4),
    count=st.integers(1, 6),
    seed=seeds,
)
def test_scatter_nd_with_fixed_indices(shape: list[int], deep: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    deep = min(deep, len(shape))
    places = np.unravel_index(
        rng.choice(int(np.prod(shape[:deep])), min(count, int(np.prod(shape[:deep]))), False),
        shape[:deep],
    )
    index = np.stack(places, -1)
    index = np.where(rng.random(index.shape) < 0.3, index - np.array(shape[:deep]), index)
    updates = normal(seed, len(index), *shape[deep:])
    assert_node_agrees("ScatterND", [normal(seed + 1, *shape), None, updates], fixed={1: index})


def test_a_box_that_is_replaced_is_a_concat() -> None:
    """What exporters make of ``y[..., 1:3] = u``."""
    grid = np.stack(np.meshgrid(*map(np.arange, (2, 3)), [1, 2], indexing="ij"), -1)
    arrays = [normal(1, 2, 3, 5), None, normal(2, 2, 3, 2)]
    graph = assert_node_agrees("ScatterND", arrays, fixed={1: grid})
    assert sorted(ops_of(graph)) == ["Concat", "Slice", "Slice"]


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scatter_with_a_reduction(reduction: str) -> None:
    arrays = [normal(1, 4, 3), None, normal(2, 2, 3)]
    attrs = {"reduction": reduction}
    assert_node_agrees("ScatterND", arrays, attrs, fixed={1: np.array([[2], [-4]])}, opset=18)
    index = np.array([[0, 1, 2], [3, 0, 1]])
    assert_node_agrees("ScatterElements", arrays, attrs, fixed={1: index}, opset=18)


@pytest.mark.parametrize(("op", "opset"), [("ScatterElements", 16), ("Scatter", 10)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(op: str, opset: int, axis: int) -> None:
    index = np.argsort(normal(3, 2, 3, 2), axis=axis)
    arrays = [normal(1, 2, 3, 4), None, normal(2, 2, 3, 2)]
    assert_node_agrees(op, arrays, {"axis": axis}, fixed={1: index}, opset=opset)


@pytest.mark.parametrize(
    ("index", "updates", "message"),
    [
        (np.array([[4]]), (1, 3), "y0: ScatterND has indices outside its input"),
        (
            np.array([[1], [1]]),
            (2, 3),
            "y0: ScatterND with reduction 'add' onto one element twice",
        ),
        (
            np.array([[0]]),
            (1, 2),
            "y0: ScatterND has indices of shape 1x1 and updates of shape 1x2 for 4x3",
        ),
        (
            np.array([[0, 0, 0]]),
            (1,),
            "y0: ScatterND has indices of shape 1x3 and updates of shape 1 for 4x3",
        ),
    ],
)
def test_scatters_that_cannot_be(index: np.ndarray, updates: tuple[int, ...], message: str) -> None:
    arrays = [normal(1, 4, 3), None, normal(2, *updates)]
    model, _ = one_node("ScatterND", arrays, {"reduction": "add"}, fixed={1: index})
    with pytest.raises(ModelError) as caught:
        load(model)
    assert told(caught.value) == message


def test_scattering_to_where_the_input_says_is_refused() -> None:
    model, _ = one_node("ScatterND", [normal(1, 4), np.array([[1]]), normal(2, 1)])
    with pytest.raises(UnsupportedError, match="indices that depend on the input"):
        load(model)


def test_gather_nd_in_batches() -> None:
    index = np.array([[[1, 0], [-1, 2]], [[0, 1], [1, 1]]])
    assert_node_agrees("GatherND", [normal(1, 2, 3, 4, 2), index], {"batch_dims": 1}, opset=13)
    deep = np.array([[[1], [-1]], [[0], [3]]])
    assert_node_agrees("GatherND", [normal(1, 2, 2, 4), deep], {"batch_dims": 2}, opset=13)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot(axis: int) -> None:
    index = np.array([[0, 2, -1], [4, -5, 7]], np.int64)
    values = np.array([0.25, 3], np.float32)
    fixed = {1: np.array(5, np.int64)}
    assert_node_agrees("OneHot", [index, None, values], {"axis": axis}, fixed=fixed)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress_by_a_constant(axis: int | None) -> None:
    attrs = {} if axis is None else {"axis": axis}
    fixed = {1: np.array([False, True, True])}
    assert_node_agrees("Compress", [normal(1, 3, 4)], attrs, fixed=fixed)


def test_decoding_with_topk_and_gathers() -> None:
    """CenterNet's: the best cells of a heatmap, and what the other head says there."""
    nodes = [
        helper.make_node("MaxPool", ["heat"], ["m"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Equal", ["heat", "m"], ["peak"]),
        helper.make_node("Where", ["peak", "heat", "zero"], ["kept"]),
        helper.make_node("Reshape", ["kept", "flat"], ["scores"]),
        helper.make_node("TopK", ["scores", "k"], ["best", "place"]),
        helper.make_node("Mod", ["place", "cells"], ["cell"]),
        helper.make_node("Div", ["place", "cells"], ["class"]),
        helper.make_node("Reshape", ["size", "pairs"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["cell", "last"], ["c"]),
        helper.make_node("GatherND", ["t", "c"], ["boxes"], batch_dims=1),
        helper.make_node("Expand", ["c", "wide"], ["both"]),
        helper.make_node("GatherElements", ["t", "both"], ["again"], axis=1),
    ]
    constants = {
        "zero": np.float32([0]),
        "flat": np.array([1, -1]),
        "pairs": np.array([1, 2, -1]),
        "k": np.array([5]),
        "cells": np.array(24),
        "last": np.array([2]),
        "wide": np.array([1, 5, 2]),
    }
    inputs = [info("heat", shape=[1, 3, 4, 6]), info("size", shape=[1, 2, 4, 6])]
    outputs = ["best", "class", "boxes", "again"]
    model = model_of(nodes, inputs, outputs, constants, opset=17)
    assert_agrees(model, {"heat": normal(1, 1, 3, 4, 6), "size": normal(2, 1, 2, 4, 6)})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("count", [1, 2])
def test_scatter_elements_with_few_computed_indices(axis: int, count: int) -> None:
    x = normal(1, 3, 4, 5)
    index = np.argsort(normal(2, 3, 4, 5), axis).take(range(count), axis)
    index = np.where(normal(3, *index.shape) < 0, index - x.shape[axis], index)
    graph = assert_node_agrees(
        "ScatterElements", [x, index, normal(4, *index.shape)], {"axis": axis}, opset=18
    )
    assert ops_of(graph).count("Where") == 2 * count


def test_a_one_hot_code_of_the_largest_is_two_valued() -> None:
    """What exporters make of ``torch.zeros_like(x).scatter_(1, x.argmax(1, True), 1.0)``."""
    node = helper.make_node
    nodes = [
        node("ArgMax", ["x"], ["index"], axis=1),
        node("ScatterElements", ["zeros", "index", "ones"], ["y"], axis=1),
    ]
    constants = {
        "zeros": np.zeros((2, 3, 4), np.float32),
        "ones": np.ones((2, 1, 4), np.float32),
    }
    x = normal(1, 2, 3, 4)
    model = model_of(nodes, [info("x", shape=x.shape)], [info("y")], constants, opset=17)
    graph = assert_agrees(model, {"x": x})
    assert Domains(graph).distinct(graph.outputs[0]).tolist() == [0, 1]


# ---- under a mask --------------------------------------------------------------------------------


def assigned(mask: np.ndarray | None, number: np.ndarray) -> onnx.ModelProto:
    """``x[mask] = number`` as torch's newer exporter writes it: where x is negative, if no mask is
    given."""
    node = helper.make_node
    nodes = [
        node("Less", ["x", "zero"], ["computed"]),
        node("NonZero", ["mask" if mask is not None else "computed"], ["positions"]),
        node("Transpose", ["positions"], ["indices"], perm=[1, 0]),
        node("Shape", ["indices"], ["sizes"]),
        node("Gather", ["sizes", "first"], ["count"]),
        node("Expand", ["number", "count"], ["many"]),
        node("Reshape", ["many", "flat"], ["updates"]),
        node("ScatterND", ["x", "indices", "updates"], ["y"], "assign"),
    ]
    constants = {
        "zero": np.zeros((), np.float32),
        "first": np.zeros(1, np.int64),
        "flat": np.array([-1]),
        "number": number,
    }
    if mask is not None:
        constants["mask"] = mask
    return model_of(nodes, [info("x", shape=(1, 2, 3, 4))], [info("y")], constants, opset=17)


def test_a_number_assigned_under_a_mask_is_chosen_by_it() -> None:
    graph = assert_agrees(assigned(None, np.float32(-1)), {"x": normal(1, 1, 2, 3, 4)})
    assert ops_of(graph)[-1] == "Where"


def test_a_sign_whose_zeros_are_assigned_takes_two_values() -> None:
    """What torch's newer exporter makes of ``y = x.sign(); y[y == 0] = 1``."""
    node = helper.make_node
    nodes = [
        node("Sign", ["x"], ["s"]),
        node("Equal", ["s", "zero"], ["mask"]),
        node("NonZero", ["mask"], ["positions"]),
        node("Transpose", ["positions"], ["indices"], perm=[1, 0]),
        node("Shape", ["indices"], ["sizes"]),
        node("Gather", ["sizes", "first"], ["count"]),
        node("Expand", ["one", "count"], ["updates"]),
        node("ScatterND", ["s", "indices", "updates"], ["y"]),
    ]
    constants = {"zero": np.float32(0), "one": np.float32(1), "first": np.zeros(1, np.int64)}
    x = np.where(np.arange(24) % 5, normal(1, 24), 0).astype(np.float32).reshape(1, 2, 3, 4)
    model = model_of(nodes, [info("x", shape=x.shape)], [info("y")], constants, opset=17)
    graph = assert_agrees(model, {"x": x})
    assert Domains(graph).distinct(graph.outputs[0]).tolist() == [-1, 1]


def test_a_fixed_mask_takes_a_number_for_each_element() -> None:
    mask = np.arange(24).reshape(1, 2, 3, 4) % 3 == 0
    assert_agrees(assigned(mask, normal(2, 8)), {"x": normal(1, 1, 2, 3, 4)})


def test_several_numbers_under_a_mask_are_refused() -> None:
    message = "assign: ScatterND under a mask that is computed takes one number, not 8"
    with pytest.raises(UnsupportedError, match=message):
        load(assigned(None, normal(2, 8)))
