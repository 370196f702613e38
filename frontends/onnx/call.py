"""What an importer of an operator works with: the node's attributes, its operands, and a way to
add ops of the IR in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, FunctionProto

from bnnc.errors import ModelError, UnsupportedError
from bnnc.frontends.onnx.builder import Builder
from bnnc.frontends.onnx.nodes import Body, OnnxNode, Tensor, TensorSequence
from bnnc.frontends.onnx.schema import wrong_kind
from bnnc.frontends.onnx.text import dims, quote
from bnnc.ir.graph import Value
from bnnc.ir.types import DType


class Call:
    """One node of the model, about to become ops of the IR.

    Attributes:
        node: the node.
        op: its operator's name.
        version: of the operator set it belongs to.
        inputs: its operands, None where left out or a sequence; trailing ones may be missing
            altogether.
        made: the values made in its place so far.
        inline: imports further nodes in its place; returns their outputs.
    """

    def __init__(
        self, node: OnnxNode, builder: Builder, inline: Callable[[Body], list[Value | None]]
    ) -> None:
        self.node = node
        self.inline = inline
        self.op = node.op
        self.version = node.version
        self.made: set[Value] = set()
        self._builder = builder
        self.inputs: tuple[Value | None, ...] = tuple(
            builder.value(name) if name and builder.sequence(name) is None else None
            for name in node.inputs
        )

    # ---- operands -------------------------------------------------------------------------

    def input(self, slot: int) -> Value:
        """Operand ``slot``.

        Raises:
            ModelError: if it was left out.
        """
        value = self.optional(slot)
        if value is None:
            raise self.error(f"lacks its input number {slot + 1}")
        return value

    def optional(self, slot: int) -> Value | None:
        """Operand ``slot``, or None.

        Raises:
            ModelError: if it is a sequence.
        """
        value = self.inputs[slot] if slot < len(self.inputs) else None
        if value is None and self._sequence(slot) is not None:
            raise self.error(f"takes a tensor, but {quote(self.node.inputs[slot])} is a sequence")
        return value

    def sequence(self, slot: int) -> tuple[Value, ...]:
        """Operand ``slot``, a sequence of tensors.

        Raises:
            ModelError: if it is none.
        """
        found = self._sequence(slot)
        if found is None:
            raise self.error(f"needs a sequence as its input number {slot + 1}")
        return found.values

    def _sequence(self, slot: int) -> TensorSequence | None:
        names = self.node.inputs
        return self._builder.sequence(names[slot]) if slot < len(names) else None

    def wants(self, slot: int) -> bool:
        """Whether the model has a name for output ``slot``."""
        return slot < len(self.node.outputs) and self.node.outputs[slot] != ""

    def array(self, slot: int, what: str) -> np.ndarray:
        """Operand ``slot``, which must be a constant; ``what`` says what it is.

        Raises:
            UnsupportedError: if it is computed in the run.
        """
        value = self.input(slot)
        if value.data is None:
            raise self.unsupported(
                f"has {what} that depend on the input ({quote(value.name)})",
                hint="bnnc needs them fixed",
            )
        return value.data

    def integers(self, slot: int, what: str) -> tuple[int, ...]:
        """Operand ``slot``, a constant list of integers (or one integer)."""
        array = self.array(slot, what)
        if array.ndim > 1 or array.dtype.kind not in "iu":
            raise self.error(f"has {what} of type {array.dtype} and shape {dims(array.shape)}")
        return tuple(int(number) for number in array.reshape(-1))

    def number(self, slot: int, what: str) -> Any:
        """Operand ``slot``, a constant of one element, as a Python number."""
        array = self.array(slot, what)
        if array.size != 1:
            raise self.error(f"has {what} of shape {dims(array.shape)}, not one number")
        return array.reshape(-1)[0].item()

    def narrow(self, value: Value) -> tuple[int, bool] | None:
        """(bits, signed) of a constant that the model stores in less than a byte per element."""
        return self._builder.narrow.get(value)

    def note_half(self) -> None:
        """Remember that the model casts to half precision what is float32 here."""
        self._builder.half.update(self.node.outputs)

    def is_half(self, slot: int) -> bool:
        """Whether operand ``slot`` is such a tensor."""
        return self.node.inputs[slot] in self._builder.half

    # ---- attributes -----------------------------------------------------------------------

    def attr_int(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        return int(self._attribute(name, AttributeProto.INT, default))

    def attr_flag(self, name: str, default: bool = False) -> bool:
        """An integer attribute that means yes if it is 1."""
        return self.attr_int(name, int(default)) == 1

    def attr_float(self, name: str, default: float | None = None) -> float:
        """A float attribute."""
        return float(self._attribute(name, AttributeProto.FLOAT, default))

    def attr_string(self, name: str, default: str | None = None) -> str:
        """A string attribute."""
        found = self._attribute(name, AttributeProto.STRING, default)
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)

    def attr_ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        return tuple(self._attribute(name, AttributeProto.INTS, default))

    def attr_floats(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """An attribute that is a list of floats."""
        return tuple(self._attribute(name, AttributeProto.FLOATS, default))

    def has(self, name: str) -> bool:
        """Whether the node gives the attribute."""
        return name in self.node.attrs

    def _attribute(self, name: str, kind: int, default: Any) -> Any:
        attr = self.node.attrs.get(name)
        if attr is None:
            if default is None:
                raise self.error(f"lacks the attribute {quote(name)}")
            return default
        if attr.type != kind:
            raise wrong_kind(self.op, name, kind, attr.type)
        field = AttributeProto.AttributeType.Name(kind).lower()
        return getattr(attr, field if field.endswith("s") else field[0])

    def numbers_twice(self, name: str, slot: int, since: int, what: str) -> tuple[int, ...] | None:
        """A list of integers that was an attribute and became an input in version ``since``."""
        if self.version < since:
            return self.attr_ints(name) if self.has(name) else None
        return None if self.optional(slot) is None else self.integers(slot, what)

    # ---- building -------------------------------------------------------------------------

    def add(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """The only output of an op of the IR, applied in the node's place."""
        (value,) = self.add_all(op, *inputs, **attrs)
        return value

    def add_all(self, op: str, *inputs: Value | None, **attrs: Any) -> tuple[Value, ...]:
        """All outputs of an op of the IR."""
        values = self._builder.apply(op, inputs, attrs, self.node)
        self.made.update(values)
        return values

    def constant(self, array: np.ndarray | np.generic) -> Value:
        """A constant that the model does not name."""
        name = next(filter(None, self.node.outputs), self.op)
        value = self._builder.constant(
            np.asarray(array), self._builder.free_name(f"{name}/constant")
        )
        self.made.add(value)
        return value

    def make_room(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """Call before making an array of this shape, which a model may ask to be of any size.

        Raises:
            ModelError: if it is too large, or all of the model's constants are.
        """
        self._builder.spend(math.prod(shape) * dtype.itemsize)

    def decode(self, tensor: Tensor) -> np.ndarray:
        """The array of a tensor in an attribute."""
        return self._builder.decode(tensor)

    def constant_of(self, tensor: Tensor) -> Value:
        """A tensor in an attribute as a constant."""
        value = self.constant(self.decode(tensor))
        self._builder.note_narrow(value, tensor)
        return value

    def like(self, x: Value, number: float) -> Value:
        """``number`` as a scalar of ``x``'s element type."""
        return self.constant(np.asarray(number).astype(x.dtype.numpy))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """``x`` in ``shape``; itself if it has it already."""
        return x if tuple(shape) == x.shape else self.add("Reshape", x, shape=tuple(shape))

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """``x`` with its axes in the order ``perm``; itself if that is their order."""
        order = tuple(perm)
        return x if order == tuple(range(len(x.shape))) else self.add("Transpose", x, perm=order)

    def cast(self, x: Value, to: DType) -> Value:
        """``x`` with elements of type ``to``; itself if it has them already."""
        return x if x.dtype is to else self.add("Cast", x, to=to)

    def narrow_as_float(self, x: Value) -> Value:
        """``x`` as float32 if it holds integers of 8 or 16 bits: float32 holds them exactly, and
        compiled code seldom computes with them."""
        small = x.dtype in (DType.I8, DType.U8, DType.I16, DType.U16)
        return self.cast(x, DType.F32) if small else x

    def axis(self, number: int, axes: int) -> int:
        """``number`` counted from the front, of ``axes`` axes."""
        if not -axes <= number < axes:
            raise self.error(f"has axis {number}, but there are {axes} axes")
        return number % axes

    def axes(self, numbers: Sequence[int], axes: int) -> tuple[int, ...]:
        """Several axes counted from the front, none of them twice."""
        found = tuple(self.axis(number, axes) for number in numbers)
        if len(set(found)) != len(found):
            raise self.error(f"names an axis twice in {list(numbers)[:8]}")
        return found

    def expand(self, function: FunctionProto) -> Body:
        """The nodes of a function that says what this node does, for :attr:`inline`."""
        return self._builder.expand(self.node, function)

    # ---- refusing -------------------------------------------------------------------------

    def error(self, what: str, hint: str | None = None) -> ModelError:
        """The model is wrong; ``what`` continues a sentence that begins with the operator."""
        return ModelError(f"{self.op} {what}", hint=hint)

    def unsupported(self, what: str, hint: str | None = None) -> UnsupportedError:
        """The model is right, but beyond what bnnc compiles."""
        return UnsupportedError(f"{self.op} {what}", hint=hint)


Importer = Callable[[Call], "Value | TensorSequence | Sequence[Value | None]"]
"""Turns a call into the values of the node's outputs, in order, None for one nobody wants; or into
the sequence that is its only output."""
