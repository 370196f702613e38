"""Put binary products on bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnnc.ir.binary import verdicts
from bnnc.ir.bits import Bits, bits_of
from bnnc.ir.domains import Domains
from bnnc.ir.epilogue import Step
from bnnc.ir.graph import Encoding, Graph, Node, Value
from bnnc.ir.packing import Packing
from bnnc.ir.types import DType
from bnnc.passes.report import Report
from bnnc.passes.rewriting import append


def lower_binary(graph: Graph, report: Report) -> int:
    """A binary product reads bits, and its integers become floats behind it::

        x -> Sign -> Pad -> Conv -> y          x -> Map(sign) -> BinaryConv -> Cast -> y

    The tensor compared is the one that decides the two values, wherever it is; one tensor of bits
    serves every product that reads it. Activations other than -1 and +1 put a Mul and an Add behind
    the Cast. Matrix products are convolutions of 1 x 1 on single pixels.

    Needs what ``expose_binary`` leaves: weights of +-1 and sums that are exact.
    """
    found = {n: v.packing for n, v in verdicts(graph).items() if v.packing is not None}
    if not found:
        return 0
    domains = Domains(graph)
    made: dict[tuple[Value, str, bytes], Value] = {}
    replaced: dict[Value, Value] = {}
    for node, packing in found.items():
        assert packing.sums_exactly and packing.weights.bipolar, node
        assert node.optional(2) is None, node
        bits = _bits(packing, domains, replaced)
        key = (bits.x, bits.compare, bits.at.tobytes())
        if key not in made:
            made[key] = _binarise(graph, bits, packing.source)
        replaced[node.output] = _lower(graph, node, packing, bits, made[key])
    return len(found)


def _lower(graph: Graph, node: Node, packing: Packing, bits: Bits, source: Value) -> Value:
    """Compute ``node`` from ``source``, the bits. Returns what takes its result's place."""
    assert packing.pad is not None, node
    attrs = {"pads": packing.pads, "pad": packing.pad}
    vector: tuple[int, ...] = (-1,)
    if node.op.name == "Conv":
        attrs |= {name: node.attrs[name] for name in ("strides", "dilations", "group")}
        vector = (-1, 1, 1)
    if (bits.low > bits.high).all():
        attrs["pad"] = -packing.pad
    turned = _turned(bits, packing.weights.signs)
    weights = graph.constant(turned, f"{node.operand(1).name}.bits", b1=True)
    conv = graph.inherit(graph.add("BinaryConv", [source, weights], attrs, name=node.name), node)
    cast = graph.add(
        "Cast", [conv.output], {"to": DType.F32}, name=node.name, values=[node.output.name]
    )
    value = graph.inherit(cast, node).output
    graph.take_over(node.output, value)
    half, shift = packing.half.astype(np.float32), packing.constants(node).astype(np.float32)
    if (half != 1).any():
        value = append(graph, value, "Mul", half.reshape(vector), node)
    if shift.any():
        value = append(graph, value, "Add", shift.reshape(vector), node)
    return value


def _bits(packing: Packing, domains: Domains, replaced: dict[Value, Value]) -> Bits:
    """How the bits are decided, in a way the product can use: what a padded tap counts as must
    not depend on the channel."""
    bits = bits_of(domains, packing.source)
    bits = replace(bits, x=replaced.get(bits.x, bits.x))
    inverted = bits.low > bits.high
    if packing.pad and inverted.any() and not inverted.all():
        return bits_of(domains, packing.source, direct=False)
    return bits


def _binarise(graph: Graph, bits: Bits, stands_for: Value) -> Value:
    """The Map that writes the bits of ``stands_for``."""
    at = graph.constant(bits.at, f"{stands_for.name}.threshold")
    steps = (Step("sign", (1,), 0, (bits.compare,)),)
    node = graph.add("Map", [bits.x, at], {"steps": steps}, values=[f"{stands_for.name}.bits"])
    graph.inherit(node, stands_for.producer)
    shape = (-1,) + (1,) * (len(stands_for.shape) - 2)
    low, high = bits.low.reshape(shape), bits.high.reshape(shape)
    node.output.stands_for = Encoding(stands_for.name, low, high)
    return node.output


def _turned(bits: Bits, signs: np.ndarray) -> np.ndarray:
    """The weights' signs, inverted for input channels whose set bits stand for the lower value."""
    signs = signs.reshape(*signs.shape, *(1,) * (4 - signs.ndim))
    depth = signs.shape[1]
    inverted = (bits.low > bits.high).reshape(-1, depth)
    rows = np.repeat(inverted, len(signs) // len(inverted), axis=0)
    return signs ^ rows[:, :, None, None]
