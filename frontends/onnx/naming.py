"""What the owner of a model calls its nodes.

torch's exporters leave the module path in a node: the older one in its name
(``/encoder/encoder.0/conv/Conv``), the newer one in ``pkg.torch.onnx.name_scopes``. The weights of
a convolution or dense layer know it too (``encoder.0.conv.weight``), and better: the newer
exporter gives a convolution that took in a BatchNorm the latter's scope. All give the same names:

* the weighted op of a module (a convolution, a dense layer, a normalisation) is called as the
  module, ``encoder.0.conv``; so is an op that is all its module does;
* any other is called by its module and itself: ``encoder.0.add``, ``encoder.0.add_1``;
* a module that is called again gives ``head.conv#2``.

Nodes of other exporters keep their own names, or take that of their first output; of two nodes of
one name the second becomes ``name#2``.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Container, Sequence

from onnx import NodeProto

from bnnc.frontends.onnx.nodes import OnnxNode

_SCOPES = "pkg.torch.onnx.name_scopes"
_LONGEST = 10_000
_WEIGHTED = (
    ("Conv", "ConvTranspose"),
    ("Gemm", "MatMul"),
    ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    ("PRelu",),
)
"""Ops that can stand for their module, the foremost group first."""


def name_nodes(nodes: Sequence[OnnxNode]) -> None:
    """Set the ``name`` of every node."""
    modules: dict[str, list[OnnxNode]] = defaultdict(list)
    plain: Counter[str] = Counter()
    for node in nodes:
        path = module_path(node.proto)
        if path is None:
            name = _plain_name(node)
            plain[name] += 1
            node.name = name if plain[name] == 1 or not name else f"{name}#{plain[name]}"
        else:
            modules[path].append(node)
    inner = {path[: match.start()] for path in modules for match in re.finditer(r"\.", path)}
    for path, members in modules.items():
        _name_module(path, members, modules, path in inner)


def module_path(proto: NodeProto) -> str | None:
    """The torch module a node was made in, ``""`` for the outermost; None if it does not say."""
    recorded = _recorded_path(proto)
    if recorded is None and not re.fullmatch(
        rf"|node_\w+|{re.escape(proto.op_type)}_\d+", proto.name
    ):
        return None
    if proto.op_type in (*_WEIGHTED[0], *_WEIGHTED[1]) and len(proto.input) > 1:
        weights = re.fullmatch(r"(.+)\.weight", proto.input[1])
        if weights:
            return weights[1]
    return recorded


def _recorded_path(proto: NodeProto) -> str | None:
    for entry in proto.metadata_props:
        if entry.key == _SCOPES:
            path = _path_of_scopes(entry.value)
            if path is not None:
                return path
    return _path_of_name(proto.name)


def _path_of_scopes(text: str) -> str | None:
    """``"['', 'stem', 'stem.conv', 'conv2d']"`` to ``stem.conv``: the last scope is the op."""
    if len(text) > _LONGEST or not text.startswith("[") or text.count("[") > 20:
        return None
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return None
    return next((scope for scope in reversed(scopes[:-1]) if scope), "")


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


def _name_module(
    path: str, members: Sequence[OnnxNode], modules: Container[str], has_children: bool
) -> None:
    """Name the nodes of one module, other than any module is called."""
    ops = [node.op for node in members if node.op not in ("Constant", "Identity")]
    leaders = next((group for group in _WEIGHTED if any(op in group for op in ops)), ())
    if not leaders and len(set(ops)) == 1 and not has_children:
        leaders = (ops[0],)
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    for node in members:
        if path and node.op in leaders:
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
