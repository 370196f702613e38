"""Multiply behind a product what would make its input real."""

from __future__ import annotations

from bnnc.ir.binary import PRODUCTS, by_output, data_slot
from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.weights import two_valued
from bnnc.passes.report import Report
from bnnc.passes.rewriting import inherit


def hoist_scales(graph: Graph, report: Report) -> int:
    """A scale that is computed during the run, and is the same for all that a product adds up,
    moves behind it::

        s = Sign(x), r = ReduceMean(|x|)
        Mul(s, r) -> Conv(w, bias) -> y          s -> Conv(w) -> Mul(r) -> Add(bias) -> y

    Done where the input would otherwise take few values and the weights take two: XNOR-Net's scales
    of activations.
    """
    products = [node for node in graph.nodes() if node.op.name in PRODUCTS]
    if not products:
        return 0
    changed, domains = 0, Domains(graph)
    for node in products:
        if _hoist(graph, node, domains):
            changed, domains = changed + 1, Domains(graph)
    return changed


def _hoist(graph: Graph, node: Node, domains: Domains) -> bool:
    slot = data_slot(node)
    scaled = node.operand(slot)
    factors: list[tuple[str, Value]] = []
    source = scaled
    while not isinstance(domains.of(source), (Finite, Exact)):
        found = _factor(node, source.producer, domains)
        if found is None:
            return False
        source, op, factor = found
        factors.append((op, factor))
    weights = domains.of(node.operand(1 - slot))
    if not factors or slot != 0 or not isinstance(weights, Exact):
        return False
    if node.op.name == "MatMul" and weights.array.ndim != 2:
        return False
    if two_valued(by_output(node, weights.array)) is None:
        return False
    bias = node.optional(2)
    product = graph.add(node.op.name, [source, node.operand(1)], node.attrs, name=node.name)
    value = inherit(product, node).output
    for op, factor in reversed(factors):
        value = inherit(graph.add(op, [value, factor], name=node.name), node).output
    if bias is not None:
        if node.op.name != "MatMul":
            bias = graph.add("Reshape", [bias], {"shape": (*bias.shape, 1, 1)}).output
        value = inherit(graph.add("Add", [value, bias], name=node.name), node).output
    graph.take_over(node.output, value)
    graph.remove(node)
    return True


def _factor(node: Node, scaling: Node, domains: Domains) -> tuple[Value, str, Value] | None:
    """What ``scaling`` multiplies or divides by what, if that may as well be done behind."""
    if scaling.op.name not in ("Mul", "Div"):
        return None
    for slot in (1, 0) if scaling.op.name == "Mul" else (1,):
        factor, rest = scaling.operand(slot), scaling.operand(1 - slot)
        if rest.type == scaling.output.type and _commutes(node, factor, rest):
            return rest, scaling.op.name, factor
    return None


def _commutes(node: Node, factor: Value, x: Value) -> bool:
    """Whether ``factor`` is one number for all that any of the product's sums adds up, and lies
    beside its result as it lies beside its input."""
    rank = len(x.shape)
    sides = (1,) * (rank - len(factor.shape)) + factor.shape
    if node.op.name == "MatMul":
        return (len(sides) > 1 and sides[-1] == 1) or not factor.shape
    if node.op.name == "Conv" and _sees_single_pixels(node):
        return sides[1] == 1
    return sides[1:] == (1, 1, 1)


def _sees_single_pixels(node: Node) -> bool:
    a, kernel = node.attrs, node.operand(1).shape[2:]
    return kernel == a["strides"] == (1, 1) and not any(a["pads"])
