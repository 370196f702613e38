"""The graph: nodes that apply an op, values that flow between them, held in a networkx multigraph.

A vertex is a :class:`Node`; an edge runs from a value's producer to its consumer and is keyed by
the consumer's input slot. Graph inputs and constants are nodes too (ops ``Input`` and
``Constant``), so every value has a producer and one traversal reaches everything.

Names are data. A node's ``name`` is what its owner calls it (``encoder.2.block.1.conv``); it may
repeat, be empty, or hold any character. Identity is the object.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from bnnc.errors import ModelError
from bnnc.ir.types import DType, TensorType

if TYPE_CHECKING:
    from bnnc.ir.op import Op


class Value:
    """A tensor: what one output of a node holds.

    Attributes:
        name: unique in its graph; the model's own name where the model has one.
        type: element type and shape.
        producer: the node it comes from.
        index: which of the producer's outputs it is.
        stands_for: for a ``b1`` value, which tensor of the model its bits encode (or None).
        layout: how it lies in memory, once code generation has decided; None before.
    """

    __slots__ = ("index", "layout", "name", "producer", "stands_for", "type")

    def __init__(self, name: str, type: TensorType, producer: Node, index: int) -> None:
        self.name = name
        self.type = type
        self.producer = producer
        self.index = index
        self.stands_for: Encoding | None = None
        self.layout: str | None = None

    @property
    def data(self) -> np.ndarray | None:
        """The array, if the value is a constant; read-only."""
        return self.producer.attrs["data"] if self.producer.op.name == "Constant" else None

    @property
    def is_constant(self) -> bool:
        return self.producer.op.name == "Constant"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"%{self.name}:{self.type}"


class Encoding:
    """Says that a ``b1`` value stands for the tensor ``name`` of the model, whose elements are
    ``high`` where the bit is set and ``low`` elsewhere. Both broadcast to the tensor's shape."""

    __slots__ = ("high", "low", "name")

    def __init__(self, name: str, low: np.ndarray, high: np.ndarray) -> None:
        self.name = name
        self.low = np.asarray(low, np.float32)
        self.high = np.asarray(high, np.float32)

    def decode(self, bits: np.ndarray) -> np.ndarray:
        """Bits (bool, any shape) to the tensor's float32 values."""
        return np.where(bits, self.high, self.low).astype(np.float32)


@dataclass(frozen=True)
class Share:
    """What a node stands for of a layer of the model. Nodes that a layer was rewritten to, or taken
    apart into, carry one; any other stands for itself, see :func:`bnnc.ir.costs.share_of`.

    Attributes:
        layer: the layer's title.
        op: its op, as ONNX calls it.
        output_shape: of its output.
        output_bytes: what that takes.
        macs: multiply-adds of the layer that the node stands for, as the paper counts them.
        parameters: elements of the layer's weights, biases and scales, by a name for each that
            is its own in the graph; None for what the node reads itself.
    """

    layer: str
    op: str
    output_shape: tuple[int, ...]
    output_bytes: int
    macs: int
    parameters: Mapping[Hashable, int] | None = None

    @property
    def rest(self) -> Share:
        """What another node stands for, of the same layer, where this one stands for all of it."""
        return replace(self, output_bytes=0, macs=0, parameters={})


