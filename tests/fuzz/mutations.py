"""Changes to a valid model, of the protobuf it is: fields, names, shapes, bytes, nodes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, NodeProto, defs

_INTEGERS = (0, 1, -1, 2, 3, 7, 64, 127, 255, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**40, 2**62)
_FLOATS = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45, 3.4e38, 0.5, 1e-12)
_STRINGS = (
    "",
    "a\0b",
    '"; system("true"); //',
    "*/ int main() {",
    "??/\n#define float",
    "int",
    "%s%n",
    "../../etc/passwd",
    "/etc/passwd",
    "n" * 20_000,
    "\N{RIGHT-TO-LEFT OVERRIDE}x",
    "com.acme",
    "Sign",
)
_OPERATORS = tuple(sorted({schema.name for schema in defs.get_all_schemas()}))
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: 32,
    FieldDescriptor.CPPTYPE_INT64: 64,
    FieldDescriptor.CPPTYPE_UINT32: 32,
    FieldDescriptor.CPPTYPE_UINT64: 64,
}
_REAL = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def mutated(seeds: Sequence[ModelProto], rng: random.Random) -> bytes:
    """One of the seeds with a few changes, as the bytes of a file."""
    model = ModelProto()
    model.CopyFrom(rng.choice(seeds))
    other = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        change = rng.choice(_CHANGES)
        try:
            change(model, other, rng)
        except (ValueError, TypeError, IndexError):
            continue  # protobuf does not let this value be
    data = model.SerializeToString()
    return _garbled(data, rng) if rng.random() < 0.1 else data


def _garbled(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.2 else changed)


# ---- any field --------------------------------------------------------------------------------


def _messages(message: Message) -> Iterator[Message]:
    """``message`` and all in it."""
    yield message
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for inner in value if isinstance(value, Sequence) or _repeated(field) else (value,):
                yield from _messages(inner)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def _field(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Give some field of some message another value."""
    message = rng.choice(list(_messages(model)))
    present = [field for field, _ in message.ListFields()]
    absent = rng.random() < 0.1 or not present
    field = rng.choice(list(message.DESCRIPTOR.fields) if absent else present)
    if _repeated(field):
        _list(message, field, other, rng)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        _replace_message(message, field, other, rng)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), rng))


def _value(field: Any, old: Any, rng: random.Random) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _text(field, old, rng)
    if field.cpp_type in _REAL:
        return rng.choice((*_FLOATS, old * 2, -old))
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    bits = _WHOLE.get(field.cpp_type, 1)
    number = rng.choice((*_INTEGERS, old + 1, old - 1, old * 2, -old, rng.randrange(-9, 33)))
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    half = 2 ** (bits - 1)
    return (number + half) % (2 * half) - half if signed else number % (2 * half)


def _text(field: Any, old: Any, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        ways = (old[:-1], old + b"\0", old[: len(old) // 2], bytes(reversed(old)), b"", old * 2)
        return rng.choice((*ways, rng.randbytes(min(len(old), 4096))))
    if isinstance(old, bytes):
        return ""
    return rng.choice((*_STRINGS, old + "x", old[:-1], old * 2))


def _list(message: Message, field: Any, other: ModelProto, rng: random.Random) -> None:
    items = getattr(message, field.name)
    whole = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    way = rng.choice(("remove", "repeat", "shuffle", "clear", "change", "change", "insert"))
    if way == "clear" or not items:
        if items:
            message.ClearField(field.name)
        elif not whole:
            items.append(_value(field, field.default_value or _zero(field), rng))
        return
    index = rng.randrange(len(items))
    if way == "remove":
        del items[index]
    elif way == "change" and not whole:
        items[index] = _value(field, items[index], rng)
    elif way == "shuffle":
        order = rng.sample(range(len(items)), len(items))
        copies = [_copy(items[i]) for i in order]
        del items[:]
        items.extend(copies)
    elif way == "insert" and whole:
        alike = [m for m in _messages(other) if m.DESCRIPTOR is items[index].DESCRIPTOR]
        items.add().CopyFrom(rng.choice(alike or [items[index]]))
    else:
        times = rng.choice((1, 1, 1, 9, 100))
        items.extend([_copy(items[index]) for _ in range(times)])


def _zero(field: Any) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"" if field.type == FieldDescriptor.TYPE_BYTES else ""
    return 0


def _copy(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    twin = type(item)()
    twin.CopyFrom(item)
    return twin


def _replace_message(message: Message, field: Any, other: ModelProto, rng: random.Random) -> None:
    alike = [m for m in _messages(other) if m.DESCRIPTOR is field.message_type]
    if rng.random() < 0.3 or not alike:
        message.ClearField(field.name)
    else:
        getattr(message, field.name).CopyFrom(rng.choice(alike))


# ---- what only a model has --------------------------------------------------------------------


def _nodes(model: ModelProto) -> list[NodeProto]:
    return [message for message in _messages(model) if isinstance(message, NodeProto)]


def _rewire(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Let a node read or write another tensor."""
    nodes = _nodes(model)
    names = [name for node in nodes for name in (*node.input, *node.output)]
    names += [tensor.name for tensor in model.graph.initializer]
    node = rng.choice(nodes)
    slots = node.input if node.input and rng.random() < 0.8 else node.output
    slots[rng.randrange(len(slots))] = rng.choice((*names, ""))


def _operator(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Let a node be of another operator."""
    node = rng.choice(_nodes(model))
    node.op_type = rng.choice(_OPERATORS)
    if rng.random() < 0.5:
        del node.attribute[:]


def _attribute(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Give a node an attribute its operator has, of some value."""
    node = rng.choice(_nodes(model))
    try:
        declared = defs.get_schema(node.op_type, 21, "").attributes
    except defs.SchemaError:
        return
    if not declared:
        return
    name = rng.choice(sorted(declared))
    kept = [attr for attr in node.attribute if attr.name != name]
    attr = AttributeProto(name=name, type=int(declared[name].type.value))
    attr.i, attr.f, attr.s = rng.choice(_INTEGERS), rng.choice(_FLOATS), b"SAME_UPPER"
    attr.ints.extend(rng.choice(_INTEGERS) for _ in range(rng.randrange(6)))
    attr.floats.extend(rng.choice(_FLOATS) for _ in range(rng.randrange(3)))
    del node.attribute[:]
    node.attribute.extend([*kept, attr])


def _shape(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Another size of an input or of a constant."""
    infos = [*model.graph.input, *model.graph.output]
    dims = [dim for info in infos for dim in info.type.tensor_type.shape.dim]
    number = rng.choice((*_INTEGERS, rng.randrange(1, 40)))
    tensors = [tensor for tensor in model.graph.initializer if tensor.dims]
    if tensors and rng.random() < 0.5:
        tensor = rng.choice(tensors)
        tensor.dims[rng.randrange(len(tensor.dims))] = number
    elif dims:
        rng.choice(dims).dim_value = number


def _version(model: ModelProto, other: ModelProto, rng: random.Random) -> None:
    """Another version of the operators, or of the format."""
    if rng.random() < 0.3:
        model.ir_version = rng.randrange(1, 20)
    elif model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((*range(1, 32), 1000, -1))


_Change = Callable[[ModelProto, ModelProto, random.Random], None]
_CHANGES: tuple[_Change, ...] = (
    *(_field,) * 5,
    *(_rewire,) * 2,
    _operator,
    *(_attribute,) * 2,
    *(_shape,) * 2,
    _version,
)
"""The ways to change a model, the more likely ones several times."""
