"""What a node costs: multiply-adds and parameters.

Two conventions count multiply-adds. ``executed`` counts those really done. ``paper`` counts
those of the layers as the model has them, whatever they were rewritten to, and transposed
convolutions at their output's resolution (as the figures of *Efficient Object Detection Using
Binary Neural Networks*, tables 1 and 2, require).
"""

from __future__ import annotations

from dataclasses import replace

from bnnc.ir.graph import Graph, Node, Share, Value

CONVENTIONS = ("executed", "paper")


def macs(node: Node, convention: str = "executed") -> int:
    """Multiply-adds of one run of ``node``; 0 for an op that has none."""
    assert convention in CONVENTIONS, convention
    count = node.op.macs
    if convention == "paper":
        count = node.op.paper_macs or count
    return 0 if count is None else count(node)


def share_of(node: Node) -> Share:
    """What ``node`` stands for of a layer of the model: all of itself, unless it says otherwise."""
    share = node.share or Share(
        node.title,
        node.op.name,
        node.outputs[0].shape,
        sum(value.type.bytes for value in node.outputs),
        macs(node, "paper"),
    )
    if share.parameters is not None:
        return share
    return replace(share, parameters={v.name: v.type.elements for v in parameter_values(node)})


def parameter_values(node: Node) -> list[Value]:
    """The constants that hold the node's weights, biases, scales and slopes."""
    operands = [node.optional(slot) for slot in node.op.learned]
    return [value for value in operands if value is not None and value.is_constant]


def values_behind(graph: Graph, product: Node) -> list[Value]:
    """The constant scales and biases that follow ``product`` under its name."""
    found: list[Value] = []
    node: Node | None = product
    while node is not None and product.name:
        node = graph.only_consumer(node.output)
        if node is None or node.name != product.name or node.op.name not in _FOLLOWING:
            break
        found += [v for v in node.inputs if v is not None and v.is_constant]
    return found


_FOLLOWING = ("Mul", "Add", "Reshape")


def parameters(node: Node) -> int:
    """Weight and bias elements of ``node``. Nodes that share a constant count it each."""
    return sum(value.type.elements for value in parameter_values(node))
