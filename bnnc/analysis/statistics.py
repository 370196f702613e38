"""Multiply-adds, binarisation ratio, equivalent FLOP, parameters and bytes of a model.

Two conventions count multiply-adds, see :mod:`bnnc.ir.costs`. Equivalent FLOP are Eq. 1 of
*Efficient Object Detection Using Binary Neural Networks*: M * r_b / 64 + M * (1 - r_b), where r_b
is the share of the M multiply-adds that are binary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnnc.errors import InputError, printable

if TYPE_CHECKING:
    from bnnc.ir.graph import Graph, Node, Value

CONVENTIONS = ("executed", "paper")
_PER_FLOP = 64


@dataclass(frozen=True)
class LayerStatistics:
    """One layer: a node with multiply-adds or parameters, or the several products that a node of
    the model has become.

    Attributes:
        name: the owner's name for it.
        op: the op, as ONNX calls it.
        binary: whether weights and activations are both two-valued.
        macs: multiply-adds of one run, by the convention of the statistics.
        output_shape: of its first output.
        parameters: elements of its weights, biases, scales and slopes.
        bytes: what the parameters take as stored: a bit for a binary weight.
        float_bytes: what they would take as float32.
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
    from bnnc.ir.binary import part_of, verdicts
    from bnnc.ir.costs import macs, parameter_values

    check_convention(convention)
    found = verdicts(graph)
    layers: dict[Hashable, LayerStatistics] = {}
    stored: dict[Value, int] = {}
    for node in graph.nodes():
        verdict = found.get(node)
        binary = verdict is not None and verdict.binary
        values = parameter_values(node)
        if binary:
            values += _behind(graph, node)
        count = macs(node, convention)
        if not count and not values:
            continue
        # The weights come first; biases and the like stay float.
        sizes = {v: _stored(v, in_bits=binary and v is values[0]) for v in values}
        stored.update(sizes)
        layer = LayerStatistics(
            name=node.title,
            op=node.op.name,
            binary=binary,
            macs=count,
            output_shape=node.outputs[0].shape,
            parameters=_elements(sizes),
            bytes=sum(sizes.values()),
            float_bytes=4 * _elements(sizes),
            activation_bytes=sum(value.type.bytes for value in node.outputs),
            reason=None if verdict is None or binary else verdict.reason,
            candidate=verdict is not None and verdict.candidate and not binary,
            note="" if verdict is None else verdict.note,
        )
        key = node if verdict is None else part_of(node, verdict)
        layers[key] = _together(layers[key], layer) if key in layers else layer
    total = sum(layer.macs for layer in layers.values())
    in_bits = sum(layer.macs for layer in layers.values() if layer.binary)
    return Statistics(
        graph.name,
        convention,
        TotalStatistics(
            macs=total,
            binary_macs=in_bits,
            float_macs=total - in_bits,
            binarization_ratio=in_bits / total if total else 0,
            equivalent_flop=equivalent_flop(in_bits, total - in_bits),
            parameters=_elements(stored),
            bytes=sum(stored.values()),
            float_bytes=4 * _elements(stored),
            activation_bytes=sum(layer.activation_bytes for layer in layers.values()),
        ),
        tuple(layers.values()),
    )


_SUMMED = ("macs", "parameters", "bytes", "float_bytes", "activation_bytes")


def _together(first: LayerStatistics, second: LayerStatistics) -> LayerStatistics:
    """Two parts of one layer of the owner's."""
    sums = {name: getattr(first, name) + getattr(second, name) for name in _SUMMED}
    return dataclasses.replace(first, **sums)


def _behind(graph: Graph, product: Node) -> list[Value]:
    """The scales and biases of a binary product, which follow it under its name."""
    found: list[Value] = []
    node: Node | None = product
    while node is not None and product.name:
        node = graph.only_consumer(node.output)
        if node is None or node.name != product.name or node.op.name not in _FOLLOWING:
            break
        found += [v for v in node.inputs if v is not None and v.is_constant]
    return found


_FOLLOWING = ("Mul", "Add", "Reshape")


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


def _elements(values: Iterable[Value]) -> int:
    return sum(value.type.elements for value in values)


def _stored(value: Value, *, in_bits: bool) -> int:
    return -(-value.type.elements // 8) if in_bits else value.type.bytes
