"""Which outputs of a model hold a CenterNet's boxes, and how.

The model's metadata say so, or the outputs' names and shapes do: a heatmap [1, classes, H, W] that
ends in a Sigmoid, and a size and an offset [1, 2, H, W] of the same H and W.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnnc.errors import InputError, ModelError, printable
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType

KEY = "bnnc.decoder"
"""Metadata key: JSON ``{"type": "centernet", "heatmap": name, "size": name, "offset": name,
"stride": 4, "top": 100}``; the last two may be left out."""

_MOST_CELLS = 1 << 31
_MOST_PEAKS = 1 << 17
"""BNNC_MOST_PEAKS in C."""
_TOP = 100
_THROUGH = frozenset(("Clip", "Reshape", "Identity", "Min", "Max"))
"""Ops whose first operand's scores come out again."""
_NAMES = {
    "heatmap": re.compile(r"hm|heat|center|centre|cls|class|score", re.IGNORECASE),
    "size": re.compile(r"size|wh(?![a-z])|dim|extent", re.IGNORECASE),
    "offset": re.compile(r"off|reg", re.IGNORECASE),
}


@dataclass(frozen=True)
class Decoder:
    """How to read a model's outputs as boxes.

    Attributes:
        heatmap, size, offset: the outputs' names.
        classes, rows, columns: of the heatmap.
        stride: input pixels to a cell.
        top: how many peaks are looked at.
    """

    heatmap: str
    size: str
    offset: str
    classes: int
    rows: int
    columns: int
    stride: float
    top: int

    def document(self) -> dict[str, Any]:
        """What the library says of it."""
        return {"type": "centernet", **asdict(self)}


def find_decoder(graph: Graph, kind: str) -> Decoder | None:
    """The decoder of a graph that has not been lowered yet; None for the kind ``none``.

    Raises:
        InputError: for an unknown kind.
        ModelError: if the outputs cannot be told apart.
    """
    if kind == "none":
        return None
    if kind != "centernet":
        raise InputError(f"cannot decode {printable(kind)!r}; choose one of centernet, none")
    maps = {
        name: value
        for name, value in zip(graph.output_names, graph.outputs)
        if value.dtype is DType.F32 and len(value.shape) == 4 and value.shape[0] == 1
    }
    said = _said(graph.metadata)
    found = _named(maps, said) if said else _recognised(maps)
    heatmap, size, offset = (found[role] for role in ("heatmap", "size", "offset"))
    _, classes, rows, columns = maps[heatmap].shape
    for name in (size, offset):
        if maps[name].shape != (1, 2, rows, columns):
            raise _untold(
                f"{printable(name)!r} is {_shape(maps[name])}; expected 1x2x{rows}x{columns}"
            )
    if classes * rows * columns >= _MOST_CELLS or classes * rows * columns == 0:
        raise _untold(f"{printable(heatmap)!r} is {_shape(maps[heatmap])}")
    stride, top = said.get("stride"), said.get("top", _TOP)
    if stride is None:
        stride = _stride(graph, rows, columns)
    number = isinstance(stride, (int, float)) and isinstance(top, int)
    if not number or not 0 < stride < _MOST_CELLS or not 0 < top <= _MOST_PEAKS:
        raise ModelError(f"metadata {KEY!r} say stride {stride!r}, top {top!r}"[:200])
    return Decoder(heatmap, size, offset, classes, rows, columns, float(stride), top)


def _said(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata say of a CenterNet; nothing if they say nothing.

    Raises:
        ModelError: if they cannot be read, or speak of something else.
    """
    if KEY not in metadata:
        return {}
    try:
        said = json.loads(metadata[KEY])
        if said["type"] == "centernet":
            return dict(said)
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"metadata {KEY!r} cannot be read") from None
    raise ModelError(
        f"metadata {KEY!r} say that it is no CenterNet but {printable(str(said['type']))!r}"
    )


def _named(maps: Mapping[str, Value], said: Mapping[str, Any]) -> dict[str, str]:
    """The outputs that the metadata name."""
    found = {}
    for role in _NAMES:
        name = said.get(role)
        if name not in maps:
            raise _untold(f"metadata {KEY!r} call the {role} {printable(str(name))!r}")
        found[role] = str(name)
    return found


def _recognised(maps: Mapping[str, Value]) -> dict[str, str]:
    """The outputs that look like the three."""
    scores = [name for name, value in maps.items() if _ends_in_sigmoid(value)]
    heatmap = _one(scores, "heatmap", "is a 1xCxHxW float map that ends in a Sigmoid")
    shape = (1, 2, *maps[heatmap].shape[2:])
    pairs = [name for name, value in maps.items() if value.shape == shape and name != heatmap]
    named = {role: [n for n in pairs if _NAMES[role].search(n)] for role in ("size", "offset")}
    for role, other in (("size", "offset"), ("offset", "size")):
        if len(pairs) == 2 and len(named[role]) == 1 and not named[other]:
            named[other] = [name for name in pairs if name not in named[role]]
    wanted = "is a " + "x".join(map(str, shape)) + " map so named"
    found = {"heatmap": heatmap, **{r: _one(named[r], r, wanted) for r in ("size", "offset")}}
    if found["size"] == found["offset"]:
        raise _untold(f"{printable(found['size'])!r} may be size or offset")
    return found


def _one(candidates: Sequence[str], role: str, what: str) -> str:
    if len(candidates) > 1:
        named = [name for name in candidates if _NAMES[role].search(name)]
        candidates = named if len(named) == 1 else candidates
    if len(candidates) != 1:
        listed = ", ".join(repr(printable(name)) for name in candidates)
        raise _untold(f"{listed} may each be the {role}" if listed else f"no {role}: none {what}")
    return candidates[0]


def _ends_in_sigmoid(value: Value) -> bool:
    """Whether a map's values are those of a Sigmoid, limited further perhaps or kept at peaks."""
    while not value.is_constant:
        node = value.producer
        if node.op.name in _THROUGH:
            value = node.operand(0)
        elif node.op.name == "Mul" and _is_mask(node.operand(0)):
            value = node.operand(1)
        elif node.op.name == "Mul" and _is_mask(node.operand(1)):
            value = node.operand(0)
        elif node.op.name == "Where":
            value = node.operand(2 if node.operand(1).is_constant else 1)
        else:
            return node.op.name == "Sigmoid"
    return False


def _is_mask(value: Value) -> bool:
    """Whether a map is 1 where a comparison holds, and 0 elsewhere."""
    made = not value.is_constant and value.producer.op.name == "Cast"
    return made and value.producer.operand(0).dtype is DType.BOOL


def _stride(graph: Graph, rows: int, columns: int) -> float:
    """Input pixels to a cell, from the sizes of input and heatmap."""
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else ()
    pixels = bool(graph.inputs) and graph.inputs[0].dtype is DType.U8
    if len(shape) == 4:
        height, width = shape[1:3] if pixels else shape[2:4]
        if height * columns == width * rows:
            return height / rows
    listed = "x".join(map(str, shape)) or "none or several"
    raise _untold(f"the input ({listed}) is no multiple of the {rows}x{columns} cells")


def _shape(value: Value) -> str:
    return "x".join(map(str, value.shape))


def _untold(what: str) -> ModelError:
    return ModelError(
        f"--decode centernet does not know the outputs: {what}", hint=f"set the metadata {KEY!r}"
    )
