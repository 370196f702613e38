"""The whole way in: a model becomes a library, in one readable function."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc import codegen, passes, toolchain
from bnnc.analysis.statistics import statistics
from bnnc.errors import InputError, ModelError
from bnnc.files import check_kept, is_file
from bnnc.ir.graph import Graph
from bnnc.runtime import InferenceSession
from bnnc.runtime.library import ABI_VERSION
from bnnc.version import VERSION

if TYPE_CHECKING:
    import onnx
    import torch
    from google.protobuf.message import Message

    Model = (
        str
        | os.PathLike[str]
        | bytes
        | onnx.ModelProto
        | torch.onnx.ONNXProgram
        | torch.nn.Module
        | torch.export.ExportedProgram
    )

Shapes = Mapping[str, Sequence["int | None"]]


@dataclass(frozen=True)
class Compilation:
    """What a compilation made, and what there is to tell about it.

    Attributes:
        files: the files written, the one asked for first.
        info: what the library says about itself (``bnnc_model_json``).
        report: what the passes found and did.
        seconds: how long it took.
    """

    files: list[Path]
    info: Mapping[str, Any]
    report: passes.Report
    seconds: float


def reference_graph(
    model: Model,
    *,
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Shapes | None = None,
    sign_zero: str = "positive",
    input_u8: bool = False,
    dump_passes: str | os.PathLike[str] | None = None,
) -> tuple[Graph, passes.Report]:
    """Import a model and settle what it means: the graph that statistics and verification read.

    Arguments are those of :func:`compile`.
    """
    graph = _load(model, example_inputs, shapes)
    options = passes.PassOptions(sign_zero=sign_zero, input_u8=input_u8)
    report = passes.run(graph, passes.SEMANTIC, options=options, dump_dir=_path(dump_passes))
    return graph, report


def build(
    model: Model,
    output: str | os.PathLike[str],
    *,
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Shapes | None = None,
    target: str = "native",
    emit: str = "so",
    prefix: str | None = None,
    sign_zero: str = "positive",
    require_binary: bool = False,
    input_u8: bool = False,
    decode: str = "none",
    dump_passes: str | os.PathLike[str] | None = None,
    cc: str | None = None,
) -> Compilation:
    """Compile a model and report on it. Arguments and errors are those of :func:`compile`."""
    start = time.perf_counter()
    check_kept(
        files_of(model),
        [*_outputs(output, emit), *passes.dump_files(_path(dump_passes))],
        "is the model itself, or holds its weights, and would be replaced",
    )
    with _naming(model):
        graph, report = reference_graph(
            model,
            example_inputs=example_inputs,
            shapes=shapes,
            sign_zero=sign_zero,
            input_u8=input_u8,
            dump_passes=dump_passes,
        )
        if require_binary:
            _require_binary(report)
        decoder = codegen.find_decoder(graph, decode)
        conventions = {c: statistics(graph, c).document() for c in ("paper", "executed")}
        options = passes.PassOptions(sign_zero=sign_zero, input_u8=input_u8)
        lowering = passes.run(graph, passes.LOWERING, options=options, dump_dir=_path(dump_passes))
        generated = codegen.generate(
            graph,
            {
                "abi": ABI_VERSION,
                "bnnc": VERSION,
                "name": graph.name,
                "compiled": {
                    "target": toolchain.resolve(target).name,
                    "isas": list(toolchain.resolve(target).isas),
                    "sign_zero": sign_zero,
                    "sign_zero_nodes": report.sign_zero_nodes,
                    "input_u8": input_u8,
                    "model_sha256": _digest(model),
                },
                "statistics": conventions,
            },
            decoder,
        )
    sources = toolchain.Sources(
        codegen.source(generated, embed_weights=emit == "c"), generated.weights
    )
    files = toolchain.build(sources, output, emit=emit, target=target, prefix=prefix, cc=cc)
    return Compilation(files, generated.info, report + lowering, time.perf_counter() - start)


def compile(
    model: Model, output: str | os.PathLike[str], *, threads: int | None = None, **options: Any
) -> InferenceSession | Path:
    """Compile a model.

    Args:
        model: an ONNX file, its bytes, an ``onnx.ModelProto``, a ``torch.nn.Module``, or what
            ``torch.export.export`` or ``torch.onnx.export`` returned.
        output: the file to write.
        threads: threads of the session that is returned.
        example_inputs: for a torch module, the inputs to export it with; their shapes are fixed.
        shapes: input shapes by name, where the model leaves them open. An entry of None is left to
            the model: as the first, it keeps an open batch open.
        target: see ``bnnc targets``.
        emit: ``so`` (shared library), ``c`` (C file and header), ``a`` (static library and
            header), ``pyext`` (importable extension module).
        prefix: what the library's symbols start with, default ``bnnc``.
        sign_zero: what ONNX's Sign gives at zero where its result feeds a binary layer:
            ``positive``, ``negative``, or ``strict`` (0, as ONNX says; the layer stays float).
        require_binary: fail if a convolution that looks binary is not.
        input_u8: take interleaved 8-bit pixels instead of normalised floats.
        decode: ``centernet`` makes boxes of the outputs in C as well (``bnnc_detect``); ``none``.
        dump_passes: folder to write the graph to after every pass.
        cc: the C compiler's command.

    Returns:
        For ``so``, a session on the new library; otherwise the path of the file written.

    Raises:
        ModelError, UnsupportedError: if the model is damaged or uses something bnnc cannot compile.
        ToolchainError: if there is no C compiler or it fails.
        InputError: if an option does not fit.
    """
    compilation = build(model, output, **options)
    if (
        options.get("emit", "so") != "so"
        or not toolchain.resolve(options.get("target", "native")).is_native
    ):
        return compilation.files[0]
    return InferenceSession(compilation.files[0], threads=threads)


def _load(model: Model, example_inputs: tuple[Any, ...] | None, shapes: Shapes | None) -> Graph:
    if _is_of_torch(model, "Module"):
        from bnnc.frontends import torch as frontend

        if example_inputs is None:
            raise InputError(
                "a torch module is compiled for given shapes",
                hint="pass example_inputs=(x,) with an x of the shape to compile for",
            )
        return frontend.load(model, example_inputs)
    if _is_of_torch(model, "ExportedProgram"):
        from bnnc.frontends import torch as frontend

        return frontend.load_exported(model)
    from bnnc.frontends import onnx as onnx_frontend

    return onnx_frontend.load(getattr(model, "model_proto", model), shapes)


def _is_of_torch(model: object, name: str) -> bool:
    """Whether a model is an instance of torch's class of that name. Does not import torch."""
    return any(
        kind.__module__.startswith("torch.") and kind.__name__ == name
        for kind in type(model).__mro__
    )


