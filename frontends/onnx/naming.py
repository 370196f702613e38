"""What the owner of a model calls its nodes.

torch's exporters leave the module path in a node: the older one in its name
(``/encoder/encoder.0/conv/Conv``), the newer one in ``pkg.torch.onnx.name_scopes``. The weights of
a convolution or dense layer know it too (``encoder.0.conv.weight``), and better: the newer
exporter gives a convolution that took in a BatchNorm the latter's scope. Where its weights are
computed, and so have no such name, the list of the model's parameters tells which module they
must be of. All give the same names:

* the weighted op of a module (a convolution, a dense layer, a normalisation) is called as the
  module, ``encoder.0.conv``; so is an op that is all its module does;
* any other is called by its module and itself: ``encoder.0.add``, ``encoder.0.add_1``;
* a module that is called again gives ``head.conv#2``;
* only a convolution that took in a BatchNorm and could be several modules' is called by the latter
  and itself: ``encoder.0.bn.conv``.

Nodes of other exporters keep their own names, or take that of their first output; of two nodes of
one name the second becomes ``name#2``, as does the second output that is the same tensor.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence

from onnx import NodeProto, StringStringEntryProto

from bnnc.frontends.onnx.nodes import OnnxNode

_SCOPES = "pkg.torch.onnx.name_scopes"
_SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
_LONGEST = 10_000
_WEIGHTED = (
    ("Conv", "ConvTranspose"),
    ("Gemm", "MatMul"),
    ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    ("PRelu",),
)
"""Ops that can stand for their module, the foremost group first."""
_LEADERS = tuple(itertools.chain.from_iterable(_WEIGHTED))
_PRODUCTS = (*_WEIGHTED[0], *_WEIGHTED[1])


def name_nodes(nodes: Sequence[OnnxNode], notes: Iterable[StringStringEntryProto] = ()) -> None:
    """Set the ``name`` of every node.

    Args:
        nodes: those to name.
        notes: what the newer exporter notes of the graph they are in.
    """
    before_norm = _before_norms([node.proto for node in nodes], notes)
    modules: dict[str, list[OnnxNode]] = defaultdict(list)
    plain: Counter[str] = Counter()
    for node in nodes:
        path = module_path(node.proto)
        if _took_in_norm(node.proto):
            path = before_norm.get(path, path)
        if path is None:
            name = _plain_name(node)
            plain[name] += 1
            node.name = name if plain[name] == 1 or not name else f"{name}#{plain[name]}"
        else:
            modules[path].append(node)
    inner = {path[: match.start()] for path in modules for match in re.finditer(r"\.", path)}
    for path, members in modules.items():
        _name_module(path, members, modules, path in inner)


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of outputs, each its own: the model's name for a tensor that it returns again stands
    more than once."""
    found: dict[str, None] = {}
    repeats: Counter[str] = Counter()
    reserved = set(names)
    for name in names:
        own = name
        while own in found or (own != name and own in reserved):
            repeats[name] += 1
            own = f"{name}#{repeats[name] + 1}"
        found[own] = None
    return list(found)


def module_path(proto: NodeProto) -> str | None:
    """The torch module a node was made in, ``""`` for the outermost; None if it does not say."""
    recorded = _recorded_path(proto)
    if recorded is None and not re.fullmatch(
        rf"|node_\w+|{re.escape(proto.op_type)}_\d+", proto.name
    ):
        return None
    return _path_of_weights(proto) or recorded


def _path_of_weights(proto: NodeProto) -> str | None:
    """The module of a product whose weights are a parameter."""
    if proto.op_type not in _PRODUCTS or len(proto.input) < 2:
        return None
    weights = re.fullmatch(r"(.+)\.weight", proto.input[1])
    return weights and weights[1]


def _recorded_path(proto: NodeProto) -> str | None:
    scopes = _scopes(proto)
    if scopes is None:
        return _path_of_name(proto.name)
    return next((scope for scope in reversed(scopes[:-1]) if scope), "")


