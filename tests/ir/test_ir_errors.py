"""A model that contradicts itself is told so in one line, in its owner's terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.errors import ModelError, UnsupportedError
from bnnc.ir.graph import Graph
from bnnc.ir.ops import OPS
from bnnc.ir.types import DType, TensorType

F32, I64, BOOL = DType.F32, DType.I64, DType.BOOL
X = (1, 3, 8, 8)
W = (4, 3, 3, 3)
HUGE = (1, 1, 2**16, 2**15)

TABLES = {
    "out_h": 1, "out_w": 1,
    "iy": np.zeros((1, 2), np.int32), "ix": np.zeros((1, 2), np.int32),
    "wy": np.full((1, 2), 0.5, np.float32), "wx": np.full((1, 2), 0.5, np.float32),
}  # fmt: skip

CASES: list[tuple[str, list[Any], dict[str, Any], str]] = [
    # Operands: a shape is a float32 tensor, a pair gives the element type too.
    ("Relu", [], {}, "Relu needs 1 inputs, but has 0"),
    ("Relu", [X, X], {}, "Relu takes at most 1 inputs, but has 2"),
    ("Conv", [X, None], {}, "Conv needs 2 inputs, but has 1"),
    ("Sigmoid", [(I64, (2,))], {}, "Sigmoid works on floating-point numbers, but 't' is i64"),
    ("Relu", [(BOOL, (2,))], {}, "Relu works on numbers, but 't' is bool"),
    ("Not", [(2,)], {}, "Not works on bool, but 't' is f32"),
    ("Add", [(2,), (I64, (2,))], {}, "Add mixes element types f32 and i64; insert a Cast"),
    ("Add", [(2, 3), (2,)], {}, "Add cannot broadcast operands of shapes 2x3 and 2"),
    ("Where", [(2,), (2,), (2,)], {}, "Where works on bool, but 't' is f32"),
    ("Mod", [(2,), (2,)], {}, "Mod on floating-point numbers needs fmod = 1"),
    ("PRelu", [X, (8, 3, 1, 1)], {}, "PRelu has a slope of shape 8x3x1x1, which does not fit"),
    ("Add", [(2**16, 1), (1, 2**16)], {}, "Add would give 65536x65536 elements, more than 2^31"),
    # Convolutions.
    ("Conv", [(1, 3, 8), W], {}, "Conv needs 4 axes (NCHW), but 't' is 1x3x8"),
    ("Conv", [X, (4, 5, 3, 3)], {}, "an input of 3 channels, but weights of shape 4x5x3x3"),
    ("Conv", [X, (4, 1, 3, 3)], {"group": 3}, "4 output channels, not a multiple of group 3"),
    ("Conv", [X, W], {"group": 2}, "group 2, which does not divide its 3 channels"),
    ("Conv", [X, W], {"group": 0}, "group 0"),
    ("Conv", [X, W, (5,)], {}, "a bias of shape 5 for 4 output channels"),
    ("Conv", [X, (4, 3, 9, 1)], {}, "a kernel spanning 9x1, larger than its padded input 8x8"),
    ("Conv", [X, W], {"dilations": (4, 1)}, "a kernel spanning 9x3, larger than"),
    ("Conv", [X, W], {"strides": (0, 1)}, "has strides [0, 1]; needs 2 positive numbers"),
    ("Conv", [X, W], {"strides": (1,)}, "has strides [1]; needs 2 positive numbers"),
    ("Conv", [X, W], {"dilations": (-1, 1)}, "has dilations [-1, 1]"),
    ("Conv", [X, W], {"pads": (0, -1, 0, 0)}, "has pads [0, -1, 0, 0]; needs 4 non-negative"),
    ("Conv", [X, W], {"pads": (2**30,) * 4}, "more than 2^31"),
    ("Conv", [(1, 1, 8, 8), (2**20, 1, 1, 1)], {"pads": (99,) * 4}, "more than 2^31"),
    ("Conv", [(I64, X), (I64, W)], {}, "Conv works on floating-point numbers"),
    ("ConvTranspose", [X, W], {}, "an input of 3 channels, but weights of shape 4x3x3x3 take 4"),
    ("ConvTranspose", [X, (3, 4, 3, 3)], {"pads": (5, 5, 5, 5)}, "crops pads [5, 5, 5, 5] from"),
    ("ConvTranspose", [X, (3, 4, 3, 3)], {"strides": (2**30, 2**30)}, "more than 2^31"),
    (
        "ConvTranspose",
        [X, (3, 4, 1, 1)],
        {"strides": (2**13, 2**13), "pads": (7 * 2**13, 7 * 2**13, 0, 0)},
        "more than 2^31",
    ),
    ("MatMul", [(2, 3), (4, 5)], {}, "MatMul cannot multiply 2x3 by 4x5"),
    ("MatMul", [(), (3,)], {}, "MatMul needs operands of at least one axis"),
    ("MatMul", [(2, 3), (3, 4), (3,)], {}, "cannot broadcast operands of shapes 2x4 and 3"),
    ("MatMul", [(2, 3), (3, 4), (9, 2, 4)], {}, "a bias of shape 9x2x4 for a result of 2x4"),
    ("BatchNormalization", [X, (3,), (3,), (3,), (4,)], {}, "input of 3 channels, but 't.4' is 4"),
    ("BatchNormalization", [(3,)] * 5, {}, "needs a channel axis, but its input is 3"),
    # Windows.
    ("MaxPool", [X], {"kernel": (9, 9)}, "MaxPool has a kernel spanning 9x9, larger than"),
    ("MaxPool", [X], {"kernel": (0, 1)}, "MaxPool has kernel [0, 1]; needs 2 positive numbers"),
    ("MaxPool", [X], {"kernel": (2, 2), "pads": (2, 0, 0, 0)}, "lies wholly in its pads"),
    ("AveragePool", [X], {"kernel": (2, 2), "pads": (0, 0, 0, 2)}, "lies wholly in its pads"),
    ("AveragePool", [(I64, X)], {"kernel": (2, 2)}, "works on floating-point numbers"),
    (
        "MaxPool",
        [(1, 1, 1, 1)],
        {"kernel": (2, 1), "dilations": (2, 1), "pads": (1, 0, 1, 0)},
        "spreads its taps by 2 over an axis of 1 and pads",
    ),
    ("Resize", [(DType.U8, (1, 1, 1, 1))], TABLES, "Resize interpolates u8; insert a Cast"),
    # Movement.
    ("Pad", [(2, 3)], {"pads": (1, 1)}, "Pad has 2 pads for 2 axes; needs 4"),
    ("Pad", [(2,)], {"pads": (0, 0), "mode": "mirror"}, "Pad has mode 'mirror'; bnnc knows"),
    ("Pad", [(2,)], {"pads": (2, 0), "mode": "reflect"}, "Pad pads [2, 0] by reflect onto"),
    ("Pad", [(2,)], {"pads": (-3, 0)}, "Pad crops [-3, 0] from an axis of 2"),
    ("Pad", [(2,)], {"pads": (2**40, 0)}, "more than 2^31"),
    ("Concat", [(2, 3), (2, 4)], {"axis": 0}, "Concat cannot join 2x3 and 2x4 along axis 0"),
    ("Concat", [(2, 3), (2,)], {"axis": 0}, "Concat cannot join 2x3 and 2 along axis 0"),
    ("Concat", [(2, 3)], {"axis": 2}, "Concat has axis 2, but its input has 2 axes"),
    ("Concat", [], {"axis": 0}, "Concat needs 1 inputs, but has 0"),
    (
        "Slice",
        [(5,)],
        {"starts": (0,), "ends": (5,), "axes": (0,), "steps": (0,)},
        "Slice has step 0 on axis 0",
    ),
    ("Slice", [(5,)], {"starts": (3,), "ends": (3,), "axes": (0,)}, "empty result of shape 0"),
    ("Slice", [(5,)], {"starts": (0, 0), "ends": (1, 1), "axes": (0, -1)}, "an axis twice"),
    ("Slice", [(5,)], {"starts": (0,), "ends": (), "axes": (0,)}, "of different lengths"),
    ("Reshape", [(2, 3)], {"shape": (4, 2)}, "Reshape cannot turn 2x3 into 4x2"),
    ("Reshape", [(2, 3)], {"shape": (-2, -3)}, "Reshape cannot turn 2x3 into -2x-3"),
    ("Reshape", [(1,)], {"shape": (1,) * 9}, "a result of 9 axes; at most 8 work"),
    ("Transpose", [(2, 3)], {"perm": (0, 0)}, "Transpose has perm [0, 0] for an input of 2 axes"),
    ("Expand", [(2, 3)], {"shape": (4, 3)}, "Expand cannot broadcast operands of shapes 2x3"),
    ("Expand", [(1,)], {"shape": (2**32,)}, "more than 2^31"),
    ("Gather", [(2, 3), (2,)], {}, "Gather works on i"),
    # Reductions.
    ("ReduceSum", [(2, 3)], {"axes": (2,)}, "ReduceSum has axis 2, but its input has 2 axes"),
    ("ReduceSum", [(2, 3)], {"axes": (1, -1)}, "ReduceSum names an axis twice"),
    ("ReduceMax", [(I64, (0,))], {"axes": (0,)}, "picks one of no elements"),
    ("ArgMax", [(2, 3)], {"axis": -3}, "ArgMax has axis -3"),
    ("Softmax", [(2, 3)], {"axis": 5}, "Softmax has axis 5"),
    ("TopK", [(2, 3)], {"k": 4}, "TopK wants 4 elements along axis 1 of 2x3"),
    ("TopK", [(2, 3)], {"k": 0}, "TopK wants 0 elements"),
]


@pytest.mark.parametrize(("op", "operands", "attrs", "complaint"), CASES, ids=[c[3] for c in CASES])
def test_contradictions_are_explained_with_the_node_s_name(
    op: str, operands: list[Any], attrs: dict[str, Any], complaint: str
) -> None:
    graph = Graph()
    inputs = []
    for given_as in operands:
        typed = given_as and isinstance(given_as[0], DType)
        kind, shape = given_as if typed else (F32, given_as)
        if shape is None:
            inputs.append(None)
        elif 0 in shape:
            inputs.append(graph.constant(np.zeros(shape, kind.numpy), "t"))
        else:
            inputs.append(graph.add_input("t", TensorType(kind, shape)))
    with pytest.raises(ModelError) as error:
        graph.add(op, inputs, attrs, name="encoder.2.conv")
    text = str(error.value)
    assert complaint in text
    assert text.startswith("encoder.2.conv: ") and "\n" not in text


def test_a_constant_index_outside_its_axis_is_found_at_once() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (2, 3)))
    with pytest.raises(ModelError, match="Gather has indices outside its axis 1 of 3"):
        graph.add("Gather", [x, graph.constant(np.array([0, 3]))], {"axis": 1})


@pytest.mark.parametrize("shape", [(0, 3), (-1,), (2**16, 2**16), (1,) * 9])
def test_inputs_must_have_a_sensible_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="Input"):
        Graph().add_input("x", TensorType(F32, shape))


@pytest.mark.parametrize("data", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_constants_must_hold_numbers(data: np.ndarray) -> None:
    with pytest.raises(ModelError, match="Constant holds"):
        Graph().constant(data)


def test_empty_lists_of_integers_are_allowed() -> None:
    graph = Graph()
    empty = graph.constant(np.zeros(0, np.int64))
    assert graph.add("Concat", [empty, empty], {"axis": 0}).output.shape == (0,)
    assert graph.constant(np.zeros(0, np.float32)).shape == (0,)


def test_interpolating_integers_is_unsupported_not_contradictory() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.U8, (1, 1, 1, 1)))
    with pytest.raises(UnsupportedError):
        graph.add("Resize", [x], TABLES)


WINDOWED = st.fixed_dictionaries(
    {
        "strides": st.lists(st.integers(-2, 2**33), max_size=3),
        "dilations": st.lists(st.integers(-2, 2**33), max_size=3),
        "pads": st.lists(st.integers(-2, 2**33), min_size=3, max_size=5),
    }
)


@settings(deadline=None)
@given(st.sampled_from(["Conv", "ConvTranspose", "MaxPool"]), WINDOWED, st.integers(-1, 4))
def test_any_geometry_is_accepted_or_explained(op: str, attrs: dict[str, Any], group: int) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(F32, (1, 2, 4, 4)))
    inputs = [x]
    if op == "MaxPool":
        attrs["kernel"] = attrs["strides"]
    else:
        inputs.append(graph.add_input("w", TensorType(F32, (2, 2, 3, 3))))
        attrs["group"] = group
    try:
        node = graph.add(op, inputs, attrs)
    except ModelError as error:
        assert op in str(error)
    else:
        assert 0 < node.output.type.elements <= 2**31


def test_every_op_says_in_a_line_what_it_means() -> None:
    assert [op.name for op in OPS.values() if not op.doc or "\n" in op.doc] == []
