"""A network as those read it who build it by hand for another engine: a list of layers.

A binary convolution takes the tensor whose signs it convolves, so that what computes signs and
pads them is no layer. A network falls into *pieces* at these tensors: fed the same numbers, a piece
gives the same results everywhere, whereas over a whole untrained network every engine's rounding
flips signs of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.utils

from bnnc import compiler
from bnnc.ir.binary import verdicts
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.interpreter import evaluate
from bnnc.ir.packing import Packing


@dataclass(frozen=True, eq=False)
class Signs:
    """What a binary convolution of signs with signs is made of.

    Attributes:
        signs: bool [OC, IC, KH, KW], of the weights.
        alpha: float32 [OC], what the sums are multiplied by.
        pads: top, left, bottom, right.
        pad: -1, 0 or 1, what a padded tap holds.
    """

    signs: np.ndarray
    alpha: np.ndarray
    pads: tuple[int, int, int, int]
    pad: int

    @classmethod
    def of(cls, packing: Packing) -> Signs:
        """Those of a layer whose values are opposite, as all of the paper's are."""
        weights, pad = packing.weights, packing.pad
        assert pad is not None and not packing.middle.any() and not weights.offset.any()
        alpha = (packing.half * weights.scale).astype(np.float32)
        return cls(weights.signs, alpha, packing.pads, pad)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        kind: BinaryConv, else the name of ``node``'s op.
        inputs: the tensors it reads; of a binary convolution, the one whose signs (+1 where it is
            at least 0) flow into it.
        packing: of a binary convolution.
    """

    kind: str
    node: Node
    inputs: tuple[Value, ...]
    packing: Signs | None = None

    @property
    def output(self) -> Value:
        return self.node.output

    @property
    def constants(self) -> list[np.ndarray]:
        """Weights, then bias, or the four arrays of a normalisation."""
        return [v.data for v in self.node.inputs if v is not None and v.data is not None]


@dataclass(frozen=True, eq=False)
class Piece:
    """Layers, producers first, that make ``outputs`` from ``inputs``.

    ``graph`` is the reference graph of the whole ``proto``; both call tensors the same.
    """

    proto: onnx.ModelProto
    graph: Graph
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[Layer, ...]

    def cut(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Piece:
        """The layers between."""
        wanted, layers = set(outputs), []
        for layer in reversed(self.layers):
            if layer.output in wanted and layer.output not in inputs:
                layers.append(layer)
                wanted.update(layer.inputs)
        return Piece(self.proto, self.graph, tuple(inputs), tuple(outputs), tuple(reversed(layers)))

    def pieces(self) -> list[Piece]:
        """The pieces between signs, one of each structure."""
        signed = [layer.inputs[0] for layer in self.layers if layer.kind == "BinaryConv"]
        ends = [self.inputs, *((value,) for value in dict.fromkeys(signed)), self.outputs]
        found = [self.cut(start, end) for start, end in itertools.pairwise(ends)]
        return list({piece.structure: piece for piece in found}.values())

    @property
    def structure(self) -> tuple[object, ...]:
        """What pieces that differ in weights alone have in common."""
        return tuple(
            (layer.kind, *(v.shape for v in layer.inputs), layer.output.shape)
            for layer in self.layers
        )

    def compute(self, feeds: Mapping[Value, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in numpy."""
        found = evaluate(self.graph, feeds, self.outputs)
        return [found[value] for value in self.outputs]

    def onnx(self) -> bytes:
        """This piece of the file."""
        names = ([v.name for v in values] for values in (self.inputs, self.outputs))
        extracted = onnx.utils.Extractor(self.proto).extract_model(*names)
        return bytes(extracted.SerializeToString())

    def then(self, layer: Layer, kind: str) -> Layer | None:
        """The only layer that reads ``layer``'s output, if it is a ``kind``."""
        if layer.output in self.outputs:
            return None
        readers = [reader for reader in self.layers if layer.output in reader.inputs]
        return readers[0] if len(readers) == 1 and readers[0].kind == kind else None


def network(path: Path) -> Piece:
    """All of an ONNX file."""
    proto = onnx.load(path)
    graph, _ = compiler.reference_graph(proto)
    judged = verdicts(graph)
    layers: dict[Value, Layer] = {}
    pending = list(graph.outputs)
    while pending:
        value = pending.pop()
        node = value.producer
        if value in layers or node.op.name == "Input":
            continue
        packing = judged[node].packing if node in judged else None
        if packing is None:
            inputs = tuple(v for v in node.inputs if v is not None and not v.is_constant)
            layers[value] = Layer(node.op.name, node, inputs)
        else:
            source = (_signed(packing.source),)
            layers[value] = Layer("BinaryConv", node, source, Signs.of(packing))
        pending.extend(layers[value].inputs)
    ordered = (layers[v] for v in graph.values() if v in layers)
    return Piece(proto, graph, tuple(graph.inputs), tuple(graph.outputs), tuple(ordered))


def _signed(bits: Value) -> Value:
    """The tensor whose signs ``bits`` are, as the zoo's networks write it: x >= 0 ? 1 : -1."""
    assert bits.producer.op.name == "Where", bits
    condition, high, low = (bits.producer.operand(slot) for slot in range(3))
    compare = condition.producer
    assert compare.op.name == "GreaterOrEqual", compare
    for constant, number in ((compare.operand(1), 0), (high, 1), (low, -1)):
        assert constant.data is not None and (constant.data == number).all(), bits
    return compare.operand(0)
