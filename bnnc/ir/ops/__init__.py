"""Every op bnnc knows, each declared once in a file of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import Op
from bnnc.ir.ops.broadcasting import BROADCASTING
from bnnc.ir.ops.convolution import CONVOLUTION
from bnnc.ir.ops.elementwise import UNARY
from bnnc.ir.ops.graph import GRAPH
from bnnc.ir.ops.lowered import LOWERED
from bnnc.ir.ops.movement import MOVEMENT
from bnnc.ir.ops.normalization import NORMALIZATION
from bnnc.ir.ops.pooling import POOLING
from bnnc.ir.ops.reduction import REDUCTION
from bnnc.ir.ops.resize import RESIZE

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        *GRAPH,
        *UNARY,
        *BROADCASTING,
        *CONVOLUTION,
        *POOLING,
        *RESIZE,
        *NORMALIZATION,
        *MOVEMENT,
        *REDUCTION,
        *LOWERED,
    )
}
"""Op declarations by name."""


def apply_unary(name: str, array: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """What the elementwise op ``name`` of one operand makes of ``array``.

    Attributes left out of ``attrs`` take the op's defaults.
    """
    op = OPS[name]
    with np.errstate(all="ignore"):
        (result,) = op.compute(Node(op, "", op.complete(attrs), 0), [array])
    return result
