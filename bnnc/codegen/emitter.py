"""From a node to the C that runs it: kernel calls with their arguments, written as C initialisers.

Everything that ends up in C is made here from numbers and from names of bnnc's own; text from a
model reaches C only through :func:`comment` and :func:`string_literal`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnnc.codegen.storage import Storage
from bnnc.codegen.weights import Weights
from bnnc.errors import UnsupportedError
from bnnc.ir.epilogue import Step, steps_of
from bnnc.ir.graph import Node, Value
from bnnc.ir.layout import BITS_NHWC, BITS_PLANAR, DENSE, stored_bytes
from bnnc.ir.types import DType

_TYPES = {DType.F32, DType.I32, DType.I64, DType.U8, DType.I8, DType.BOOL}
_LAYOUTS = {BITS_NHWC: "BNNC_BITS_NHWC", BITS_PLANAR: "BNNC_BITS_PLANAR"}

Field = str | int | float | Sequence[int]
"""What an argument can be: a C expression, a number or a list of them."""


@dataclass
class Call:
    """One kernel call.

    Attributes:
        kernel: the kernel's name in the ISA table.
        struct: the C type of its arguments.
        fields: (name, C expression) pairs, zero fields left out.
        steps: C initialisers of the epilogue's steps.
        epilogue: (channels, height, width), if the arguments hold an epilogue.
        branches: arguments of the same kind that these hold an array of.
    """

    kernel: str
    struct: str
    fields: list[tuple[str, str]]
    steps: list[str] = field(default_factory=list)
    epilogue: tuple[int, int, int] | None = None
    branches: list[Call] = field(default_factory=list)


class Emitter:
    """What a kernel's ``emit`` may ask for while it turns one node into calls."""

    def __init__(self, storage: Storage, weights: Weights) -> None:
        self._storage = storage
        self._weights = weights
        self.calls: list[Call] = []

    # ---- operands -------------------------------------------------------------------------

    def pack(self, array: np.ndarray) -> str:
        """Store ``array`` with the weights; its C address."""
        return f"W({self._weights.add(array)})"

    def address(self, value: Value, offset: int = 0) -> str:
        """The C address of ``value``, ``offset`` bytes in."""
        if value.data is not None:
            base = self._weights.add(value.data)
            return f"W({base + offset})"
        place = self._storage.places[value]
        total = place.offset + offset
        if place.buffer.space == "arena":
            return f"A({place.buffer.offset + total})"
        macro = "IN" if place.buffer.space == "input" else "OUT"
        return f"{macro}({place.buffer.index}, {total})"

    # ---- calls ----------------------------------------------------------------------------

    def call(
        self,
        kernel: str,
        struct: str,
        epilogue: Node | None = None,
        /,
        **fields: Field,
    ) -> None:
        """Add a call, with ``epilogue``'s steps if given. Sequences become brace lists; zeros are
        left to C."""
        call = _call(kernel, struct, fields)
        if epilogue is not None:
            self._add_epilogue(call, epilogue, steps_of(epilogue), epilogue.outputs)
        self.calls.append(call)

    def branch(
        self, node: Node, steps: Sequence[Step], outputs: Sequence[Value], /, **fields: Field
    ) -> None:
        """Add to the last call a branch of ``node``, whose ``steps`` lead to ``outputs``."""
        branch = _call("", "bnnc_branch", fields)
        self._add_epilogue(branch, node, steps, outputs)
        self.calls[-1].branches.append(branch)

    def _add_epilogue(
        self, call: Call, node: Node, steps: Sequence[Step], outputs: Sequence[Value]
    ) -> None:
        shape = (outputs[0] if outputs else node.operand(0)).shape
        call.epilogue = (shape[1], math.prod(shape[2:-1]), shape[-1] if len(shape) > 2 else 1)
        if steps:
            call.steps = [self._step(node, step, outputs) for step in steps]
        else:
            call.steps = [f"{{.kind = BNNC_STEP_STORE, .out = {self.address(outputs[0])}}}"]

    def _step(self, node: Node, step: Step, outputs: Sequence[Value]) -> str:
        parts = [f".kind = BNNC_STEP_{step.kind.upper()}"]
        if step.kind == "sign":
            parts.append(f".compare = BNNC_{step.params[0].upper()}")
        elif step.kind == "unary":
            parts.append(f".function = {function(step.params[0])}")
            numbers = [number for _, number in step.params[1:]]
            parts += [f".{n} = {c_value(float(x))}" for n, x in zip(("low", "high"), numbers)]
        elif step.kind == "clip":
            low, high = step.params
            parts += [f".low = {c_value(float(low))}", f".high = {c_value(float(high))}"]
        for name, slot in zip("ab", step.operands):
            parts.append(f".{name} = {self._operand(node.operand(slot))}")
        if step.result is not None:
            result = outputs[step.result]
            if result.dtype is DType.B1:
                parts.append(f".layout = {layout(result)}")
            parts.append(f".out = {self.address(result)}")
        return "{" + ", ".join(parts) + "}"

    def _operand(self, value: Value) -> str:
        if value.data is None:
            return self.address(value)
        return self.pack(value.data.astype(np.uint8) if value.dtype is DType.BOOL else value.data)