def files_of(model: Model) -> Iterator[Path]:
    """The files there are of a model: its own, and those of its external data."""
    if not isinstance(model, (str, os.PathLike)):
        return
    from bnnc.frontends.onnx import reader

    own, locations = Path(model), set[str]()
    with contextlib.suppress(ModelError):  # whoever reads the model will tell
        locations = set(_external(reader.read(own).model))
    yield from filter(is_file, (own, *(own.parent / name for name in locations)))


def _external(message: Message) -> Iterator[str]:
    """Where the tensors in a protobuf, at any depth, say that their numbers lie."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (str(entry.value) for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for part in value if isinstance(value, Iterable) else (value,):
                yield from _external(part)


def _outputs(output: str | os.PathLike[str], emit: str) -> list[Path]:
    """The files that the toolchain makes."""
    header = [f"{os.path.splitext(output)[0]}.h"] if emit in ("c", "a") else []
    return [Path(output), *map(Path, header)]


def _require_binary(report: passes.Report) -> None:
    missed = [v for v in report.verdicts if v.candidate and not v.binary]
    if missed:
        first = missed[0]
        more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
        raise ModelError(
            f"is not binary: {first.reason}{more}",
            node=first.name,
            hint="compile without --require-binary to keep it float",
        )


def _digest(model: Model) -> str:
    """SHA-256 of the model's bytes, where it has any."""
    if isinstance(model, (str, os.PathLike)):
        return hashlib.sha256(Path(model).read_bytes()).hexdigest()
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    return ""


@contextlib.contextmanager
def _naming(model: Model) -> Iterator[None]:
    """Errors about the model name its file."""
    try:
        yield
    except ModelError as error:
        raise error.at(file=model if isinstance(model, (str, os.PathLike)) else None) from None


def _path(folder: str | os.PathLike[str] | None) -> Path | None:
    return None if folder is None else Path(folder)
