"""Which convolutions and matrix products are binary, and why the others are not.

A product is binary if what flows into it takes two values in each channel and its constant weights
take two values in each output channel, so that its sums are sums of +-1 times +-1: see
:mod:`bnnc.ir.packing`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from bnnc.ir.bounds import Real
from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.levels import pool
from bnnc.ir.packing import Packing, distances, two_values
from bnnc.ir.types import DType
from bnnc.ir.weights import TwoValued, looks_binary, many_valued, two_valued

PRODUCTS = ("Conv", "ConvTranspose", "MatMul")
"""Ops that can be binary."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one convolution or matrix product.

    Attributes:
        name: the node's title.
        binary: whether both operands are two-valued and it can be computed on bits.
        candidate: whether it was meant to be binary: a sign upstream, or weights of few values.
        reason: why it is not binary, in the user's terms; empty if it is.
        packing: what lowering needs; None if it is not binary.
        note: what the user may not have meant, though it is binary; else empty.
    """

    name: str
    binary: bool
    candidate: bool
    reason: str = ""
    packing: Packing | None = None
    note: str = ""


def verdicts(graph: Graph, *, sign_zero: int = 0) -> dict[Node, Verdict]:
    """Judge every Conv, ConvTranspose and MatMul.

    Args:
        sign_zero: what to take ONNX Sign's value at zero for, see :class:`Domains`.
    """
    nodes = [node for node in graph.nodes() if node.op.name in PRODUCTS]
    if not nodes:
        return {}
    judge = _Judge(graph, sign_zero)
    found = {node: judge.judge(node) for node in nodes}
    if sign_zero == 0 and any(n.op.name == "Sign" and not n.attrs["zero"] for n in graph.nodes()):
        # A zero that Sign gives is to blame only where nothing else is.
        judge = _Judge(graph, 1)
        for node in [node for node, verdict in found.items() if not verdict.binary]:
            otherwise = judge.judge(node)
            found[node] = otherwise
            if otherwise.binary:
                found[node] = Verdict(node.title, False, True, SIGN_ZERO)
    return found


def part_of(node: Node, verdict: Verdict) -> Hashable:
    """What tells the layers of the model apart: products that are equal in this are parts of one,
    which was cut along its channels, or has a sum of its own for each phase of its output."""
    if node.share is not None:
        return node.share.layer, node.share.op, verdict.binary
    return (node.name, node.op.name, verdict.binary) if node.name else node


SIGN_ZERO = "ONNX Sign gives 0 at 0 (--sign-zero strict)"
"""The reason where everything else is fine."""


class _No(Exception):
    """Not binary, and why. ``near``: it looks as if it was meant to be."""

    def __init__(self, reason: str, near: bool = False) -> None:
        self.reason, self.near = reason, near
        super().__init__(reason)


class _Judge:
    def __init__(self, graph: Graph, sign_zero: int) -> None:
        self._graph = graph
        self.domains = Domains(graph, sign_zero=sign_zero)
        self._spoilers = _spoilers(graph, self.domains)

    def judge(self, node: Node) -> Verdict:
        """The activations' fault is told first, then the weights', then that of both together."""
        faults: list[_No] = []
        slot = data_slot(node)
        activation = weights = None
        try:
            activation = self._activation(node, slot)
        except _No as fault:
            faults.append(fault)
        try:
            weights = self._weights(node, node.operand(1 - slot))
        except _No as fault:
            faults.append(fault)
        if activation is not None and weights is not None:
            packing = Packing(*activation, weights)
            together = _fault_of_both(node, packing)
            if together is None:
                note = self._one_sided(packing.source)
                return Verdict(node.title, True, True, "", packing, note)
            faults.append(together)
        near = self._spoilers.get(node.operand(slot)) is not None or activation is not None
        near |= weights is not None and looks_binary(weights)
        near |= any(fault.near for fault in faults)
        return Verdict(node.title, False, near, faults[0].reason)

    # ---- activations ----------------------------------------------------------------------

    def _activation(
        self, node: Node, slot: int
    ) -> tuple[Value, np.ndarray, np.ndarray, tuple[int, int, int, int], float]:
        """The two-valued tensor, its values, and how it is padded with what."""
        x = node.operand(slot)
        if isinstance(self.domains.of(x), Exact):
            raise _No("its input is a constant")
        none = (0, 0, 0, 0)
        if node.op.name == "MatMul":
            axis = -1 if slot == 0 or len(x.shape) == 1 else -2
            return x, *self._two(node, x, axis), none, 0.0
        if node.op.name == "ConvTranspose":
            return x, *self._two(node, x, 1), none, 0.0
        pads: tuple[int, int, int, int] = node.attrs["pads"]
        padder = x.producer
        if pads_planes(padder) and (not any(pads) or padder.attrs["value"] == 0):
            inner = padder.operand(0)
            two = two_values(self.domains, inner, 1)
            if two is not None:
                top, left, bottom, right = (a + b for a, b in zip(pads, plane_pads(padder)))
                return inner, *two, (top, left, bottom, right), padder.attrs["value"]
        return x, *self._two(node, x, 1), pads, 0.0

    def _two(self, node: Node, x: Value, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The two values of each channel of ``x``, which ``node`` reads, or a complaint."""
        two = two_values(self.domains, x, axis)
        if two is not None:
            return two
        domain = self.domains.of(x)
        if isinstance(domain, Finite) and x.dtype is DType.F32:
            each, found = domain.levels(), self.domains.distinct(x)
            total = math.inf if found is None else len(found)
            if each is not None and len(each) < total and np.isfinite(each).all():
                if len(each) == 2:
                    raise _No("its input takes different values at different places", near=True)
                raise _No(f"its input takes {len(each)} values in a channel", near=True)
            if found is not None and np.isfinite(found).all():
                values = "value" if len(found) == 1 else "values"
                raise _No(f"its input takes {len(found)} {values}", near=len(found) > 1)
        spoiler = self._spoilers.get(x)
        if spoiler is not None:
            raise _No(f"its input comes from {spoiler.op.name} {spoiler.title!r}", near=True)
        raise _No(_real_input(node, x))

    def _one_sided(self, source: Value) -> str:
        """A complaint about a sign of what is on one side of zero alone, such as a Relu's result:
        one of its values never occurs."""
        domain = self.domains.of(source)
        if not isinstance(domain, Finite) or domain.root.at is None:
            return ""
        compared, at = self.domains.of(domain.root.value), domain.root.at
        if not isinstance(compared, Real):
            return ""
        reached = (compared.low < at.max(), True, compared.high > at.min())
        if all(reached):
            return ""
        found = pool([s for s, ok in zip(domain.states, reached) if ok and s is not None])
        everywhere = self._on_all_sides.distinct(source)
        if found is None or (everywhere is not None and len(everywhere) == len(found)):
            return ""
        values = " or ".join(f"{number:g}" for number in found)
        node = domain.root.value.producer
        side = f"{'below' if reached[2] else 'above'} {at.max():g}"
        return f"its input is always {values}: {node.op.name} {node.title!r} is never {side}"

    @functools.cached_property
    def _on_all_sides(self) -> Domains:
        """What values there would be if everything real could be any number."""
        return Domains(self._graph, bounded=False)

    # ---- weights --------------------------------------------------------------------------

    def _weights(self, node: Node, w: Value) -> TwoValued:
        domain = self.domains.of(w)
        if not isinstance(domain, Exact):
            few = self.domains.distinct(w)
            what = "both its factors" if node.op.name == "MatMul" else "its weights"
            raise _No(f"{what} are computed during the run", few is not None and len(few) == 2)
        if domain.array.dtype != np.float32:
            raise _No(f"its weights are {w.dtype.value}")
        if node.op.name == "MatMul" and not _has_matrices(node):
            raise _No(f"its weights have {domain.array.ndim} axes")
        array = by_output(node, domain.array)
        found = two_valued(array)
        if found is None:
            raise _No(*many_valued(array))
        return found


