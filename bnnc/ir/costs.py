"""What a node costs: multiply-adds and parameters.

Two conventions count multiply-adds. ``executed`` counts those really done. ``paper`` differs for
transposed convolutions alone, which it counts at their output's resolution (as the figures of
*Efficient Object Detection Using Binary Neural Networks*, tables 1 and 2, require).
"""

from __future__ import annotations

from bnnc.ir.graph import Node, Value

CONVENTIONS = ("executed", "paper")


def macs(node: Node, convention: str = "executed") -> int:
    """Multiply-adds of one run of ``node``; 0 for an op that has none."""
    assert convention in CONVENTIONS, convention
    count = node.op.macs
    if convention == "paper":
        count = node.op.paper_macs or count
    return 0 if count is None else count(node)


def parameter_values(node: Node) -> list[Value]:
    """The constants that hold the node's weights, biases, scales and slopes."""
    operands = [node.optional(slot) for slot in node.op.learned]
    return [value for value in operands if value is not None and value.is_constant]


def parameters(node: Node) -> int:
    """Weight and bias elements of ``node``. Nodes that share a constant count it each."""
    return sum(value.type.elements for value in parameter_values(node))
