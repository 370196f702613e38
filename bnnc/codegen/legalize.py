"""Last rewrites before code: what no kernel does directly, in terms of what kernels do.

Value names are kept, so that verification still finds every tensor of the model.
"""

from __future__ import annotations

import numpy as np

from bnnc.codegen import storage
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType


def legalize(graph: Graph) -> None:
    """Rewrite ``graph`` in place, then give every output a layer of its own to write it."""
    for node in graph.nodes():
        rewrite = _REWRITES.get(node.op.name)
        if rewrite is not None:
            rewrite(graph, node)
    graph.prune()
    _materialise_outputs(graph)


def _pad_by_gather(graph: Graph, node: Node) -> None:
    """Pad(reflect, edge, wrap) -> one Gather with constant indices along each padded axis."""
    if node.attrs["mode"] == "constant":
        return
    x = node.operand(0)
    pads, rank = node.attrs["pads"], len(x.shape)
    numpy_mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[node.attrs["mode"]]
    for axis in range(rank):
        before, after = pads[axis], pads[axis + rank]
        if before == after == 0:
            continue
        kept = np.arange(x.shape[axis])[max(0, -before) : x.shape[axis] - max(0, -after)]
        indices = np.pad(kept, (max(0, before), max(0, after)), mode=numpy_mode)  # type: ignore[call-overload]
        source = graph.constant(indices.astype(np.int64), f"{node.title}.indices")
        gather = graph.add("Gather", [x, source], {"axis": axis}, name=node.name)
        gather.origin = node.origin
        x = gather.output
    graph.take_over(node.output, x)


def _reduce_by_transpose(graph: Graph, node: Node) -> None:
    """Reduce over axes that are apart -> Transpose them to the end, Reduce, Reshape."""
    x = node.operand(0)
    rank = len(x.shape)
    axes = {axis % rank for axis in node.attrs["axes"]} if rank else set()
    span = range(min(axes, default=0), max(axes, default=-1) + 1)
    if all(axis in axes or x.shape[axis] == 1 for axis in span):
        return
    kept = [axis for axis in range(rank) if axis not in axes]
    perm = (*kept, *sorted(axes))
    moved = graph.add("Transpose", [x], {"perm": perm}, name=node.name)
    reduced = graph.add(
        node.op.name,
        [moved.output],
        {"axes": tuple(range(len(kept), rank)), "keepdims": 0},
        name=node.name,
    )
    shaped = graph.add("Reshape", [reduced.output], {"shape": node.output.shape}, name=node.name)
    graph.take_over(node.output, shaped.output)


def _indices_to_int64(graph: Graph, node: Node) -> None:
    """Gather with indices of another integer type -> Cast them."""
    indices = node.operand(1)
    if indices.data is not None:
        if indices.dtype is not DType.I64:
            wide = graph.constant(indices.data.astype(np.int64), indices.name)
            graph.set_input(node, 1, wide)
    elif indices.dtype is not DType.I64:
        cast = graph.add("Cast", [indices], {"to": DType.I64}, name=node.name)
        graph.set_input(node, 1, cast.output)


_REWRITES = {
    "Pad": _pad_by_gather,
    "Gather": _indices_to_int64,
    **{
        f"Reduce{kind}": _reduce_by_transpose
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare")
    },
}


def _materialise_outputs(graph: Graph) -> None:
    """Outputs that no layer could write in place (an input, a constant, a view of something that
    lives elsewhere, the same value twice) get a Copy of their own."""
    taken: set[Value] = set()
    for position, value in enumerate(graph.outputs):
        root = value
        while root.producer.op.name == "Reshape":
            root = root.producer.operand(0)
        view = storage.view_offset(root.producer) is not None
        if root.producer.op.name in ("Input", "Constant") or view or root in taken:
            copy = graph.add("Copy", [value], name=value.producer.name)
            outputs = list(graph.outputs)
            outputs[position] = copy.output
            graph.mark_outputs(outputs, graph.output_names)
        taken.add(root)