def _scopes(proto: NodeProto) -> list[str] | None:
    """``['', 'stem', 'stem.conv', 'conv2d']``: the last one is the op."""
    recorded = (entry.value for entry in proto.metadata_props if entry.key == _SCOPES)
    return next(filter(None, map(_list_of, recorded)), None)


def _list_of(text: str) -> list[str] | None:
    """A list of strings as Python writes it."""
    if len(text) > _LONGEST or not text.startswith("[") or text.count("[") > 20:
        return None
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return None
    return scopes


def _path_of_name(name: str) -> str | None:
    """``/stem/stem.0/conv/Conv_1`` to ``stem.0.conv``.

    A part that begins with the part before it and a dot repeats it (a Sequential's child).
    """
    if not re.fullmatch(r"/(.*/)?[A-Z][A-Za-z0-9]*(_\d+)?", name) or len(name) > _LONGEST:
        return None
    parts: list[str] = []
    for part in name.split("/")[1:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        elif part:
            parts.append(part)
    return ".".join(parts)


def _took_in_norm(proto: NodeProto) -> bool:
    """Whether it is a product that has the scope of a BatchNorm, and no better one."""
    if proto.op_type not in _PRODUCTS or _path_of_weights(proto) is not None:
        return False
    *_, op = _scopes(proto) or ("",)
    return "batch_norm" in op


def _is_guest(node: OnnxNode, path: str) -> bool:
    """Whether it stands in the module ``path`` for having taken that in."""
    return _took_in_norm(node.proto) and _recorded_path(node.proto) == path


def _before_norms(
    protos: Sequence[NodeProto], notes: Iterable[StringStringEntryProto]
) -> dict[str | None, str]:
    """The modules of the products that took in a norm, by the norm's module.

    In one module there must be as many norms taken in as there are modules whose weights are gone
    without a product that says it is theirs; they belong together in the order of definition.
    """
    norms = {_recorded_path(proto) for proto in protos if _took_in_norm(proto)}
    read = {name for proto in protos for name in proto.input}
    leading = {_recorded_path(proto) for proto in protos if proto.op_type in _LEADERS}
    families: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for target in _targets(notes):
        path, _, kind = target.rpartition(".")
        gone, taken_in = families[path.rpartition(".")[0]]
        if kind == "running_mean" and path in norms:
            taken_in.append(path)
        elif kind in ("weight", "weights") and target not in read and path not in leading:
            gone.append(path)
    pairs = (
        zip(taken_in, gone) for gone, taken_in in families.values() if len(gone) == len(taken_in)
    )
    return dict(itertools.chain.from_iterable(pairs))


def _targets(notes: Iterable[StringStringEntryProto]) -> list[str]:
    """The parameters, then the buffers, of the modules that were exported, as they define them."""
    signatures = (entry.value for entry in notes if entry.key == _SIGNATURE)
    pattern = re.compile(r"^\w+: (?:PARAMETER|BUFFER) target='([^'\n]*)'", re.MULTILINE)
    return [target for text in signatures for target in pattern.findall(text)]


def _name_module(
    path: str, members: Sequence[OnnxNode], modules: Container[str], has_children: bool
) -> None:
    """Name the nodes of one module, other than any module is called."""
    residents = [node for node in members if not _is_guest(node, path)]
    ops = [node.op for node in residents if node.op not in ("Constant", "Identity")]
    leaders = next((group for group in _WEIGHTED if any(op in group for op in ops)), ())
    if not leaders and len(set(ops)) == 1 and not has_children:
        leaders = (ops[0],)
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    for node in members:
        if path and node.op in leaders and not _is_guest(node, path):
            counts[""] += 1
            node.name = path if counts[""] == 1 else f"{path}#{counts['']}"
            continue
        own = node.op.lower()
        name = f"{path}.{own}" if path else own
        while name in taken or name in modules:
            counts[own] += 1
            name = f"{path}.{own}_{counts[own]}" if path else f"{own}_{counts[own]}"
        taken.add(name)
        node.name = name


def _plain_name(node: OnnxNode) -> str:
    own = node.proto.name or next(filter(None, node.outputs), "")
    outer = [caller.name for caller in node.callers if caller.name]
    return "/".join([*outer, own]) if node.proto.name else own
