"""Calls of a model's local functions, replaced by the functions' nodes.

Nothing here recurses, and the work is bounded: hostile models nest functions so that a few
kilobytes stand for more nodes than there are atoms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto

from bnnc.errors import ModelError
from bnnc.frontends.onnx.text import quote

MAX_NODES = 100_000
"""No model has more nodes than this, once its functions are inlined."""

MAX_DEPTH = 100
"""No function call stands in more calls than this."""

_PREFIX = 200


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
    """

    proto: NodeProto
    domain: str
    version: int
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, AttributeProto]
    callers: tuple[NodeProto, ...] = ()
    name: str = ""

    @property
    def op(self) -> str:
        return self.proto.op_type

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return self.name or self.proto.name or next(filter(None, self.outputs), "")


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


_FunctionKey = tuple[str, str, str]


@dataclass(slots=True, frozen=True)
class _Function:
    proto: FunctionProto
    key: _FunctionKey
    versions: Mapping[str, int]


@dataclass(slots=True)
class _Frame:
    """A list of nodes being read: the graph's, or a called function's.

    Attributes:
        nodes: those still to read.
        versions: of the operator sets.
        names: how tensors are called outside; None at the top, where they keep their names.
        attrs: what the call gives for the function's attributes.
        key: the function, None at the top.
        callers: see OnnxNode.
        prefix: what fresh tensors of this call begin with.
    """

    nodes: Iterator[NodeProto]
    versions: Mapping[str, int]
    names: dict[str, str] | None
    attrs: Mapping[str, AttributeProto]
    key: _FunctionKey | None = None
    callers: tuple[NodeProto, ...] = ()
    prefix: str = ""
    defined: set[str] = field(default_factory=set)


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
        found: list[OnnxNode] = []
        stack = [_Frame(iter(self._model.graph.node), self._versions, None, {})]
        active: set[_FunctionKey | None] = set()
        read = 0
        while stack:
            frame = stack[-1]
            proto = next(frame.nodes, None)
            if proto is None:
                active.discard(frame.key)
                stack.pop()
                continue
            read += 1
            if read > MAX_NODES:
                raise ModelError(f"the model has more than {MAX_NODES} nodes")
            node = self._node(proto, frame)
            key = (node.domain, node.op, proto.overload)
            function = self._functions.get(key)
            if function is None:
                found.append(node)
                continue
            if key in active:
                raise ModelError(f"function {quote(node.op)} calls itself", node=node.title)
            if len(stack) > MAX_DEPTH:
                raise ModelError(
                    f"functions call each other more than {MAX_DEPTH} deep", node=node.title
                )
            inner, aliases = self._call(node, function)
            active.add(key)
            found += aliases
            stack.append(inner)
        return found

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
            elif frame.names is None:
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
        if frame.names is None or not name:
            return name
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
