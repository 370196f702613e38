"""Assignments under a mask, ``x[mask] = number``, as torch's newer exporter writes them::

    mask -> NonZero -> Transpose -> ScatterND(x, ., Expand(number, how many there are))

How many elements a mask holds is known in the run alone, but nothing else here depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from onnx import NodeProto

from bnnc.frontends.onnx.nodes import OnnxNode

DOMAIN = "bnnc"
"""Of the operator that takes such nodes' place."""

ASSIGN = "AssignMasked"
"""Its name; it reads x, the mask and the number."""

_MOST_STEPS = 8


def read_masks(nodes: Sequence[OnnxNode], inputs: Set[str]) -> list[OnnxNode]:
    """The nodes, with one in the place of each ScatterND under a mask that depends on ``inputs``;
    those that wrote its indices and updates remain, for others that may read them."""
    if not any(node.op == "NonZero" for node in nodes):
        return list(nodes)
    makers = {name: node for node in nodes for name in node.outputs if name}
    computed = _computed(nodes, inputs)
    return [_assignment(node, makers, computed) or node for node in nodes]


def _assignment(
    node: OnnxNode, makers: Mapping[str, OnnxNode], computed: Set[str]
) -> OnnxNode | None:
    if (node.domain, node.op) != ("", "ScatterND") or len(node.inputs) != 3 or node.attrs:
        return None
    x, indices, updates = node.inputs
    mask, number = _mask(indices, makers), _repeated(updates, makers)
    if mask is None or number is None or mask not in computed:
        return None
    proto = NodeProto(op_type=ASSIGN, domain=DOMAIN, name=node.proto.name)
    return replace(node, proto=proto, domain=DOMAIN, version=1, inputs=[x, mask, number])


def _mask(indices: str, makers: Mapping[str, OnnxNode]) -> str | None:
    """Whose positions ``indices`` are, one a row."""
    turned = makers.get(indices)
    if turned is None or turned.op != "Transpose" or not turned.inputs:
        return None
    perm = turned.attrs.get("perm")
    found = makers.get(turned.inputs[0])
    if (perm is not None and list(perm.ints) != [1, 0]) or found is None or found.op != "NonZero":
        return None
    return next(iter(found.inputs), None)


def _computed(nodes: Sequence[OnnxNode], inputs: Set[str]) -> set[str]:
    """The tensors that depend on ``inputs``, and those."""
    readers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for name in node.reads:
            readers.setdefault(name, []).append(node)
    found, pending = set(inputs), list(inputs)
    while pending:
        fresh = {name for node in readers.pop(pending.pop(), ()) for name in node.outputs} - found
        found |= fresh
        pending += fresh
    return found


def _repeated(updates: str, makers: Mapping[str, OnnxNode]) -> str | None:
    """What ``updates`` repeat, of whatever shape it is."""
    expanded = False
    for _ in range(_MOST_STEPS):
        maker = makers.get(updates)
        if maker is None or maker.op not in ("Expand", "Reshape", "Identity") or not maker.inputs:
            break
        expanded |= maker.op == "Expand"
        updates = maker.inputs[0]
    return updates if expanded else None
