"""Which convolutions and matrix products are binary, and why the others are not.

A product is binary if what flows into it takes two values, lo and hi, and its constant weights are
+alpha or -alpha, with one alpha per output channel. Then every activation is m + d * s, with
m = (lo + hi) / 2, d = (hi - lo) / 2 and s = +-1, every weight is alpha * w with w = +-1, and

    conv(x, weights) = alpha * (m * sum(w) + d * acc),    acc = sum of s * w over the taps.

A tap in the padding holds some value v; written as v = m + d * p the same holds for it, if p is
-1, 0 or 1: p is what the binary convolution counts for a padded tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod

import numpy as np

from bnnc.ir.domains import Domains, Exact, Finite
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.types import DType
from bnnc.ir.weights import many_valued, signs_and_scales

PRODUCTS = ("Conv", "ConvTranspose", "MatMul")
"""Ops that can be binary."""


@dataclass(frozen=True, eq=False)
class Packing:
    """What a binary product consists of.

    Attributes:
        source: the two-valued tensor; the product's input, or what a Pad before it pads.
        low, high: its two values, low < high.
        pads: top, left, bottom, right around ``source`` (zeros for a matrix product).
        pad: what a padded tap counts as, in {-1, 0, 1}.
        signs: bool, shaped as the weights; a matrix product's are transposed to [N, K].
        alpha: float32 [OC], not negative.
    """

    source: Value
    low: float
    high: float
    pads: tuple[int, int, int, int]
    pad: int
    signs: np.ndarray
    alpha: np.ndarray

    @property
    def middle(self) -> float:
        """m = (lo + hi) / 2."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> float:
        """d = (hi - lo) / 2."""
        return (self.high - self.low) / 2

    @property
    def taps(self) -> int:
        """Products in one sum."""
        return prod(self.signs.shape[1:])

    @property
    def sums_exactly(self) -> bool:
        """Whether float32 adds up ``taps`` products of lo, hi and +-1 without ever rounding."""
        values = Fraction(self.low), Fraction(self.high)
        # A float's denominator is a power of two, and so is their least common multiple.
        unit = Fraction(1, lcm(*(value.denominator for value in values)))
        return max(map(abs, values)) * self.taps <= unit * 2**23


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of one convolution or matrix product.

    Attributes:
        name: the node's title.
        binary: whether both operands are two-valued and it can be computed on bits.
        candidate: whether it was meant to be binary: a sign upstream, or weights of few values.
        reason: why it is not binary, in the user's terms; empty if it is.
        packing: what lowering needs; None if it is not binary.
    """

    name: str
    binary: bool
    candidate: bool
    reason: str = ""
    packing: Packing | None = None


def verdicts(graph: Graph, *, sign_zero: int = 0) -> dict[Node, Verdict]:
    """Judge every Conv, ConvTranspose and MatMul.

    Args:
        sign_zero: what to take ONNX Sign's value at zero for, see :class:`Domains`.
    """
    nodes = [node for node in graph.nodes() if node.op.name in PRODUCTS]
    if not nodes:
        return {}
    judge = _Judge(graph, sign_zero)
    return {node: judge.judge(node) for node in nodes}


_SIGN_ZERO = "ONNX Sign gives 0 at 0 (--sign-zero strict)"


class _No(Exception):
    """Not binary, and why. ``near``: it looks as if it was meant to be."""

    def __init__(self, reason: str, near: bool = False) -> None:
        self.reason, self.near = reason, near
        super().__init__(reason)


class _Judge:
    def __init__(self, graph: Graph, sign_zero: int) -> None:
        self.graph = graph
        self.domains = Domains(graph, sign_zero=sign_zero)
        self._with_zero: Domains | None = None
        self._spoilers = _spoilers(graph, self.domains)

    def judge(self, node: Node) -> Verdict:
        """The activations' fault is told first, then the weights', then the op's own. But a zero
        that Sign gives is to blame only where nothing else is."""
        faults: list[_No] = []
        activation = weights = None
        try:
            activation = self._activation(node)
        except _No as fault:
            faults.append(fault)
        try:
            weights = self._weights(node)
        except _No as fault:
            faults.append(fault)
        if not faults and node.op.name == "ConvTranspose":
            faults.append(_No("transposed convolutions stay float", near=True))
        if faults:
            spoiled = self._spoilers.get(node.operand(0)) is not None
            near = spoiled or activation is not None or any(fault.near for fault in faults)
            faults.sort(key=lambda fault: fault.reason == _SIGN_ZERO)
            return Verdict(node.title, False, near, faults[0].reason)
        assert activation is not None and weights is not None
        source, (low, high), pads, pad = activation
        packing = Packing(source, low, high, pads, pad, *weights)
        return Verdict(node.title, True, True, "", packing)

    # ---- activations ----------------------------------------------------------------------

    def _activation(
        self, node: Node
    ) -> tuple[Value, tuple[float, float], tuple[int, int, int, int], int]:
        x = node.operand(0)
        if isinstance(self.domains.of(x), Exact):
            raise _No("its input is a constant")
        if node.op.name != "Conv":
            return x, self._two(x), (0, 0, 0, 0), 0
        pads: tuple[int, int, int, int] = node.attrs["pads"]
        padder = x.producer
        if pads_planes(padder) and (not any(pads) or padder.attrs["value"] == 0):
            inner = padder.operand(0)
            pair = _pair(self.domains, inner)
            pad = None if pair is None else _pad_term(padder.attrs["value"], pair)
            if pair is not None and pad is not None:
                top, left, bottom, right = (a + b for a, b in zip(pads, plane_pads(padder)))
                return inner, pair, (top, left, bottom, right), pad
            if pair is None and self._zero_is_to_blame(inner):
                raise _No(_SIGN_ZERO, near=True)
        two = self._two(x)
        pad = _pad_term(0.0, two) if any(pads) else 0
        if pad is None:
            raise _No(f"its padding of 0 is a third value beside {two[0]:g} and {two[1]:g}", True)
        return x, two, pads, pad

    def _two(self, x: Value) -> tuple[float, float]:
        """The two values of ``x``, or a complaint."""
        pair = _pair(self.domains, x)
        if pair is not None:
            return pair
        if self._zero_is_to_blame(x):
            raise _No(_SIGN_ZERO, near=True)
        domain, found = self.domains.of(x), self.domains.distinct(x)
        if isinstance(domain, Finite):
            each = domain.levels()
            if each is not None and len(each) == 2 and (found is None or len(found) > 2):
                raise _No("its input takes different values in different channels", near=True)
            if found is not None and np.isfinite(found).all():
                values = "value" if len(found) == 1 else "values"
                raise _No(f"its input takes {len(found)} {values}", near=len(found) > 1)
        spoiler = self._spoilers.get(x)
        if spoiler is not None:
            raise _No(f"its input comes from {spoiler.op.name} {spoiler.title!r}", near=True)
        raise _No(_real_input(x))

    def _zero_is_to_blame(self, x: Value) -> bool:
        """Whether ``x`` would take two values if Sign gave +1 at zero."""
        if self._with_zero is None:
            self._with_zero = Domains(self.graph, sign_zero=1)
        return _pair(self._with_zero, x) is not None

    # ---- weights --------------------------------------------------------------------------

    def _weights(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Signs and alpha."""
        w = node.operand(1)
        domain = self.domains.of(w)
        if not isinstance(domain, Exact):
            few = self.domains.distinct(w)
            raise _No("its weights are computed during the run", few is not None and len(few) == 2)
        array = np.asarray(domain.array)
        if array.dtype != np.float32:
            raise _No(f"its weights are {w.dtype.value}")
        if node.op.name == "MatMul":
            if array.ndim != 2:
                raise _No(f"its weights have {array.ndim} axes")
            array = np.ascontiguousarray(array.T)
        if node.op.name == "ConvTranspose":
            # [C, OC / group, KH, KW]; how the groups interleave does not matter to the verdict.
            array = np.ascontiguousarray(array.swapaxes(0, 1))
        found = signs_and_scales(array)
        if found is None:
            raise _No(*many_valued(array))
        return found


def _pair(domains: Domains, x: Value) -> tuple[float, float] | None:
    """The two finite values of ``x``, ascending, if it takes two."""
    found = domains.distinct(x)
    if found is None or len(found) != 2 or x.dtype is not DType.F32:
        return None
    return (float(found[0]), float(found[1])) if np.isfinite(found).all() else None


# ---- padding ----------------------------------------------------------------------------------


def _pad_term(value: float, two: Sequence[float]) -> int | None:
    """p, where ``value`` = m + d * p and p is -1, 0 or 1."""
    low, high = two
    value = float(np.float32(value))
    if value == low:
        return -1
    if value == high:
        return 1
    return 0 if value == (low + high) / 2 else None


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


def _real_input(x: Value) -> str:
    node = x.producer
    while node.op.name in ("Reshape", "Transpose", "Slice", "Pad"):
        node = node.operand(0).producer
    if node.op.name == "Input":
        return f"its input is the model's input {node.output.name!r}"
    return f"its input takes any value: it comes from {node.op.name} {node.title!r}"
