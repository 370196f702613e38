"""A model ready to be written as C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnnc.codegen.decoder import Decoder
from bnnc.codegen.emitter import Call
from bnnc.codegen.storage import Storage
from bnnc.ir.graph import Node, Value


@dataclass(frozen=True)
class Layer:
    """One node as it runs.

    Attributes:
        node: the node.
        kernel: the kernel chosen for it.
        calls: the kernel calls that compute it.
        outputs: what can be observed after it: its outputs, then the views of them that are tensors
            of the graph (the channels of one branch of merged convolutions, for example).
    """

    node: Node
    kernel: str
    calls: tuple[Call, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class Generated:
    """A model as C.

    Attributes:
        layers: in the order they run.
        storage: the memory plan.
        weights: the weights as one block of bytes.
        info: what ``bnnc_model_json`` returns, as a document.
        decoder: how ``bnnc_detect`` reads the outputs, if it does.
    """

    layers: tuple[Layer, ...]
    storage: Storage
    weights: bytes
    info: Mapping[str, Any]
    decoder: Decoder | None = None
