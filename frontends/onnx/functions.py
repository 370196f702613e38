"""Calls of a model's local functions, replaced by the functions' nodes; the branches of an If.

The work is bounded: hostile models nest functions so that a few kilobytes stand for more nodes than
there are atoms. Only branches recurse, no deeper than ``MAX_DEPTH``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
)

from bnnc.errors import ModelError
from bnnc.frontends.onnx.nodes import Body, OnnxNode, Tensor, captured
from bnnc.frontends.onnx.text import quote

MAX_NODES = 100_000
"""No model has more nodes than this, once its functions are inlined."""

MAX_DEPTH = 100
"""No function call stands in more calls than this."""

_PREFIX = 200


def opset_versions(imports: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    """Operator set versions by domain; the standard domain is ``""``."""
    return {plain_domain(entry.domain): entry.version for entry in imports}


def plain_domain(name: str) -> str:
    """A domain's name; ONNX's own has two."""
    return "" if name == "ai.onnx" else name


def refuse_duplicates(names: Sequence[str], what: str) -> None:
    """Every name is there, and no two are the same; ``what`` says what is named."""
    seen: set[str] = set()
    for name in names:
        if not name:
            raise ModelError(f"an {what} has no name")
        if name in seen:
            raise ModelError(f"{quote(name)} is more than one {what}")
        seen.add(name)


def graph_tensors(graph: GraphProto) -> dict[str, Tensor]:
    """The constants a graph holds, by name."""
    named: list[tuple[str, Tensor]] = [(tensor.name, tensor) for tensor in graph.initializer]
    named += [(sparse.values.name, sparse) for sparse in graph.sparse_initializer]
    refuse_duplicates([name for name, _ in named], "initializer")
    return dict(named)


_FunctionKey = tuple[str, str, str]


@dataclass(slots=True, frozen=True)
class _Function:
    proto: FunctionProto
    key: _FunctionKey
    versions: Mapping[str, int]


@dataclass(slots=True)
class _Frame:
    """A list of nodes being read: the graph's, a called function's or a branch's.

    Attributes:
        nodes: those still to read.
        versions: of the operator sets.
        names: how tensors are called in the flat model.
        attrs: what the call gives for the function's attributes; None in no function.
        key: the function, None in the graph and in a branch.
        callers: see OnnxNode.
        prefix: what fresh tensors of this call begin with, "" in no function.
        defined: the tensors computed so far.
        outer: for a branch, the frame of the If.
    """

    nodes: Iterator[NodeProto]
    versions: Mapping[str, int]
    names: dict[str, str]
    attrs: Mapping[str, AttributeProto] | None = None
    key: _FunctionKey | None = None
    callers: tuple[NodeProto, ...] = ()
    prefix: str = ""
    defined: set[str] = field(default_factory=set)
    outer: _Frame | None = None


class Inliner:
    """Reads a model's nodes.

    Args:
        model: the model.
        names: those of its inputs and initializers, which are not to be used anew.
        native: whether an operator (domain, name) is known without a function; then a function
            that is called the same is passed over, as onnxruntime does.
    """

    def __init__(
        self, model: ModelProto, names: set[str], native: Callable[[str, str], bool]
    ) -> None:
        self._model = model
        self._versions = opset_versions(model.opset_import)
        self._taken = names | {name for node in model.graph.node for name in node.output}
        self._repeats: Counter[str] = Counter()
        self._count = 0
        self._active: set[_FunctionKey | None] = set()
        self._functions: dict[_FunctionKey, _Function] = {}
        for function in model.functions:
            key = (plain_domain(function.domain), function.name, function.overload)
            if key in self._functions:
                raise ModelError(f"two functions are called {quote(function.name)}")
            if native(key[0], key[1]):
                continue
            refuse_duplicates(function.input, f"input of function {quote(function.name)}")
            versions = {**self._versions, **opset_versions(function.opset_import)}
            self._functions[key] = _Function(function, key, versions)

    def nodes(self) -> list[OnnxNode]:
        """Every node, those of called functions in place of the calls."""
        return self._read(_Frame(iter(self._model.graph.node), self._versions, {}), 0)

    def expand(self, node: OnnxNode, proto: FunctionProto) -> Body:
        """What a node does, by a function that says it."""
        versions = {**self._versions, **opset_versions(proto.opset_import)}
        key = (node.domain, node.op, "")
        frame, aliases = self._call(node, _Function(proto, key, versions))
        nodes = [*aliases, *self._read(frame, 1)]
        for made in nodes:
            made.name = node.title
        return Body(nodes, node.outputs, {}, captured(nodes, (), ()))

    def _read(self, outermost: _Frame, depth: int) -> list[OnnxNode]:
        """The nodes of a frame; ``depth`` frames stand around it."""
        found: list[OnnxNode] = []
        stack = [outermost]
        while stack:
            frame = stack[-1]
            proto = next(frame.nodes, None)
            if proto is None:
                self._active.discard(frame.key)
                stack.pop()
                continue
            self._count += 1
            if self._count > MAX_NODES:
                raise ModelError(f"the model has more than {MAX_NODES} nodes")
            node = self._node(proto, frame)
            key = (node.domain, node.op, proto.overload)
            function = self._functions.get(key)
            if depth + len(stack) > MAX_DEPTH:
                raise ModelError(
                    f"functions call each other more than {MAX_DEPTH} deep", node=node.title
                )
            if function is None:
                node.branches = self._branches(node, frame, depth + len(stack))
                found.append(node)
                continue
            if key in self._active:
                raise ModelError(f"function {quote(node.op)} calls itself", node=node.title)
            inner, aliases = self._call(node, function)
            self._active.add(key)
            found += aliases
            stack.append(inner)
        return found

    def _branches(self, node: OnnxNode, frame: _Frame, depth: int) -> tuple[Body, ...]:
        """Of an If, both branches; other nodes have none."""
        if node.domain or node.op != "If":
            return ()
        found = [node.attrs.get(name) for name in ("then_branch", "else_branch")]
        return tuple(
            self._branch(attr.g, node, frame, depth)
            for attr in found
            if attr and attr.HasField("g")
        )

    def _branch(self, graph: GraphProto, node: OnnxNode, frame: _Frame, depth: int) -> Body:
        tensors = graph_tensors(graph)
        if graph.input or len(graph.output) != len(node.outputs):
            raise ModelError(
                f"has a branch of {len(graph.input)} inputs and {len(graph.output)} outputs; needs "
                f"0 and {len(node.outputs)}",
                node=node.title,
            )
        own = [*tensors, *(name for inner in graph.node for name in inner.output if name)]
        prefix = f"{frame.prefix}/" if frame.prefix else ""
        names = {name: self._fresh(prefix + name) for name in dict.fromkeys(own)}
        inner = _Frame(
            iter(graph.node),
            frame.versions,
            names,
            frame.attrs,
            None,
            frame.callers,
            frame.prefix,
            set(tensors),
            frame,
        )
        nodes = self._read(inner, depth)
        outputs = [self._outside(info.name, inner) for info in graph.output]
        renamed = {names[name]: tensor for name, tensor in tensors.items()}
        return Body(nodes, outputs, renamed, captured(nodes, outputs, renamed))

    def _node(self, proto: NodeProto, frame: _Frame) -> OnnxNode:
        domain = plain_domain(proto.domain)
        inputs = [self._outside(name, frame) for name in proto.input]
        outputs = [self._outside(name, frame) for name in proto.output]
        node = OnnxNode(
            proto, domain, frame.versions.get(domain, 0), inputs, outputs, {}, frame.callers
        )
        for name in filter(None, proto.output):
            if name in frame.defined:
                raise ModelError(f"tensor {quote(name)} is computed twice", node=node.title)
            frame.defined.add(name)
        for attr in proto.attribute:
            if attr.name in node.attrs:
                raise ModelError(f"has attribute {quote(attr.name)} twice", node=node.title)
            if not attr.ref_attr_name:
                node.attrs[attr.name] = attr
            elif frame.attrs is None:
                raise ModelError(
                    f"attribute {quote(attr.name)} refers to a function's attribute, but the node "
                    "is in no function",
                    node=node.title,
                )
            elif attr.ref_attr_name in frame.attrs:
                node.attrs[attr.name] = frame.attrs[attr.ref_attr_name]
        return node

    def _outside(self, name: str, frame: _Frame) -> str:
        """How a tensor that ``frame`` calls ``name`` is called in the flat model."""
        while name not in frame.names and frame.outer is not None:
            frame = frame.outer
        if not name or (frame.key is None and name not in frame.names):
            return name  # the graph's own
        if name not in frame.names:
            frame.names[name] = self._fresh(f"{frame.prefix}/{name}")
        return frame.names[name]

    def _fresh(self, wanted: str) -> str:
        name = wanted
        while name in self._taken:
            self._repeats[wanted] += 1
            name = f"{wanted}.{self._repeats[wanted]}"
        self._taken.add(name)
        return name

    def _call(self, node: OnnxNode, function: _Function) -> tuple[_Frame, list[OnnxNode]]:
        """The frame of a call, and a copy for each input the function returns as it is."""
        proto = function.proto
        if len(node.inputs) > len(proto.input) or len(node.outputs) > len(proto.output):
            raise ModelError(
                f"calls function {quote(node.op)} with {len(node.inputs)} inputs and "
                f"{len(node.outputs)} outputs; it has {len(proto.input)} and {len(proto.output)}",
                node=node.title,
            )
        names = dict.fromkeys(proto.input, "")
        names.update(zip(proto.input, node.inputs))
        aliases = []
        for formal, actual in zip(proto.output, node.outputs):
            if not actual:
                continue
            if formal in names:
                copy = NodeProto(op_type="Identity", name=node.proto.name)
                version = function.versions.get("", 0)
                source, target = [names[formal]], [actual]
                aliases.append(OnnxNode(copy, "", version, source, target, {}, node.callers))
            else:
                names[formal] = actual
        inner = _Frame(
            iter(proto.node),
            function.versions,
            names,
            {attr.name: attr for attr in proto.attribute_proto} | node.attrs,
            function.key,
            (*node.callers, node.proto),
            next(filter(None, node.outputs), node.op)[:_PREFIX],
            set(proto.input),
        )
        return inner, aliases
