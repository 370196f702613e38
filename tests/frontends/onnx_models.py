"""Small ONNX models, run by onnxruntime and by the interpreter on what the frontend makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bnnc.frontends.onnx import load
from bnnc.frontends.onnx.load import BEYOND, DAMAGED
from bnnc.ir import interpreter
from bnnc.ir.graph import Graph

OPSET = 21

few = settings(max_examples=30, deadline=None)
"""For properties that start an onnxruntime session an example."""

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def info(name: str, dtype: Any = np.float32, shape: Sequence[Any] | None = None) -> Any:
    """A graph input or output."""
    number = dtype if isinstance(dtype, int) else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, number, shape)


def untyped(name: str) -> onnx.ValueInfoProto:
    """A graph output of which nothing is said."""
    return onnx.ValueInfoProto(name=name)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[Any],
    constants: Mapping[str, np.ndarray | TensorProto] | None = None,
    *,
    opset: int = OPSET,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model; outputs are names or value infos, constants become initializers."""
    tensors = []
    for name, array in (constants or {}).items():
        tensor = array if isinstance(array, TensorProto) else numpy_helper.from_array(array)
        tensor.name = name
        tensors.append(tensor)
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [untyped(out) if isinstance(out, str) else out for out in outputs],
        tensors,
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def one_node(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    fixed: Mapping[int, np.ndarray] | None = None,
    outputs: int = 1,
    opset: int = OPSET,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one node and what to feed it.

    Args:
        op: the operator.
        arrays: its inputs in order; None leaves one out.
        attrs: its attributes.
        fixed: inputs that are constants, by slot (``arrays`` holds None there or ends before).
        outputs: how many outputs it has.
        opset: version of the operator set.
    """
    fixed = fixed or {}
    count = max(len(arrays), *(slot + 1 for slot in fixed), 0) if fixed else len(arrays)
    names, feeds = [], {}
    for slot in range(count):
        array = arrays[slot] if slot < len(arrays) else None
        names.append(f"x{slot}" if array is not None or slot in fixed else "")
        if array is not None:
            feeds[f"x{slot}"] = array
    results = [f"y{i}" for i in range(outputs)]
    model = model_of(
        [helper.make_node(op, names, results, **(attrs or {}))],
        [info(name, array.dtype, array.shape) for name, array in feeds.items()],
        results,
        {f"x{slot}": array for slot, array in fixed.items()},
        opset=opset,
    )
    return model, feeds


def by_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs onnxruntime gives, unoptimised."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def by_bnnc(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], shapes: Any = None
) -> list[np.ndarray]:
    """The outputs of the imported graph."""
    graph = load(model, shapes)
    graph.check()
    return interpreter.run(graph, dict(feeds))


def assert_same(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray], tolerance: float = 1e-5
) -> None:
    """Types and shapes are equal, integers exactly, floats nearly."""
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def assert_agrees(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], tolerance: float = 1e-5
) -> Graph:
    """Both give the same; returns the imported graph."""
    assert_same(by_bnnc(model, feeds), by_onnxruntime(model, feeds), tolerance)
    return load(model)


def assert_node_agrees(
    op: str,
    arrays: Sequence[np.ndarray | None],
    attrs: Mapping[str, Any] | None = None,
    *,
    fixed: Mapping[int, np.ndarray] | None = None,
    outputs: int = 1,
    opset: int = OPSET,
    tolerance: float = 1e-5,
) -> Graph:
    """One node, see :func:`one_node`."""
    model, feeds = one_node(op, arrays, attrs, fixed=fixed, outputs=outputs, opset=opset)
    return assert_agrees(model, feeds, tolerance)


def ops_of(graph: Graph) -> list[str]:
    """The ops of a graph's nodes."""
    return [node.op.name for node in graph.nodes()]


def told(error: BaseException) -> str:
    """What an error says, without the advice that is given where nothing better is known."""
    return str(error).removesuffix(f"; {DAMAGED}").removesuffix(f"; {BEYOND}")
