"""What the compiler knows about one C kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnnc.codegen.emitter import Emitter
from bnnc.codegen.kernels.scratch import SCRATCH_BYTES
from bnnc.ir.graph import Node
from bnnc.ir.layout import DENSE
from bnnc.ir.types import DType


def _always(node: Node) -> bool:
    return True


@dataclass(frozen=True)
class Kernel:
    """One way to compute one op.

    Attributes:
        op: the op's name in the IR.
        name: the kernel's name, in reports and (for most) in the C table.
        emit: adds the calls that compute a node.
        fits: whether it can compute a node.
        reads: the layout its data inputs must have.
        otherwise: why a node it does not fit cannot be compiled, for the error message.
        floats_only: whether its first input must be float32.
        scratch: the bytes of scratch that it takes at most, for any node or for each.
    """

    op: str
    name: str
    emit: Callable[[Node, Emitter], None]
    fits: Callable[[Node], bool] = _always
    reads: str = DENSE
    otherwise: str = "with these inputs has no compiled form"
    floats_only: bool = False
    scratch: int | Callable[[Node], int] = SCRATCH_BYTES

    def reads_type_of(self, node: Node) -> bool:
        """Whether it can read elements of the type that the node's first input has."""
        return not self.floats_only or node.operand(0).dtype is DType.F32

    def scratch_of(self, node: Node) -> int:
        """The bytes of scratch that computing ``node`` takes at most."""
        return self.scratch(node) if callable(self.scratch) else self.scratch
