"""Shapes of the model's inputs: as declared, with the batch set to 1, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import TensorProto, ValueInfoProto

from bnnc.errors import InputError, ModelError, UnsupportedError, printable
from bnnc.frontends.onnx.tensors import DTYPES, type_name
from bnnc.frontends.onnx.text import dims, listing, quote
from bnnc.ir.types import DType, TensorType

Shapes = Mapping[str, Sequence["int | None"]]
_Declared = list["int | str | None"]
"""Sizes; a string names an open dimension, None is one without a name."""


def input_types(
    inputs: Sequence[ValueInfoProto], shapes: Shapes | None
) -> tuple[dict[str, TensorType], bool]:
    """The type of each input, and whether their batch was left open.

    The first dimension of an input may be left open: it becomes 1. The batch counts as open if
    every input leaves its first dimension open and the user did not say how large it is.

    Args:
        inputs: as declared by the model.
        shapes: what the user says, by input. An entry of None keeps to the model.

    Raises:
        ModelError: if other dimensions are open, or an input has no type.
        UnsupportedError: for inputs that are no tensors of numbers.
        InputError: if ``shapes`` contradicts the model.
    """
    declared = {info.name: _declared_shape(info) for info in inputs}
    told = _told(shapes or {}, declared)
    symbols = _symbols(declared, told)
    types, open_batch = {}, bool(inputs)
    for info in inputs:
        name, sizes = info.name, told.get(info.name, declared[info.name])
        if sizes is None:
            raise ModelError(
                f"input {quote(name)} has no shape", hint=f"give it, {_example(name, None)}"
            )
        known = [symbols.get(size) if isinstance(size, str) else size for size in sizes]
        left_open = bool(known) and known[0] is None
        if left_open:
            known[0] = 1
        if None in known:
            raise ModelError(
                f"input {quote(name)} has open dimensions: {_show(sizes)}",
                hint=f"fix them, {_example(name, sizes)}",
            )
        shape = tuple(size for size in known if size is not None)
        if any(size < 1 for size in shape):
            raise ModelError(
                f"input {quote(name)} has shape {dims(shape)}",
                hint=f"give it a positive one, {_example(name, sizes)}",
            )
        types[name] = TensorType(_dtype(info), shape)
        open_batch = open_batch and left_open
    return types, open_batch


def _dtype(info: ValueInfoProto) -> DType:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        what = (kind or "no type").replace("_", " ")
        raise (
            UnsupportedError(f"input {quote(info.name)} is no tensor but a {what}")
            if kind
            else (ModelError(f"input {quote(info.name)} has no type"))
        )
    number = info.type.tensor_type.elem_type
    if number == TensorProto.BFLOAT16:  # which numpy does not have; every one of them is a float32
        return DType.F32
    if number not in DTYPES:
        error = ModelError if number == TensorProto.UNDEFINED else UnsupportedError
        raise error(f"input {quote(info.name)} has elements of type {type_name(number)}")
    return DTYPES[number]


def _declared_shape(info: ValueInfoProto) -> _Declared | None:
    """As the model has it; None if it gives no shape at all. Some write an open size as -1."""
    _dtype(info)
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    sizes: _Declared = []
    for dim in tensor.shape.dim:
        kind = dim.WhichOneof("value")
        if kind == "dim_value":
            sizes.append(None if dim.dim_value == -1 else dim.dim_value)
        else:
            sizes.append(dim.dim_param or None)
    return sizes


def _told(shapes: Shapes, declared: Mapping[str, _Declared | None]) -> dict[str, _Declared]:
    """The user's shapes, with what they leave open filled in from the model."""
    found: dict[str, _Declared] = {}
    for name, given in shapes.items():
        if name not in declared:
            names = listing([quote(known) for known in declared]) or "none"
            raise InputError(
                f"there is no input {quote(name)} to give a shape to", hint=f"inputs: {names}"
            )
        own = declared[name]
        if own is None:
            own = [None] * len(given)
        fits = len(own) == len(given) and all(
            size is None or not isinstance(old, int) or old < 1 or old == size
            for old, size in zip(own, given)
        )
        if not fits:
            raise InputError(
                f"input {quote(name)} cannot have shape {_show(list(given))}: "
                f"the model says {_show(own)}"
            )
        if any(size is not None and size < 1 for size in given):
            raise InputError(f"input {quote(name)} cannot have shape {_show(list(given))}")
        found[name] = [old if size is None else int(size) for old, size in zip(own, given)]
    return found


def _symbols(
    declared: Mapping[str, _Declared | None], told: Mapping[str, _Declared]
) -> dict[str, int]:
    """Sizes of the named open dimensions that the user's shapes settle."""
    found: dict[str, int] = {}
    for name, sizes in told.items():
        for old, size in zip(declared[name] or (), sizes):
            if not isinstance(old, str) or not isinstance(size, int):
                continue
            if found.setdefault(old, size) != size:
                raise InputError(
                    f"dimension {quote(old)} cannot be {found[old]} and {size} at once"
                )
    return found


def _show(sizes: Sequence[object]) -> str:
    return dims("?" if size is None else size for size in sizes)


def _example(name: str, sizes: _Declared | None) -> str:
    """An option that would do: open sizes as 512, but for the batch, which is 1 or stays open."""
    batch, *rest = sizes or (None, 3, None, None)
    known = [size if isinstance(size, int) and size > 0 else 512 for size in rest]
    first = batch if isinstance(batch, int) and batch > 0 else 1
    name = printable(name, 40)
    example = f"for example --shape {name}={dims([first, *known])}"
    if isinstance(batch, int):
        return example
    return f"{example}, or '{name}={_show([None, *known])}' for any batch"
