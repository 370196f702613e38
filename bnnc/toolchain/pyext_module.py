"""The Python side of an extension module made with ``--emit pyext``: its text becomes part of the
module. It runs there, beside ``ffi`` and ``lib``, and needs nothing of bnnc's."""

from __future__ import annotations

import json as _json
from typing import Any

import numpy as _np

ffi, lib = globals()["ffi"], globals()["lib"]

info: dict[str, Any] = _json.loads(ffi.string(lib.bnnc_model_json()))
"""The description of the model."""

_TYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "bool": "bool"}


def _dtype(name: str) -> _np.dtype:
    return _np.dtype(_TYPES.get(name) or name.replace("u", "uint", 1).replace("i", "int", 1))


def run(*inputs: _np.ndarray, threads: int = 1) -> list[_np.ndarray]:
    """Run the model on its inputs, in order; returns its outputs, in order.

    Raises:
        TypeError: for the wrong number of inputs.
        ValueError: for an input of the wrong shape or type.
        RuntimeError: if so many threads cannot be started, or the run fails.
    """
    if len(inputs) != len(info["inputs"]):
        raise TypeError(f"{len(inputs)} arrays given; the model takes {len(info['inputs'])}")
    arrays = []
    for given, expected in zip(inputs, info["inputs"]):
        array = _np.ascontiguousarray(given)
        if array.dtype != _dtype(expected["dtype"]) or list(array.shape) != expected["shape"]:
            found = f"{array.dtype} {list(array.shape)}"
            wanted = f"{_dtype(expected['dtype'])} {expected['shape']}"
            raise ValueError(f"input {expected['name']!r} is {found}; expected {wanted}")
        arrays.append(array)
    results = [_np.empty(t["shape"], _dtype(t["dtype"])) for t in info["outputs"]]
    arena = _np.empty(lib.bnnc_arena_bytes() + 64, _np.uint8)
    start = arena.ctypes.data + -arena.ctypes.data % 64
    pool = lib.bnnc_pool_create(threads) if threads > 1 else ffi.NULL
    if threads > 1 and not pool:
        raise RuntimeError(f"cannot start {threads} threads")
    try:
        sources = ffi.new("const void *[]", [ffi.cast("void *", x.ctypes.data) for x in arrays])
        targets = ffi.new("void *[]", [ffi.cast("void *", y.ctypes.data) for y in results])
        code = lib.bnnc_run(ffi.cast("void *", start), pool, sources, targets)
    finally:
        if pool:
            lib.bnnc_pool_destroy(pool)
    if code:
        raise RuntimeError(ffi.string(lib.bnnc_strerror(code)).decode())
    return results
