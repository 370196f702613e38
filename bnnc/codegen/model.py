"""A model ready to be written as C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnnc.codegen.emitter import Call
from bnnc.codegen.storage import Storage
from bnnc.ir.graph import Node


@dataclass(frozen=True)
class Layer:
    """One node as it runs: its kernel and the calls that compute it."""

    node: Node
    kernel: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Generated:
    """A model as C.

    Attributes:
        layers: in the order they run.
        storage: the memory plan.
        weights: the weights as one block of bytes.
        info: what ``bnnc_model_json`` returns, as a document.
    """

    layers: tuple[Layer, ...]
    storage: Storage
    weights: bytes
    info: Mapping[str, Any]