def _call(kernel: str, struct: str, fields: Mapping[str, Field]) -> Call:
    texts = [(name, c_value(given)) for name, given in fields.items()]
    return Call(kernel, struct, [(n, t) for n, t in texts if t not in ("0", "0.0f")])


def layout(value: Value) -> str:
    """The C name of a bit tensor's layout."""
    assert value.layout in _LAYOUTS, value
    return _LAYOUTS[value.layout]


def function(op: str) -> str:
    """The C name of an elementwise op or reduction: ``HardSwish`` is ``BNNC_FN_HARD_SWISH``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", op)
    return f"BNNC_FN_{words.upper()}"


def element_type(value: Value, node: Node) -> str:
    """The C name of a value's element type.

    Raises:
        UnsupportedError: if compiled code has no such type.
    """
    if value.dtype not in _TYPES:
        raise no_such_type(value, node)
    return f"BNNC_TYPE_{value.dtype.name}"


def no_such_type(value: Value, node: Node) -> UnsupportedError:
    """What to say about an element type that compiled code does not compute with."""
    return UnsupportedError(
        f"{node.op.name} works on {value.dtype.value} elements, which compiled code does not",
        node=node.title,
        hint=f"cast to float32{'' if value.dtype in _TYPES else ', int32 or int64'} in the model",
    )


def stored(value: Value) -> int:
    """Bytes a value takes as it lies in memory."""
    return stored_bytes(value.type, value.layout or DENSE)


def c_value(given: Field) -> str:
    """A Python value as a C expression; floats as exact hexadecimal constants."""
    if isinstance(given, str):
        return given
    if isinstance(given, (bool, int, np.integer)):
        return str(int(given))
    if isinstance(given, (float, np.floating)):
        number = float(np.float32(given))
        if math.isnan(number):
            return "NAN"
        if math.isinf(number):
            return "INFINITY" if number > 0 else "-INFINITY"
        return "0.0f" if number == 0 else number.hex() + "f"
    return "{" + ", ".join(str(int(x)) for x in given) + "}"


def comment(text: str, limit: int = 96) -> str:
    """Text from a model made safe in a C comment: one line, ASCII, nothing that ends it."""
    safe = re.sub(r"[^A-Za-z0-9 _.,:;+\-=()\[\]<>|#%@!^~]", "_", text)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def string_literal(text: str, indent: str = "    ", width: int = 96) -> str:
    """Text as a C string literal over several lines; only plain characters stand as themselves."""
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:;+-=()[]{}<>/'")
    pieces = [chr(b) if chr(b) in plain else f"\\{b:03o}" for b in text.encode()]
    lines, line = [], ""
    for piece in pieces:
        if len(line) + len(piece) > width:
            lines.append(line)
            line = ""
        line += piece
    lines.append(line)
    return "\n".join(f'{indent}"{line}"' for line in lines)
