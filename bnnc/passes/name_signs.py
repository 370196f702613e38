"""Write as a Sign what is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from bnnc.ir.binary import PRODUCTS
from bnnc.ir.domains import ABOVE, BELOW, EQUAL, Domains, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.rewriting import few_valued


def name_signs(graph: Graph, report: Report) -> int:
    """Three values, of which the middle one is a single point's, are a Sign's::

        x -> Greater(0) -> Cast -> Sub -> Conv          x -> Sign -> Conv
         `-> Less(0) ----> Cast ---'

    Whatever it was that compared, what it compared with is taken off in front of the Sign, and
    scale and shift follow. So is x / |x|, which has no value at zero at all. What is given there
    can then be settled. Done for convolutions and matrix products, which the third value may keep
    from being binary.
    """
    products = [node for node in graph.nodes() if node.op.name in PRODUCTS]
    if not products or not _may_have_any(graph):
        return 0
    domains = Domains(graph)
    found = dict.fromkeys(v for node in products for v in _unnamed(domains, node))
    return sum(_name(graph, value, domains) for value in found)


def _may_have_any(graph: Graph) -> bool:
    """Whether something is compared twice, or divided, or compared with some of it replaced: one
    comparison makes two values."""
    nodes = [node for node in graph.nodes() if len(node.outputs) == 1]
    deciding = (node for node in nodes if node.output.dtype is DType.BOOL)
    compared = Counter(
        v for node in deciding for v in node.inputs if v is not None and not v.is_constant
    )
    if max(compared.values(), default=0) > 1 or any(node.op.name == "Div" for node in nodes):
        return True
    return any(value.producer.op.name == "Where" for value in compared)


def _unnamed(domains: Domains, product: Node) -> Iterator[Value]:
    """The values in front of ``product`` that are a Sign's, but come from none."""

    def compares(value: Value) -> bool:
        domain = domains.of(value)
        return isinstance(domain, Finite) and domain.root.at is not None

    def ends(value: Value) -> bool:
        return compares(value) or value.producer.op.name == "Sign"

    operands = [value for value in product.inputs if value is not None]
    for value in (few for operand in operands for few in few_valued(domains, operand, ends)):
        sources = (few.producer.op.name for few in few_valued(domains, value))
        if compares(value) and "Sign" not in sources:
            yield value


def _name(graph: Graph, value: Value, domains: Domains) -> int:
    domain = domains.of(value)
    assert isinstance(domain, Finite) and domain.root.at is not None
    x, at = domain.root.value, domain.root.at
    below, middle, above = (domain.states[state] for state in (BELOW, EQUAL, ABOVE))
    if below is None or middle is None or above is None or x.type != value.type:
        return 0
    half = (above - below) / 2
    middle = np.where(np.isnan(middle), below + half, middle)  # x / |x| has no value at 0
    spread = (middle - half == below) & (middle + half == above) & (half != 0)
    if not (spread.all() and np.isfinite(at).all()):
        return 0
    node = value.producer
    steps = [("Sub", at, at.any()), ("Mul", half, (half != 1).any()), ("Add", middle, middle.any())]
    for op, operand, needed in steps:
        if needed:
            constant = graph.constant(np.asarray(operand, np.float32), f"{node.name}.{op.lower()}")
            x = graph.inherit(graph.add(op, [x, constant], name=node.name), node).output
        if op == "Sub":
            x = graph.inherit(graph.add("Sign", [x], {"zero": 0}, name=node.name), node).output
    graph.take_over(value, x)
    return 1
