"""Settle what Sign gives at zero."""

from __future__ import annotations

from collections.abc import Iterator

from bnnc.ir.binary import verdicts
from bnnc.ir.domains import Domains, Exact
from bnnc.ir.graph import Graph, Node, Value
from bnnc.passes.report import SIGN_ZERO, Report
from bnnc.passes.rewriting import few_valued


def resolve_sign_zero(graph: Graph, report: Report) -> int:
    """ONNX Sign gives 0 at 0, a third value. Where that alone keeps a convolution or matrix
    product from being binary, the Sign is given the value of the policy there::

        x -> Sign(zero=0) -> Conv          x -> Sign(zero=1) -> Conv

    Signs that decide nothing of the kind stay as they are, and so do those of few values with 0
    among them. ``strict`` changes none.
    """
    zero = SIGN_ZERO[report.options.sign_zero]
    if zero == 0 or not any(node.op.name == "Sign" for node in graph.nodes()):
        return 0
    before, after = verdicts(graph), verdicts(graph, sign_zero=zero)
    domains = Domains(graph, sign_zero=zero)
    chosen: dict[Node, None] = {}
    for node, verdict in after.items():
        if verdict.packing is not None and not before[node].binary:
            for operand in (verdict.packing.source, node.operand(0), node.operand(1)):
                chosen.update(dict.fromkeys(_deciding_signs(domains, operand)))
    for node in chosen:
        node.attrs["zero"] = zero
    report.sign_zero_nodes += len(chosen)
    return len(chosen)


def _deciding_signs(domains: Domains, value: Value) -> Iterator[Node]:
    """The Signs with zero = 0 that ``value``'s few values come from. One on a constant decides
    only if there are zeros in it."""
    for node in (few.producer for few in few_valued(domains, value)):
        if node.op.name == "Sign" and node.attrs["zero"] == 0 and not domains.means_zero(node):
            operand = domains.of(node.operand(0))
            if not isinstance(operand, Exact) or (operand.array == 0).any():
                yield node
