"""Pixels are normalised by a table: graph before, graph after."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nets import Net, apply, drawn

from bnnc.ir import interpreter
from bnnc.ir.graph import Graph
from bnnc.ir.types import DType, TensorType
from bnnc.passes.input_u8 import input_u8
from bnnc.passes.look_up import look_up

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3)).astype(np.uint8)
COLUMN = np.array([0.1, 0.2, 0.7], np.float32).reshape(3, 1, 1)


def pixel_graph(**cast: object) -> tuple[Graph, object]:
    """x u8 [1, 4, 5, 3] -> Cast -> Transpose."""
    graph = Graph("net")
    pixels = graph.add_input("x", TensorType(DType.U8, (1, 4, 5, 3)))
    value = graph.add("Cast", [pixels], {"to": DType.F32, **cast}).output
    return graph, graph.add("Transpose", [value], {"perm": (0, 3, 1, 2)}).output


def looked_up(graph: Graph) -> list[str]:
    """The drawing after the pass, having checked that not a bit has changed."""
    before = interpreter.run(graph, {"x": PIXELS})
    apply(graph, look_up)
    for ours, theirs in zip(interpreter.run(graph, {"x": PIXELS}), before):
        np.testing.assert_array_equal(ours, theirs)
    return drawn(graph)


def test_what_input_u8_adds_becomes_one_table() -> None:
    net = Net(1, 3, 4, 5)
    graph = net.returns(net("Relu", net.x))
    said = {"mean": [0.4, 0.45, 0.5], "std": [0.2, 0.3, 0.4]}
    graph.metadata["bnnc.preprocessing"] = json.dumps(said)
    apply(graph, input_u8, input_u8=True)
    assert looked_up(graph) == ["LookUp", "Relu"]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_with_a_number_a_channel_goes_into_the_table(op: str, first: bool) -> None:
    graph, value = pixel_graph()
    constants = [COLUMN, np.float32(3.7), COLUMN[None]]
    for number, array in enumerate(constants):
        constant = graph.constant(np.asarray(array, np.float32), f"c{number}")
        operands = [value, constant] if first or op == "Div" else [constant, value]
        value = graph.add(op, operands).output
    graph.mark_outputs([value], ["y"])
    assert looked_up(graph) == ["LookUp"] and graph.output_names == ["y"]


def test_pixels_that_are_only_turned_go_through_a_table() -> None:
    graph, value = pixel_graph()
    graph.mark_outputs([graph.add("Relu", [value]).output])
    assert looked_up(graph) == ["LookUp", "Relu"]


def test_what_varies_from_pixel_to_pixel_stays() -> None:
    graph, value = pixel_graph()
    plane = graph.constant(np.arange(20, dtype=np.float32).reshape(4, 5))
    graph.mark_outputs([graph.add("Mul", [value, plane]).output])
    assert looked_up(graph) == ["LookUp", "Mul"]


def test_a_value_read_twice_ends_the_chain() -> None:
    graph, value = pixel_graph()
    scaled = graph.add("Mul", [value, graph.constant(COLUMN)]).output
    graph.mark_outputs([graph.add("Mul", [scaled, scaled]).output, scaled])
    assert looked_up(graph) == ["LookUp", "Mul"]


def test_other_inputs_stay_as_they_are() -> None:
    net = Net(1, 3, 4, 5)
    graph = net.returns(net("Mul", net.x, 2.0))
    assert apply(graph, look_up).changes == [("look_up", 0)]
    graph, value = pixel_graph(to=DType.I32)
    graph.mark_outputs([value])
    assert apply(graph, look_up).changes == [("look_up", 0)]
