"""BatchNormalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import Op
from bnnc.ir.ops.rules import FLOATS, fault, given, operands, quote, require, same_dtype, show
from bnnc.ir.types import TensorType


def _infer(node: Node) -> list[TensorType]:
    x, *vectors = operands(node, 5)
    require(node, [x, *vectors], FLOATS)
    same_dtype(node, [x, *vectors])
    if len(x.shape) < 2:
        raise fault(node, f"needs a channel axis, but its input is {show(x.shape)}")
    for value in vectors:
        if value.shape != (x.shape[1],):
            raise fault(
                node,
                f"has an input of {x.shape[1]} channels, but {quote(value)} is {show(value.shape)}",
            )
    return [x.type]


def _compute(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    x, *vectors = given(arrays, 5)
    shape = (-1,) + (1,) * (x.ndim - 2)
    scale, bias, mean, variance = (vector.reshape(shape) for vector in vectors)
    deviation = np.sqrt(variance + x.dtype.type(node.attrs["epsilon"]))
    return [(x - mean) / deviation * scale + bias]


NORMALIZATION = (
    Op(
        "BatchNormalization",
        _infer,
        _compute,
        {"epsilon": 1e-5},
        learned=(1, 2),
        doc="(x - mean) / sqrt(var + epsilon) * scale + bias; x, scale, bias, mean, var",
    ),
)
