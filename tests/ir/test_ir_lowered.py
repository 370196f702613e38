"""Binary convolutions, epilogue steps and unpacking mean the float ops that they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_reference import normal, pairs, seeds

from bnnc.ir import interpreter
from bnnc.ir.epilogue import COMPARES, STEP_KINDS, Branch, Step
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType

SHAPE = (2, 3, 4, 5)


def values_of(graph: Graph, wanted: Sequence[Value]) -> list[np.ndarray]:
    found = interpreter.evaluate(graph, {}, wanted)
    return [found[value] for value in wanted]


def bits(seed: int, *shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).random(shape) < 0.5)


def bipolar(array: np.ndarray) -> np.ndarray:
    return np.where(array, 1, -1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    pairs(1, 3),
    pairs(1, 2),
    pairs(1, 2),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from([-1, 0, 1]),
    st.integers(1, 2),
    pairs(1, 70),
    seeds,
)
def test_binary_conv_is_the_float_conv_of_the_padded_signs(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    pad: int,
    group: int,
    channels: tuple[int, int],
    seed: int,
) -> None:
    size = (5, 4)
    for axis in (0, 1):
        padded = size[axis] + pads[axis] + pads[axis + 2]
        assume(dilations[axis] * (kernel[axis] - 1) < padded)
    x, w = (
        bits(seed, 1, group * channels[0], *size),
        bits(seed + 1, group * channels[1], channels[0], *kernel),
    )
    geometry = {"strides": strides, "dilations": dilations, "group": group}
    graph = Graph()
    binary = graph.add(
        "BinaryConv",
        [graph.constant(x, b1=True), graph.constant(w, b1=True)],
        {**geometry, "pads": pads, "pad": pad},
    ).output
    top, left, bottom, right = pads
    around = {"pads": (0, 0, top, left, 0, 0, bottom, right), "value": float(pad)}
    framed = graph.add("Pad", [graph.constant(bipolar(x))], around).output
    plain = graph.add("Conv", [framed, graph.constant(bipolar(w))], geometry).output
    raw, floats = values_of(graph, [binary, plain])
    assert binary.dtype is DType.I32
    np.testing.assert_array_equal(raw, floats)


def test_binary_conv_is_exact_where_float32_is_not() -> None:
    # 2^24 + 1 equal signs: the first sum that float32 cannot hold.
    taps = 2**24 + 1
    graph = Graph()
    ones = graph.constant(np.ones((1, taps, 1, 1), bool), b1=True)
    (raw,) = values_of(graph, [graph.add("BinaryConv", [ones, ones]).output])
    assert raw.item() == taps


# ---- steps ----------------------------------------------------------------------------------


def stepped(
    op: str,
    first: Sequence[np.ndarray],
    steps: Sequence[tuple[str, Sequence[np.ndarray], tuple[Any, ...]]],
    *,
    b1: bool = False,
) -> list[np.ndarray]:
    """Run ``op`` with ``steps``: (kind, operand arrays, params)."""
    graph = Graph()
    inputs: list[Value | None] = [graph.constant(array, b1=b1) for array in first]
    inputs += [None] * ({"Map": 1}.get(op, 3) - len(inputs))
    made = []
    written = 0
    for kind, arrays, params in steps:
        slots = tuple(range(len(inputs), len(inputs) + len(arrays)))
        inputs += [graph.constant(array) for array in arrays]
        writes = kind in ("store", "sign", "threshold")
        made.append(Step(kind, slots, written if writes else None, params))
        written += writes
    node = graph.add(op, inputs, {"steps": tuple(made)})
    graph.mark_outputs(node.outputs)
    graph.check()
    return interpreter.run(graph, {})


def per_channel(vector: np.ndarray) -> np.ndarray:
    return vector.reshape(1, -1, 1, 1)


A, B = normal(1, 3), normal(2, 3)
T, GATE = normal(3, *SHAPE), normal(4, 2, 3, 1, 1)

MEANINGS: dict[str, tuple[list[np.ndarray], tuple[Any, ...], Any]] = {
    "affine": ([A, B], (), lambda v: v * per_channel(A) + per_channel(B)),
    "relu": ([], (), lambda v: np.maximum(v, 0)),
    "prelu": ([A], (), lambda v: np.where(v >= 0, v, v * per_channel(A))),
    "clip": ([], (-0.5, 0.25), lambda v: np.minimum(np.maximum(v, -0.5), 0.25)),
    "unary": ([], ("LeakyRelu", ("alpha", 0.5)), lambda v: np.where(v >= 0, v, v / 2)),
    "add": ([T], (), lambda v: v + T),
    "mul": ([T], (), lambda v: v * T),
    "scale": ([GATE], (), lambda v: v * GATE),
    "store": ([], (), lambda v: v),
    "sign": ([A], ("ge",), lambda v: v >= per_channel(A)),
}


@pytest.mark.parametrize("kind", [kind for kind in STEP_KINDS if kind != "threshold"])
def test_each_step_means_what_its_table_says(kind: str) -> None:
    x = normal(0, *SHAPE)
    arrays, params, meaning = MEANINGS[kind]
    steps = [(kind, arrays, params)]
    if kind not in ("store", "sign"):
        steps.append(("store", [], ()))
    (found,) = stepped("Map", [x], steps)
    wanted = meaning(x)
    assert found.dtype == (np.bool_ if kind == "sign" else np.float32)
    np.testing.assert_array_equal(found, wanted.astype(found.dtype))


CHAIN = st.lists(st.sampled_from([k for k in MEANINGS if k not in ("store", "sign")]), max_size=5)


@settings(max_examples=40, deadline=None)
@given(CHAIN, CHAIN, seeds)
def test_steps_act_in_order_and_write_on_the_way(
    before: list[str], after: list[str], seed: int
) -> None:
    x = normal(seed, *SHAPE)
    kinds = [*before, "store", *after, "sign"]
    stored, signs = stepped("Map", [x], [(kind, *MEANINGS[kind][:2]) for kind in kinds])
    for kind in before:
        x = MEANINGS[kind][2](x).astype(np.float32)
    np.testing.assert_array_equal(stored, x)
    for kind in after:
        x = MEANINGS[kind][2](x).astype(np.float32)
    np.testing.assert_array_equal(signs, x >= per_channel(A))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MatMul"])
def test_steps_follow_the_raw_result_and_its_bias(op: str) -> None:
    if op == "MatMul":
        operands = [normal(0, 2, 4), normal(1, 4, 3), normal(2, 3)]
    else:
        operands = [normal(0, 2, 3, 4, 4), normal(1, 3, 3, 2, 2), normal(2, 3)]
    (raw,) = stepped(op, operands, [])
    (found,) = stepped(op, operands, [("relu", [], ()), ("store", [], ())])
    np.testing.assert_array_equal(found, np.maximum(raw, 0))
    assert (raw < 0).any()


NAN = math.nan


@pytest.mark.parametrize(
    ("compare", "wanted"),
    [
        ("ge", [False, True, True, False]),
        ("gt", [False, False, True, False]),
        ("nlt", [False, True, True, True]),
        ("nle", [False, False, True, True]),
    ],
)
def test_comparisons_differ_at_equality_and_at_nan(compare: str, wanted: list[bool]) -> None:
    x = np.array([-1, -0.0, 1, NAN], np.float32).reshape(1, 1, 1, 4)
    (found,) = stepped("Map", [x], [("sign", [np.zeros(1, np.float32)], (compare,))])
    assert found.ravel().tolist() == wanted
    assert compare in COMPARES


def test_a_threshold_compares_integers_and_may_flip() -> None:
    x, w = bits(0, 1, 9, 3, 3), bits(1, 2, 9, 1, 1)
    (raw,) = stepped("BinaryConv", [x, w], [], b1=True)
    t, flip = np.array([1, -1], np.int32), np.array([False, True])
    (found,) = stepped("BinaryConv", [x, w], [("threshold", [t, flip], ())], b1=True)
    np.testing.assert_array_equal(found[0, 0], raw[0, 0] >= 1)
    np.testing.assert_array_equal(found[0, 1], raw[0, 1] < -1)


def test_floats_of_a_binary_conv_start_from_its_integers() -> None:
    x, w = bits(0, 1, 70, 3, 3), bits(1, 3, 70, 3, 3)
    (raw,) = stepped("BinaryConv", [x, w], [], b1=True)
    (found,) = stepped("BinaryConv", [x, w], [("affine", [A, B], ()), ("store", [], ())], b1=True)
    wanted = raw.astype(np.float32) * per_channel(A) + per_channel(B)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "steps",
    [
        (Step("store", (), 1),),
        (Step("relu", ()),),
        (Step("warp", (), 0),),
        (Step("affine", (1,)), Step("store", (), 0)),
        (Step("prelu", (2,)), Step("store", (), 0)),
        (Step("add", (1,)), Step("store", (), 0)),
        (Step("store", ()),),
    ],
    ids=["gap", "nothing written", "unknown", "operands", "vector length", "tensor", "no result"],
)
def test_steps_that_a_pass_made_wrongly_are_caught(steps: tuple[Step, ...]) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, SHAPE))
    vector, short = graph.constant(A), graph.constant(A[:2])
    with pytest.raises(AssertionError):
        graph.add("Map", [x, vector, short], {"steps": steps})


# ---- unpack and copy ------------------------------------------------------------------------


def test_unpack_gives_each_channel_its_two_values() -> None:
    graph = Graph()
    x = graph.constant(np.array([[[True, False]], [[True, False]]]).reshape(1, 2, 1, 2), b1=True)
    low, high = np.array([-1, 0], np.float32), np.array([1, 3], np.float32)
    (found,) = values_of(graph, [graph.add("Unpack", [x], {"low": low, "high": high}).output])
    assert found.dtype == np.float32
    assert found.ravel().tolist() == [1, -1, 3, 0]


def test_copy_is_a_tensor_of_its_own() -> None:
    graph = Graph()
    x = graph.constant(A)
    (found,) = values_of(graph, [graph.add("Copy", [x]).output])
    np.testing.assert_array_equal(found, A)
    assert not np.shares_memory(found, x.data)


def test_branched_conv_is_each_branchs_convolutions_in_order() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, 3, 6, 5)))
    inputs: list[Value | None] = [x]
    branches, plain = [], []
    pads = (1, 0, 1, 2)
    for seed, (hidden, out, biased) in enumerate(((4, 2, True), (5, 3, False))):
        shapes = [(hidden, 3, 3, 3), (hidden,), (out, hidden, 1, 1), (out,)]
        arrays = [normal(10 * seed + k, *shape) for k, shape in enumerate(shapes)]
        operands = [graph.constant(a) if a.ndim > 1 or biased else None for a in arrays]
        slots = tuple(range(len(inputs), len(inputs) + 4))
        branches.append(Branch(slots, (Step("relu"), Step("store", result=0)) if biased else ()))
        inputs += operands
        wide = graph.add("Conv", [x, *operands[:2]], {"pads": pads}).output
        low = graph.add("Relu", [wide]).output
        point = graph.add("Conv", [low, *operands[2:]]).output
        plain.append(graph.add("Relu", [point]).output if biased else point)
    node = graph.add(
        "BranchedConv", inputs, {"pads": pads, "low": 0.0, "branches": tuple(branches)}
    )
    graph.mark_outputs([*node.outputs, *plain])
    first, second, *wanted = interpreter.run(graph, {"x": normal(9, 2, 3, 6, 5)})
    np.testing.assert_allclose(first, wanted[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, wanted[1], rtol=1e-5, atol=1e-5)
    assert node.op.macs is not None
    assert node.op.macs(node) == 2 * 6 * 5 * (4 * 27 + 2 * 4 + 5 * 27 + 3 * 5)
