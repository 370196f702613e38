"""Input and Constant: where values come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnc.ir.graph import Node
from bnnc.ir.op import REQUIRED, Op
from bnnc.ir.ops.rules import fault, operands, show, tensor
from bnnc.ir.types import DType, TensorType


def _infer_input(node: Node) -> list[TensorType]:
    operands(node, 0)
    type: TensorType = node.attrs["type"]
    if any(size < 1 for size in type.shape):
        raise fault(node, f"has shape {show(type.shape)}", hint="give it a shape with --shape")
    return [tensor(node, type.dtype, type.shape)]


def _no_input(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    raise AssertionError(f"{node} gets its array from the caller")


def _infer_constant(node: Node) -> list[TensorType]:
    operands(node, 0)
    data: np.ndarray = node.attrs["data"]
    if data.dtype.kind not in "fiub":
        raise fault(node, f"holds {data.dtype}, which is no number")
    kind = DType.of(data.dtype)
    if node.attrs["b1"]:
        assert kind is DType.BOOL, node
        kind = DType.B1
    if data.size:
        return [tensor(node, kind, data.shape)]
    return [TensorType(kind, data.shape)]


def _constant(node: Node, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [node.attrs["data"]]


GRAPH = (
    Op("Input", _infer_input, _no_input, {"type": REQUIRED}, doc="what the caller gives"),
    Op("Constant", _infer_constant, _constant, {"data": REQUIRED, "b1": False}, doc="data"),
)
