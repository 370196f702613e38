"""Which kernel computes which node, from one table.

A :class:`Kernel` says which nodes it can compute and how it is called. For each node the first
entry of :data:`KERNELS` that fits is taken, so the order is the preference. Weights are packed once
for all instruction sets; what differs between them is inside the C kernels of the same name.
"""

from __future__ import annotations

from bnnc.codegen.emitter import no_such_type
from bnnc.codegen.kernels import binary, convolution, elementwise, movement, reduction
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.errors import UnsupportedError
from bnnc.ir.graph import Node

KERNELS: tuple[Kernel, ...] = (
    *binary.KERNELS,
    *convolution.KERNELS,
    *elementwise.KERNELS,
    *reduction.KERNELS,
    *movement.KERNELS,
)


def choose(node: Node) -> Kernel:
    """The kernel for ``node``.

    Raises:
        UnsupportedError: if compiled code has none for it.
    """
    kernels = [kernel for kernel in KERNELS if kernel.op == node.op.name]
    candidates = [kernel for kernel in kernels if kernel.reads_type_of(node)]
    if kernels and not candidates:
        raise no_such_type(node.operand(0), node)
    for kernel in candidates:
        if kernel.fits(node):
            return kernel
    reason = candidates[0].otherwise if candidates else "has no compiled form"
    raise UnsupportedError(
        f"{node.op.name} {reason}", node=node.title, hint="end the model before this node"
    )


__all__ = ["KERNELS", "Kernel", "choose"]
