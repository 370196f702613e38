"""Checks of a node against ONNX's own declaration of its operator, by version."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, defs

from bnnc.errors import ModelError
from bnnc.frontends.onnx.nodes import OnnxNode
from bnnc.frontends.onnx.text import listing, quote
from bnnc.ir.graph import Value
from bnnc.ir.types import DType

NEWEST = defs.onnx_opset_version()
"""The newest version of the standard operator set that the installed onnx describes."""

_LARGEST_VERSION = 2**31 - 1
"""What onnx takes for one; other domains than the standard one may say anything."""

_FLOATS = frozenset(f"tensor({name})" for name in ("float", "float16", "double", "bfloat16"))
_ONNX_TYPES: dict[DType, frozenset[str]] = {
    DType.F32: _FLOATS,
    DType.BOOL: frozenset({"tensor(bool)"}),
    **{
        kind: frozenset({f"tensor({kind.numpy.name})"}) for kind in DType if kind.numpy.kind in "iu"
    },
}
_KINDS = {
    "FLOAT": "a float",
    "INT": "an integer",
    "STRING": "a string",
    "TENSOR": "a tensor",
    "GRAPH": "a graph",
    "SPARSE_TENSOR": "a sparse tensor",
    "TYPE_PROTO": "a type",
    "FLOATS": "a list of floats",
    "INTS": "a list of integers",
    "STRINGS": "a list of strings",
}


def kind_name(kind: int) -> str:
    """A kind of attribute in words."""
    return _KINDS.get(_attribute_kind(kind), "something unknown")


def _attribute_kind(kind: int) -> str:
    try:
        return str(AttributeProto.AttributeType.Name(kind))
    except ValueError:
        return ""


@dataclass(frozen=True)
class _Formal:
    """An input as declared: allowed element types, and the type variable it shares."""

    allowed: frozenset[str]
    variable: str | None


@dataclass(frozen=True)
class _Rule:
    attributes: dict[str, int]
    required: frozenset[str]
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    formals: tuple[_Formal, ...]


@functools.lru_cache(maxsize=1024)
def _rule(op: str, version: int, domain: str) -> _Rule | None:
    """The declaration, or None for an operator that ONNX does not declare."""
    schema = _schema(op, version, domain)
    if schema is None:
        return None
    allowed = {
        constraint.type_param_str: frozenset(constraint.allowed_type_strs)
        for constraint in schema.type_constraints
    }
    formals = []
    for formal in schema.inputs:
        types = allowed.get(formal.type_str, frozenset({formal.type_str}))
        shared = formal.type_str in allowed and formal.is_homogeneous
        formals.append(_Formal(types, formal.type_str if shared else None))
    return _Rule(
        {name: _number(attr.type) for name, attr in schema.attributes.items()},
        frozenset(name for name, attr in schema.attributes.items() if attr.required),
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple(formals),
    )


def _schema(op: str, version: int, domain: str) -> defs.OpSchema | None:
    """The declaration of a version; of the newest for an operator that came later, since exporters
    and onnxruntime do not mind."""
    for most in (min(max(version, 0), _LARGEST_VERSION), NEWEST):
        try:
            schema = defs.get_schema(op, most, domain)
            return (
                defs.get_schema(op, schema.since_version - 1, domain)
                if schema.deprecated
                else schema
            )
        except defs.SchemaError:
            continue
    return None


def _number(kind: Any) -> int:
    """A kind of attribute as a number; onnx gives an enumeration, which older ones do not count
    among the integers."""
    return int(kind.value)


def check_node(node: OnnxNode) -> None:
    """Attributes known, of the right kind and none missing; inputs and outputs as many as can be.

    Raises:
        ModelError: otherwise.
    """
    rule = _rule(node.op, node.version, node.domain)
    if rule is None:
        return
    for name, attr in node.attrs.items():
        if name not in rule.attributes:
            known = listing(sorted(rule.attributes)) or "none"
            raise ModelError(
                f"{node.op} has no attribute {quote(name)} in opset {node.version}; it has {known}"
            )
        if attr.type != rule.attributes[name]:
            raise wrong_kind(node.op, name, rule.attributes[name], attr.type)
    missing = sorted(rule.required - node.attrs.keys())
    if missing:
        raise ModelError(f"{node.op} lacks the attribute {quote(missing[0])}")
    given = [name != "" for name in node.inputs]
    while given and not given[-1]:
        given.pop()
    _check_count(node.op, "inputs", len(given), rule.inputs)
    _check_count(node.op, "outputs", len(node.outputs), rule.outputs)


def wrong_kind(op: str, name: str, wanted: int, found: int) -> ModelError:
    """An attribute that is, say, a string where a list of integers belongs."""
    return ModelError(
        f"attribute {quote(name)} of {op} must be {kind_name(wanted)}, not {kind_name(found)}"
    )


def _check_count(op: str, what: str, count: int, limits: tuple[int, int]) -> None:
    least, most = limits
    if not least <= count <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        wanted = f"at least {least}" if most > 1000 else wanted
        raise ModelError(f"{op} takes {wanted} {what}, but has {count}")


def check_types(node: OnnxNode, values: Sequence[Value | None]) -> None:
    """Element types are among those the operator takes, and equal where they must be.

    Raises:
        ModelError: otherwise.
    """
    rule = _rule(node.op, node.version, node.domain)
    if rule is None or not rule.formals:
        return
    bound: dict[str, Value] = {}
    for index, value in enumerate(values):
        if value is None:
            continue
        formal = rule.formals[min(index, len(rule.formals) - 1)]
        if not _ONNX_TYPES[value.dtype] & formal.allowed:
            raise ModelError(
                f"{node.op} cannot take {quote(value.name)}, whose elements are {value.dtype.value}"
            )
        if formal.variable is None:
            continue
        first = bound.setdefault(formal.variable, value)
        if first.dtype != value.dtype:
            raise ModelError(
                f"{node.op} mixes {quote(first.name)} of {first.dtype.value} and "
                f"{quote(value.name)} of {value.dtype.value}",
                hint="insert a Cast",
            )
