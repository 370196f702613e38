"""The cases that the ONNX project tests its backends with: models, inputs, outputs."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from bnnc.errors import BnncError
from bnnc.frontends.onnx import load
from bnnc.ir import interpreter
from bnnc.ir.graph import Graph


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: as ONNX calls it.
        model: the model.
        inputs: its inputs in order, and ``outputs`` the like.
        tolerance: relative and absolute.
    """

    name: str
    model: ModelProto
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    tolerance: tuple[float, float]


def cases() -> Iterator[Case]:
    """Every case of numbers (sequences, optional values and strings are left out)."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        inputs, outputs = case.data_sets[0]
        yield from _case(case.name, case.model, inputs, outputs, (case.rtol, case.atol))
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for folder in sorted(root.glob("[sp]*/*")):
        if (folder / "model.onnx").is_file():
            data = folder / "test_data_set_0"
            given = [_tensors(data, kind) for kind in ("input", "output")]
            yield from _case(folder.name, onnx.load(folder / "model.onnx"), *given, (1e-3, 1e-5))


def _tensors(folder: Path, kind: str) -> list[TensorProto]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [onnx.load_tensor(folder / f"{kind}_{number}.pb") for number in range(count)]


def _case(
    name: str,
    model: ModelProto,
    inputs: list[object],
    outputs: list[object],
    tolerance: tuple[float, float],
) -> Iterator[Case]:
    tensors = [[_array(item) for item in items] for items in (inputs, outputs)]
    given, wanted = ([array for array in arrays if array is not None] for arrays in tensors)
    if any(array.dtype.name == "bfloat16" for array in (*given, *wanted)):
        # numpy has no brain floats: they are given, and computed, as float32.
        given, wanted = ([_without_bfloat(array) for array in arrays] for arrays in (given, wanted))
        tolerance = (2e-2, 2e-2)
    if len(given) == len(inputs) and len(wanted) == len(outputs):
        yield Case(name, model, given, wanted, tolerance)


def _without_bfloat(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _array(item: object) -> np.ndarray | None:
    if isinstance(item, TensorProto):
        item = numpy_helper.to_array(item)
    if not isinstance(item, (np.ndarray, np.generic)):
        return None
    array = np.asarray(item)
    return None if array.dtype.kind in "OUS" else array


def variants(case: Case) -> Iterator[tuple[ModelProto, dict[str, np.ndarray]]]:
    """The model with what to feed it: all inputs given in the run, then the last, the last two...
    constants, then all."""
    held = {tensor.name for tensor in case.model.graph.initializer}
    names = [info.name for info in case.model.graph.input if info.name not in held]
    feeds = dict(zip(names, case.inputs))
    for count in range(len(names), -1, -1):
        model = ModelProto()
        model.CopyFrom(case.model)
        for name in names[count:]:
            model.graph.initializer.append(numpy_helper.from_array(feeds[name], name))
        kept = [info for info in model.graph.input if info.name not in names[count:]]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        yield model, {name: feeds[name] for name in names[:count]}


def first_variant(case: Case) -> tuple[Graph, ModelProto, dict[str, np.ndarray]]:
    """The first of the variants that can be imported, as a graph; its model and what to feed it.

    Raises:
        BnncError: as for the variant with all inputs given, if there is none.
    """
    refusal: BnncError | None = None
    for model, feeds in variants(case):
        try:
            return load(model, shapes_of(feeds)), model, feeds
        except BnncError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def shapes_of(feeds: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes of what a model is fed."""
    return {name: array.shape for name, array in feeds.items()}


def difference(case: Case, results: list[np.ndarray]) -> str:
    """What is wrong with results, "" if nothing is. bnnc gives floats of 16 bits and integers of
    less than eight in the next wider type."""
    if len(results) != len(case.outputs):
        return f"{len(results)} outputs, not {len(case.outputs)}"
    for mine, theirs in zip(results, case.outputs):
        rough = theirs.dtype.name == "bfloat16"
        if rough or "int4" in theirs.dtype.name or "int2" in theirs.dtype.name:
            theirs = theirs.astype(mine.dtype)
        if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
            return f"{mine.dtype}{mine.shape}, not {theirs.dtype}{theirs.shape}"
        if mine.dtype.kind != "f":
            if not np.array_equal(mine, theirs):
                return f"{mine.ravel()[:5]}, not {theirs.ravel()[:5]}"
            continue
        least = 1e-2 if rough else 1e-3 if mine.dtype == np.float16 else 1e-5
        relative, absolute = max(case.tolerance[0], least), max(case.tolerance[1], least)
        a, b = mine.astype(np.float64), theirs.astype(np.float64)
        if not np.allclose(a, b, relative, absolute, equal_nan=True):
            return f"off by {np.nanmax(np.abs(a - b))}"
    return ""


def interpreted(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the interpreter gives."""
    graph.check()
    return interpreter.run(graph, {value.name: feeds[value.name] for value in graph.inputs})
