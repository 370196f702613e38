"""If, whose condition must be known: shape arithmetic decides most of them."""

from __future__ import annotations

from collections.abc import Sequence

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.ir.graph import Value


def _if(call: Call) -> Sequence[Value | None]:
    """The nodes of the branch that is taken; nothing is asked of the other one."""
    condition = call.input(0)
    if condition.data is None:
        raise call.unsupported(
            "chooses by what the model computes during the run",
            hint="export the model for one case, or cut it before this node",
        )
    taken = 0 if bool(call.number(0, "a condition")) else 1
    if len(call.node.branches) != 2:
        raise call.error("lacks a branch")
    return call.inline(call.node.branches[taken])


CONTROL: dict[str, Importer] = {"If": _if}
"""Importers by operator."""
