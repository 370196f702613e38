"""The graph keeps its invariants, and notices when a pass breaks them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnnc.errors import ModelError
from bnnc.ir import interpreter
from bnnc.ir.graph import Encoding, Graph, Node, Value
from bnnc.ir.types import DType, TensorType

F32 = DType.F32


def chain() -> Graph:
    """x -> Relu -> Mul by a constant -> Sigmoid -> y, and a Neg that nobody reads."""
    graph = Graph("chain")
    graph.metadata["labels"] = "a,b"
    x = graph.add_input("x", TensorType(F32, (2, 3)))
    relu = graph.add("Relu", [x], name="block.relu", values=["r"]).output
    scale = graph.constant(np.full(3, 2, np.float32), "scale")
    mul = graph.add("Mul", [relu, scale], name="block.mul", values=["m"]).output
    graph.add("Neg", [relu], name="unused", values=["n"])
    y = graph.add("Sigmoid", [mul], name="out", values=["y"]).output
    graph.mark_outputs([y])
    graph.check()
    return graph


def named(graph: Graph, name: str) -> Node:
    (node,) = (node for node in graph.nodes() if node.name == name)
    return node


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes()]


X = np.array([[-1, 0, 1], [2, 3, -4]], np.float32)


def test_nodes_come_producers_first_and_in_order_of_creation() -> None:
    assert ops(chain()) == ["Relu", "Mul", "Neg", "Sigmoid"]
    assert [node.op.name for node in chain().all_nodes()][:1] == ["Input"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda graph: None, "Relu Mul Neg Sigmoid"),
        (lambda graph: graph.add("Abs", [graph.inputs[0]]), "Relu Mul Neg Sigmoid Abs"),
        (
            lambda graph: graph.inherit(named(graph, "unused"), named(graph, "block.relu")),
            "Relu Neg Mul Sigmoid",
        ),
        (
            lambda graph: graph.set_input(named(graph, "unused"), 0, graph.outputs[0]),
            "Relu Mul Sigmoid Neg",
        ),
        (lambda graph: graph.remove(named(graph, "unused")), "Relu Mul Sigmoid"),
        (lambda graph: graph.prune(), "Relu Mul Sigmoid"),
    ],
    ids=["none", "add", "inherit", "set_input", "remove", "prune"],
)
def test_the_order_follows_every_change(change: Callable[[Graph], object], expected: str) -> None:
    graph = chain()
    assert ops(graph) == "Relu Mul Neg Sigmoid".split()
    change(graph)
    assert ops(graph) == expected.split()


def test_types_come_from_the_shape_rule() -> None:
    graph = chain()
    assert str(named(graph, "block.mul").output.type) == "f32[2x3]"


def test_value_names_are_unique_and_node_names_need_not_be() -> None:
    graph = chain()
    x = graph.inputs[0]
    twins = [graph.add("Abs", [x], name="twin", values=["r"]).output for _ in range(2)]
    assert [value.name for value in twins] == ["r.1", "r.2"]
    graph.check()


def test_names_may_hold_anything() -> None:
    graph = Graph()
    x = graph.add_input('"; system("rm") /*', TensorType(F32, (1,)))
    graph.mark_outputs([graph.add("Relu", [x], name="\n*/", values=["\0"]).output])
    graph.check()


def test_consumers_are_listed_with_their_slots() -> None:
    graph = chain()
    relu = named(graph, "block.relu").output
    square = graph.add("Mul", [relu, relu], name="square")
    assert graph.consumers(relu) == [
        (named(graph, "block.mul"), 0),
        (named(graph, "unused"), 0),
        (square, 0),
        (square, 1),
    ]


def test_only_consumer_is_none_where_a_value_is_also_an_output() -> None:
    graph = chain()
    mul = named(graph, "block.mul").output
    assert graph.only_consumer(mul) is named(graph, "out")
    graph.mark_outputs([mul, *graph.outputs])
    assert graph.only_consumer(mul) is None


# ---- changing -------------------------------------------------------------------------------


def test_prune_removes_what_no_output_depends_on() -> None:
    graph = chain()
    assert graph.prune() == 1
    assert ops(graph) == ["Relu", "Mul", "Sigmoid"]
    assert graph.prune() == 0
    graph.check()


def test_prune_keeps_inputs_that_nobody_reads() -> None:
    graph = chain()
    graph.add_input("spare", TensorType(F32, (1,)))
    graph.prune()
    assert [value.name for value in graph.inputs] == ["x", "spare"]
    graph.check()


def test_take_over_keeps_the_model_s_name_and_the_meaning() -> None:
    graph = chain()
    before = interpreter.run(graph, {"x": X})
    old = named(graph, "block.mul").output
    relu, scale = named(graph, "block.mul").inputs
    new = graph.add("Mul", [scale, relu], name="swapped").output
    graph.take_over(old, new)
    graph.prune()
    graph.check()
    assert new.name == "m"
    assert ops(graph) == ["Relu", "Mul", "Sigmoid"]
    np.testing.assert_array_equal(interpreter.run(graph, {"x": X})[0], before[0])


def test_take_over_of_an_output_makes_the_new_value_the_output() -> None:
    graph = chain()
    old = graph.outputs[0]
    new = graph.add("Tanh", [named(graph, "block.mul").output]).output
    graph.take_over(old, new)
    assert graph.outputs == [new]
    assert graph.output_names == ["y"] and new.name == "y"
    graph.remove(old.producer)
    graph.check()


def test_a_value_can_be_taken_over_by_one_that_reads_it() -> None:
    graph = chain()
    old = named(graph, "block.relu").output
    new = graph.add("Identity", [old]).output
    graph.take_over(old, new)
    graph.check()
    assert new.producer.inputs == (old,)
    assert named(graph, "block.mul").operand(0) is new


def test_set_input_moves_the_edge() -> None:
    graph = chain()
    mul, x = named(graph, "block.mul"), graph.inputs[0]
    graph.set_input(mul, 0, x)
    assert (mul, 0) in graph.consumers(x)
    assert mul not in [node for node, _ in graph.consumers(named(graph, "block.relu").output)]
    graph.check()


def test_a_node_that_is_read_cannot_be_removed() -> None:
    graph = chain()
    with pytest.raises(AssertionError):
        graph.remove(named(graph, "block.relu"))


# ---- copying --------------------------------------------------------------------------------


def test_a_copy_is_equal_and_independent() -> None:
    graph = chain()
    named(graph, "block.relu").output.layout = "dense"
    twin = graph.copy()
    twin.check()
    assert [v.name for v in twin.values()] == [v.name for v in graph.values()]
    assert [repr(n) for n in twin.all_nodes()] == [repr(n) for n in graph.all_nodes()]
    assert named(twin, "block.relu").output.layout == "dense"
    assert (twin.name, twin.metadata) == (graph.name, graph.metadata)
    assert not set(twin.all_nodes()) & set(graph.all_nodes())
    twin.add("Abs", [twin.outputs[0]])
    twin.prune()
    twin.metadata.clear()
    assert ops(graph) == ["Relu", "Mul", "Neg", "Sigmoid"]
    assert graph.metadata
    np.testing.assert_array_equal(
        interpreter.run(twin, {"x": X})[0], interpreter.run(graph, {"x": X})[0]
    )


def test_a_copy_goes_on_giving_unique_names_and_later_places() -> None:
    twin = chain().copy()
    new = twin.add("Abs", [twin.inputs[0]], values=["r"])
    assert new.output.name == "r.1"
    assert twin.nodes()[-1] is new
    twin.check()


def test_a_copy_keeps_where_nodes_came_from() -> None:
    graph = chain()
    both = graph.add("Abs", graph.inputs, name="both", origin=["one", "two", "one"])
    assert both.origin == ("one", "two")
    assert named(graph.copy(), "both").origin == ("one", "two")
    assert named(graph.copy(), "out").origin == ("out",)


def test_a_copy_keeps_what_bits_stand_for() -> None:
    graph = Graph()
    bits = graph.constant(np.ones((1, 2), bool), b1=True)
    bits.stands_for = Encoding("s", np.array(-1), np.array(1))
    graph.mark_outputs([bits])
    assert graph.copy().outputs[0].stands_for is bits.stands_for


def test_an_encoding_decodes_bits_per_channel() -> None:
    encoding = Encoding("s", np.array([-1, 0]).reshape(2, 1), np.array([1, 3]).reshape(2, 1))
    found = encoding.decode(np.array([[True, False], [True, False]]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, -1], [3, 0]])


# ---- checking -------------------------------------------------------------------------------


def wrong_type(graph: Graph) -> None:
    named(graph, "block.mul").output.type = TensorType(F32, (3, 2))


def unlinked_input(graph: Graph) -> None:
    node = named(graph, "out")
    node.inputs = (graph.inputs[0],)


def stray_edge(graph: Graph) -> None:
    graph.dag.add_edge(graph.inputs[0].producer, named(graph, "out"), key=7)


def repeated_name(graph: Graph) -> None:
    named(graph, "block.mul").output.name = "r"


def lost_output(graph: Graph) -> None:
    node = named(graph, "out")
    graph.dag.remove_node(node)


def cycle(graph: Graph) -> None:
    graph.set_input(named(graph, "block.relu"), 0, named(graph, "block.mul").output)


def missing_attribute(graph: Graph) -> None:
    node = graph.add("LeakyRelu", [graph.inputs[0]])
    node.attrs = {}


def unnamed_output(graph: Graph) -> None:
    graph.output_names.append("more")


def operand_of_another_graph(graph: Graph) -> None:
    node = named(graph, "out")
    node.inputs = (named(chain(), "block.mul").output,)


@pytest.mark.parametrize(
    "damage",
    [
        wrong_type,
        unlinked_input,
        stray_edge,
        repeated_name,
        lost_output,
        cycle,
        missing_attribute,
        unnamed_output,
        operand_of_another_graph,
    ],
    ids=lambda f: f.__name__,
)
def test_check_catches_damage(damage: Callable[[Graph], None]) -> None:
    graph = chain()
    damage(graph)
    with pytest.raises((AssertionError, TypeError)):
        graph.check()


def test_check_copes_with_arrays_as_attributes() -> None:
    graph = Graph()
    bits = graph.constant(np.ones((1, 3, 2, 2), bool), b1=True)
    vectors = {"low": -np.ones(3, np.float32), "high": np.ones(3, np.float32)}
    graph.mark_outputs([graph.add("Unpack", [bits], vectors).output])
    graph.check()
    graph.copy().check()


def test_an_unknown_or_missing_attribute_is_a_fault_of_the_caller() -> None:
    graph = chain()
    with pytest.raises(TypeError, match="no attribute"):
        graph.add("Relu", graph.inputs, {"alpha": 1})
    with pytest.raises(TypeError, match="needs"):
        graph.add("Reshape", graph.inputs)


def test_a_rejected_node_leaves_the_graph_as_it_was() -> None:
    graph = chain()
    with pytest.raises(ModelError):
        graph.add("Reshape", graph.inputs, {"shape": (7,)}, values=["z"])
    graph.check()
    assert graph.unique_name("z") == "z"


def test_constants_cannot_be_written_to() -> None:
    value = Graph().constant(np.zeros(3, np.float32))
    assert value.is_constant and value.data is not None
    with pytest.raises(ValueError):
        value.data[0] = 1


def test_a_scalar_constant_stays_a_scalar() -> None:
    value: Value = Graph().constant(np.float32(3))
    assert value.shape == () and value.dtype is F32
