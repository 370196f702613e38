"""Operators that ONNX itself declares as functions of others: Attention, CenterCropPad..."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from onnx import FunctionProto, NodeProto, TypeProto, defs, helper

from bnnc.frontends.onnx.call import Call
from bnnc.frontends.onnx.nodes import OnnxNode
from bnnc.frontends.onnx.schema import NEWEST
from bnnc.ir.graph import Value


def importer(call: Call) -> Sequence[Value | None]:
    """The function's nodes in the place of the node."""
    function = _function(call)
    if function is None:
        raise call.unsupported("is not supported in this form")
    return call.inline(call.expand(function))


def is_function(node: OnnxNode) -> bool:
    """Whether ONNX says what an operator does by a function."""
    known = node.domain == "" and 0 < node.version <= NEWEST
    return known and _declared(node.op, node.version) is not None


@functools.lru_cache(maxsize=256)
def _declared(op: str, version: int) -> defs.OpSchema | None:
    try:
        schema = defs.get_schema(op, version, "")
    except defs.SchemaError:
        return None
    known = schema.has_function or schema.has_context_dependent_function
    return schema if known and not schema.deprecated else None


def _function(call: Call) -> FunctionProto | None:
    """The body, which may depend on attributes and on the operands' types; None if there is none
    for this node."""
    schema = _declared(call.op, call.version)
    assert schema is not None
    node = NodeProto()
    node.CopyFrom(call.node.proto)
    node.input[:], node.output[:] = call.node.inputs, call.node.outputs
    del node.attribute[:]
    node.attribute.extend(call.node.attrs.values())
    for attr in node.attribute:
        attr.ref_attr_name = ""
    function = FunctionProto()
    if schema.has_function:
        versions, read = schema.function_opset_versions, schema.get_function_with_opset_version
    else:
        versions = schema.context_dependent_function_opset_versions

        def read(version: int) -> bytes:
            body: bytes = schema.get_context_dependent_function_with_opset_version(
                version, node.SerializeToString(), [_type(v) for v in call.inputs]
            )
            return body

    fitting = [version for version in versions if version <= call.version]
    text = read(max(fitting, default=min(versions)))
    if not text:
        return None
    function.ParseFromString(text)
    function.attribute_proto.extend(
        attr.default_value
        for name, attr in schema.attributes.items()
        if name not in call.node.attrs and attr.default_value.name
    )
    return function


def _type(value: Value | None) -> bytes:
    if value is None:
        return TypeProto().SerializeToString()
    number = helper.np_dtype_to_tensor_dtype(value.dtype.numpy)
    text: bytes = helper.make_tensor_type_proto(number, value.shape).SerializeToString()
    return text
