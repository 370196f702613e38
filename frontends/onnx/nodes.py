"""A node of the model, the graphs that an If chooses from, and what is no tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

from bnnc.ir.graph import Value

Tensor = TensorProto | SparseTensorProto


@dataclass(slots=True)
class OnnxNode:
    """One node, as the model has it.

    Attributes:
        proto: the node itself.
        domain: its operator's domain, ``""`` for the standard one.
        version: of that domain's operator set.
        inputs: names of tensors, ``""`` where left out. Those of functions are made unique.
        outputs: the same.
        attrs: its attributes, with those of an enclosing function filled in.
        callers: the calls of functions it stands in, outermost first.
        name: what its owner calls it, see ``naming``.
        branches: of an If, what runs where the condition holds, and where it does not.
    """

    proto: NodeProto
    domain: str
    version: int
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, AttributeProto]
    callers: tuple[NodeProto, ...] = ()
    name: str = ""
    branches: tuple[Body, ...] = ()

    @property
    def op(self) -> str:
        return self.proto.op_type

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return self.name or self.proto.name or next(filter(None, self.outputs), "")

    @property
    def reads(self) -> Iterable[str]:
        """Every tensor that it or a branch of it reads."""
        if not self.branches:
            return self.inputs
        return [*self.inputs, *(name for body in self.branches for name in body.captured)]


@dataclass(slots=True, frozen=True)
class Body:
    """Nodes that take the place of another one.

    Attributes:
        nodes: in the model's order, which need not be one they can run in.
        outputs: the tensors that stand for the replaced node's outputs.
        tensors: constants by name.
        captured: the tensors from outside that it reads, each once.
    """

    nodes: Sequence[OnnxNode]
    outputs: Sequence[str]
    tensors: dict[str, Tensor]
    captured: Sequence[str]


@dataclass(frozen=True)
class TensorSequence:
    """A sequence of tensors; it leaves no trace in the graph but them."""

    values: tuple[Value, ...]


def captured(nodes: Sequence[OnnxNode], outputs: Iterable[str], given: Iterable[str]) -> list[str]:
    """The tensors that ``nodes`` and ``outputs`` read and that neither they nor ``given`` hold."""
    own = {name for node in nodes for name in node.outputs}.union(given)
    read = dict.fromkeys(name for node in nodes for name in node.reads)
    read.update(dict.fromkeys(outputs))
    return [name for name in read if name and name not in own]
