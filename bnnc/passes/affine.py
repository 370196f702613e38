"""Nodes that multiply each channel by a constant and add another."""

from __future__ import annotations

import numpy as np

from bnnc.ir.graph import Node, Value
from bnnc.passes.rewriting import channel_vector

Affine = tuple[np.ndarray, np.ndarray]
"""Factor and summand of each channel, float64 [C]."""

_MOST_CHANNELS = 1 << 22
"""Of a node that is looked at: longer vectors of constants are no smaller than what they save."""


def affine_of(node: Node, value: Value, axis: int = 1) -> Affine | None:
    """(a, b), if ``node`` computes a * value + b with constants that differ between the channels,
    along ``axis``, at most; else None."""
    rank, channels = len(value.shape), value.shape[axis]
    if not node.outputs or node.output.type != value.type or value.dtype.numpy != np.float32:
        return None
    if channels > _MOST_CHANNELS:
        return None
    if node.op.name == "BatchNormalization":
        return _of_batchnorm(node, value) if axis == 1 else None
    if node.op.name not in ("Neg", "Add", "Sub", "Mul", "Div"):
        return None
    one, nothing = np.ones(channels), np.zeros(channels)
    if node.op.name == "Neg":
        return -one, nothing
    slot = 0 if node.inputs[0] is value else 1
    data = node.operand(1 - slot).data
    vector = None if data is None else channel_vector(data, rank, channels, axis)
    if vector is None:
        return None
    c = vector.astype(np.float64)
    if node.op.name == "Add":
        return one, c
    if node.op.name == "Sub":
        return (one, -c) if slot == 0 else (-one, c)
    if node.op.name == "Mul":
        return c, nothing
    return (1 / c, nothing) if slot == 0 and c.all() else None


def _of_batchnorm(node: Node, value: Value) -> Affine | None:
    arrays = [node.operand(slot).data for slot in range(1, 5)]
    vectors = [array.astype(np.float64) for array in arrays if array is not None]
    if len(vectors) < 4 or node.inputs[0] is not value:
        return None
    scale, bias, mean, variance = vectors
    factor = scale / np.sqrt(variance + node.attrs["epsilon"])
    return factor, bias - mean * factor
