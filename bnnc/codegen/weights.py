"""The weights of a model: one block of bytes, every array in it once, each on a cache line."""

from __future__ import annotations

import hashlib

import numpy as np

ALIGNMENT = 64
"""Bytes every array is aligned to."""


class Weights:
    """Collects arrays into one block.

    Attributes:
        size: bytes so far.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._offsets: dict[bytes, int] = {}
        self.size = 0

    def add(self, array: np.ndarray) -> int:
        """The offset of ``array``'s bytes (C order, little endian); equal arrays share one."""
        data = np.ascontiguousarray(array)
        raw = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
        key = hashlib.sha256(raw).digest()
        if key not in self._offsets:
            self._offsets[key] = self.size
            padding = -len(raw) % ALIGNMENT
            self._parts += [raw, bytes(padding)]
            self.size += len(raw) + padding
        return self._offsets[key]

    def block(self) -> bytes:
        """All arrays, ``size`` bytes; at least one line, so that the block has an address."""
        return b"".join(self._parts) or bytes(ALIGNMENT)
