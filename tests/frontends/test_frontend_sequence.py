"""Sequences of tensors come apart while a model is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper
from onnx_models import assert_agrees, info, load, model_of, normal

from bnnc.errors import ModelError, UnsupportedError


def node(op: str, inputs: str, output: str, **attrs: Any) -> NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, [output], **attrs)


NUMBERS = {
    "two": np.int64(2),
    "parts": np.int64([1, 3, 2]),
    "first": np.int64(0),
    "last": np.int64(-1),
}

FORMS: dict[str, list[NodeProto]] = {
    "chunks": [
        node("SplitToSequence", "x two", "s", axis=1),
        node("SequenceAt", "s last", "y"),
    ],
    "parts": [
        node("SplitToSequence", "x parts", "s", axis=-2),
        node("SequenceAt", "s two", "a"),
        node("SequenceAt", "s first", "b"),
        node("Concat", "a b", "y", axis=1),
    ],
    "elements, stacked again": [
        node("SplitToSequence", "x -", "s", axis=1, keepdims=0),
        node("SequenceErase", "s last", "t"),
        node("ConcatFromSequence", "t", "y", axis=-1, new_axis=1),
    ],
    "built up": [
        node("SequenceEmpty", "", "e"),
        node("SequenceInsert", "e x", "one"),
        node("Relu", "x", "r"),
        node("SequenceInsert", "one r first", "both"),
        node("ConcatFromSequence", "both", "y", axis=0),
    ],
    "counted": [
        node("SequenceConstruct", "x x x", "s"),
        node("SequenceLength", "s", "n"),
        node("Cast", "n", "f", to=1),
        node("Mul", "x f", "y"),
    ],
}


@pytest.mark.parametrize("name", FORMS)
def test_sequences_are_what_onnxruntime_makes_of_them(name: str) -> None:
    model = model_of(FORMS[name], [info("x", shape=[1, 6, 4])], ["y"], NUMBERS)
    assert_agrees(model, {"x": normal(0, 1, 6, 4)})


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("SplitToSequence", "x two", "s"), node("Relu", "s", "y")],
            "takes a tensor, but 's' is a sequence",
        ),
        ([node("SequenceAt", "x first", "y")], "cannot take 'x', whose elements are f32"),
        (
            [node("SequenceConstruct", "x", "s"), node("SequenceAt", "s two", "y")],
            "has position 2, but there are 1",
        ),
        ([node("SplitToSequence", "x first", "s", axis=1)], "cannot cut 6 into parts of 0"),
        (
            [node("SplitToSequence", "x parts", "s", axis=2)],
            r"cannot cut 4 into parts of \[1, 3, 2",
        ),
        (
            [node("SequenceEmpty", "", "e"), node("ConcatFromSequence", "e", "y", axis=0)],
            "has nothing to join",
        ),
    ],
)
def test_contradictory_sequences_are_refused(nodes: list[NodeProto], message: str) -> None:
    last = nodes[-1].output[0]
    with pytest.raises(ModelError, match=message):
        load(model_of(nodes, [info("x", shape=[1, 6, 4])], [last], NUMBERS))


def test_a_model_that_returns_a_sequence_is_refused() -> None:
    nodes = [node("SequenceConstruct", "x", "s")]
    with pytest.raises(UnsupportedError, match="returns the sequence 's'"):
        load(model_of(nodes, [info("x", shape=[1, 6, 4])], ["s"]))


def test_sequences_beyond_reason_are_refused() -> None:
    nodes = [node("SplitToSequence", "x -", "s"), node("SequenceLength", "s", "y")]
    with pytest.raises(UnsupportedError, match="a sequence of 5000 tensors"):
        load(model_of(nodes, [info("x", shape=[5000, 2])], ["y"]))
