"""The memory plan: nothing alive is overwritten, and the arena is small."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.codegen import storage
from bnnc.codegen.generate import overwrites
from bnnc.codegen.legalize import legalize
from bnnc.ir import interpreter
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType, TensorType


def _type(*shape: int) -> TensorType:
    return TensorType(DType.F32, shape)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of elementwise nodes, views, Slices and Concats over tensors of a few sizes."""
    graph = Graph()
    values = [graph.add_input("x", _type(1, 4, 2, 2))]
    for index in range(draw(st.integers(2, 14))):
        value = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(["Relu", "Add", "Concat", "Slice", "Reshape", "Sigmoid"]))
        other = draw(st.sampled_from(values))
        if kind == "Add" and other.shape == value.shape:
            node = graph.add("Add", [value, other], name=f"n{index}")
        elif kind == "Concat" and other.shape[2:] == value.shape[2:] and len(other.shape) == 4:
            node = graph.add("Concat", [value, other], {"axis": 1}, name=f"n{index}")
        elif kind == "Slice" and value.shape[1] > 1:
            attrs = {"starts": (1,), "ends": (value.shape[1],), "axes": (1,), "steps": (1,)}
            node = graph.add("Slice", [value], attrs, name=f"n{index}")
        elif kind == "Reshape":
            shape = (1, value.type.elements, 1, 1)
            node = graph.add("Reshape", [value], {"shape": shape}, name=f"n{index}")
        else:
            node = graph.add("Relu", [value], name=f"n{index}")
        values.append(node.output)
    graph.mark_outputs([values[-1], draw(st.sampled_from(values[1:]))])
    return graph


def no_scratch(node: Node) -> int:
    return 0


def residual_blocks() -> Graph:
    """Five sums into one stream."""
    graph = Graph()
    x = graph.add_input("x", _type(1, 8, 4, 4))
    value = graph.add("Sigmoid", [x]).output
    for _ in range(5):
        value = graph.add("Add", [value, graph.add("Relu", [x]).output]).output
    graph.mark_outputs([graph.add("Sigmoid", [value]).output])
    return graph


def _run_in_planned_memory(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    """Interpret the graph with every tensor where the plan puts it."""
    nodes = graph.nodes()
    plan = storage.plan(graph, nodes, no_scratch, overwrites)
    memory: dict[tuple[str, int], np.ndarray] = {}

    def view(value: Value) -> np.ndarray:
        place = plan.places[value]
        buffer = place.buffer
        size = plan.arena_bytes if buffer.space == "arena" else buffer.size
        block = memory.setdefault((buffer.space, buffer.index), np.zeros(size, np.uint8))
        start = (buffer.offset if buffer.space == "arena" else 0) + place.offset
        raw = block[start : start + value.type.bytes]
        return raw.view(np.float32).reshape(value.shape)

    view(graph.inputs[0])[...] = x
    for node in nodes:
        inputs = [view(value).copy() for value in node.inputs if value is not None]
        for value, result in zip(node.outputs, node.op.compute(node, inputs)):
            view(value)[...] = result
    return [view(value).copy() for value in graph.outputs]


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_running_in_the_planned_memory_changes_no_result(graph: Graph) -> None:
    legalize(graph)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].shape).astype(np.float32)
    expected = interpreter.run(graph, {"x": x})
    for result, want in zip(_run_in_planned_memory(graph, x), expected):
        np.testing.assert_array_equal(result, want)


def test_the_residual_stream_is_updated_in_place() -> None:
    graph = residual_blocks()
    plan = storage.plan(graph, graph.nodes(), no_scratch, overwrites)
    assert plan.arena_bytes == 2 * graph.inputs[0].type.bytes


def test_the_parts_of_a_concat_are_written_in_place() -> None:
    graph = Graph()
    x = graph.add_input("x", _type(1, 8, 4, 4))
    parts = [graph.add(op, [x]).output for op in ("Relu", "Sigmoid")]
    joined = graph.add("Concat", parts, {"axis": 1}).output
    graph.mark_outputs([graph.add("Relu", [joined]).output])
    plan = storage.plan(graph, graph.nodes(), no_scratch, overwrites)
    first, second = (plan.places[part] for part in parts)
    assert first.buffer is second.buffer is plan.places[joined].buffer
    assert (first.offset, second.offset) == (0, x.type.bytes)


def test_a_slice_of_leading_channels_is_a_view() -> None:
    graph = Graph()
    x = graph.add_input("x", _type(1, 8, 4, 4))
    attrs = {"starts": (2,), "ends": (6,), "axes": (1,), "steps": (1,)}
    assert storage.view_offset(graph.add("Slice", [x], attrs)) == 2 * 16 * 4
    attrs = {"starts": (1,), "ends": (3,), "axes": (3,), "steps": (1,)}
    assert storage.view_offset(graph.add("Slice", [x], attrs)) is None


def test_arena_stays_close_to_what_is_alive_at_once() -> None:
    graph = Graph()
    x = graph.add_input("x", _type(1, 3, 64, 64))
    value, kept = x, []
    for step, channels in enumerate((16, 8, 32, 4, 24, 16)):
        w = graph.constant(np.zeros((channels, value.shape[1], 1, 1), np.float32))
        value = graph.add("Conv", [value, w]).output
        if step % 2:
            kept.append(value)
    graph.mark_outputs([graph.add("Concat", [*kept, value], {"axis": 1}).output])
    plan = storage.plan(graph, graph.nodes(), no_scratch, overwrites)
    assert plan.arena_bytes <= 1.1 * plan.live_bytes


def test_scratch_lies_where_no_living_tensor_does() -> None:
    graph = residual_blocks()
    nodes = graph.nodes()
    plan = storage.plan(graph, nodes, lambda node: 100 * len(node.op.name), overwrites)
    for step, node in enumerate(nodes):
        own = plan.scratch[node]
        for other in plan.buffers:
            if other.first <= step <= other.last:
                apart = own.offset + own.size <= other.offset
                assert apart or other.offset + other.size <= own.offset
        assert own.offset + own.size <= plan.arena_bytes
    assert plan.live_bytes == 2 * graph.inputs[0].type.bytes