def _fault_of_both(node: Node, packing: Packing) -> _No | None:
    """Why two-valued operands do not make sums of +-1, if they do not."""
    depth = packing.weights.signs.shape[1]
    apart = distances(packing.low, packing.high, len(packing.low) // depth)
    if apart:
        least, most = apart
        return _No(
            f"the two values of its input lie {least:.4g} apart in one channel and {most:.4g} in "
            "another",
            near=True,
        )
    if node.op.name == "ConvTranspose" and not _has_phases(node):
        kernel, a = node.operand(1).shape[2:], node.attrs
        geometry = "x".join(map(str, kernel)), "x".join(map(str, a["strides"]))
        return _No(
            "it is a transposed convolution of {} at stride {}".format(*geometry)
            + (" with dilation" if max(a["dilations"]) > 1 else ", whose outputs lie apart"),
            near=True,
        )
    return None


# ---- operands ---------------------------------------------------------------------------------


def data_slot(node: Node) -> int:
    """Where the activations of a product stand: behind constant weights in W @ x."""
    first, second = node.operand(0), node.operand(1)
    behind = node.op.name == "MatMul" and len(first.shape) > 1 and first.is_constant
    return 1 if behind and not second.is_constant else 0


def by_output(node: Node, array: np.ndarray) -> np.ndarray:
    """A product's weights in the order of its output channels: as a Conv's [OC, C / group, KH, KW],
    or as [N, K]; several matrices' are [matrices * N, K]."""
    if node.op.name == "MatMul":
        rows = array if data_slot(node) else array.swapaxes(-1, -2)
        return np.ascontiguousarray(rows).reshape(-1, rows.shape[-1])
    if node.op.name == "ConvTranspose":
        # [C, OC / group, KH, KW], and a convolution sees the window from the other side.
        group = node.attrs["group"]
        channels, depth, *kernel = array.shape
        shaped = array.reshape(group, channels // group, depth, *kernel).swapaxes(1, 2)
        flipped = shaped[..., ::-1, ::-1].reshape(group * depth, channels // group, *kernel)
        return np.ascontiguousarray(flipped)
    return array


def _has_matrices(node: Node) -> bool:
    """Whether the weights of a MatMul are a matrix, or one for each of the input's."""
    slot = data_slot(node)
    x, w = node.operand(slot).shape, node.operand(1 - slot).shape
    several = w[:-2]
    return len(w) > 1 and (math.prod(several) == 1 or several == x[-len(w) : -2])


def _has_phases(node: Node) -> bool:
    """Whether the outputs of a ConvTranspose that lie a stride apart are convolutions of its input
    with a part of its weights."""
    a = node.attrs
    sides = zip(node.operand(1).shape[2:], a["strides"], a["dilations"])
    return all(k >= s and (s == 1 or d == 1) for k, s, d in sides)


# ---- padding ----------------------------------------------------------------------------------


def pads_planes(node: Node) -> bool:
    """Whether this is a Pad by a constant, of H and W alone, that crops nothing."""
    if node.op.name != "Pad" or node.attrs["mode"] != "constant":
        return False
    pads = node.attrs["pads"]
    return len(pads) == 8 and min(pads) >= 0 and not any((*pads[:2], *pads[4:6]))


def plane_pads(node: Node) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of such a Pad."""
    pads = node.attrs["pads"]
    return pads[2], pads[3], pads[6], pads[7]


# ---- where signs are lost ---------------------------------------------------------------------


def _spoilers(graph: Graph, domains: Domains) -> dict[Value, Node | None]:
    """For each value that depends on few-valued ones through anything but a product: the node
    where few values first became many."""
    found: dict[Value, Node | None] = {}
    for node in graph.nodes():
        spoiler = None
        if node.op.name not in PRODUCTS:
            for value in node.inputs:
                if value is None or spoiler is not None:
                    continue
                spoiler = node if _few_valued(domains, value) else found.get(value)
        for value in node.outputs:
            found[value] = spoiler
    return found


def _few_valued(domains: Domains, value: Value) -> bool:
    return value.dtype is DType.F32 and isinstance(domains.of(value), Finite)


def _real_input(reader: Node, x: Value) -> str:
    node = x.producer
    while node.op.name in _CARRYING or (node.name == reader.name != "" and node.op.name in _OWN):
        node = node.operand(0).producer
    if node.op.name == "Input":
        return f"its input is the model's input {node.output.name!r}"
    return f"its input takes any value: it comes from {node.op.name} {node.title!r}"


_CARRYING = ("Reshape", "Transpose", "Slice", "Pad", "Cast")
_OWN = ("Sub",)
"""What an importer puts before a product of integers, under its name."""
