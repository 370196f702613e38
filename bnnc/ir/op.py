"""What an op is: everything bnnc must know about it, in one declaration.

An op is declared once, in a file of ``bnnc/ir/ops``, with its attributes, its shape rule, its
numpy meaning, how values move through it (for the domain analysis), and its multiply-adds.
Everything else in bnnc (interpreter, checks, statistics, domains, code generation) reads it there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnc.ir.types import TensorType

if TYPE_CHECKING:
    from bnnc.ir.graph import Node

REQUIRED: Any = object()
"""Default of an attribute that must be given."""


class Flow(enum.Enum):
    """How element values pass through an op; the domain analysis needs no more than this.

    ELEMENTWISE: output[i] is a function of the operands' elements at i (after broadcasting).
    MOVEMENT: every output element is one of the elements of the *data* inputs (see
        ``Op.data_inputs``), or ``attrs["value"]`` for padding. Reshape, Transpose, Concat, Slice,
        Pad, MaxPool, nearest Resize...
    OPAQUE: anything else.
    """

    ELEMENTWISE = "elementwise"
    MOVEMENT = "movement"
    OPAQUE = "opaque"


Infer = Callable[["Node"], Sequence[TensorType]]
Compute = Callable[["Node", Sequence["np.ndarray | None"]], Sequence[np.ndarray]]
Macs = Callable[["Node"], int]


@dataclass(frozen=True)
class Op:
    """One op.

    Attributes:
        name: as ONNX calls it, where ONNX has it.
        attrs: attribute names with their defaults (REQUIRED where there is none). Values are
            plain Python (int, float, str, bool, tuples of them) or numpy arrays.
        infer: input types and attributes (read off the node) to output types. Raises ModelError
            in the user's terms where they do not fit.
        compute: the node and its input arrays to its output arrays. This is the meaning of the
            op: float32 arithmetic as numpy does it, no layouts. Must not modify its inputs.
        flow: how element values pass through.
        data_inputs: for MOVEMENT, how many leading inputs carry data (None: all of them).
        macs: multiply-adds one run executes; None for an op that has none.
        paper_macs: the same as the paper counts them, where that differs.
        learned: input slots that hold weights, biases, scales or slopes when constant.
        doc: one line: formula or the specification it follows.
    """

    name: str
    infer: Infer
    compute: Compute
    attrs: Mapping[str, Any] = field(default_factory=dict)
    flow: Flow = Flow.OPAQUE
    data_inputs: int | None = None
    macs: Macs | None = None
    paper_macs: Macs | None = None
    learned: tuple[int, ...] = ()
    doc: str = ""

    def complete(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """``attrs`` with defaults filled in.

        Raises:
            TypeError: for an attribute the op does not have, or a missing one: a fault of the
                caller's, not of the user's.
        """
        unknown = attrs.keys() - self.attrs.keys()
        if unknown:
            raise TypeError(f"{self.name} has no attribute {sorted(unknown)}")
        full = {key: attrs.get(key, default) for key, default in self.attrs.items()}
        missing = [key for key, given in full.items() if given is REQUIRED]
        if missing:
            raise TypeError(f"{self.name} needs {missing}")
        return full

    def __repr__(self) -> str:
        return f"<op {self.name}>"