class Node:
    """One application of an op.

    Attributes:
        op: the op's declaration.
        name: the owner's name for it; may be empty or repeat.
        inputs: one value per input slot, None where an optional input is left out.
        outputs: its values.
        attrs: the op's attributes, complete (defaults filled in).
        origin: names of the model's nodes it was made from, in order.
        share: what it stands for of a layer that the graph does not show; None for itself.
    """

    __slots__ = ("attrs", "inputs", "name", "op", "origin", "outputs", "serial", "share")

    def __init__(self, op: Op, name: str, attrs: dict[str, Any], serial: int) -> None:
        self.op = op
        self.name = name
        self.attrs = attrs
        self.serial = serial
        self.inputs: tuple[Value | None, ...] = ()
        self.outputs: tuple[Value, ...] = ()
        self.origin: tuple[str, ...] = (name,) if name else ()
        self.share: Share | None = None

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    def operand(self, slot: int) -> Value:
        """Input ``slot``, which must be there."""
        value = self.inputs[slot]
        assert value is not None, f"{self!r} lacks input {slot}"
        return value

    def optional(self, slot: int) -> Value | None:
        """Input ``slot``, or None where it was left out."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    @property
    def title(self) -> str:
        """The name to show a person: the owner's, else the first output's."""
        return self.name or (self.outputs[0].name if self.outputs else self.op.name)

    def __repr__(self) -> str:
        outs = ", ".join(map(repr, self.outputs))
        ins = ", ".join("_" if v is None else f"%{v.name}" for v in self.inputs)
        return f"{outs} = {self.op.name}({ins})"


class Graph:
    """A model: a directed acyclic multigraph of nodes with named inputs and outputs.

    Attributes:
        name: the model's name.
        metadata: free strings that travel with the model (labels, preprocessing).
        outputs: the values the model returns, in order. The same value may stand twice.
        output_names: what the owner calls them, in order.
        open_batch: True where the model left the batch open and 1 was filled in.
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.metadata: dict[str, str] = {}
        self.open_batch = False
        self._dag: nx.MultiDiGraph = nx.MultiDiGraph()
        self._order: list[Node] = []  # empty where a change has made it out of date
        self._serial = itertools.count()
        self._names: set[str] = set()
        self._repeats: dict[str, int] = {}
        self._inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.output_names: list[str] = []

    # ---- building -------------------------------------------------------------------------

    def add_input(self, name: str, type: TensorType) -> Value:
        """A new graph input."""
        value = self._insert("Input", (), {"type": type}, name=name, values=[name]).output
        self._inputs.append(value)
        return value

    def constant(self, data: np.ndarray, name: str = "constant", *, b1: bool = False) -> Value:
        """A constant. ``b1`` marks a bool array as bits."""
        data = np.ascontiguousarray(data).reshape(np.shape(data))
        data.setflags(write=False)
        return self._insert("Constant", (), {"data": data, "b1": b1}, name="", values=[name]).output

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        values: Sequence[str] = (),
        origin: Iterable[str] | None = None,
    ) -> Node:
        """Apply ``op``; output types come from the op's shape rule.

        Args:
            op: an op's name, see ``bnnc.ir.ops``.
            inputs: one value per slot.
            attrs: the attributes that differ from the op's defaults.
            name: the owner's name for the node.
            values: wanted names of the outputs; made unique. Default: from ``name``.
            origin: names of the model's nodes this one stands for. Default: ``name``.

        Raises:
            ModelError: if the op's shape rule rejects the inputs; the error carries ``name``.
        """
        node = self._insert(op, tuple(inputs), dict(attrs or {}), name=name, values=values)
        if origin is not None:
            node.origin = tuple(dict.fromkeys(origin))
        return node

    def mark_outputs(self, values: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Set what the graph returns."""
        self.outputs = list(values)
        self.output_names = list(names) if names is not None else [v.name for v in values]

    def _insert(
        self,
        op_name: str,
        inputs: tuple[Value | None, ...],
        attrs: dict[str, Any],
        *,
        name: str,
        values: Sequence[str],
    ) -> Node:
        from bnnc.ir.ops import OPS

        op = OPS[op_name]
        node = Node(op, name, op.complete(attrs), next(self._serial))
        node.inputs = inputs
        try:
            types = op.infer(node)
        except ModelError as error:
            raise error.at(node=name or None) from None
        wanted = list(values) + [name or op_name] * (len(types) - len(values))
        node.outputs = tuple(
            Value(self.unique_name(want), type, node, index)
            for index, (want, type) in enumerate(zip(wanted, types))
        )
        self._order = []
        self._dag.add_node(node)
        for slot, value in enumerate(inputs):
            if value is not None:
                self._dag.add_edge(value.producer, node, key=slot)
        return node

    def unique_name(self, wanted: str) -> str:
        """``wanted``, or ``wanted.1``, ``wanted.2``... if it is taken; reserves it."""
        name = wanted
        while name in self._names:
            self._repeats[wanted] = self._repeats.get(wanted, 0) + 1
            name = f"{wanted}.{self._repeats[wanted]}"
        self._names.add(name)
        return name

    # ---- reading --------------------------------------------------------------------------

    @property
    def inputs(self) -> list[Value]:
        """The graph's inputs, in the owner's order."""
        return list(self._inputs)

    def nodes(self) -> list[Node]:
        """Every node but inputs and constants, producers first, else in order of creation."""
        return [n for n in self.all_nodes() if n.op.name not in ("Input", "Constant")]

    def all_nodes(self) -> list[Node]:
        """Every node, inputs and constants too, in the same order."""
        if not self._order:
            by_age = nx.lexicographical_topological_sort(self._dag, key=lambda n: n.serial)
            self._order = list(by_age)
        return list(self._order)

    def values(self) -> Iterator[Value]:
        """Every value, in the order of :meth:`all_nodes`."""
        return itertools.chain.from_iterable(node.outputs for node in self.all_nodes())

    def consumers(self, value: Value) -> list[tuple[Node, int]]:
        """Who reads ``value``: (node, input slot) pairs in order of creation."""
        edges = self._dag.out_edges(value.producer, keys=True)
        uses = [(node, slot) for _, node, slot in edges if node.inputs[slot] is value]
        return sorted(uses, key=lambda use: (use[0].serial, use[1]))

    def only_consumer(self, value: Value) -> Node | None:
        """The one node that reads ``value``, if it is read once and is no graph output."""
        uses = self.consumers(value)
        return uses[0][0] if len(uses) == 1 and not self.is_output(value) else None

    def is_output(self, value: Value) -> bool:
        return any(out is value for out in self.outputs)

    @property
    def dag(self) -> nx.MultiDiGraph:
        """The multigraph itself, for networkx algorithms. Treat it as read-only."""
        return self._dag

    # ---- changing -------------------------------------------------------------------------

    def set_input(self, node: Node, slot: int, value: Value | None) -> None:
        """Rewire one input of ``node``. Output types are not inferred anew."""
        self._order = []
        old = node.inputs[slot]
        if old is not None:
            self._dag.remove_edge(old.producer, node, key=slot)
        node.inputs = (*node.inputs[:slot], value, *node.inputs[slot + 1 :])
        if value is not None:
            self._dag.add_edge(value.producer, node, key=slot)

    def replace(self, old: Value, new: Value) -> None:
        """Let everything that reads ``old``, graph outputs included, read ``new``."""
        for node, slot in self.consumers(old):
            if node is not new.producer:
                self.set_input(node, slot, new)
        self.outputs = [new if out is old else out for out in self.outputs]

    def take_over(self, old: Value, new: Value) -> None:
        """Let ``new`` stand in for ``old`` everywhere, under ``old``'s name, so that what the
        model calls a tensor keeps its name through every pass."""
        self.replace(old, new)
        old.name, new.name = new.name, old.name

    def inherit(self, new: Node, *old: Node) -> Node:
        """Give ``new`` the place in the order of the first of ``old`` and the origins of all."""
        self._order = []
        new.serial = min(node.serial for node in old)
        new.origin = tuple(dict.fromkeys(name for node in old for name in node.origin))
        return new

    def replace_input(self, old: Value, type: TensorType) -> Value:
        """Let a new input of ``type`` take the place and the name of the input ``old``, which
        stays a value without a place among the inputs: replace it before it is dropped."""
        new = self.add_input(old.name, type)
        self._inputs.pop()
        self._inputs[self._inputs.index(old)] = new
        old.name, new.name = new.name, old.name
        new.producer.name, old.producer.name = old.producer.name, new.producer.name
        return new

    def remove(self, node: Node) -> None:
        """Remove a node whose outputs nobody reads."""
        assert not any(self.consumers(v) or self.is_output(v) for v in node.outputs), node
        self._order = []
        self._dag.remove_node(node)

    def prune(self) -> int:
        """Remove every node that no output depends on; graph inputs stay. Returns how many."""
        alive = set(self._inputs_nodes())
        for value in self.outputs:
            if value.producer not in alive:
                alive.add(value.producer)
                alive.update(nx.ancestors(self._dag, value.producer))
        dead = [node for node in self._dag if node not in alive]
        self._order = []
        self._dag.remove_nodes_from(dead)
        return len(dead)

    def _inputs_nodes(self) -> Iterator[Node]:
        return (value.producer for value in self._inputs)

    def copy(self) -> Graph:
        """An independent graph with the same nodes, names and types; arrays are shared."""
        twin = Graph(self.name)
        twin.metadata = dict(self.metadata)
        twin.open_batch = self.open_batch
        twin._names = set(self._names)
        twin._repeats = dict(self._repeats)
        twin._serial = itertools.count(max((n.serial for n in self._dag), default=-1) + 1)
        images: dict[Value, Value] = {}
        for node in self.all_nodes():
            image = Node(node.op, node.name, dict(node.attrs), node.serial)
            image.origin, image.share = node.origin, node.share
            image.inputs = tuple(None if v is None else images[v] for v in node.inputs)
            outputs = []
            for value in node.outputs:
                new = Value(value.name, value.type, image, value.index)
                new.stands_for, new.layout = value.stands_for, value.layout
                images[value] = new
                outputs.append(new)
            image.outputs = tuple(outputs)
            twin._dag.add_node(image)
            for slot, operand in enumerate(image.inputs):
                if operand is not None:
                    twin._dag.add_edge(operand.producer, image, key=slot)
        twin._inputs = [images[v] for v in self._inputs]
        twin.outputs = [images[v] for v in self.outputs]
        twin.output_names = list(self.output_names)
        return twin

    # ---- invariants -----------------------------------------------------------------------

    def check(self) -> None:
        """Assert that the graph is legal. Run after every pass.

        Raises:
            AssertionError: naming the node, if an invariant is broken: this is a fault of
                bnnc's, never of the user's.
        """
        assert nx.is_directed_acyclic_graph(self._dag), "the graph has a cycle"
        assert len(self.outputs) == len(self.output_names), "outputs and their names differ"
        names: set[str] = set()
        for node in self._dag:
            assert node.op.complete(node.attrs) == node.attrs or node.op.name == "Constant", node
            for slot, value in enumerate(node.inputs):
                if value is None:
                    continue
                assert value.producer in self._dag, f"{node}: input {slot} is not in the graph"
                assert self._dag.has_edge(value.producer, node, key=slot), f"{node}: edge {slot}"
            edges = sum(value is not None for value in node.inputs)
            assert self._dag.in_degree(node) == edges, f"{node}: stray edges"
            inferred = node.op.infer(node)
            types = [value.type for value in node.outputs]
            assert types == inferred, f"{node}: holds {types}, its op says {inferred}"
            for value in node.outputs:
                assert value.name not in names, f"two values are called {value.name!r}"
                names.add(value.name)
        for value in self.outputs:
            assert value.producer in self._dag, f"output {value} is not in the graph"
