"""Tidying an exported graph: readable names, and weights stored small."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SCOPES = "pkg.torch.onnx.name_scopes"
_FUSED_BIAS = ".weight_bias"


def name_after_modules(model: onnx.ModelProto, leaves: Collection[str]) -> None:
    """Name nodes, and the values they make, after the torch modules they came from.

    The node that makes the result of a leaf module has the module's name; every other node has its
    module's name and its operation, as in ``encoder.0.block.1.conv.Where``. Where the
    exporter fused a BatchNorm into a convolution, the convolution gives the name. Notes the
    exporter left at nodes, such as source lines, are dropped.

    Args:
        model: as ``torch.onnx.export(dynamo=True)`` makes it; changed in place.
        leaves: names of the modules without children.
    """
    graph = model.graph
    results = {output.name for output in graph.output}
    scopes = [_scope(node) for node in graph.node]
    last = {scope: index for index, scope in enumerate(scopes)}
    new_names: dict[str, str] = {}
    for index, (node, scope) in enumerate(zip(graph.node, scopes)):
        weight = node.input[1] if node.op_type in ("Conv", "ConvTranspose") else ""
        if weight.endswith(".weight"):
            name = weight.removesuffix(".weight")
        elif scope in leaves and last[scope] == index:
            name = scope
        else:
            name = f"{scope}.{node.op_type}".lstrip(".")
        node.name = _unused(name, new_names.values())
        for position, value in enumerate(node.output):
            new_names[value] = node.name if position == 0 else f"{node.name}:{position}"
    for tensor in graph.initializer:
        if tensor.name.endswith(_FUSED_BIAS):
            new_names[tensor.name] = tensor.name.removesuffix(_FUSED_BIAS) + ".bias"
    for result in results:
        new_names.pop(result, None)
    for node in graph.node:
        node.input[:] = [new_names.get(value, value) for value in node.input]
        node.output[:] = [new_names.get(value, value) for value in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    for entry in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        entry.name = new_names.get(entry.name, entry.name)
        entry.doc_string = ""
        del entry.metadata_props[:]
    del graph.metadata_props[:]


def store_signs_in_bytes(model: onnx.ModelProto) -> None:
    """Store each float32 weight of a convolution that holds only -1 and +1 as int8, with a Cast.

    ``Conv(x, w: float32)`` becomes ``Conv(x, Cast(w: int8))``, in place.
    """

    def in_bytes(tensor: onnx.TensorProto, values: np.ndarray) -> list[onnx.NodeProto]:
        if not np.isin(values, (-1.0, 1.0)).all():
            return []
        return _cast(tensor, values.astype(np.int8))

    _store_weights(model, in_bytes)


def store_signs_in_bits(model: onnx.ModelProto) -> None:
    """Store each float32 weight of a convolution that holds only -1 and +1 as bits, eight to a
    byte, in place.

    A few nodes at each weight make float32 of them again, which runtimes do once, while loading.
    Weights that do not fill their bytes are stored as by :func:`store_signs_in_bytes`.
    """

    def in_bits(tensor: onnx.TensorProto, values: np.ndarray) -> list[onnx.NodeProto]:
        if values.size % 8 or not np.isin(values, (-1.0, 1.0)).all():
            return []
        return _unpack(tensor, values)

    _store_weights(model, in_bits)
    if any(node.op_type == "BitwiseAnd" for node in model.graph.node):
        constants = {
            _MASKS: 1 << np.arange(8, dtype=np.uint8),
            _PLUS: np.float32(1),
            _MINUS: np.float32(-1),
        }
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )
    store_signs_in_bytes(model)


_MASKS, _PLUS, _MINUS = "unpack.masks", "unpack.plus", "unpack.minus"
_Store = Callable[[onnx.TensorProto, np.ndarray], list[onnx.NodeProto]]


def _cast(tensor: onnx.TensorProto, stored: np.ndarray) -> list[onnx.NodeProto]:
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(stored, name))
    out = f"{name}.Cast"
    return [helper.make_node("Cast", [name], [out], name=out, to=onnx.TensorProto.FLOAT)]


def _unpack(tensor: onnx.TensorProto, values: np.ndarray) -> list[onnx.NodeProto]:
    name = tensor.name
    packed = np.packbits(values.reshape(-1, 8) > 0, axis=1, bitorder="little")
    tensor.CopyFrom(numpy_helper.from_array(packed, name))
    shape = helper.make_tensor("", onnx.TensorProto.INT64, [values.ndim], values.shape)
    steps = (
        ("BitwiseAnd", [name, _MASKS], {}),
        ("Cast", [f"{name}.BitwiseAnd"], {"to": onnx.TensorProto.BOOL}),
        ("Where", [f"{name}.Cast", _PLUS, _MINUS], {}),
        ("Constant", [], {"value": shape}),
        ("Reshape", [f"{name}.Where", f"{name}.Constant"], {}),
    )
    return [
        helper.make_node(op, inputs, [f"{name}.{op}"], name=f"{name}.{op}", **attributes)
        for op, inputs, attributes in steps
    ]


def _store_weights(model: onnx.ModelProto, store: _Store) -> None:
    """Let ``store`` change the initializers that are weights of convolutions; the last node that it
    gives makes them float32 again."""
    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    added: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        if tensor.name not in weights or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        nodes = store(tensor, numpy_helper.to_array(tensor))
        for node in graph.node if nodes else ():
            made = nodes[-1].output[0]
            node.input[:] = [made if value == tensor.name else value for value in node.input]
        added += nodes
    described = [entry for entry in graph.value_info if entry.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(described)
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _scope(node: onnx.NodeProto) -> str:
    """The torch module ``node`` came from: the exporter notes the path from the root to it, then
    the operation."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            return str(ast.literal_eval(entry.value)[-2])
    return ""


def _unused(name: str, used: Collection[str]) -> str:
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
