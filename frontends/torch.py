"""Torch modules, by way of torch's own ONNX exporters."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from onnx import ModelProto

from bnnc.errors import InputError, ModelError
from bnnc.frontends import onnx as onnx_frontend
from bnnc.frontends.onnx.load import DAMAGED_BY_TORCH
from bnnc.ir.graph import Graph

_Export = Callable[[torch.nn.Module, "tuple[Any, ...]", "list[str] | None"], ModelProto]


def load(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[Any],
    *,
    input_names: Sequence[str] | None = None,
    exporter: str = "dynamo",
) -> Graph:
    """Import a torch module. Its nodes are called as its submodules are.

    The module is exported in evaluation mode and left as it was.

    Args:
        module: the module.
        example_inputs: what its ``forward`` takes; shapes, the batch too, are fixed to these.
        input_names: names of the graph's inputs; by default those of ``forward``'s parameters.
        exporter: ``dynamo``, torch's newer exporter, or ``torchscript``, its older one. The newer
            gives way to the older where it fails, writes what is no model, or lacks onnxscript.

    Raises:
        InputError: if an argument does not fit.
        ModelError: if torch cannot export the module, or as :func:`bnnc.frontends.onnx.load`.
    """
    if exporter not in _EXPORTERS:
        raise InputError(
            f"there is no exporter {exporter!r}", hint=f"use one of {', '.join(_EXPORTERS)}"
        )
    arguments = _arguments(example_inputs)
    names = list(input_names) if input_names is not None else _parameter_names(module, arguments)
    order = list(_EXPORTERS)
    failures: list[Exception] = []
    for name in order[order.index(exporter) :]:
        try:
            with _evaluating(module), _quiet(), torch.no_grad():
                model = _EXPORTERS[name](module, arguments, names)
                seen = name != "torchscript" or _sees_all(module, arguments)
        except Exception as error:  # an exporter fails in its own ways, and the model's code too
            failures.append(error)
            continue
        if not seen:
            raise _unseen(module)
        try:
            graph = _imported(model)
        except ModelError as error:  # the newer exporter sometimes writes what is no model
            failures.append(error)
            continue
        graph.name = type(module).__name__
        return graph
    raise _failure(module, failures)


def load_exported(program: torch.export.ExportedProgram) -> Graph:
    """Import what ``torch.export.export`` returned, with the shapes it was exported for.

    Raises:
        ModelError: if torch cannot write it as ONNX, or as :func:`bnnc.frontends.onnx.load`.
    """
    try:
        with _quiet():
            model = _by_dynamo(program, (), None)
    except Exception as error:
        raise _failure(program, [error]) from None
    return _imported(model)


def _imported(model: ModelProto) -> Graph:
    """What an exporter wrote, which was not asked to optimise anything."""
    try:
        return onnx_frontend.load(model)
    except ModelError as error:
        if error.hint == DAMAGED_BY_TORCH:
            error.hint = "torch's exporters wrote this of the module: write that part another way"
        raise


def _failure(module: object, failures: Sequence[Exception]) -> ModelError:
    """What to tell: what bnnc found wrong with a model, else what the last exporter said."""
    for error in failures:
        if isinstance(error, ModelError):
            return error
    reason = (str(failures[-1]).strip() or type(failures[-1]).__name__).splitlines()[0]
    return ModelError(f"torch cannot export {type(module).__name__} to ONNX: {reason}")


def _sees_all(module: torch.nn.Module, arguments: tuple[Any, ...]) -> bool:
    """Whether tracing, which is how the older exporter reads a module, sees all that it computes.

    It overlooks what is written to a tensor's ``.data``, and takes the way through an ``if`` that
    the example inputs take. So the trace is run against the module, on these and on some others.
    """
    try:
        trace = torch.jit.trace(module, arguments, check_trace=False, strict=False)
    except Exception:  # it is stricter about outputs than the exporter, which has had its say
        return True
    for factor in (1, -10, 0.1):
        inputs = [x * factor if x.is_floating_point() else x for x in arguments]
        try:
            expected, found = _results(module, inputs), _results(trace, inputs)
            if not _same(expected, found) and _same(expected, _results(module, inputs)):
                return False  # and it does not draw random numbers
        except Exception:  # other inputs may be none that the module takes
            continue
    return True


def _results(module: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return _tensors(module(*(x.clone() for x in inputs)))


def _tensors(results: Any) -> list[torch.Tensor]:
    """All tensors of a module's results, in order."""
    if isinstance(results, torch.Tensor):
        return [results]
    if isinstance(results, dict):
        results = results.values()
    return [tensor for result in results for tensor in _tensors(result)]


def _same(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.allclose(x.double(), y.double(), 1e-3, 1e-5, equal_nan=True)
        for x, y in zip(a, b)
    )


def _unseen(module: torch.nn.Module) -> ModelError:
    return ModelError(
        f"torch cannot export {type(module).__name__} faithfully: traced, it computes something "
        "else than the module",
        hint="let forward() neither write to a tensor's .data nor decide by values of tensors "
        "(torch.where can)",
    )


def _arguments(given: torch.Tensor | Sequence[Any]) -> tuple[Any, ...]:
    arguments = (given,) if isinstance(given, torch.Tensor) else tuple(given)
    for argument in arguments:
        if not isinstance(argument, torch.Tensor):
            raise InputError(
                f"example_inputs holds a {type(argument).__name__}", hint="give torch tensors"
            )
    return arguments


def _parameter_names(module: torch.nn.Module, arguments: Sequence[Any]) -> list[str] | None:
    """Names of ``forward``'s parameters; None if it has no name for each argument."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except ValueError:  # a traced module's does not tell
        return None
    names = [parameter.name for parameter in parameters if parameter.kind in plain]
    return names[: len(arguments)] if len(names) >= len(arguments) else None


def _by_dynamo(
    module: torch.nn.Module | torch.export.ExportedProgram,
    arguments: tuple[Any, ...],
    names: list[str] | None,
) -> ModelProto:
    # What it optimises loses the names of layers, and sometimes is no model afterwards.
    program = torch.onnx.export(
        module, arguments, input_names=names, dynamo=True, optimize=False, verbose=False
    )
    assert program is not None
    return program.model_proto


def _by_torchscript(
    module: torch.nn.Module, arguments: tuple[Any, ...], names: list[str] | None
) -> ModelProto:
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        arguments,
        buffer,  # type: ignore[arg-type]  # this exporter takes one, though it does not say so
        input_names=names,
        dynamo=False,
    )
    model: ModelProto = ModelProto.FromString(buffer.getvalue())
    return model


_EXPORTERS: dict[str, _Export] = {"dynamo": _by_dynamo, "torchscript": _by_torchscript}
"""Torch's exporters, the one to prefer first."""


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """The module in evaluation mode; every submodule's own mode comes back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    with contextlib.suppress(NotImplementedError):  # what torch.export made has one mode only
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, log lines or progress from the exporters."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
