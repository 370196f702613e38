"""Operators that move elements or look at shapes, in every version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    by_bnnc,
    few,
    info,
    load,
    model_of,
    normal,
    one_node,
    ops_of,
    seeds,
)

from bnnc.errors import ModelError, UnsupportedError

X = normal(1, 2, 3, 4, 5)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


# ---- Slice, Split, Concat, Pad ----------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int]:
    """Start, end and step; the end may stand for "all the rest"."""
    step = draw(st.sampled_from([-3, -1, 1, 1, 2]))
    rest = [2**31 - 1, 2**63 - 1] if step > 0 else [-(2**31), -(2**63) + 1]
    end = draw(st.one_of(st.integers(-9, 9), st.sampled_from(rest)))
    return draw(st.integers(-9, 9)), end, step


@few
@given(
    axes=st.lists(st.integers(-3, 2), min_size=1, max_size=3, unique_by=lambda a: a % 3),
    data=st.data(),
)
def test_slice(axes: list[int], data: st.DataObject) -> None:
    x = np.arange(120).reshape(4, 5, 6)
    starts, ends, steps = zip(*(data.draw(cuts()) for _ in axes))
    fixed = {1: ints(*starts), 2: ints(*ends), 3: ints(*axes), 4: ints(*steps)}
    assert_node_agrees("Slice", [x], fixed=fixed)


def test_slice_with_attributes() -> None:
    attrs = {"starts": [1, -3], "ends": [2, 1000], "axes": [1, 3]}
    assert_node_agrees("Slice", [X], attrs, opset=9)


@pytest.mark.parametrize("opset", [10, 13])
def test_slice_of_leading_axes(opset: int) -> None:
    assert_node_agrees("Slice", [X], fixed={1: ints(0, 1), 2: ints(1, 3)}, opset=opset)


def test_slice_that_keeps_everything_is_dropped() -> None:
    fixed = {1: ints(0), 2: ints(2**63 - 1), 3: ints(2), 4: ints(1)}
    assert ops_of(assert_node_agrees("Slice", [X], fixed=fixed)) == []


def test_slice_at_computed_places_is_refused() -> None:
    model, _ = one_node("Slice", [X, ints(0), ints(1)])
    with pytest.raises(UnsupportedError, match="y0: Slice has starts that depend on the input"):
        load(model)


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
@pytest.mark.parametrize("axis", [1, -1])
def test_split_into_given_sizes(opset: int, axis: int) -> None:
    sizes = [1, 2] if axis == 1 else [2, 3]
    if opset < 13:
        assert_node_agrees("Split", [X], {"axis": axis, "split": sizes}, outputs=2, opset=opset)
    else:
        fixed = {1: ints(*sizes)}
        assert_node_agrees("Split", [X], {"axis": axis}, fixed=fixed, outputs=2, opset=opset)


@pytest.mark.parametrize("opset", [9, 13])
def test_split_into_equal_parts(opset: int) -> None:
    assert_node_agrees("Split", [X], {"axis": 2}, outputs=2, opset=opset)


def test_split_with_a_smaller_last_part() -> None:
    assert_node_agrees("Split", [X], {"axis": 3, "num_outputs": 2}, outputs=2)


def test_parts_of_a_split_that_nobody_reads_are_not_cut() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    graph = assert_agrees(model_of(nodes, [info("x", shape=[1, 6])], ["y"]), {"x": normal(1, 1, 6)})
    assert ops_of(graph) == ["Slice", "Slice", "Add"]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    assert_node_agrees("Concat", [normal(i, 3, 3, 3) for i in range(3)], {"axis": axis})


def test_concat_of_one_is_dropped() -> None:
    assert ops_of(assert_node_agrees("Concat", [X], {"axis": 1})) == []


@few
@given(
    mode=st.sampled_from(["constant", "reflect", "edge", "wrap"]),
    pads=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    seed=seeds,
)
def test_pad(mode: str, pads: list[int], seed: int) -> None:
    fixed = {1: ints(*pads), 2: np.array(1.5, np.float32)}
    assert_node_agrees("Pad", [normal(seed, 3, 3, 4, 5)], {"mode": mode}, fixed=fixed)


@pytest.mark.parametrize("opset", [9, 10])
def test_pad_with_attributes(opset: int) -> None:
    attrs = {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": -1.0}
    assert_node_agrees("Pad", [X], attrs, opset=opset)


def test_pad_of_some_axes() -> None:
    fixed = {1: ints(1, 0, 2, 1), 2: np.array(-1, np.float32), 3: ints(-1, 2)}
    assert_node_agrees("Pad", [X], fixed=fixed)


def test_negative_pads_crop() -> None:
    assert_node_agrees("Pad", [X], fixed={1: ints(0, -1, 1, -2, 0, 0, -2, 1)})


def test_pad_of_integers() -> None:
    fixed = {1: ints(1, 2), 2: np.array(7, np.int64)}
    assert_node_agrees("Pad", [ints(1, 2, 3)], fixed=fixed)


def test_pad_amounts_may_be_computed_from_the_shape() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Sub", ["eight", "s"], ["missing"]),
        helper.make_node("Concat", ["none", "missing"], ["pads"], axis=0),
        helper.make_node("Pad", ["x", "pads"], ["y"]),
    ]
    constants = {"eight": ints(8, 8), "none": ints(0, 0)}
    graph = assert_agrees(
        model_of(nodes, [info("x", shape=[6, 7])], ["y"], constants), {"x": normal(1, 6, 7)}
    )
    assert graph.nodes()[0].attrs["pads"] == (0, 0, 2, 1)


# ---- Reshape and its kin ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, -1), (0, 0, -1), (-1,), (0, 60), (6, 20), (0, -1, 5)])
def test_reshape(shape: tuple[int, ...]) -> None:
    assert_node_agrees("Reshape", [X], fixed={1: ints(*shape)})


def test_reshape_of_an_empty_list_of_numbers() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=1),
        helper.make_node("Concat", ["s", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"], allowzero=1),
    ]
    model = model_of(nodes, [info("x", shape=[2, 3])], ["y"], {"rest": ints(3, 2)})
    assert_agrees(model, {"x": normal(1, 2, 3)})


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1, -3])
def test_flatten(axis: int) -> None:
    assert_node_agrees("Flatten", [X], {"axis": axis})


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
@pytest.mark.parametrize(("op", "shape"), [("Squeeze", (1, 3, 1, 2)), ("Unsqueeze", (3, 2))])
def test_squeeze_and_unsqueeze(op: str, shape: tuple[int, ...], opset: int) -> None:
    axes = [0, 2]
    if opset < 13:
        assert_node_agrees(op, [normal(1, *shape)], {"axes": axes}, opset=opset)
    else:
        assert_node_agrees(op, [normal(1, *shape)], fixed={1: ints(*axes)}, opset=opset)


@pytest.mark.parametrize("fixed", [{}, {1: np.zeros(0, np.int64)}])
def test_squeeze_of_every_axis_of_one(fixed: dict[int, np.ndarray]) -> None:
    assert_node_agrees("Squeeze", [normal(1, 1, 3, 1, 2)], fixed=fixed)


def test_unsqueeze_counts_negative_axes_in_the_result() -> None:
    assert_node_agrees("Unsqueeze", [normal(1, 3, 2)], fixed={1: ints(-1, 0)})


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1), (5, 1, 4), (1,), (3, 4)])
def test_expand(shape: tuple[int, ...]) -> None:
    assert_node_agrees(
        "Expand", [normal(1, 3, 1 if shape[-1:] == (4,) else 4)], fixed={1: ints(*shape)}
    )


@few
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    data=st.data(),
)
def test_tile(shape: list[int], data: st.DataObject) -> None:
    repeats = [data.draw(st.integers(1, 3)) for _ in shape]
    assert_node_agrees("Tile", [normal(1, *shape)], fixed={1: ints(*repeats)})


@pytest.mark.parametrize("perm", [None, [0, 2, 3, 1], [3, 0, 1, 2]])
def test_transpose(perm: list[int] | None) -> None:
    assert_node_agrees("Transpose", [X], {"perm": perm} if perm else {})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    assert_node_agrees("DepthToSpace", [normal(1, 2, 12, 3, 4)], {"blocksize": 2, "mode": mode})


def test_space_to_depth() -> None:
    assert_node_agrees("SpaceToDepth", [normal(1, 2, 3, 6, 4)], {"blocksize": 2})


# ---- Gather and its kin -----------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
@pytest.mark.parametrize("constant", [True, False])
def test_gather(axis: int, shape: tuple[int, ...], constant: bool) -> None:
    x = normal(1, 4, 5, 6)
    index = np.random.default_rng(1).integers(-4, 4, shape)
    if constant:
        assert_node_agrees("Gather", [x], {"axis": axis}, fixed={1: index})
    else:
        assert_node_agrees("Gather", [x, np.asarray(index)], {"axis": axis})


@few
@given(
    axis=st.integers(-3, 2),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 2)),
    constant=st.booleans(),
    seed=seeds,
)
def test_gather_elements(axis: int, shape: tuple[int, ...], constant: bool, seed: int) -> None:
    x = normal(seed, 3, 4, 2)
    size = x.shape[axis]
    index = np.random.default_rng(seed).integers(-size, size, shape)
    arrays, fixed = ([x], {1: index}) if constant else ([x, index], {})
    assert_node_agrees("GatherElements", arrays, {"axis": axis}, fixed=fixed)


@pytest.mark.parametrize("count", [1, 3])
def test_gather_elements_at_the_same_places_in_every_channel(count: int) -> None:
    nodes = [
        helper.make_node("Expand", ["index", "shape"], ["wide"]),
        helper.make_node("GatherElements", ["x", "wide"], ["y"], axis=1),
    ]
    inputs = [info("x", shape=[1, 9, 4]), info("index", np.int64, [1, count, 1])]
    graph = assert_agrees(
        model_of(nodes, inputs, ["y"], {"shape": ints(1, 3, 4)}),
        {"x": normal(1, 1, 9, 4), "index": ints(7, 0, 2)[:count].reshape(1, count, 1)},
    )
    if count == 3:
        assert ops_of(graph) == ["Reshape", "Gather"]


@few
@given(count=st.integers(1, 3), shape=st.lists(st.integers(1, 3), max_size=2), seed=seeds)
def test_gather_nd(count: int, shape: list[int], seed: int) -> None:
    x = normal(seed, 3, 4, 2)
    rng = np.random.default_rng(seed)
    index = np.stack([rng.integers(-n, n, shape) for n in x.shape[:count]], axis=-1)
    assert_node_agrees("GatherND", [x, index])


# ---- shapes as constants ----------------------------------------------------------------------


@pytest.mark.parametrize("attrs", [{}, {"start": 1}, {"end": -1}, {"start": -3, "end": 3}])
def test_shape_is_a_constant(attrs: dict[str, int]) -> None:
    graph = assert_node_agrees("Shape", [X], attrs)
    assert graph.outputs[0].is_constant


def test_size_is_a_constant() -> None:
    assert_node_agrees("Size", [X])


def test_constant_of_shape_and_range() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node(
            "ConstantOfShape",
            ["s"],
            ["full"],
            value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5]),
        ),
        helper.make_node("Range", ["a", "b", "c"], ["steps"]),
        helper.make_node("Cast", ["steps"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["full", "floats"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    constants = {"a": np.array(7), "b": np.array(-1), "c": np.array(-2)}
    graph = assert_agrees(
        model_of(nodes, [info("x", shape=[3, 4])], ["y"], constants), {"x": normal(1, 3, 4)}
    )
    assert ops_of(graph) == ["Add"]


@pytest.mark.parametrize(
    ("op", "attrs", "arrays"),
    [
        ("NonZero", {}, [np.array([[0, 2, 0], [3, 0, 4]])]),
        ("CumSum", {}, [np.arange(12).reshape(3, 4), np.array(1)]),
        ("CumSum", {"reverse": 1, "exclusive": 1}, [np.arange(12).reshape(3, 4), np.array(0)]),
        ("BitShift", {"direction": "LEFT"}, [np.array([200, 3, 1], np.uint8), np.uint8([1, 9, 7])]),
        ("BitwiseNot", {}, [np.arange(6)]),
        ("BitwiseOr", {}, [np.arange(6), np.array([9])]),
    ],
)
def test_operators_computed_on_constants_only(
    op: str, attrs: dict[str, Any], arrays: list[np.ndarray]
) -> None:
    fixed = dict(enumerate(arrays))
    assert assert_node_agrees(op, [], attrs, fixed=fixed).nodes() == []
    model, _ = one_node(op, arrays, attrs)
    with pytest.raises(UnsupportedError, match=rf"y0: {op} has .* that depend on the input"):
        load(model)


def test_an_output_may_have_no_elements() -> None:
    assert_node_agrees("Slice", [X], fixed={1: ints(1), 2: ints(1)})


# ---- contradictions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "attrs", "fixed", "message"),
    [
        ("Reshape", {}, {1: ints(7, -1)}, "Reshape cannot turn 2x3x4x5 into 7x-1"),
        ("Reshape", {}, {1: ints(-1, -1)}, "Reshape cannot turn 2x3x4x5 into -1x-1"),
        ("Reshape", {}, {1: ints(-2, -60)}, "Reshape cannot turn"),
        ("Reshape", {}, {1: ints(2, 3, 4, 5, 0)}, "Reshape cannot turn"),
        ("Reshape", {}, {1: np.array([2.0], np.float32)}, "Reshape cannot take 'x1'"),
        ("Flatten", {"axis": 5}, {}, "Flatten has axis 5, but there are 4 axes"),
        ("Squeeze", {}, {1: ints(1)}, "Squeeze would remove axes"),
        ("Squeeze", {}, {1: ints(9)}, "Squeeze has axis 9, but there are 4 axes"),
        ("Unsqueeze", {}, {1: ints(0, 0)}, "Unsqueeze names an axis twice"),
        ("Expand", {}, {1: ints(2, 3, 4, 6)}, "Expand cannot broadcast 2x3x4x5 to 2x3x4x6"),
        ("Expand", {}, {1: ints(2**40, 1, 1, 1, 1)}, "Expand would give"),
        ("Tile", {}, {1: ints(1, 2)}, "Tile has repeats"),
        ("Tile", {}, {1: ints(1, 0, 1, 1)}, "Tile has repeats"),
        ("Tile", {}, {1: ints(1, 2**40, 1, 1)}, "Expand would give"),
        ("Transpose", {"perm": [0, 1]}, {}, "Transpose has perm"),
        ("Transpose", {"perm": [0, 1, 2, 2]}, {}, "Transpose has perm"),
        ("Split", {"axis": 1, "num_outputs": 3}, {}, "Split says num_outputs"),
        ("Split", {"axis": 1}, {1: ints(5)}, "Split cannot cut 3 into 1 parts"),
        ("Slice", {}, {1: ints(0), 2: ints(1, 2)}, "Slice has starts, ends"),
        ("Slice", {}, {1: ints(0), 2: ints(1), 3: ints(0), 4: ints(0)}, "Slice has a step of 0"),
        ("Pad", {}, {1: ints(1, 1)}, "Pad has 2 pads for 4 axes"),
        ("Pad", {}, {1: ints(*[2**40] * 8)}, "Pad would give"),
        ("Pad", {"mode": "mirror"}, {1: ints(*[1] * 8)}, "Pad has mode 'mirror'"),
        ("Pad", {"mode": "reflect"}, {1: ints(*[5] * 8)}, "Pad pads"),
        ("Gather", {"axis": 1}, {1: ints(3)}, "Gather has indices outside"),
        ("GatherND", {}, {1: ints(0, 0, 0, 0, 0)}, "GatherND has indices of shape 5"),
        ("DepthToSpace", {"blocksize": 0}, {}, "DepthToSpace has blocksize 0"),
        ("DepthToSpace", {"blocksize": 2}, {}, "DepthToSpace has blocksize 2"),
        ("SpaceToDepth", {"blocksize": 3}, {}, "SpaceToDepth has blocksize 3"),
        ("Concat", {"axis": 7}, {}, "Concat has axis 7"),
        ("Concat", {"axis": 1}, {1: normal(1, 9, 3, 4, 5)}, "Concat cannot join"),
    ],
)
def test_contradictions_are_refused(
    op: str, attrs: dict[str, Any], fixed: dict[int, np.ndarray], message: str
) -> None:
    model, _ = one_node(op, [X], attrs, fixed=fixed)
    with pytest.raises(ModelError) as caught:
        load(model)
    assert str(caught.value).startswith(f"y0: {message}")


# ---- parts of matrices, bits ------------------------------------------------------------------


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -9, -1, 0, 2, 9])
def test_triangles(upper: int, k: int | None) -> None:
    fixed = {} if k is None else {1: np.array(k)}
    x = normal(1, 2, 4, 5)
    x[0, 0] = np.inf  # which no product with zero takes out
    assert_node_agrees("Trilu", [x], {"upper": upper}, fixed=fixed)


@pytest.mark.parametrize("k", [-7, -1, 0, 2, 9])
def test_eye_like(k: int) -> None:
    model, feeds = one_node("EyeLike", [normal(1, 3, 5)], {"k": k, "dtype": 7})
    assert by_bnnc(model, feeds)[0].tolist() == np.eye(3, 5, k, np.int64).tolist()


def test_bits_of_constants_unpack() -> None:
    """Weights that a hand packed eight to a byte."""
    nodes = [
        helper.make_node("BitShift", ["packed", "places"], ["moved"], direction="RIGHT"),
        helper.make_node("BitwiseAnd", ["moved", "one"], ["bits"]),
        helper.make_node("Cast", ["bits"], ["w"], to=1),
        helper.make_node("Mul", ["x", "w"], ["y"]),
    ]
    constants = {
        "packed": np.array([[0b10110010], [0b01111111]], np.uint8),
        "places": np.arange(8, dtype=np.uint8),
        "one": np.array(1, np.uint8),
    }
    graph = assert_agrees(
        model_of(nodes, [info("x", shape=[2, 8])], ["y"], constants), {"x": normal(1, 2, 8)}
    )
    assert ops_of(graph) == ["Mul"]


def test_a_part_of_no_elements_is_left_out_of_a_concat() -> None:
    nodes = [
        helper.make_node("Slice", ["x", "four", "four", "axes"], ["none"]),
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Concat", ["none", "n"], ["y"], axis=1),
    ]
    constants = {"four": np.array([4]), "axes": np.array([1])}
    model = model_of(nodes, [info("x", shape=[2, 4])], ["y"], constants)
    assert ops_of(assert_agrees(model, {"x": normal(1, 2, 4)})) == ["Neg"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_is_the_inverse_of_depth_to_space(mode: str) -> None:
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["d"], blocksize=2, mode=mode),
        helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=2, mode=mode),
    ]
    x = normal(1, 1, 3, 4, 6)
    model = model_of(nodes, [info("x", shape=[1, 3, 4, 6])], ["y"], opset=28)
    (y,) = by_bnnc(model, {"x": x})
    np.testing.assert_array_equal(x, y)
