"""Epilogues: what happens to a node's raw result before it is stored.

``Conv``, ``ConvTranspose``, ``BinaryConv``, ``MatMul`` and ``Map`` take an attribute ``steps``, a
tuple of :class:`Step`. Without steps the node has one output, its raw result. With steps the raw
result becomes the running value ``v`` and the steps act on it in order; each ``store``, ``sign`` or
``threshold`` writes one output. Axis 1 is the channel axis; vectors have one element a channel.

The step kinds are declared here, once; the C runtime's ``BNNC_STEP_*`` carry the same names.

====================  ===============  ==========================================================
kind                  operands         meaning
====================  ===============  ==========================================================
``affine``            a[C], b[C]       v = v * a + b
``relu``                               v = max(v, 0)
``prelu``             a[C]             v = v if v >= 0 else v * a
``clip``                               v = min(max(v, low), high), from params (low, high)
``unary``                              v = f(v), the elementwise op named by params (op, attr...)
``add``               t                v = v + t, a tensor of the result's shape
``mul``               t                v = v * t, a tensor of the result's shape
``scale``             t                v = v * t, a tensor of shape (N, C, 1, 1): a gate
``store``                              writes v (float32)
``sign``              t[C]             writes the bit ``compare(v, t)``, from params (compare,)
``threshold``         t[C], flip[C]    writes (v >= t) xor flip; v is a BinaryConv's integer
====================  ===============  ==========================================================

``compare`` is one of ``COMPARES``. They differ at equality and at NaN, and together with swapping a
two-valued tensor's constants they say every predicate an exporter writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnc.ir.types import DType, TensorType

if TYPE_CHECKING:
    from bnnc.ir.graph import Node

COMPARES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ge": lambda v, t: v >= t,
    "gt": lambda v, t: v > t,
    "nlt": lambda v, t: ~(v < t),
    "nle": lambda v, t: ~(v <= t),
}
"""Names and meanings of the comparisons a bit can be decided by."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: see the table above.
        operands: input slots of the node, in the table's order.
        result: which output it writes, or None.
        params: what else the kind needs.
    """

    kind: str
    operands: tuple[int, ...] = ()
    result: int | None = None
    params: tuple[Any, ...] = ()


def steps_of(node: Node) -> tuple[Step, ...]:
    """The steps of a node; none for ops without an epilogue (a Slice's ``steps`` are numbers)."""
    steps = node.attrs.get("steps", ())
    return tuple(step for step in steps if isinstance(step, Step))


@dataclass(frozen=True)
class Branch:
    """One of several results of a node, with steps of its own.

    Attributes:
        inputs: the input slots it takes beside its steps' operands, in the order of its op.
        steps: as a node's attribute ``steps``, but a ``result`` counts the branch's own outputs.
    """

    inputs: tuple[int, ...]
    steps: tuple[Step, ...] = ()

    @property
    def outputs(self) -> int:
        """How many outputs of the node are its own."""
        return max(1, sum(step.result is not None for step in self.steps))


def step_types(steps: Sequence[Step], raw: TensorType) -> list[TensorType]:
    """Types of what ``steps`` write of a raw result of type ``raw``."""
    if not steps:
        return [raw]
    written = {
        step.result: TensorType(DType.F32 if step.kind == "store" else DType.B1, raw.shape)
        for step in steps
        if step.result is not None
    }
    return [written[index] for index in range(len(written))]


def run_steps(
    node: Node,
    raw: np.ndarray,
    arrays: Sequence[np.ndarray | None],
    steps: Sequence[Step] | None = None,
) -> list[np.ndarray]:
    """Apply steps, ``node.attrs["steps"]`` unless given, to ``raw``.

    Args:
        arrays: the node's inputs.
    """
    steps = node.attrs["steps"] if steps is None else steps
    if not steps:
        return [raw]
    results: dict[int, np.ndarray] = {}
    vector_shape = (1, -1) + (1,) * (raw.ndim - 2)
    v = raw if steps[0].kind == "threshold" else raw.astype(np.float32)
    for step in steps:
        operands = [np.asarray(arrays[slot]) for slot in step.operands]
        vectors = [x.reshape(vector_shape) if x.ndim == 1 else x for x in operands]
        written = _APPLY[step.kind](step, v, vectors)
        if step.result is None:
            v = written.astype(np.float32, copy=False)
        else:
            results[step.result] = written
    return [results[index] for index in range(len(results))]


def _unary(step: Step, v: np.ndarray) -> np.ndarray:
    from bnnc.ir.ops import apply_unary

    name, *attrs = step.params
    return apply_unary(name, v, dict(attrs))


_APPLY: dict[str, Callable[[Step, np.ndarray, list[np.ndarray]], np.ndarray]] = {
    "affine": lambda s, v, o: v * o[0] + o[1],
    "relu": lambda s, v, o: np.maximum(v, np.float32(0)),
    "prelu": lambda s, v, o: np.where(v >= 0, v, v * o[0]),
    "clip": lambda s, v, o: np.clip(v, np.float32(s.params[0]), np.float32(s.params[1])),
    "unary": lambda s, v, o: _unary(s, v),
    "add": lambda s, v, o: v + o[0],
    "mul": lambda s, v, o: v * o[0],
    "scale": lambda s, v, o: v * o[0],
    "store": lambda s, v, o: v,
    "sign": lambda s, v, o: COMPARES[s.params[0]](v, o[0]),
    "threshold": lambda s, v, o: (v >= o[0]) ^ o[1],
}
STEP_KINDS = tuple(_APPLY)
