"""Shapes of inputs: fixed, open batch, open height and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import assert_same, by_bnnc, by_onnxruntime, info, load, model_of, normal

from bnnc.errors import InputError, ModelError, UnsupportedError
from bnnc.ir.types import DType


def relu_of(shape: Sequence[Any] | None, out: Sequence[Any] | None = None) -> onnx.ModelProto:
    """A Relu on an input called ``picture``."""
    node = helper.make_node("Relu", ["picture"], ["y"])
    return model_of([node], [info("picture", shape=shape)], [info("y", shape=out)])


def test_fixed_shapes_are_taken_as_they_are() -> None:
    graph = load(relu_of([2, 3, 4, 5]))
    assert graph.inputs[0].shape == (2, 3, 4, 5)
    assert not graph.open_batch


@pytest.mark.parametrize("batch", ["batch", None, -1])
def test_an_open_batch_becomes_one(batch: str | None) -> None:
    graph = load(relu_of([batch, 3, 4, 5], [batch, 3, 4, 5]))
    assert graph.inputs[0].shape == (1, 3, 4, 5)
    assert graph.open_batch


def test_an_open_batch_can_be_closed() -> None:
    graph = load(relu_of(["n", 3, 4, 5]), {"picture": (4, 3, 4, 5)})
    assert graph.inputs[0].shape == (4, 3, 4, 5)
    assert not graph.open_batch


def test_what_the_user_leaves_open_stays_as_the_model_says() -> None:
    graph = load(relu_of(["n", 3, "h", "w"]), {"picture": (None, None, 8, 6)})
    assert graph.inputs[0].shape == (1, 3, 8, 6)
    assert graph.open_batch


def test_the_batch_is_closed_if_an_output_has_none() -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    assert not load(model_of([node], [info("x", shape=["n", 3])], ["y"])).open_batch


def test_the_batch_is_closed_if_an_output_is_declared_to_have_one_item() -> None:
    node = helper.make_node("ReduceMax", ["x", "axes"], ["y"])
    model = model_of([node], [info("x", shape=["n", 3])], [info("y", shape=[1, 3])],
                     {"axes": np.array([0])})  # fmt: skip
    assert not load(model).open_batch


def test_the_batch_is_closed_if_one_input_fixes_it() -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [info("a", shape=["n", 3]), info("b", shape=[1, 3])]
    graph = load(model_of([node], inputs, ["y"]))
    assert graph.inputs[0].shape == (1, 3)
    assert not graph.open_batch


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], [None, 3, None, None], [-1, 3, -1, -1]])
def test_open_height_and_width_need_a_shape(shape: list[Any]) -> None:
    with pytest.raises(ModelError) as caught:
        load(relu_of(shape))
    shown = "x".join("?" if size in (None, -1) else str(size) for size in shape)
    assert str(caught.value) == (
        f"input 'picture' has open dimensions: {shown}; "
        "fix them, for example --shape picture=1x3x512x512, or 'picture=?x3x512x512' for any batch"
    )


def test_a_fixed_batch_is_not_offered_to_stay_open() -> None:
    with pytest.raises(ModelError, match=r"for example --shape picture=2x3x512x8$"):
        load(relu_of([2, 3, "h", 8]))


def test_open_height_and_width_can_be_given() -> None:
    model = relu_of(["n", 3, "h", "w"])
    feeds = {"picture": normal(1, 1, 3, 6, 8)}
    mine = by_bnnc(model, feeds, {"picture": (1, 3, 6, 8)})
    assert_same(mine, by_onnxruntime(model, feeds))


def test_a_named_dimension_is_the_same_everywhere() -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [info("a", shape=[1, "h"]), info("b", shape=["h"])]
    graph = load(model_of([node], inputs, ["y"]), {"a": (1, 7)})
    assert graph.inputs[1].shape == (7,)


def test_a_named_dimension_cannot_have_two_sizes() -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [info("a", shape=[1, "h"]), info("b", shape=[1, "h"])]
    with pytest.raises(InputError, match="dimension 'h' cannot be 7 and 8 at once"):
        load(model_of([node], inputs, ["y"]), {"a": (1, 7), "b": (1, 8)})


def test_an_input_without_a_shape_needs_one() -> None:
    model = relu_of(None)
    with pytest.raises(ModelError, match=r"^input 'picture' has no shape; give it, for example"):
        load(model)
    assert load(model, {"picture": (1, 2)}).inputs[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8), "input 'picture' cannot have shape 1x3x8: the model says nx3xhxw"),
        ((1, 4, 8, 8), "input 'picture' cannot have shape 1x4x8x8: the model says nx3xhxw"),
        ((1, 3, 0, 8), "input 'picture' cannot have shape 1x3x0x8"),
        ((1, 3, -8, 8), "input 'picture' cannot have shape 1x3x-8x8"),
    ],
)
def test_shapes_that_contradict_the_model_are_refused(shape: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{message}"):
        load(relu_of(["n", 3, "h", "w"]), {"picture": shape})


def test_a_shape_for_an_unknown_input_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        load(relu_of([1, 3]), {"image": (1, 3)})
    assert str(caught.value) == ("there is no input 'image' to give a shape to; inputs: 'picture'")


@pytest.mark.parametrize("shape", [[0, 3], [1, 0], [1, -2], [-2, 3]])
def test_sizes_that_are_not_positive_are_refused(shape: list[int]) -> None:
    shown = "x".join(map(str, shape))
    with pytest.raises(
        ModelError, match=rf"^input 'picture' has shape {shown}; give it a positive"
    ):
        load(relu_of(shape))


def test_an_input_larger_than_any_memory_is_refused() -> None:
    with pytest.raises(ModelError, match=r"more than 2.31"):
        load(relu_of([1, 2**31, 2**31]))


def test_inputs_of_integers_and_bools() -> None:
    nodes = [
        helper.make_node("Cast", ["a"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["c", "f", "b"], ["y"]),
    ]
    inputs = [info("a", np.uint8, [4]), info("b", np.float32, [4]), info("c", np.bool_, [4])]
    graph = load(model_of(nodes, inputs, ["y"]))
    assert [value.dtype for value in graph.inputs] == [DType.U8, DType.F32, DType.BOOL]


def test_brain_floats_come_and_go_as_float32() -> None:
    model = relu_of([1])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    graph = load(model)
    assert [value.dtype for value in (*graph.inputs, *graph.outputs)] == [DType.F32, DType.F32]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (TensorProto.STRING, UnsupportedError, "has elements of type STRING"),
        (TensorProto.COMPLEX64, UnsupportedError, "has elements of type COMPLEX64"),
        (TensorProto.UNDEFINED, ModelError, "has elements of type UNDEFINED"),
        (77, UnsupportedError, "has elements of type number 77"),
    ],
)
def test_inputs_of_other_element_types_are_refused(kind: int, error: type, message: str) -> None:
    model = relu_of([1])
    model.graph.input[0].type.tensor_type.elem_type = kind
    with pytest.raises(error, match=rf"^input 'picture' {message}"):
        load(model)


def test_inputs_that_are_no_tensors_are_refused() -> None:
    model = relu_of([1])
    sequence = helper.make_tensor_sequence_value_info("picture", TensorProto.FLOAT, [1])
    model.graph.input[0].CopyFrom(sequence)
    with pytest.raises(
        UnsupportedError, match=r"^input 'picture' is no tensor but a sequence type"
    ):
        load(model)
    model.graph.input[0].ClearField("type")
    with pytest.raises(ModelError, match=r"^input 'picture' has no type"):
        load(model)


def test_an_output_declared_with_other_dimensions_is_refused() -> None:
    with pytest.raises(ModelError, match="output 'y' is declared with 3 dimensions, but has 2"):
        load(relu_of([1, 2], [1, 2, 3]))


def test_an_output_declared_with_other_elements_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model = model_of([node], [info("x", shape=[2])], [info("y", np.int64, [2])])
    with pytest.raises(ModelError, match="output 'y' is declared as INT64, but is f32"):
        load(model)
