"""The interpreter computes what is asked for, no more, and forgets what is no longer needed."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from bnnc.errors import InputError
from bnnc.ir import interpreter
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType, TensorType

TYPE = TensorType(DType.F32, (2,))
X = np.array([-2, 3], np.float32)


def diamond() -> tuple[Graph, dict[str, Value]]:
    """x -> a = -x; b = |a|; c = a + b; d = c * y."""
    graph = Graph()
    v = {"x": graph.add_input("x", TYPE), "y": graph.add_input("y", TYPE)}
    v["a"] = graph.add("Neg", [v["x"]], name="a").output
    v["b"] = graph.add("Abs", [v["a"]], name="b").output
    v["c"] = graph.add("Add", [v["a"], v["b"]], name="c").output
    v["d"] = graph.add("Mul", [v["c"], v["y"]], name="d").output
    graph.mark_outputs([v["d"], v["b"]])
    return graph, v


def test_run_returns_the_outputs_in_order() -> None:
    graph, _ = diamond()
    d, b = interpreter.run(graph, {"x": X, "y": X})
    np.testing.assert_array_equal(d, [-8, 0])
    np.testing.assert_array_equal(b, [2, 3])


def test_an_output_may_stand_twice_or_be_an_input_or_a_constant() -> None:
    graph = Graph()
    x = graph.add_input("x", TYPE)
    one = graph.constant(np.ones(1, np.float32))
    graph.mark_outputs([x, one, x])
    found = interpreter.run(graph, {"x": X})
    assert [array.tolist() for array in found] == [[-2, 3], [1], [-2, 3]]


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({"x": X}, "input 'y' is missing"),
        ({"x": X, "y": X, "z": X}, "there is no input 'z'; inputs are ['x', 'y']"),
        ({"x": X, "y": X[:1]}, "input 'y' is float32[1], expected float32[2]"),
        ({"x": X, "y": X.astype(int)}, "input 'y' is int64[2], expected float32[2]"),
    ],
)
def test_wrong_inputs_are_named(feeds: dict[str, np.ndarray], complaint: str) -> None:
    graph, _ = diamond()
    with pytest.raises(InputError) as error:
        interpreter.run(graph, feeds)
    assert str(error.value) == complaint


def test_evaluate_runs_only_what_lies_between_known_and_wanted() -> None:
    graph, v = diamond()
    seen: list[str] = []
    found = interpreter.evaluate(
        graph, {v["b"]: X, v["a"]: X}, [v["c"]], observe=lambda node, _: seen.append(node.name)
    )
    assert seen == ["c"]
    np.testing.assert_array_equal(found[v["c"]], 2 * X)


def test_evaluate_believes_what_is_known() -> None:
    graph, v = diamond()
    found = interpreter.evaluate(graph, {v["a"]: X, v["y"]: X, v["x"]: 9 * X}, graph.outputs)
    np.testing.assert_array_equal(found[v["b"]], np.abs(X))


def test_evaluate_returns_known_values_that_are_wanted() -> None:
    graph, v = diamond()
    assert interpreter.evaluate(graph, {v["c"]: X}, [v["c"]])[v["c"]] is X


def test_evaluate_names_an_input_that_it_lacks() -> None:
    graph, v = diamond()
    with pytest.raises(InputError, match="'x' is missing"):
        interpreter.evaluate(graph, {v["y"]: X}, [v["d"]])


def test_observers_see_every_node_once_in_order() -> None:
    graph, _ = diamond()
    seen: list[tuple[str, list[float]]] = []
    interpreter.run(
        graph,
        {"x": X, "y": X},
        observe=lambda node, arrays: seen.append((node.name, arrays[0].tolist())),
    )
    assert seen == [("a", [2, -3]), ("b", [2, 3]), ("c", [4, 0]), ("d", [-8, 0])]


def test_arrays_are_freed_after_their_last_use() -> None:
    graph = Graph()
    value = graph.add_input("x", TYPE)
    for name in "abcd":
        value = graph.add("Neg", [value], name=name).output
    graph.mark_outputs([value])
    alive: list[int] = []
    references: list[weakref.ref[np.ndarray]] = []

    def count(node: Node, arrays: Sequence[np.ndarray]) -> None:
        references.append(weakref.ref(arrays[0]))
        alive.append(sum(reference() is not None for reference in references))

    interpreter.run(graph, {"x": X}, observe=count)
    # A node's own result and its operand, nothing older.
    assert alive == [1, 2, 2, 2]


def test_inputs_are_never_modified() -> None:
    graph, _ = diamond()
    x = X.copy()
    x.setflags(write=False)
    interpreter.run(graph, {"x": x, "y": x})
    np.testing.assert_array_equal(x, X)


def test_a_value_used_twice_by_one_node_is_there_for_both() -> None:
    graph = Graph()
    x = graph.add_input("x", TYPE)
    graph.mark_outputs([graph.add("Mul", [graph.add("Neg", [x]).output] * 2).output])
    np.testing.assert_array_equal(interpreter.run(graph, {"x": X})[0], X * X)


def test_numerical_accidents_raise_no_warning() -> None:
    graph = Graph()
    x = graph.add_input("x", TYPE)
    graph.mark_outputs([graph.add("Log", [x]).output])
    with np.errstate(all="raise"):
        (found,) = interpreter.run(graph, {"x": np.array([0, -1], np.float32)})
    assert found[0] == -np.inf and np.isnan(found[1])
