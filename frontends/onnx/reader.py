"""From a path, bytes or a ModelProto to a ModelProto that holds a graph."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto

from bnnc.errors import InputError, ModelError
from bnnc.files import open_at_once

PROTOBUF_LIMIT = 2**31 - 1
"""No protobuf message is larger; models with more weights keep them in external files."""

MAX_TEXTS = 3_000_000
"""No model has more names: thirty for each of as many nodes as are read."""

_CHECK = "check the path"

_OTHER_FORMATS = (
    (0, b"PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint"),
    (0, b"\x89HDF", "an HDF5 file, perhaps a Keras model"),
    (0, b"\x7fELF", "a compiled library or program"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in onnxruntime's own format"),
)


@dataclass(frozen=True)
class Source:
    """A model as read.

    Attributes:
        model: the protobuf.
        file: where it came from, if from a file.
        name: a name for it where the graph has none.
    """

    model: ModelProto
    file: Path | None
    name: str

    @property
    def folder(self) -> Path | None:
        """Where external data may lie; None for a model that did not come from a file."""
        return None if self.file is None else self.file.parent


def read(source: str | Path | bytes | ModelProto) -> Source:
    """Read a model.

    Raises:
        ModelError: if there is no such file, it is no ONNX model, or it holds no graph.
        InputError: if ``source`` is something else.
    """
    if isinstance(source, ModelProto):
        return _with_graph(Source(source, None, "model"))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _with_graph(Source(_parse(bytes(source)), None, "model"))
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"a model cannot be given as a {type(source).__name__}",
            hint="give an ONNX file, its bytes, an onnx.ModelProto or a torch.nn.Module",
        )
    path = Path(source)
    try:
        return _with_graph(Source(_parse(_contents(path)), path, path.stem))
    except ModelError as error:
        raise error.at(file=path) from None


def _contents(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=open_at_once) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ModelError("is not a file", hint=_CHECK)
            if info.st_size > PROTOBUF_LIMIT:
                raise ModelError(
                    "is larger than 2 GiB, which no ONNX file can be",
                    hint="save the model with external data",
                )
            return file.read()
    except FileNotFoundError:
        raise ModelError("there is no such file", hint=_CHECK) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelError(f"cannot be read ({_reason(error)})", hint=_CHECK) from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _parse(data: bytes) -> ModelProto:
    if not data:
        raise ModelError("the model is empty (0 bytes)")
    for offset, magic, what in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise ModelError(f"is not an ONNX model but {what}", hint="export it to ONNX")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            "is not an ONNX model, or is damaged or cut short", hint="export it anew"
        ) from None
    return model


def _with_graph(source: Source) -> Source:
    model = source.model
    if not model.HasField("graph"):
        raise ModelError("holds no graph", hint="is it an ONNX model?")
    if not (model.graph.node or model.graph.output):
        raise ModelError("the graph is empty")
    texts = _texts(model)
    # protobuf hands out a string that is not valid UTF-8 as bytes
    if not all(isinstance(text, str) for text in islice(texts, MAX_TEXTS)):
        raise ModelError("a name in it is not valid UTF-8")
    if next(texts, None) is not None:
        raise ModelError(f"holds more than {MAX_TEXTS} names, empty ones counted")
    return source


def _texts(model: ModelProto) -> Iterator[object]:
    """Every string that is read as text later on."""
    yield from _properties(model.metadata_props)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output)
        yield from (attr.name for attr in function.attribute_proto)
    for part in (model, *model.functions):
        yield from (entry.domain for entry in part.opset_import)
    graphs = [model.graph]
    pending = [function.node for function in model.functions]
    while graphs or pending:
        if graphs:
            graph = graphs.pop()
            yield from _graph_texts(graph)
            pending.append(graph.node)
        for node in pending.pop():
            yield from _node_texts(node)
            graphs += [attr.g for attr in node.attribute if attr.HasField("g")]


def _graph_texts(graph: GraphProto) -> Iterator[object]:
    yield graph.name
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        yield from _tensor_texts(tensor)


def _node_texts(node: NodeProto) -> Iterator[object]:
    yield from (node.name, node.op_type, node.domain, node.overload)
    yield from (*node.input, *node.output)
    yield from _properties(node.metadata_props)
    for attr in node.attribute:
        yield from (attr.name, attr.ref_attr_name)
        if attr.HasField("t"):
            yield from _tensor_texts(attr.t)
        if attr.HasField("sparse_tensor"):
            yield from _tensor_texts(attr.sparse_tensor.values)


def _tensor_texts(tensor: TensorProto) -> Iterator[object]:
    yield tensor.name
    yield from _properties(tensor.external_data)


def _properties(entries: Iterable[StringStringEntryProto]) -> Iterator[object]:
    for entry in entries:
        yield from (entry.key, entry.value)
