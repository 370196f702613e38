"""TensorProto to numpy. Floats of every width become float32, the one float type inside bnnc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import SparseTensorProto, TensorProto

from bnnc.errors import ModelError, UnsupportedError
from bnnc.frontends.onnx.external import read_external
from bnnc.frontends.onnx.text import dims, quote
from bnnc.ir.ops.rules import MAX_ELEMENTS, MAX_RANK
from bnnc.ir.types import DType

MAX_FOLDED_BYTES = 256 * 2**20
"""No constant larger than this is computed (one stored in the model may be larger)."""

DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: DType.F32,
    TensorProto.FLOAT16: DType.F16,
    TensorProto.DOUBLE: DType.F64,
    TensorProto.INT8: DType.I8,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
    TensorProto.UINT8: DType.U8,
    TensorProto.UINT16: DType.U16,
    TensorProto.UINT32: DType.U32,
    TensorProto.UINT64: DType.U64,
    TensorProto.BOOL: DType.BOOL,
}
"""Element types that a tensor of the graph can have."""

NARROW: dict[int, tuple[int, bool]] = {
    number: (bits, signed)
    for name, bits, signed in (
        ("INT4", 4, True),
        ("UINT4", 4, False),
        ("INT2", 2, True),
        ("UINT2", 2, False),
    )
    if (number := getattr(TensorProto, name, None)) is not None
}
"""Integers of less than a byte: (bits, signed). Constants only; held as int8 or uint8."""


def type_name(number: int) -> str:
    """ONNX's name of an element type: ``FLOAT``, ``BFLOAT16``..."""
    try:
        return str(TensorProto.DataType.Name(number))
    except ValueError:
        return f"number {number}"


def to_array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """The tensor's array; it shares the tensor's bytes where it can. Floats come as float32.

    Args:
        tensor: the tensor.
        folder: where its external data may lie.

    Raises:
        ModelError: if its size, type and bytes do not agree.
        UnsupportedError: for strings, complex numbers and 8-bit floats.
    """
    shape = tuple(tensor.dims)
    _check_shape(tensor.name, shape)
    if tensor.HasField("segment"):
        raise UnsupportedError(f"tensor {quote(tensor.name)} is stored in segments")
    stored, bits = _stored(tensor)
    count = math.prod(shape)
    data = _raw(tensor, folder, -(-count * bits // 8))
    if data is None:
        flat = _typed(tensor, stored, -(-count * bits // stored.itemsize // 8))
    else:
        flat = data.view(stored)
    return _widen(flat, tensor.data_type, count).reshape(shape)


def _check_shape(name: str, shape: Sequence[int]) -> None:
    if any(size < 0 for size in shape):
        raise ModelError(f"tensor {quote(name)} has the shape {dims(shape)}")
    if len(shape) > MAX_RANK:
        raise ModelError(f"tensor {quote(name)} has {len(shape)} axes; at most {MAX_RANK} work")
    if max(math.prod(shape), *shape, 0) > MAX_ELEMENTS:
        raise ModelError(f"tensor {quote(name)} has {dims(shape)} elements, more than 2^31")


def _stored(tensor: TensorProto) -> tuple[np.dtype, int]:
    """The dtype the bytes are read as, and bits per element."""
    number = tensor.data_type
    if number in DTYPES:
        stored = DTYPES[number].numpy if number != TensorProto.BOOL else np.dtype(np.uint8)
        return stored.newbyteorder("<"), stored.itemsize * 8
    if number == TensorProto.BFLOAT16:
        return np.dtype("<u2"), 16
    if number in NARROW:
        return np.dtype(np.uint8), NARROW[number][0]
    error = ModelError if number == TensorProto.UNDEFINED else UnsupportedError
    raise error(f"tensor {quote(tensor.name)} has elements of type {type_name(number)}")


def _raw(tensor: TensorProto, folder: Path | None, size: int) -> np.ndarray | None:
    """The bytes as uint8, or None where the tensor keeps them in a typed field."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return read_external(tensor, folder, size)
    if not tensor.HasField("raw_data"):
        return None
    raw = tensor.raw_data
    if len(raw) != size:
        raise ModelError(
            f"tensor {quote(tensor.name)} of shape {dims(tensor.dims)} needs {size} bytes, "
            f"but has {len(raw)}"
        )
    return np.frombuffer(raw, np.uint8)


def _typed(tensor: TensorProto, stored: np.dtype, words: int) -> np.ndarray:
    """The elements of the typed field the element type is kept in."""
    number = tensor.data_type
    if number == TensorProto.FLOAT:
        field, wide = tensor.float_data, stored
    elif number == TensorProto.DOUBLE:
        field, wide = tensor.double_data, stored
    elif number == TensorProto.INT64:
        field, wide = tensor.int64_data, stored
    elif number in (TensorProto.UINT32, TensorProto.UINT64):
        field, wide = tensor.uint64_data, np.dtype(np.uint64)
    else:
        field, wide = tensor.int32_data, np.dtype(np.int32)
    if len(field) != words:
        raise ModelError(
            f"tensor {quote(tensor.name)} of shape {dims(tensor.dims)} has {len(field)} elements"
        )
    flat: np.ndarray = np.fromiter(field, wide, words)
    if number == TensorProto.FLOAT16:  # its bits, in the low half of each word
        return flat.astype(np.uint16).view(np.float16)
    return flat.astype(stored, copy=False)


def _widen(flat: np.ndarray, number: int, count: int) -> np.ndarray:
    """Stored elements to the types used inside."""
    if number == TensorProto.BOOL:
        return np.asarray(flat != 0)
    if number == TensorProto.BFLOAT16:
        return np.left_shift(flat.astype(np.uint32), 16).view(np.float32)
    if number in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        with np.errstate(over="ignore"):
            return flat.astype(np.float32)
    if number in NARROW:
        bits, signed = NARROW[number]
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        fields = np.asarray((flat[:, None] >> shifts) & np.uint8(2**bits - 1))
        wide = fields.reshape(-1)[:count]
        if not signed:
            return wide
        return np.asarray(np.left_shift(wide, 8 - bits).view(np.int8) >> (8 - bits))
    return flat.astype(DTYPES[number].numpy, copy=False)


def sparse_to_array(sparse: SparseTensorProto, folder: Path | None) -> np.ndarray:
    """The dense array of a sparse tensor (COO, indices linear or as coordinates).

    Raises:
        ModelError: if it is malformed or would be larger than ``MAX_FOLDED_BYTES``.
    """
    values = to_array(sparse.values, folder)
    indices = to_array(sparse.indices, folder)
    shape = tuple(sparse.dims)
    name = quote(sparse.values.name)
    _check_shape(sparse.values.name, shape)
    if math.prod(shape) * values.itemsize > MAX_FOLDED_BYTES:
        raise ModelError(f"sparse tensor {name} of shape {dims(shape)} is too large")
    linear = indices.ndim == 1 and indices.shape == values.shape
    if not linear and indices.shape != (*values.shape, len(shape)):
        raise ModelError(f"sparse tensor {name} has indices that do not fit its values")
    if values.ndim != 1 or indices.dtype != np.int64:
        raise ModelError(f"sparse tensor {name} is malformed")
    limits = np.array([math.prod(shape)] if linear else shape)
    rows = indices.reshape(values.size, limits.size)
    if (rows < 0).any() or (rows >= limits).any():
        raise ModelError(f"sparse tensor {name} has an index outside {dims(shape)}")
    dense = np.zeros(shape, values.dtype)
    if linear:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(rows.T)] = values
    return dense
