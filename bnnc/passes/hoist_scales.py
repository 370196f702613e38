"""Multiply behind a product what would make its input real."""

from __future__ import annotations

from collections.abc import Callable

from bnnc.ir.binary import PRODUCTS, by_output, data_slot
from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.weights import two_valued
from bnnc.passes.report import Report


def hoist_scales(graph: Graph, report: Report) -> int:
    """A scale that is computed during the run, and is the same for all that a product adds up,
    moves behind it::

        s = Sign(x), r = ReduceMean(|x|)
        Mul(s, r) -> Conv(w, bias) -> y          s -> Conv(w) -> Mul(r) -> Add(bias) -> y
        x -> Conv(Mul(w, r), bias) -> y          x -> Conv(w) -> Mul(r) -> Add(bias) -> y

    Done where the input would otherwise take few values and the weights take two: XNOR-Net's scales
    of activations, and gates that are multiplied with the weights.
    """
    products = [node for node in graph.nodes() if node.op.name in PRODUCTS]
    if not products:
        return 0
    changed, domains = 0, Domains(graph)
    for node in products:
        if _hoist(graph, node, domains):
            changed, domains = changed + 1, Domains(graph)
    return changed


_Factor = tuple[str, Value]
"""Mul or Div, and by what."""

_Beside = Callable[[Node, Value, Value], bool]
"""Whether a factor of an operand of the product may as well be one of its result."""


def _hoist(graph: Graph, node: Node, domains: Domains) -> bool:
    if data_slot(node) != 0:
        return False
    source, factors = _unscaled(node, node.operand(0), domains, _commutes)
    weights, scales = _unscaled(node, node.operand(1), domains, _scales_outputs)
    constant = domains.of(weights)
    if not (factors or scales) or not isinstance(constant, Exact) or _is_real(domains, source):
        return False
    if node.op.name == "MatMul" and constant.array.ndim != 2:
        return False
    if two_valued(by_output(node, constant.array)) is None:
        return False
    bias = node.optional(2)
    product = graph.add(node.op.name, [source, weights], node.attrs, name=node.name)
    product.share = node.share
    value = graph.inherit(product, node).output
    scales = [(op, _beside_outputs(graph, node, factor)) for op, factor in scales]
    for op, factor in reversed([*scales, *factors]):
        value = graph.inherit(graph.add(op, [value, factor], name=node.name), node).output
    if bias is not None:
        if node.op.name != "MatMul":
            bias = graph.add("Reshape", [bias], {"shape": (*bias.shape, 1, 1)}).output
        value = graph.inherit(graph.add("Add", [value, bias], name=node.name), node).output
    graph.take_over(node.output, value)
    graph.remove(node)
    return True


def _is_real(domains: Domains, value: Value) -> bool:
    return not isinstance(domains.of(value), (Finite, Exact))


def _unscaled(
    node: Node, scaled: Value, domains: Domains, beside: _Beside
) -> tuple[Value, list[_Factor]]:
    """An operand of ``node`` without the factors that make it real, the last one first."""
    value, factors = scaled, []
    while _is_real(domains, value):
        found = _factor(node, value.producer, beside)
        if found is None:
            return scaled, []
        value, factor = found
        factors.append(factor)
    return value, factors


def _factor(node: Node, scaling: Node, beside: _Beside) -> tuple[Value, _Factor] | None:
    """What ``scaling`` multiplies or divides by what, if that may as well be done behind."""
    if scaling.op.name not in ("Mul", "Div"):
        return None
    for slot in (1, 0) if scaling.op.name == "Mul" else (1,):
        factor, rest = scaling.operand(slot), scaling.operand(1 - slot)
        if rest.type == scaling.output.type and beside(node, factor, rest):
            return rest, (scaling.op.name, factor)
    return None


def _sides(factor: Value, x: Value) -> tuple[int, ...]:
    """The shape of ``factor``, with as many axes as ``x``."""
    return (1,) * (len(x.shape) - len(factor.shape)) + factor.shape


def _commutes(node: Node, factor: Value, x: Value) -> bool:
    """Whether ``factor`` is one number for all that any of the product's sums adds up, and lies
    beside its result as it lies beside its input."""
    sides = _sides(factor, x)
    if node.op.name == "MatMul":
        return (len(sides) > 1 and sides[-1] == 1) or not factor.shape
    if node.op.name == "Conv" and _sees_single_pixels(node):
        return sides[1] == 1
    if node.op.name == "Conv" and node.attrs["group"] == x.shape[1] == node.output.shape[1]:
        return sides[2:] == (1, 1)
    return sides[1:] == (1, 1, 1)


def _scales_outputs(node: Node, factor: Value, weights: Value) -> bool:
    """Whether ``factor``, of the weights, is one number for all weights of an output channel."""
    sides = _sides(factor, weights)
    if node.op.name == "MatMul":
        return len(sides) == 2 and sides[0] == 1
    return sides[1:] == (1, 1, 1) and (node.op.name == "Conv" or sides[0] == 1)


def _beside_outputs(graph: Graph, node: Node, factor: Value) -> Value:
    """A factor of the weights as one of the result."""
    shape = (factor.type.elements,) if node.op.name == "MatMul" else (factor.type.elements, 1, 1)
    return graph.add("Reshape", [factor], {"shape": shape}, name=node.name).output


def _sees_single_pixels(node: Node) -> bool:
    a, kernel = node.attrs, node.operand(1).shape[2:]
    return kernel == a["strides"] == (1, 1) and not any(a["pads"])
