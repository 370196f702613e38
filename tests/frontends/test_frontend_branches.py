"""If with a condition that import can know; operators that ONNX declares as functions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    info,
    load,
    model_of,
    normal,
    ops_of,
    told,
    untyped,
)

from bnnc.errors import ModelError, UnsupportedError

X = [info("x", shape=[2, 3, 4, 4])]
FEEDS = {"x": normal(1, 2, 3, 4, 4)}


def branch(
    nodes: list[onnx.NodeProto], outputs: list[str], **tensors: np.ndarray
) -> onnx.GraphProto:
    """A graph without inputs, which may read the tensors around it."""
    initializers = [onnx.numpy_helper.from_array(a, name) for name, a in tensors.items()]
    return helper.make_graph(nodes, "branch", [], [untyped(n) for n in outputs], initializers)


def choice(
    condition: str, yes: onnx.GraphProto, no: onnx.GraphProto, outputs: list[str], name: str = "if"
) -> onnx.NodeProto:
    return helper.make_node("If", [condition], outputs, name=name, then_branch=yes, else_branch=no)


def relu_or_neg(outputs: list[str]) -> tuple[onnx.GraphProto, onnx.GraphProto]:
    """Both branches call their result the same, as they may."""
    yes = branch([helper.make_node("Relu", ["x"], ["r"])], ["r"])
    no = branch([helper.make_node("Neg", ["x"], ["r"])], ["r"])
    return yes, no


@pytest.mark.parametrize("condition", [True, False])
def test_a_constant_condition_takes_its_branch(condition: bool) -> None:
    model = model_of(
        [choice("c", *relu_or_neg(["y"]), ["y"])], X, ["y"], {"c": np.array(condition)}
    )
    assert ops_of(assert_agrees(model, FEEDS)) == ["Relu" if condition else "Neg"]


def test_a_condition_of_shapes_is_known() -> None:
    """What torch's older exporter writes for squeeze(): is this axis of size one?"""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
        helper.make_node("Shape", ["g"], ["s"]),
        helper.make_node("Gather", ["s", "two"], ["size"]),
        helper.make_node("Equal", ["size", "one"], ["is_one"]),
        choice(
            "is_one",
            branch([helper.make_node("Squeeze", ["g", "axes"], ["a"])], ["a"], axes=np.array([2])),
            branch([helper.make_node("Identity", ["g"], ["b"])], ["b"]),
            ["y"],
        ),
    ]
    constants = {"two": np.array(2), "one": np.array(1)}
    graph = assert_agrees(model_of(nodes, X, ["y"], constants), FEEDS)
    assert ops_of(graph) == ["ReduceMean", "Reshape"]
    assert graph.outputs[0].shape == (2, 3, 1)


def test_branches_stand_in_branches_and_read_what_is_around_them() -> None:
    inner = choice("no", *relu_or_neg(["r"]), ["deep"], name="inner")
    yes = branch([helper.make_node("Mul", ["deep", "w"], ["m"]), inner], ["m"], w=normal(2, 4))
    no = branch([helper.make_node("Neg", ["x"], ["m"])], ["m"])
    nodes = [choice("yes", yes, no, ["z"]), helper.make_node("Abs", ["z"], ["y"])]
    constants = {"yes": np.array(True), "no": np.array(False)}
    # unsorted nodes in a branch are nothing onnxruntime takes
    graph = load(model_of(nodes, X, ["y"], constants))
    assert ops_of(graph) == ["Neg", "Mul", "Abs"]


def test_a_branch_may_return_what_is_outside() -> None:
    yes, no = branch([], ["w"]), branch([helper.make_node("Neg", ["w"], ["n"])], ["n"])
    nodes = [choice("c", yes, no, ["a"]), helper.make_node("Add", ["x", "a"], ["y"])]
    constants = {"c": np.array(True), "w": normal(3, 4)}
    assert ops_of(load(model_of(nodes, X, ["y"], constants))) == ["Add"]


def test_a_branch_in_a_function_reads_its_arguments_and_attributes() -> None:
    leaky = helper.make_node("LeakyRelu", ["a"], ["r"])
    leaky.attribute.append(
        AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope")
    )
    yes, no = branch([leaky], ["r"]), branch([helper.make_node("Neg", ["a"], ["r"])], ["r"])
    imports = [helper.make_opsetid("", 21)]
    function = helper.make_function(
        "local", "f", ["a", "c"], ["b"], [choice("c", yes, no, ["b"])], imports, ["slope"]
    )
    call = helper.make_node("f", ["x", "c"], ["y"], domain="local", slope=0.25)
    model = model_of(
        [call], X, ["y"], {"c": np.array(True)}, domains={"local": 1}, functions=[function]
    )
    graph = assert_agrees(model, FEEDS)
    assert [node.attrs for node in graph.nodes()] == [{"alpha": 0.25}]


