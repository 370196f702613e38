"""Bad models: each ends in one line that says what is wrong and where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper
from onnx_models import info, load, model_of, normal, one_node, told

from bnnc.errors import BnncError, ModelError, UnsupportedError
from bnnc.frontends.onnx import reader

X = [info("x", shape=[1, 2, 4, 4])]


def refusal(source: Any, kind: type[BnncError] = ModelError) -> str:
    """The message ``source`` is refused with: one line, of a bearable length."""
    with pytest.raises(kind) as caught:
        load(source)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 600
    assert "; " in text, "it does not say what to do"
    return told(caught.value)


def sound_model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m"], ["y"], alpha=0.5),
    ]
    constants = {"w": normal(1, 3, 2, 3, 3), "shape": np.array([1, -1]), "m": normal(2, 12, 2)}
    return model_of(nodes, X, ["y"], constants)


# ---- files ------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    assert refusal(path) == f"{path}: there is no such file; check the path"
    assert refusal(str(path)) == f"{path}: there is no such file; check the path"


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read (Is a directory); check the path"


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    assert refusal(tmp_path / "pipe.onnx").endswith("pipe.onnx: is not a file; check the path")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "loop.onnx"
    path.symlink_to(path)
    said = refusal(path)
    assert said.startswith(f"{path}: cannot be read (") and said.endswith("); check the path")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the model is empty (0 bytes)"),
        (b"\0" * 100, "is not an ONNX model, or is damaged or cut short; export it anew"),
        (b"hello world, this is text", "is not an ONNX model, or is damaged or cut short"),
        (b"\x08\x07", "holds no graph; is it an ONNX model?"),
        (b"PK\x03\x04....", "is not an ONNX model but a zip archive, perhaps a PyTorch checkpoint"),
        (b"\x89HDF\r\n\x1a\n", "is not an ONNX model but an HDF5 file, perhaps a Keras model"),
        (b"\x7fELF....", "is not an ONNX model but a compiled library or program"),
        (b"\x20\0\0\0TFL3", "is not an ONNX model but a TensorFlow Lite model"),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert refusal(path).startswith(f"{path}: {message}")


def test_a_model_cut_short_anywhere() -> None:
    data = sound_model().SerializeToString()
    for length in range(0, len(data), 7):
        try:
            load(data[:length])
        except ModelError as error:
            assert str(error).isprintable()


def test_a_graph_without_nodes_or_outputs() -> None:
    model = onnx.ModelProto(ir_version=10, graph=onnx.GraphProto(name="g"))
    assert refusal(model) == "the graph is empty"
    model = sound_model()
    model.graph.ClearField("output")
    assert refusal(model) == "the graph has no outputs"


def test_errors_name_file_and_node(tmp_path: Path) -> None:
    model = sound_model()
    for attr in model.graph.node[0].attribute:
        if attr.name == "strides":
            attr.ints[:] = [0, 0]
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert refusal(path) == (
        f"{path}: stem: Conv has strides [0, 0]; needs 2 numbers of at least 1"
    )


def test_more_names_than_any_model_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TEXTS", 1000)
    model = sound_model()
    assert load(model).outputs
    model.metadata_props.extend([onnx.StringStringEntryProto()] * 500)
    assert refusal(model) == "holds more than 1000 names, empty ones counted"


def test_a_name_that_is_no_text() -> None:
    data = sound_model().SerializeToString().replace(b"stem", b"st\xff\xfe")
    assert refusal(data) == "a name in it is not valid UTF-8"


# ---- structure --------------------------------------------------------------------------------


def edited(change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    model = sound_model()
    change(model.graph)
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda g: g.node[1].input.__setitem__(0, "ghost"),
            "r: reads tensor 'ghost', which nothing computes",
        ),
        (
            lambda g: g.node[0].input.__setitem__(0, "r"),
            "stem: depends on itself: the nodes 'stem', 'r' form a cycle",
        ),
        (lambda g: g.node[1].input.__setitem__(0, "r"), "r: depends on itself"),
        (lambda g: g.node[1].output.__setitem__(0, "c"), "c: tensor 'c' is computed twice"),
        (lambda g: g.node[1].output.__setitem__(0, "w"), "w: tensor 'w' is computed twice"),
        (lambda g: g.node[1].output.__setitem__(0, "x"), "x: tensor 'x' is computed twice"),
        (
            lambda g: g.output[0].__setattr__("name", "lost"),
            "nothing computes the graph's output 'lost'",
        ),
        (lambda g: g.input.append(g.input[0]), "'x' is more than one input of the graph"),
        (lambda g: g.initializer.append(g.initializer[0]), "'w' is more than one initializer"),
        (lambda g: g.input[0].__setattr__("name", ""), "an input of the graph has no name"),
        (lambda g: g.output.add(), "an output of the graph has no name"),
        (lambda g: g.initializer[0].__setattr__("name", ""), "an initializer has no name"),
        (lambda g: g.node[0].input.pop(), "stem: Conv takes 2 to 3 inputs, but has 1"),
        (lambda g: g.node[0].input.__setitem__(0, ""), "stem: Conv lacks its input number 1"),
        (
            lambda g: g.node[1].input.append("c"),
            "r: Relu takes 1 inputs, but has 2",
        ),
        (lambda g: g.node[1].output.append("z"), "r: Relu takes 1 outputs, but has 2"),
    ],
)
def test_broken_structure(change: Callable[[onnx.GraphProto], object], message: str) -> None:
    assert refusal(edited(change)) == message


def test_a_long_cycle_is_named_in_part() -> None:
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{(i + 1) % 5000}"]) for i in range(5000)]
    model = model_of(nodes, X, ["v0"])
    assert refusal(model).endswith("form a cycle")
    assert " and 4996 more form a cycle" in refusal(model)


# ---- attributes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        (
            "LeakyRelu",
            {"alpha": 1},
            "attribute 'alpha' of LeakyRelu must be a float, not an integer",
        ),
        ("Flatten", {"axis": [1]}, "attribute 'axis' of Flatten must be an integer, not a list of"),
        (
            "Flatten",
            {"axis": "one"},
            "attribute 'axis' of Flatten must be an integer, not a string",
        ),
        ("Flatten", {"axes": 1}, "Flatten has no attribute 'axes' in opset 21; it has axis"),
        ("Relu", {"alpha": 1.0}, "Relu has no attribute 'alpha' in opset 21; it has none"),
        ("Concat", {}, "Concat lacks the attribute 'axis'"),
        ("MaxPool", {}, "MaxPool lacks the attribute 'kernel_shape'"),
        ("Cast", {}, "Cast lacks the attribute 'to'"),
        ("Cast", {"to": TensorProto.STRING}, "Cast gives elements of type STRING"),
        ("Cast", {"to": 12345}, "Cast gives elements of type number 12345"),
        ("Constant", {}, "Constant takes 0 inputs, but has 1"),
    ],
)
def test_wrong_attributes(op: str, attrs: dict[str, Any], message: str) -> None:
    model, _ = one_node(op, [normal(1, 1, 1, 4, 4)], attrs)
    assert refusal(model).startswith(f"y0: {message}")


def test_an_attribute_of_a_kind_that_does_not_exist() -> None:
    model, _ = one_node("Flatten", [normal(1, 2, 3)])
    model.graph.node[0].attribute.append(AttributeProto(name="axis", i=1))
    assert "must be an integer, not something unknown" in refusal(model)


def test_an_attribute_given_twice() -> None:
    model, _ = one_node("Flatten", [normal(1, 2, 3)], {"axis": 1})
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 2))
    assert refusal(model) == "y0: has attribute 'axis' twice"


def test_a_reference_to_a_functions_attribute_outside_functions() -> None:
    model, _ = one_node("Flatten", [normal(1, 2, 3)])
    attr = AttributeProto(name="axis", type=AttributeProto.INT, ref_attr_name="a")
    model.graph.node[0].attribute.append(attr)
    assert refusal(model).startswith("y0: attribute 'axis' refers to a function's attribute, but")


def test_a_constant_without_or_with_two_values() -> None:
    bare = helper.make_node("Constant", [], ["y"])
    assert refusal(model_of([bare], [], ["y"])) == "y: Constant needs one attribute, but has 0"
    both = helper.make_node("Constant", [], ["y"], value_int=1, value_float=1.0)
    assert refusal(model_of([both], [], ["y"])) == "y: Constant needs one attribute, but has 2"


def test_a_constant_of_strings() -> None:
    node = helper.make_node("Constant", [], ["y"], value_string="hello")
    assert refusal(model_of([node], [], ["y"]), UnsupportedError) == "y: Constant holds strings"


@pytest.mark.parametrize(
    ("op", "dtypes", "message"),
    [
        ("Add", [np.float32, np.int64], "Add mixes 'x0' of f32 and 'x1' of i64; insert a Cast"),
        ("Conv", [np.int64, np.int64], "Conv cannot take 'x0', whose elements are i64"),
        ("And", [np.float32, np.float32], "And cannot take 'x0', whose elements are f32"),
        ("Gather", [np.float32, np.float32], "Gather cannot take 'x1', whose elements are f32"),
    ],
)
def test_elements_of_the_wrong_type(op: str, dtypes: list[Any], message: str) -> None:
    model, _ = one_node(op, [np.ones((1, 1, 2, 2), dtype) for dtype in dtypes])
    assert refusal(model) == f"y0: {message}"


def test_shapes_that_do_not_broadcast() -> None:
    model, _ = one_node("Add", [normal(1, 2, 3), normal(2, 2, 4)])
    assert refusal(model) == "y0: Add cannot broadcast operands of shapes 2x3 and 2x4"


# ---- what bnnc does not do --------------------------------------------------------------------


def test_an_unknown_operator_is_named_with_its_node() -> None:
    node = helper.make_node("NonMaxSuppression", ["x", "x"], ["y"], name="post/nms")
    assert refusal(model_of([node], X, ["y"]), UnsupportedError) == (
        "uses operator that bnnc does not know: 'NonMaxSuppression' (node 'post/nms'); end the "
        "model before it, at the tensors it reads, and do the rest outside (bnnc's detectors drop "
        "overlapping boxes themselves)"
    )


def test_all_unknown_operators_are_named_at_once() -> None:
    ops = ["RoiAlign", "Foo", "RoiAlign", "LSTM"]
    nodes = [helper.make_node(op, ["x"], [f"v{i}"], name=f"n{i}") for i, op in enumerate(ops)]
    nodes[1].domain = "com.acme"
    message = refusal(model_of(nodes, X, [f"v{i}" for i in range(4)]), UnsupportedError)
    assert message.startswith(
        "uses operators that bnnc does not know: 'RoiAlign' (node 'n0' and 1 more), "
        "'com.acme.Foo' (node 'n1'), 'LSTM' (node 'n3'); "
    )


def test_many_unknown_operators_are_counted() -> None:
    nodes = [helper.make_node(f"Op{i}", ["x"], [f"v{i}"]) for i in range(20)]
    message = refusal(model_of(nodes, X, [f"v{i}" for i in range(20)]), UnsupportedError)
    assert "'Op5' (node 'v5') and 14 more; " in message


@pytest.mark.parametrize("op", ["Loop", "Scan"])
def test_loops_are_refused(op: str) -> None:
    body = helper.make_graph([helper.make_node("Neg", ["x"], ["z"])], "body", [], [info("z")])
    node = helper.make_node(op, ["x"], ["y"], name="control", body=body)
    assert refusal(model_of([node], X, ["y"]), UnsupportedError) == (
        f"uses operator that bnnc does not know: '{op}' (node 'control'); export the model with "
        "fixed shapes, or run a simplifier that unrolls it"
    )


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "??/\n#define x"])
def test_an_open_shape_of_an_input_whose_name_cannot_be_printed(name: str) -> None:
    model = model_of(
        [helper.make_node("Relu", [name], ["y"])], [info(name, shape=["n", "m"])], ["y"]
    )
    assert "--shape" in refusal(model)


@pytest.mark.parametrize("equation", ["Q\ny\x1b[2J", "nchw->nc\x00", "\u202eab->ba"])
def test_an_equation_that_cannot_be_printed(equation: str) -> None:
    node = helper.make_node("Einsum", ["x"], ["y"], equation=equation)
    assert "Einsum" in refusal(model_of([node], X, ["y"]))


@pytest.mark.parametrize("opset", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_absurd_versions(opset: int) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], X, ["y"])
    model.opset_import[0].version = opset
    refusal(model)


@pytest.mark.parametrize("op", ["LayerNormalization", "Resize", "GroupNormalization", "Attention"])
@pytest.mark.parametrize("inputs", [[], ["x"]])
def test_operators_newer_than_the_version_with_too_few_inputs(op: str, inputs: list[str]) -> None:
    model = model_of([helper.make_node(op, inputs, ["y"])], X, ["y"], opset=9)
    refusal(model)


@pytest.mark.parametrize("opset", [1, 6, 1000])
def test_versions_that_are_not_known(opset: int) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], X, ["y"], opset=opset)
    assert refusal(model, UnsupportedError).startswith(
        f"uses version {opset} of ONNX's operators; versions 7 to "
    )


def test_a_model_that_declares_no_version() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], X, ["y"])
    model.ClearField("opset_import")
    assert refusal(model).startswith("does not say which version of ONNX's operators it uses")


# ---- strings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ['"; system("x"); //', "*/ int x;", "a\nb\r\0", "??/", "int", "n" * 100_000]
)
def test_strange_names_are_kept_and_shown_on_one_line(name: str) -> None:
    node = helper.make_node("Relu", [name], [name + "y"], name=name)
    graph = load(model_of([node], [info(name, shape=[1])], [name + "y"]))
    assert graph.inputs[0].name == name
    node.op_type = "Mystery"
    refusal(model_of([node], [info(name, shape=[1])], [name + "y"]))
    refusal(model_of([node], [info(name, shape=["n", "m"])], [name + "y"]))


# ---- mutations --------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_bytes_never_end_in_anything_but_a_model_error(data: st.DataObject) -> None:
    model = bytearray(sound_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(model) - 1))
        model[place] = data.draw(st.integers(0, 255))
    try:
        load(bytes(model))
    except BnncError as error:
        assert str(error).isprintable()


@settings(max_examples=200, deadline=None)
@given(data=st.binary(min_size=1, max_size=200))
def test_random_bytes_never_end_in_anything_but_a_model_error(data: bytes) -> None:
    refusal(data)


@pytest.mark.parametrize("version", [2**40, 2**31, -1, -(2**63)])
def test_other_domains_may_call_their_version_anything(version: int) -> None:
    domain = "com.microsoft"
    model = model_of(
        [helper.make_node("Gelu", ["x"], ["y"], domain=domain)], X, ["y"], domains={domain: version}
    )
    assert load(model).outputs[0].shape == (1, 2, 4, 4)
