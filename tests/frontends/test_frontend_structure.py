"""From the protobuf to a flat list of nodes: order, names of tensors, functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import (
    OPSET,
    assert_agrees,
    assert_same,
    by_bnnc,
    by_onnxruntime,
    info,
    load,
    model_of,
    normal,
    ops_of,
)

from bnnc.errors import ModelError
from bnnc.ir import interpreter

X = [info("x", shape=[3, 4])]
FEEDS = {"x": normal(1, 3, 4)}


def function(
    name: str,
    inputs: list[str],
    outputs: list[str],
    nodes: list[onnx.NodeProto],
    attributes: list[str] | None = None,
    *,
    defaults: list[onnx.AttributeProto] | None = None,
    opset: int = OPSET,
) -> onnx.FunctionProto:
    """A function of the domain ``local``."""
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_function(
        "local", name, inputs, outputs, nodes, imports, attributes or [], defaults or []
    )


def call(callee: str, inputs: list[str], outputs: list[str], **attrs: object) -> onnx.NodeProto:
    return helper.make_node(callee, inputs, outputs, domain="local", **attrs)


# ---- names and order --------------------------------------------------------------------------


def test_values_are_called_as_the_tensors() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a/b:0"]),
        helper.make_node("Add", ["a/b:0", "w"], ["sum"]),
        helper.make_node("Gemm", ["sum", "m"], ["y"], transB=1),
    ]
    constants = {"w": normal(2, 4), "m": normal(3, 5, 4)}
    graph = assert_agrees(model_of(nodes, X, ["y"], constants), FEEDS)
    assert [node.outputs[0].name for node in graph.nodes()] == ["a/b:0", "sum", "y"]
    assert {"x", "w"} < {value.name for value in graph.values()}
    assert graph.output_names == ["y"]


def test_tensors_of_the_model_keep_their_names_from_those_made_on_the_way() -> None:
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"]),
        helper.make_node("Neg", ["g"], ["g/Erf"]),
        helper.make_node("Neg", ["g/Erf"], ["g/constant"]),
    ]
    graph = assert_agrees(model_of(nodes, X, ["g/constant"]), FEEDS)
    by_name = {value.name: value for value in graph.values()}
    assert by_name["g/Erf"].producer.op.name == "Neg"
    assert by_name["g/constant"].producer.op.name == "Neg"
    assert by_name["g"].producer.op.name == "Mul"


def test_nodes_may_come_in_any_order() -> None:
    nodes = [
        helper.make_node("Mul", ["b", "a"], ["y"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Relu", ["x"], ["a"]),
    ]
    model = model_of(nodes, X, ["y"])
    assert ops_of(load(model)) == ["Relu", "Neg", "Mul"]
    x = np.maximum(FEEDS["x"], 0)
    assert_same(by_bnnc(model, FEEDS), [x * -x])


def test_nodes_in_order_keep_it() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["x"], ["b"]),
        helper.make_node("Abs", ["a"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    assert ops_of(load(model_of(nodes, X, ["y"]))) == ["Relu", "Neg", "Abs", "Add"]


def test_identities_are_dropped_and_names_of_outputs_kept() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
        helper.make_node("Identity", ["x"], ["z"]),
    ]
    graph = assert_agrees(model_of(nodes, X, ["y", "z"]), FEEDS)
    assert ops_of(graph) == ["Relu"]
    assert [value.name for value in graph.outputs] == ["r", "x"]
    assert graph.output_names == ["y", "z"]


def test_nodes_no_output_depends_on_are_left_out() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("NonMaxSuppression", ["x", "x"], ["dead"]),
    ]
    assert ops_of(load(model_of(nodes, X, ["y"]))) == ["Relu"]


def test_an_input_or_a_constant_can_be_an_output() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = load(model_of([node], X, ["x", "w", "y"], {"w": normal(1, 2)}))
    assert [value.name for value in graph.outputs] == ["x", "w", "y"]


def test_a_tensor_that_is_returned_again_is_an_output_with_a_name_of_its_own() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y#2"])]
    model = model_of(nodes, [info("x", shape=[3])], ["y", "y", "y#2", "x", "y", "x"])
    graph = assert_agrees(model, {"x": normal(1, 3)})
    assert graph.output_names == ["y", "y#3", "y#2", "x", "y#4", "x#2"]


def test_initializers_listed_among_the_inputs_are_constants() -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    inputs = [*X, info("w", shape=[4])]
    graph = assert_agrees(model_of([node], inputs, ["y"], {"w": normal(2, 4)}), FEEDS)
    assert [value.name for value in graph.inputs] == ["x"]


def test_metadata_and_name_come_along() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], X, ["y"])
    helper.set_model_props(model, {"labels": "cat,dog", "mean": "0.5"})
    graph = load(model)
    assert graph.metadata == {"labels": "cat,dog", "mean": "0.5"}
    assert graph.name == "graph"


def test_a_graph_without_a_name_is_called_as_its_file(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], X, ["y"])
    model.graph.name = ""
    path = tmp_path / "detector.onnx"
    onnx.save(model, path)
    assert load(path).name == "detector"
    assert load(str(path)).name == "detector"


def test_the_model_given_is_not_changed() -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = model_of([node], X, ["y"], {"w": normal(1, 4)})
    before = model.SerializeToString()
    load(model)
    assert model.SerializeToString() == before


def test_ten_thousand_nodes_in_a_chain() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["v0"])]
    nodes += [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(10_000)]
    model = model_of(nodes[::-1], X, ["v10000"])
    assert len(load(model).nodes()) == 10_001


def test_half_precision_inputs_and_outputs_keep_their_type() -> None:
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    model = model_of(
        [node],
        [info("x", np.float16, [3, 4])],
        [info("y", np.float16, [3, 4])],
        {"w": np.full(4, 3, np.float16)},
    )
    graph = load(model)
    assert ops_of(graph) == ["Cast", "Mul", "Cast"]
    assert {value.name for value in graph.values()} == {"x", "x/f32", "w", "y", "y/f16"}
    x = np.arange(12, dtype=np.float16).reshape(3, 4)
    assert_same(interpreter.run(graph, {"x": x}), by_onnxruntime(model, {"x": x}))


def test_double_precision_is_computed_in_single() -> None:
    node = helper.make_node("Sqrt", ["x"], ["y"])
    model = model_of([node], [info("x", np.float64, [4])], [info("y", np.float64, [4])])
    x = np.arange(4, dtype=np.float64)
    assert_same(by_bnnc(model, {"x": x}), [np.sqrt(x)], 1e-6)


# ---- functions --------------------------------------------------------------------------------


def test_functions_are_inlined() -> None:
    body = [
        helper.make_node("Mul", ["a", "b"], ["t"]),
        helper.make_node("Relu", ["t"], ["out"]),
    ]
    nodes = [
        call("MulRelu", ["x", "w"], ["first"], name="one"),
        call("MulRelu", ["first", "x"], ["y"], name="two"),
    ]
    model = model_of(
        nodes,
        X,
        ["y"],
        {"w": normal(2, 4)},
        domains={"local": 1},
        functions=[function("MulRelu", ["a", "b"], ["out"], body)],
    )
    graph = assert_agrees(model, FEEDS)
    names = {value.name for value in graph.values()}
    assert names == {"x", "w", "first/t", "first", "y/t", "y"}


def test_functions_call_functions() -> None:
    inner = function("Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])])
    outer = function(
        "Fourfold", ["a"], ["c"], [call("Twice", ["a"], ["t"]), call("Twice", ["t"], ["c"])]
    )
    model = model_of(
        [call("Fourfold", ["x"], ["y"])], X, ["y"], domains={"local": 1}, functions=[outer, inner]
    )
    assert ops_of(assert_agrees(model, FEEDS)) == ["Add", "Add"]


def test_functions_take_attributes() -> None:
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.append(
        onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    )
    leaky = function("Leaky", ["a"], ["b"], [node], defaults=[helper.make_attribute("slope", 0.25)])
    nodes = [call("Leaky", ["x"], ["t"]), call("Leaky", ["t"], ["y"], slope=0.5)]
    model = model_of(nodes, X, ["y"], domains={"local": 1}, functions=[leaky])
    graph = assert_agrees(model, FEEDS)
    assert [node.attrs["alpha"] for node in graph.nodes()] == [0.25, 0.5]


def test_an_attribute_the_call_leaves_out_takes_the_operators_default() -> None:
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.append(
        onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    )
    leaky = function("Leaky", ["a"], ["b"], [node], ["slope"])
    model = model_of(
        [call("Leaky", ["x"], ["y"])], X, ["y"], domains={"local": 1}, functions=[leaky]
    )
    assert load(model).nodes()[0].attrs["alpha"] == pytest.approx(0.01)


def test_inputs_of_a_function_may_be_left_out() -> None:
    body = [helper.make_node("Clip", ["a", "low", "high"], ["b"])]
    clip = function("Bound", ["a", "low", "high"], ["b"], body)
    nodes = [call("Bound", ["x", "", "one"], ["t"]), call("Bound", ["t", "zero"], ["y"])]
    constants = {"one": np.array(1, np.float32), "zero": np.array(0, np.float32)}
    model = model_of(nodes, X, ["y"], constants, domains={"local": 1}, functions=[clip])
    assert_same(by_bnnc(model, FEEDS), [np.clip(FEEDS["x"], 0, 1)])


def test_a_function_may_return_its_input() -> None:
    both = function("Both", ["a"], ["a", "b"], [helper.make_node("Neg", ["a"], ["b"])])
    nodes = [call("Both", ["x"], ["p", "q"]), helper.make_node("Sub", ["p", "q"], ["y"])]
    model = model_of(nodes, X, ["y"], domains={"local": 1}, functions=[both])
    assert_same(by_bnnc(model, FEEDS), [2 * FEEDS["x"]])


def test_outputs_of_a_function_may_be_left_out() -> None:
    body = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["a"], ["c"])]
    both = function("Both", ["a"], ["b", "c"], body)
    model = model_of(
        [call("Both", ["x"], ["", "y"])], X, ["y"], domains={"local": 1}, functions=[both]
    )
    assert ops_of(assert_agrees(model, FEEDS)) == ["Abs"]


def test_a_function_has_its_own_versions() -> None:
    body = [helper.make_node("Softmax", ["a"], ["b"])]  # of version 11: over axes 1 and 2
    old = function("OldSoftmax", ["a"], ["b"], body, opset=11)
    model = model_of(
        [call("OldSoftmax", ["x"], ["y"])],
        [info("x", shape=[2, 3, 4])],
        ["y"],
        domains={"local": 1},
        functions=[old],
    )
    (y,) = by_bnnc(model, {"x": normal(1, 2, 3, 4)})
    np.testing.assert_allclose(y.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_an_operator_comes_before_the_function_of_its_name() -> None:
    body = [helper.make_node("Neg", ["a"], ["b"])]
    wrong = helper.make_function("", "Mish", ["a"], ["b"], body, [helper.make_opsetid("", OPSET)])
    model = model_of([helper.make_node("Mish", ["x"], ["y"])], X, ["y"], functions=[wrong])
    assert "Neg" not in ops_of(assert_agrees(model, FEEDS))


@pytest.mark.parametrize("through", [[], ["B"], ["B", "C"]])
def test_functions_that_call_themselves_are_refused(through: list[str]) -> None:
    ring = ["A", *through]
    functions = [
        function(name, ["a"], ["b"], [call(callee, ["a"], ["b"], name=f"in {name}")])
        for name, callee in zip(ring, [*ring[1:], "A"])
    ]
    model = model_of([call("A", ["x"], ["y"])], X, ["y"], domains={"local": 1}, functions=functions)
    with pytest.raises(ModelError, match=rf"^in {ring[-1]}: function 'A' calls itself"):
        load(model)


def test_functions_that_multiply_beyond_reason_are_refused() -> None:
    functions = [function("f0", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])])]
    for level in range(40):
        body = [call(f"f{level}", ["a"], ["t"]), call(f"f{level}", ["t"], ["b"])]
        functions.append(function(f"f{level + 1}", ["a"], ["b"], body))
    model = model_of(
        [call("f40", ["x"], ["y"])], X, ["y"], domains={"local": 1}, functions=functions
    )
    with pytest.raises(ModelError, match="the model has more than 100000 nodes"):
        load(model)


def test_functions_nested_beyond_reason_are_refused() -> None:
    functions = [function("f0", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])])]
    for level in range(2000):
        functions.append(function(f"f{level + 1}", ["a"], ["b"], [call(f"f{level}", ["a"], ["b"])]))
    model = model_of(
        [call("f2000", ["x"], ["y"])], X, ["y"], domains={"local": 1}, functions=functions
    )
    with pytest.raises(ModelError, match="functions call each other more than 100 deep"):
        load(model)


def test_calls_with_too_many_operands_are_refused() -> None:
    neg = function("Negate", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])])
    model = model_of(
        [call("Negate", ["x", "x"], ["y"])], X, ["y"], domains={"local": 1}, functions=[neg]
    )
    with pytest.raises(ModelError, match="calls function 'Negate' with 2 inputs and 1 outputs"):
        load(model)