def test_the_branch_not_taken_may_hold_anything() -> None:
    yes, _ = relu_or_neg(["y"])
    no = branch([helper.make_node("NonMaxSuppression", ["x", "x"], ["n"])], ["n"])
    model = model_of([choice("c", yes, no, ["y"])], X, ["y"], {"c": np.array(True)})
    assert ops_of(load(model)) == ["Relu"]


@pytest.mark.parametrize(
    ("yes", "message"),
    [
        (
            branch([helper.make_node("Relu", ["ghost"], ["r"])], ["r"]),
            "if: reads tensor 'ghost', which nothing computes",
        ),
        (
            branch([helper.make_node("Relu", ["r"], ["r"], name="loop")], ["r"]),
            "loop: depends on itself",
        ),
        (branch([], ["x", "x"]), "if: has a branch of 0 inputs and 2 outputs; needs 0 and 1"),
        (
            branch([helper.make_node("LSTM", ["x"], ["r"], name="rnn")], ["r"]),
            "if: uses operator that bnnc does not know: 'LSTM' (node 'rnn'); recurrent layers are "
            "not compiled; bnnc is for convolutional networks",
        ),
        (
            branch([helper.make_node("Conv", ["x"], ["r"], name="conv")], ["r"]),
            "conv: Conv takes 2 to 3 inputs, but has 1",
        ),
    ],
)
def test_faults_in_a_branch_are_told(yes: onnx.GraphProto, message: str) -> None:
    _, no = relu_or_neg(["y"])
    model = model_of([choice("c", yes, no, ["y"])], X, ["y"], {"c": np.array(True)})
    with pytest.raises(ModelError) as caught:
        load(model)
    assert told(caught.value) == message


def test_a_condition_of_the_run_is_refused() -> None:
    inputs = [*X, helper.make_tensor_value_info("c", TensorProto.BOOL, [1])]
    model = model_of([choice("c", *relu_or_neg(["y"]), ["y"])], inputs, ["y"])
    with pytest.raises(UnsupportedError, match="if: If chooses by what the model computes during"):
        load(model)


def test_branches_may_be_nested_deeply() -> None:
    """Protobuf itself reads no more than a hundred levels, three for each If."""
    yes, no = relu_or_neg(["y"])
    for _ in range(30):
        yes = branch([choice("c", yes, no, ["r"])], ["r"])
    model = model_of([choice("c", yes, no, ["y"])], X, ["y"], {"c": np.array(True)})
    assert ops_of(load(model)) == ["Relu"]


def test_branches_and_functions_nested_beyond_reason_are_refused() -> None:
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    _, no = relu_or_neg(["y"])
    functions = []
    for level in range(200):
        call = helper.make_node(f"f{level + 1}", ["x", "c"], ["r"], domain="local")
        nodes = [choice("c", branch([call], ["r"]), no, ["b"])]
        functions.append(
            helper.make_function("local", f"f{level}", ["x", "c"], ["b"], nodes, imports)
        )
    model = model_of(
        [helper.make_node("f0", ["x", "c"], ["y"], domain="local")],
        X,
        ["y"],
        {"c": np.array(True)},
        domains={"local": 1},
        functions=functions,
    )
    with pytest.raises(ModelError, match="functions call each other more than 100 deep"):
        load(model)
    del model.functions[40:]
    with pytest.raises(ModelError, match=r"does not know: 'local\.f40'"):
        load(model)


def test_a_function_that_calls_itself_from_a_branch_is_refused() -> None:
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    call = helper.make_node("f", ["x", "c"], ["r"], domain="local", name="again")
    _, no = relu_or_neg(["y"])
    nodes = [choice("c", branch([call], ["r"]), no, ["b"])]
    function = helper.make_function("local", "f", ["x", "c"], ["b"], nodes, imports)
    node = helper.make_node("f", ["x", "c"], ["y"], domain="local")
    model = model_of(
        [node], X, ["y"], {"c": np.array(True)}, domains={"local": 1}, functions=[function]
    )
    with pytest.raises(ModelError, match="again: function 'f' calls itself"):
        load(model)


# ---- functions of the standard ----------------------------------------------------------------


def test_operators_that_are_functions_are_expanded() -> None:
    shape = np.array([3, 6])
    fixed = {1: shape}
    graph = assert_node_agrees("CenterCropPad", [FEEDS["x"]], {"axes": [2, 3]}, fixed=fixed)
    assert {node.name for node in graph.nodes()} <= {"y0", "centercroppad"}
    assert graph.outputs[0].shape == (2, 3, 3, 6)


def test_attention_is_expanded() -> None:
    arrays = [normal(seed, 1, 2, 5, 8) for seed in (1, 2, 3)]
    assert_node_agrees("Attention", arrays, opset=23, tolerance=1e-4)
