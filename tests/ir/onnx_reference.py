"""One op at a time, by onnxruntime and by the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import settings
from hypothesis import strategies as st
from onnx import helper

from bnnc.ir import interpreter
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType

OPSET = 21

few = settings(max_examples=25, deadline=None)
"""For properties that start an onnxruntime session an example."""

seeds = st.integers(0, 2**32 - 1)


def by_onnxruntime(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    outputs: int = 1,
) -> list[np.ndarray]:
    """What onnxruntime gives for one node; None leaves an optional input out."""
    feeds = {f"x{i}": array for i, array in enumerate(arrays) if array is not None}
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, **(attrs or {}))
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    graph = helper.make_graph(
        [node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in results]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def inputs_of(graph: Graph, arrays: Sequence[np.ndarray | None]) -> list[Value | None]:
    """A graph input for each array."""
    return [
        None
        if array is None
        else graph.add_input(f"x{i}", TensorType(DType.of(array.dtype), array.shape))
        for i, array in enumerate(arrays)
    ]


def by_interpreter(
    op: str, arrays: Sequence[np.ndarray | None], attrs: Mapping[str, Any] | None = None
) -> list[np.ndarray]:
    """What bnnc's interpreter gives for one node."""
    graph = Graph()
    node = graph.add(op, inputs_of(graph, arrays), attrs)
    graph.mark_outputs(node.outputs)
    graph.check()
    feeds = {f"x{i}": array for i, array in enumerate(arrays) if array is not None}
    return interpreter.run(graph, feeds)


def assert_same(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, tolerance: float = 1e-5
) -> None:
    """Types and shapes are equal, integers exactly, floats nearly."""
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shapes(least: int = 0, most: int = 4, largest: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of ``least`` to ``most`` axes."""
    return st.lists(st.integers(1, largest), min_size=least, max_size=most).map(tuple)


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    """Something for H and something for W."""
    return st.tuples(st.integers(least, most), st.integers(least, most))
