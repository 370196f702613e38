"""Graphs as ONNX files, for looking at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnc.files import fresh_file
from bnnc.ir.epilogue import Step, steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType

if TYPE_CHECKING:
    import onnx

_OWN_OPS = ("BinaryConv", "BranchedConv", "Copy", "LookUp", "Map", "PooledConv", "Unpack")
_MAX_ELEMENTS = 1024
"""Larger constants are shown by type alone."""


def dump(graph: Graph, path: Path) -> None:
    """Write ``graph`` as an ONNX file that Netron opens.

    Ops of bnnc's own, and any with steps, stand in the domain ``bnnc``; a constant of more than
    1024 elements is a node ``bnnc.Weights`` that says its type and range. The file cannot be run.

    Raises:
        InputError: if the file cannot be written; none is begun then.
    """
    import onnx
    from onnx import helper

    inputs = [_info(value) for value in graph.inputs]
    outputs = [_info(value) for value in dict.fromkeys(graph.outputs)]
    known = {value.name for value in (*graph.inputs, *graph.outputs)}
    small = [v for v in graph.values() if v.data is not None and v.type.elements <= _MAX_ELEMENTS]
    model = helper.make_model(
        helper.make_graph(
            [_node(node) for node in graph.all_nodes() if _is_shown(node)],
            graph.name or "model",
            inputs,
            outputs,
            [onnx.numpy_helper.from_array(np.asarray(v.data), v.name) for v in small],
            value_info=[_info(v) for v in graph.values() if v.name not in known and v.data is None],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("bnnc", 1)],
        producer_name="bnnc",
    )
    with fresh_file(path) as fresh:
        fresh.write_bytes(model.SerializeToString(deterministic=True))


def _is_shown(node: Node) -> bool:
    small = node.op.name == "Constant" and node.output.type.elements <= _MAX_ELEMENTS
    return node.op.name != "Input" and not small


def _info(value: Value) -> onnx.ValueInfoProto:
    from onnx import helper

    kind = DType.BOOL if value.dtype is DType.B1 else value.dtype
    info = helper.make_tensor_value_info(
        value.name, helper.np_dtype_to_tensor_dtype(kind.numpy), value.shape
    )
    if value.stands_for is not None:
        info.doc_string = f"bits of {value.stands_for.name}"
    return info


def _node(node: Node) -> onnx.NodeProto:
    from onnx import helper

    attrs = node.attrs
    steps = steps_of(node)
    op, own = node.op.name, node.op.name in _OWN_OPS or bool(steps)
    if op == "Constant":
        data = np.asarray(node.output.data)
        attrs = {"type": str(node.output.type), "min": float(data.min()), "max": float(data.max())}
        op, own = "Weights", True
    if steps:
        attrs = {**attrs, "steps": [_step(node, step, node.outputs) for step in steps]}
    if "branches" in attrs:
        attrs = {**attrs, "branches": list(_branches(node))}
    proto = helper.make_node(
        op,
        ["" if value is None else value.name for value in node.inputs],
        [value.name for value in node.outputs],
        name=node.name,
        domain="bnnc" if own else "",
        doc_string=", ".join(node.origin),
    )
    for key, given in attrs.items():
        shown = _attribute(given)
        if shown is not None:
            proto.attribute.append(helper.make_attribute(key, shown))
    return proto


def _branches(node: Node) -> Iterator[str]:
    first = 0
    for branch in node.attrs["branches"]:
        outputs = node.outputs[first : first + branch.outputs]
        first += branch.outputs
        names = [value.name for value in map(node.inputs.__getitem__, branch.inputs) if value]
        steps = [_step(node, step, outputs) for step in branch.steps]
        yield ", ".join([" ".join(names), *(steps or [f"-> {outputs[0].name}"])])


def _step(node: Node, step: Step, outputs: Sequence[Value]) -> str:
    operands = [node.operand(slot).name for slot in step.operands]
    written = [] if step.result is None else [f"-> {outputs[step.result].name}"]
    return " ".join(map(str, (step.kind, *step.params, *operands, *written)))


def _attribute(given: Any) -> Any:
    """What ONNX can hold; None for what is left out."""
    if isinstance(given, DType):
        return given.value
    if isinstance(given, np.ndarray):
        import onnx

        small = given.size <= _MAX_ELEMENTS
        return onnx.numpy_helper.from_array(given) if small else f"{given.dtype}{given.shape}"
    if isinstance(given, (list, tuple)):
        return list(given) or None
    return given
