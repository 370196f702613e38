"""Tensor types: an element type and a fixed shape."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np


class DType(str, enum.Enum):
    """Element types. ``B1`` is one bit; the interpreter holds it as numpy bool, True for the
    high one of a two-valued tensor's two constants."""

    F16 = "f16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"
    B1 = "b1"

    @property
    def numpy(self) -> np.dtype:
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in (DType.F16, DType.F32, DType.F64)

    @staticmethod
    def of(dtype: np.dtype | type) -> DType:
        """The element type of a numpy dtype (numpy bool gives ``BOOL``).

        Raises:
            KeyError: for a dtype without a counterpart, such as strings.
        """
        return _OF_NUMPY[np.dtype(dtype)]


_NUMPY: dict[DType, np.dtype] = {
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.U8: np.dtype(np.uint8),
    DType.U16: np.dtype(np.uint16),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.BOOL: np.dtype(np.bool_),
    DType.B1: np.dtype(np.bool_),
}
_OF_NUMPY = {numpy: dtype for dtype, numpy in _NUMPY.items() if dtype is not DType.B1}


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; the shape is always fixed, in the model's own axis order (NCHW)."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes as a plain dense array; bits count an eighth, rounded up."""
        if self.dtype is DType.B1:
            return -(-self.elements // 8)
        return self.elements * self.dtype.numpy.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.value}[{'x'.join(map(str, self.shape))}]"
