"""Multiply-adds, binarisation ratio, equivalent FLOP, parameters and bytes of a model.

Two conventions count multiply-adds, see :mod:`bnnc.ir.costs`. Layers, their outputs and parameters
are those of the model by either, whatever the compiler rewrote and added.

Equivalent FLOP are Eq. 1 of *Efficient Object Detection Using Binary Neural Networks*:
M * r_b / 64 + M * (1 - r_b), where r_b is the share of the M multiply-adds that are binary.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnnc.errors import InputError, printable

if TYPE_CHECKING:
    from bnnc.ir.binary import Verdict
    from bnnc.ir.graph import Graph, Share, Value

CONVENTIONS = ("executed", "paper")
_PER_FLOP = 64


@dataclass(frozen=True)
class LayerStatistics:
    """One layer of the model, with multiply-adds or parameters, whatever it has become.

    Attributes:
        name: the owner's name for it.
        op: the op, as ONNX calls it.
        binary: whether weights and activations are both two-valued.
        macs: multiply-adds of one run, by the convention of the statistics.
        output_shape: of its first output.
        parameters: elements of its weights, biases, scales and slopes.
        bytes: what is stored for it: a bit for a binary weight; constants that the compiler added,
            too.
        float_bytes: what the parameters would take as float32.
        activation_bytes: what its outputs take.
        reason: why a layer with multiply-adds is not binary; None if it is.
        candidate: whether a layer that is not binary looks as if it was meant to be: a sign
            upstream, or weights of few values.
        note: what its owner may not have meant, though it is binary; empty if there is nothing.
    """

    name: str
    op: str
    binary: bool
    macs: int
    output_shape: tuple[int, ...]
    parameters: int
    bytes: int
    float_bytes: int
    activation_bytes: int
    reason: str | None
    candidate: bool = False
    note: str = ""


@dataclass(frozen=True)
class TotalStatistics:
    """The sums. A constant that layers share counts once in parameters and bytes."""

    macs: int
    binary_macs: int
    float_macs: int
    binarization_ratio: float
    equivalent_flop: float
    parameters: int
    bytes: int
    float_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Statistics:
    """Statistics of a model.

    Attributes:
        model: its name.
        convention: one of :data:`CONVENTIONS`.
        total: the sums.
        layers: in the order they run.
    """

    model: str
    convention: str
    total: TotalStatistics
    layers: tuple[LayerStatistics, ...]

    def document(self) -> dict[str, Any]:
        """As a JSON document with a stable schema; integers where they are integers."""
        document = dataclasses.asdict(self)
        document["layers"] = [
            {**layer, "output_shape": list(layer["output_shape"])} for layer in document["layers"]
        ]
        return document

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Statistics:
        """Inverse of :meth:`document`.

        Raises:
            InputError: if the document is no such thing.
        """
        try:
            layers = tuple(
                LayerStatistics(**{**layer, "output_shape": tuple(layer["output_shape"])})
                for layer in document["layers"]
            )
            total = TotalStatistics(**document["total"])
            return cls(str(document["model"]), str(document["convention"]), total, layers)
        except (KeyError, TypeError):
            raise InputError("holds no statistics that this version of bnnc can read") from None


def statistics(graph: Graph, convention: str = "executed") -> Statistics:
    """Statistics of a model.

    Args:
        graph: its reference graph, before lowering.
        convention: one of :data:`CONVENTIONS`.

    Raises:
        InputError: for an unknown convention.
    """
    check_convention(convention)
    by_layer = _parts(graph)
    layers = tuple(_layer(parts, convention) for parts in by_layer)
    total = sum(layer.macs for layer in layers)
    in_bits = sum(layer.macs for layer in layers if layer.binary)
    everything = list(itertools.chain.from_iterable(by_layer))
    parameters = _parameters(everything)
    return Statistics(
        graph.name,
        convention,
        TotalStatistics(
            macs=total,
            binary_macs=in_bits,
            float_macs=total - in_bits,
            binarization_ratio=in_bits / total if total else 0,
            equivalent_flop=equivalent_flop(in_bits, total - in_bits),
            parameters=parameters,
            bytes=_stored(everything),
            float_bytes=4 * parameters,
            activation_bytes=sum(layer.activation_bytes for layer in layers),
        ),
        layers,
    )


@dataclass(frozen=True)
class _Part:
    """A node, as a part of a layer of the model.

    Attributes:
        share: what it stands for of the layer.
        verdict: on a product; None for any other node.
        macs: multiply-adds it executes.
        stored: bytes of each constant that it and what follows it read.
    """

    share: Share
    verdict: Verdict | None
    macs: int
    stored: Mapping[Value, int]

    @property
    def binary(self) -> bool:
        return self.verdict is not None and self.verdict.binary


def _parts(graph: Graph) -> list[list[_Part]]:
    """The nodes that have multiply-adds or parameters, layer by layer."""
    from bnnc.ir.binary import part_of, verdicts
    from bnnc.ir.costs import macs, parameter_values, share_of, values_behind

    found = verdicts(graph)
    by_layer: dict[Hashable, list[_Part]] = {}
    for node in graph.nodes():
        verdict = found.get(node)
        values, count = parameter_values(node), macs(node)
        if not count and not values:
            continue
        stored = {value: value.type.bytes for value in values}
        if verdict is not None and verdict.binary:
            # The weights come first; biases and the like stay float.
            stored |= {value: -(-value.type.elements // 8) for value in values[:1]}
            stored |= {value: value.type.bytes for value in values_behind(graph, node)}
        key = node if verdict is None else part_of(node, verdict)
        by_layer.setdefault(key, []).append(_Part(share_of(node), verdict, count, stored))
    return list(by_layer.values())


def _layer(parts: Sequence[_Part], convention: str) -> LayerStatistics:
    share, verdict, binary = parts[0].share, parts[0].verdict, parts[0].binary
    paper, parameters = convention == "paper", _parameters(parts)
    return LayerStatistics(
        name=share.layer,
        op=share.op,
        binary=binary,
        macs=sum(part.share.macs if paper else part.macs for part in parts),
        output_shape=share.output_shape,
        parameters=parameters,
        bytes=_stored(parts),
        float_bytes=4 * parameters,
        activation_bytes=sum(part.share.output_bytes for part in parts),
        reason=None if verdict is None or binary else verdict.reason,
        candidate=verdict is not None and verdict.candidate and not binary,
        note="" if verdict is None else verdict.note,
    )


def _parameters(parts: Iterable[_Part]) -> int:
    """Elements of the parameters; what parts share counts once."""
    each: dict[Hashable, int] = {}
    for part in parts:
        each.update(part.share.parameters or {})
    return sum(each.values())


def _stored(parts: Iterable[_Part]) -> int:
    """Bytes of the constants; what parts share counts once."""
    each: dict[Value, int] = {}
    for part in parts:
        each.update(part.stored)
    return sum(each.values())


def equivalent_flop(binary_macs: int, float_macs: int) -> float:
    """Eq. 1; an integer where it is one."""
    whole, rest = divmod(binary_macs, _PER_FLOP)
    return float_macs + whole + rest / _PER_FLOP if rest else float_macs + whole


def check_convention(convention: str) -> None:
    """Raises InputError for an unknown one."""
    if convention not in CONVENTIONS:
        raise InputError(
            f"there is no convention {printable(convention)!r}",
            hint=f"choose one of {', '.join(CONVENTIONS)}",
        )
