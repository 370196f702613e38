"""What shape rules share: operand counts, element types, sizes, axes, broadcasting, steps.

Every complaint about a model is a ModelError that begins with the op's name; the graph adds the
node's. A node that a pass made wrongly fails an assertion instead.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from bnnc.errors import ModelError, printable
from bnnc.ir.epilogue import STEP_KINDS, Step, step_types
from bnnc.ir.graph import Node, Value
from bnnc.ir.types import DType, TensorType

MAX_ELEMENTS = 2**31
"""No tensor has more elements than this."""

MAX_RANK = 8
"""No tensor has more axes than this."""

FLOATS = frozenset({DType.F16, DType.F32, DType.F64})
NUMBERS = frozenset(DType) - {DType.BOOL, DType.B1}
LOGICAL = frozenset({DType.BOOL})
EVERYTHING = frozenset(DType)

_KIND_WORDS = {FLOATS: "floating-point numbers", NUMBERS: "numbers", LOGICAL: "bool"}


def fault(node: Node, what: str, hint: str | None = None) -> ModelError:
    """The error to raise: ``what`` continues a sentence that begins with the op's name."""
    return ModelError(f"{node.op.name} {what}", hint=hint)


def show(sizes: Iterable[int]) -> str:
    """A shape for people: ``1x3x8x8``, or ``scalar``."""
    return "x".join(map(str, sizes)) or "scalar"


def quote(value: Value) -> str:
    """A value's name in quotes, on one line and cut if it is very long."""
    return f"'{printable(value.name)}'"


def given(arrays: Sequence[np.ndarray | None], count: int) -> list[np.ndarray]:
    """The first ``count`` arrays, which must all be there."""
    found = [array for array in arrays[:count] if array is not None]
    assert len(found) == count, "an operand is missing"
    return found


def operands(node: Node, count: int, optional: int = 0) -> list[Value]:
    """The first ``count`` inputs, all required; up to ``optional`` more may follow.

    A node with steps takes any number more: its steps' operands.
    """
    most = count + optional
    found = [value for value in node.inputs[:count] if value is not None]
    if len(found) < count:
        raise fault(node, f"needs {count} inputs, but has {len(found)}")
    if len(node.inputs) > most and not node.attrs.get("steps"):
        raise fault(node, f"takes at most {most} inputs, but has {len(node.inputs)}")
    return found


def require(node: Node, values: Iterable[Value], kinds: Collection[DType]) -> None:
    """Every one of ``values`` has an element type among ``kinds``."""
    for value in values:
        if value.dtype not in kinds:
            words = _KIND_WORDS.get(frozenset(kinds), " or ".join(k.value for k in kinds))
            raise fault(node, f"works on {words}, but {quote(value)} is {value.dtype.value}")


def same_dtype(node: Node, values: Sequence[Value]) -> DType:
    """The element type that all of ``values`` have."""
    kinds = list(dict.fromkeys(value.dtype for value in values))
    if len(kinds) > 1:
        found = " and ".join(kind.value for kind in kinds)
        raise fault(node, f"mixes element types {found}", hint="insert a Cast")
    return kinds[0]


def rank(node: Node, value: Value, axes: int, what: str) -> None:
    """``value`` has exactly so many axes; ``what`` says what they are, for example ``NCHW``."""
    if len(value.shape) != axes:
        shape = show(value.shape)
        raise fault(node, f"needs {axes} axes ({what}), but {quote(value)} is {shape}")


def tensor(node: Node, dtype: DType, shape: Iterable[int]) -> TensorType:
    """A result type, of a size that makes sense.

    Tensors of integers may be empty, since shape arithmetic uses empty lists; others may not.
    """
    sizes = tuple(int(size) for size in shape)
    empty_allowed = dtype in NUMBERS and not dtype.is_float
    if any(size < (0 if empty_allowed else 1) for size in sizes):
        raise fault(node, f"would give an empty result of shape {show(sizes)}")
    if len(sizes) > MAX_RANK:
        raise fault(node, f"would give a result of {len(sizes)} axes; at most {MAX_RANK} work")
    if math.prod(sizes) > MAX_ELEMENTS:
        raise fault(node, f"would give {show(sizes)} elements, more than 2^31")
    return TensorType(dtype, sizes)


def axis(node: Node, number: int, axes: int) -> int:
    """``number`` counted from the front; it may count from the back."""
    if not -axes <= number < axes:
        raise fault(node, f"has axis {number}, but its input has {axes} axes")
    return number % axes


def distinct_axes(node: Node, numbers: Iterable[int], axes: int) -> tuple[int, ...]:
    """Several axes counted from the front, none twice."""
    found = tuple(axis(node, number, axes) for number in numbers)
    if len(set(found)) != len(found):
        raise fault(node, f"names an axis twice in {found}")
    return found


def broadcast(node: Node, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """numpy's broadcasting of ``shapes``."""
    axes = max(len(shape) for shape in shapes)
    aligned = [(1,) * (axes - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*aligned):
        wide = [size for size in sizes if size != 1] or [1]
        if any(size != wide[0] for size in wide):
            found = " and ".join(map(show, shapes))
            raise fault(node, f"cannot broadcast operands of shapes {found}")
        result.append(wide[0])
    return tuple(result)


def with_steps(
    node: Node, raw: TensorType, steps: Sequence[Step] | None = None
) -> list[TensorType]:
    """The types of what steps, ``node.attrs["steps"]`` unless given, write of a raw result of type
    ``raw``, after checking them."""
    steps = node.attrs["steps"] if steps is None else steps
    for step in steps:
        _check_step(node, step, raw)
    written = sorted(step.result for step in steps if step.result is not None)
    assert written == list(range(len(written))), f"{node}: steps write outputs {written}"
    assert not steps or written, f"{node}: its steps write nothing"
    return step_types(steps, raw)


_STEP_OPERANDS = {
    "affine": 2, "prelu": 1, "add": 1, "mul": 1, "scale": 1, "sign": 1, "threshold": 2
}  # fmt: skip
_WRITERS = ("store", "sign", "threshold")


def _check_step(node: Node, step: Step, raw: TensorType) -> None:
    assert step.kind in STEP_KINDS, f"{node}: unknown step {step.kind!r}"
    assert len(step.operands) == _STEP_OPERANDS.get(step.kind, 0), f"{node}: operands of {step}"
    assert (step.result is not None) == (step.kind in _WRITERS), f"{node}: result of {step}"
    for slot in step.operands:
        shape = node.operand(slot).shape
        if step.kind in ("add", "mul"):
            wanted = raw.shape
        elif step.kind == "scale":
            wanted = raw.shape[:2] + (1,) * (len(raw.shape) - 2)
        else:
            wanted = raw.shape[1:2]
        assert shape == wanted, f"{node}: {step} takes {show(wanted)}, got {show(shape)}"
