"""Nodes are called as their owner calls them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import pytest
from onnx import helper
from onnx_models import info, load, model_of, normal

SCOPES = "pkg.torch.onnx.name_scopes"
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"


def names_of(
    nodes: list[onnx.NodeProto], weights: str = "w", parameters: Sequence[str] = ()
) -> list[str]:
    """Names of the graph's nodes, where each of ``nodes`` reads the one before it.

    ``parameters``: those of the model, and its buffers, that torch's newer exporter lists.
    """
    last = "x"
    for index, node in enumerate(nodes):
        node.input[0] = last
        if node.op_type == "Conv":
            node.input[1] = weights
        last = f"v{index}"
        node.output[:] = [last]
    constants = {weights: normal(1, 2, 2, 1, 1), "v": normal(2, 2)}
    model = model_of(nodes, [info("x", shape=[1, 2, 4, 4])], [last], constants)
    if parameters:
        listed = "".join(f"p_{number}: {line}\n" for number, line in enumerate(parameters))
        model.graph.metadata_props.add(key=SIGNATURE, value=f"\n# inputs\n{listed}x: USER_INPUT\n")
    return [node.name for node in load(model).nodes()]


def node(op: str, name: str = "", scopes: str | None = None) -> onnx.NodeProto:
    weights = {"Conv": ["w"], "BatchNormalization": ["v"] * 4}.get(op, [])
    made = helper.make_node(op, ["", *weights], [""], name=name)
    if scopes is not None:
        made.metadata_props.add(key=SCOPES, value=scopes)
    return made


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/encoder/encoder.0/encoder.0.0/conv/Conv", "encoder.0.0.conv"),
        ("/stem/Conv", "stem"),
        ("/layers.0/conv/Conv_1", "layers.0.conv"),
        ("/model/backbone/layer1/layer1.0/conv/Conv", "model.backbone.layer1.0.conv"),
        ("/a/ab/ab.c/Conv", "a.ab.c"),
        ("/Conv", "conv"),
        ("/Conv_3", "conv"),
    ],
)
def test_the_older_torch_exporter(path: str, expected: str) -> None:
    assert names_of([node("Conv", path)]) == [expected]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ("['', 'encoder', 'encoder.0', 'encoder.0.conv', 'conv2d_3']", "encoder.0.conv"),
        ("['', 'stem', 'conv2d']", "stem"),
        ("['', 'conv2d']", "conv"),
        ("['encoder.0.conv', 'conv2d']", "encoder.0.conv"),
    ],
)
def test_the_newer_torch_exporter(scopes: str, expected: str) -> None:
    assert names_of([node("Conv", "node_conv2d", scopes)]) == [expected]


def test_weights_know_their_module_best() -> None:
    """As where a BatchNorm was folded into the convolution, or by exporters that say no more."""
    nodes = [
        node("Conv", "node_Conv_18", "['', 'stem.bn', 'batch_norm']"),
        node("Conv", "/stem/conv_1/Conv"),
        node("Conv", "Conv_7"),
        node("Conv", ""),
        node("Conv", "mine"),
    ]
    assert names_of(nodes, weights="stem.conv.weight") == [
        "stem.conv",
        "stem.conv#2",
        "stem.conv#3",
        "stem.conv#4",
        "mine",
    ]


def parameters(*paths: str) -> list[str]:
    """How modules are listed, those called ``bn`` as BatchNorms."""
    norms = [path for path in paths if path.rpartition(".")[2].startswith("bn")]
    return [
        *(f"PARAMETER target='{path}.weight'" for path in paths),
        *(f"BUFFER target='{path}.running_mean' persistent=True" for path in norms),
    ]


def fused(norm: str) -> onnx.NodeProto:
    """A convolution with computed weights that took in the BatchNorm of that module."""
    return node("Conv", "node_Conv_1", f"['', '{norm}', '_native_batch_norm_legit_no_training_1']")


@pytest.mark.parametrize(
    "modules",
    [
        ("b.conv1", "b.bn1", "b.conv2", "b.bn2"),
        ("b.conv1", "b.conv2", "b.bn1", "b.bn2"),
        ("b.bn1", "b.conv1", "b.bn2", "b.conv2"),
    ],
)
def test_convolutions_that_took_in_norms_are_the_modules_that_lost_their_weights(
    modules: tuple[str, ...],
) -> None:
    found = names_of([fused("b.bn1"), fused("b.bn2")], "add", parameters("stem", *modules, "fc"))
    assert found == ["b.conv1", "b.conv2"]


def test_a_module_that_is_there_took_in_no_norm() -> None:
    """Its weights were computed, too, but what it gives is read twice."""
    nodes = [fused("b.bn1"), node("Conv", "node_conv2d_2", "['', 'b', 'b.conv2', 'conv2d_2']")]
    listed = parameters("b.conv1", "b.bn1", "b.conv2")
    assert names_of(nodes, "add", listed) == ["b.conv1", "b.conv2"]


@pytest.mark.parametrize(
    "modules",
    [
        (),
        ("b.body.conv", "b.bn"),
        ("b.conv", "b.embedding", "b.bn"),
    ],
)
def test_a_convolution_of_unknown_module_is_called_by_the_norm_it_took_in(
    modules: tuple[str, ...],
) -> None:
    assert names_of([fused("b.bn")], "add", parameters(*modules)) == ["b.bn.conv"]


def test_both_exporters_give_the_same_names() -> None:
    parts = [
        ("Sign", "b.conv"),
        ("Conv", "b.conv"),
        ("BatchNormalization", "b.bn"),
        ("Relu", "b"),
        ("Neg", "b"),
        ("Relu", "b"),
        ("Tanh", "b.act"),
        ("Abs", ""),
    ]
    older = [node(op, f"/{path.replace('.', '/')}/{op}".replace("//", "/")) for op, path in parts]
    newer = [node(op, "", str(["", path, op.lower()])) for op, path in parts]
    expected = [
        "b.conv.sign",
        "b.conv",
        "b.bn",
        "b.relu",
        "b.neg",
        "b.relu_1",
        "b.act",
        "abs",
    ]
    assert names_of(older) == expected
    assert names_of(newer) == expected


def test_a_module_called_again_is_numbered() -> None:
    nodes = [
        node("Conv", "", "['', 'head', 'conv2d']"),
        node("Conv", "", "['', 'head', 'conv2d_1']"),
    ]
    assert names_of(nodes) == ["head", "head#2"]


def test_a_function_never_takes_the_name_of_a_module() -> None:
    nodes = [
        node("Relu", "", "['', 'block', 'relu']"),
        node("Tanh", "", "['', 'block', 'tanh']"),
        node("Relu", "", "['', 'block', 'block.relu', 'relu_1']"),
    ]
    assert names_of(nodes) == ["block.relu_1", "block.tanh", "block.relu"]


@pytest.mark.parametrize(
    "scopes",
    [
        "not a list",
        "['unclosed",
        "{'a': 1}",
        "[1, 2, 3]",
        "[__import__('os').system('true'), 'a']",
        "[" * 5000,
        "['" + "a" * 20_000 + "', 'b']",
    ],
)
def test_scopes_that_are_no_list_of_strings_are_passed_over(scopes: str) -> None:
    assert names_of([node("Conv", "mine", scopes)]) == ["mine"]


def test_other_exporters_names_are_kept() -> None:
    nodes = [node("Conv", "model/conv1/Conv2D"), node("Relu", "Relu__12"), node("Relu", "/x/y z")]
    assert names_of(nodes) == ["model/conv1/Conv2D", "Relu__12", "/x/y z"]


def test_two_nodes_of_one_name_are_told_apart() -> None:
    assert names_of([node("Relu", "act"), node("Neg", "act")]) == ["act", "act#2"]


def test_a_node_without_a_name_is_called_as_its_output() -> None:
    assert names_of([node("Conv"), node("Relu")]) == ["v0", "v1"]


def test_names_are_data() -> None:
    strange = '*/ "quoted"\\ \n??/ \N{SNOWMAN}' + "a" * 100_000
    assert names_of([node("Conv", strange)]) == [strange]


def test_every_op_made_for_a_node_carries_its_name() -> None:
    graph = load(
        model_of(
            [helper.make_node("Gelu", ["x"], ["y"], name="act")], [info("x", shape=[2])], ["y"]
        )
    )
    assert {made.name for made in graph.nodes()} == {"act"}
    assert {made.origin for made in graph.nodes()} == {("act",)}


def test_nodes_of_functions_are_called_after_the_call_too() -> None:
    body = [
        helper.make_node("Neg", ["a"], ["t"], name="neg"),
        helper.make_node("Abs", ["t"], ["b"]),
    ]
    local = helper.make_function("local", "F", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    model = model_of(
        [helper.make_node("F", ["x"], ["y"], domain="local", name="call")],
        [info("x", shape=[2])],
        ["y"],
        domains={"local": 1},
        functions=[local],
    )
    assert [made.name for made in load(model).nodes()] == ["call/neg", "y"]
