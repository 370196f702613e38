"""Kernels that work along one axis: reductions, softmax, arg max, top k."""

from __future__ import annotations

import math

from bnnc.codegen.emitter import Emitter, element_type, function
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.ir.graph import Node

_REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare")


def _axis_range(node: Node) -> tuple[int, int]:
    """First and last axis the node works along; adjacent ones count as one axis."""
    axes = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    rank = len(node.operand(0).shape)
    axes = sorted(axis % rank for axis in axes) if rank else []
    return (axes[0], axes[-1]) if axes else (rank, rank - 1)


def _along_axis(node: Node, emitter: Emitter, kernel: str) -> None:
    x = node.operand(0)
    first, last = _axis_range(node)
    emitter.call(
        kernel,
        "bnnc_reduce_args",
        outer=math.prod(x.shape[:first]),
        count=math.prod(x.shape[first : last + 1]),
        inner=math.prod(x.shape[last + 1 :]),
        function=function(node.op.name),
        type=element_type(x, node),
        last=int(node.attrs.get("select_last_index", 0)),
        x=emitter.address(x),
        out=emitter.address(node.output),
    )


def _reduce(node: Node, emitter: Emitter) -> None:
    _along_axis(node, emitter, "reduce")


def _softmax(node: Node, emitter: Emitter) -> None:
    _along_axis(node, emitter, "softmax")


def _adjacent(node: Node) -> bool:
    """True where the reduced axes, ones of size 1 aside, lie side by side."""
    shape = node.operand(0).shape
    first, last = _axis_range(node)
    axes = {axis % len(shape) for axis in node.attrs["axes"]} if shape else set()
    return all(axis in axes or shape[axis] == 1 for axis in range(first, last + 1))


def _top_k(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    axis = node.attrs["axis"] % len(x.shape)
    values, indices = node.outputs
    emitter.call(
        "top_k",
        "bnnc_top_k_args",
        outer=math.prod(x.shape[:axis]),
        count=x.shape[axis],
        inner=math.prod(x.shape[axis + 1 :]),
        k=node.attrs["k"],
        largest=int(node.attrs["largest"]),
        x=emitter.address(x),
        values=emitter.address(values),
        indices=emitter.address(indices),
    )


KERNELS = (
    *(Kernel(f"Reduce{kind}", "reduce", _reduce, _adjacent) for kind in _REDUCTIONS),
    *(Kernel(op, "reduce", _reduce) for op in ("ArgMax", "ArgMin")),
    Kernel("Softmax", "softmax", _softmax),
    Kernel("LogSoftmax", "softmax", _softmax),
    Kernel("TopK", "top_k", _top_k, floats_only=True, scratch=0),
)
