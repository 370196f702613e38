"""The way from an ONNX model to a graph, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto

from bnnc.errors import BnncError, ModelError, UnsupportedError
from bnnc.frontends.onnx import expansion
from bnnc.frontends.onnx.builder import Builder
from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.inputs import input_types
from bnnc.frontends.onnx.naming import name_nodes, told_apart
from bnnc.frontends.onnx.nodes import Body, OnnxNode, TensorSequence
from bnnc.frontends.onnx.ops import importer_of
from bnnc.frontends.onnx.ops.refused import advice
from bnnc.frontends.onnx.program import Program, arrange, flatten
from bnnc.frontends.onnx.reader import Source, read
from bnnc.frontends.onnx.schema import NEWEST, check_node, check_types
from bnnc.frontends.onnx.tensors import DTYPES, type_name
from bnnc.frontends.onnx.text import listing, quote
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType

DAMAGED = "export the model anew, or ask onnx.checker about it"
"""What to do about a model that is wrong, where nothing better is known."""

DAMAGED_BY_TORCH = (
    "export the model anew with torch.onnx.export(..., optimize=False): what torch optimises is "
    "sometimes no model afterwards"
)
"""The same where torch has written it."""

BEYOND = "end the model before this node, or export it another way"
"""What to do about a model that is right but not supported, where nothing better is known."""

OLDEST = 7
"""The oldest version of the standard operator set that is read."""


def load(
    source: str | Path | bytes | ModelProto,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> Graph:
    """Import an ONNX model.

    Every shape in the graph is fixed. Floats are float32 throughout; inputs and outputs of other
    widths keep them and are cast. Nodes that compute constants are folded.

    Args:
        source: a path, the bytes of a file, or a ModelProto (which is not changed).
        shapes: shapes of inputs, where the model leaves them open. An entry of None leaves that
            dimension to the model.

    Returns:
        The graph; ``open_batch`` says that the model left its batch open and 1 was filled in.

    Raises:
        ModelError: if the model is damaged, contradictory, too large, or open in other dimensions
            than the batch.
        UnsupportedError: if it uses something bnnc cannot compile.
        InputError: if ``shapes`` contradicts the model.
    """
    file, damaged = None, DAMAGED
    try:
        found = read(source)
        file = found.file
        if found.model.producer_name == "pytorch":
            damaged = DAMAGED_BY_TORCH
        return _load(found, shapes)
    except BnncError as error:
        if error.hint is None and isinstance(error, ModelError):
            error.hint = BEYOND if isinstance(error, UnsupportedError) else damaged
        raise error.at(file=file) from None


def _load(source: Source, shapes: Mapping[str, Sequence[int | None]] | None) -> Graph:
    program = flatten(source.model, lambda domain, op: importer_of(domain, op) is not None)
    name_nodes(program.nodes, source.model.graph.metadata_props)
    _importers(program.nodes)
    types, open_batch = input_types(program.inputs, shapes)
    graph = Graph(source.model.graph.name or source.name)
    graph.metadata = {entry.key: entry.value for entry in source.model.metadata_props}
    builder = Builder(graph, program, source.folder)
    for name, type in types.items():
        value = graph.add_input(name, type)
        builder.define(name, _as_float32(graph, value))
    _import_all(program.nodes, builder)
    _finish(graph, builder, program)
    graph.open_batch = open_batch and all(map(_has_open_batch, program.outputs, graph.outputs))
    return graph


def _importers(nodes: Sequence[OnnxNode]) -> list[Importer]:
    """The importer of every node.

    Raises:
        UnsupportedError: naming all operators for which there is none.
    """
    found = [_importer(node) for node in nodes]
    missing: dict[str, list[OnnxNode]] = {}
    for node, importer in zip(nodes, found):
        if importer is None:
            operator = f"{node.domain}.{node.op}" if node.domain else node.op
            missing.setdefault(operator, []).append(node)
    if missing:
        told = [
            f"{quote(operator)} (node {quote(nodes[0].title)}"
            + (f" and {len(nodes) - 1} more)" if len(nodes) > 1 else ")")
            for operator, nodes in missing.items()
        ]
        noun = "operator" if len(told) == 1 else "operators"
        first = next(iter(missing.values()))[0]
        raise UnsupportedError(
            f"uses {noun} that bnnc does not know: {listing(told)}",
            hint=advice(first.domain, first.op),
        )
    for node in nodes:
        if node.domain == "" and node.version == 0:
            raise ModelError("does not say which version of ONNX's operators it uses")
        if node.domain == "" and not OLDEST <= node.version <= NEWEST:
            raise UnsupportedError(
                f"uses version {node.version} of ONNX's operators; versions {OLDEST} to {NEWEST} "
                "are known",
                hint="convert the model's opset" if node.version < OLDEST else "update onnx",
            )
    return [importer for importer in found if importer is not None]


def _importer(node: OnnxNode) -> Importer | None:
    known = importer_of(node.domain, node.op)
    return expansion.importer if known is None and expansion.is_function(node) else known


def _import_all(nodes: Sequence[OnnxNode], builder: Builder) -> None:
    for node, importer in zip(nodes, _importers(nodes)):
        try:
            with np.errstate(all="ignore"):  # a model's numbers overflow without our telling
                _import(node, importer, builder)
        except BnncError as error:
            raise error.at(node=node.title) from None
        builder.release(node.reads)


def _inline(body: Body, builder: Builder) -> list[Value | None]:
    """Import nodes in the place of the one that is being imported; returns their outputs."""
    nodes = arrange(body.nodes, {*body.tensors, *body.captured}, [*filter(None, body.outputs)])
    name_nodes([node for node in nodes if not node.name])
    builder.expect(nodes, body)
    _import_all(nodes, builder)
    results = [builder.value(name) if name else None for name in body.outputs]
    builder.release(body.outputs)
    return results


def _import(node: OnnxNode, importer: Importer, builder: Builder) -> None:
    check_node(node)
    call = Call(node, builder, lambda body: _inline(body, builder))
    check_types(node, call.inputs)
    results = importer(call)
    values = (results,) if isinstance(results, (Value, TensorSequence)) else results
    for name, value in zip_longest(node.outputs, values):
        if not name:
            continue
        if value is None:
            raise UnsupportedError(f"the output {quote(name)} of {node.op} is not supported")
        if isinstance(value, Value) and value in call.made:
            call.made.discard(value)
            builder.rename(value, name)
        builder.define(name, value)


def _as_float32(graph: Graph, value: Value) -> Value:
    """Graph inputs of other float types are cast where they come in."""
    if value.dtype not in (DType.F16, DType.F64):
        return value
    return graph.add(
        "Cast", [value], {"to": DType.F32}, name=value.name, values=[f"{value.name}/f32"]
    ).output


def _finish(graph: Graph, builder: Builder, program: Program) -> None:
    """Set the graph's outputs, in the element types the model declares."""
    outputs = []
    for info in program.outputs:
        value = builder.attach(builder.value(info.name))
        outputs.append(_as_declared(graph, value, info))
    graph.mark_outputs(outputs, told_apart([info.name for info in program.outputs]))
    graph.prune()


def _as_declared(graph: Graph, value: Value, info: ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(value.shape):
        raise ModelError(
            f"output {quote(info.name)} is declared with {len(tensor.shape.dim)} dimensions, but "
            f"has {len(value.shape)}"
        )
    declared = DTYPES.get(tensor.elem_type)
    if declared is None or declared is value.dtype:
        return value
    if not (declared.is_float and value.dtype.is_float):
        raise ModelError(
            f"output {quote(info.name)} is declared as {type_name(tensor.elem_type)}, but is "
            f"{value.dtype.value}"
        )
    name = f"{value.name}/{declared.value}"
    return graph.add("Cast", [value], {"to": declared}, name=value.name, values=[name]).output


def _has_open_batch(info: ValueInfoProto, value: Value) -> bool:
    """Whether an output may have an item for each of the batch's: it has one, and the model does
    not say that it always has."""
    declared = info.type.tensor_type.shape.dim
    return value.shape[:1] == (1,) and not (declared and declared[0].dim_value > 0)
