"""Small graphs for the tests of passes: a short way to build them, to draw and to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnc.ir import interpreter
from bnnc.ir.epilogue import steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType, TensorType
from bnnc.passes import Pass, PassOptions, Report

F32 = DType.F32


class Net:
    """A graph with an input ``x``; calling it adds a node. Arrays and numbers become constants."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.graph = Graph()
        self.rng = np.random.default_rng(seed)
        self.x = self.graph.add_input("x", TensorType(F32, shape or (1, 8, 6, 6)))

    def __call__(self, op: str, *inputs: Any, name: str = "", **attrs: Any) -> Value:
        values = [i if i is None or isinstance(i, Value) else self.constant(i) for i in inputs]
        wanted = [name] if name else []
        return self.graph.add(op, values, attrs, name=name, values=wanted).output

    def constant(self, data: Any) -> Value:
        array = np.asarray(data)
        kind = array.dtype if array.dtype.kind == "b" else np.float32
        return self.graph.constant(array.astype(kind), "c")

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def signs(self, *shape: int) -> np.ndarray:
        return self.rng.choice(np.array([-1, 1], np.float32), shape)

    def bn(self, x: Value, name: str = "", gamma: Any = None) -> Value:
        channels = x.shape[1]
        scale = self.normal(channels) if gamma is None else gamma
        bias, mean = self.normal(channels), self.normal(channels)
        variance = self.rng.uniform(0.2, 2, channels)
        return self("BatchNormalization", x, scale, bias, mean, variance, name=name)

    def sign(self, x: Value, name: str = "", zero: int = 1) -> Value:
        return self("Sign", x, name=name, zero=zero)

    def returns(self, *values: Value) -> Graph:
        self.graph.mark_outputs(values)
        return self.graph


def apply(graph: Graph, *passes: Pass, **options: Any) -> Report:
    """Run passes as the pipeline does."""
    report = Report(PassOptions(**options))
    for transform in passes:
        report.changes.append((transform.__name__, transform(graph, report)))
        graph.prune()
        graph.check()
    return report


def drawn(graph: Graph) -> list[str]:
    """Each node as ``Op`` or ``Op[step step]``, in order."""
    return [_drawn(node) for node in graph.nodes()]


def _drawn(node: Node) -> str:
    steps = " ".join(step.kind for step in steps_of(node))
    return f"{node.op.name}[{steps}]" if steps else node.op.name


def feed(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs."""
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.normal(size=value.shape).astype(value.dtype.numpy)
        if value.dtype.is_float
        else rng.integers(0, 255, value.shape).astype(value.dtype.numpy)
        for value in graph.inputs
    }


def run(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    return interpreter.run(graph, feed(graph, seed))


def assert_close(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        scale = float(np.abs(b).max(initial=0)) or 1.0
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)


def node_named(graph: Graph, name: str) -> Node:
    (found,) = [node for node in graph.nodes() if node.name == name]
    return found
