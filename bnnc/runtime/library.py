"""A compiled model in this process: its C functions and its description.

Instruction sets are chosen once per loaded library, and the dynamic loader loads a path once. So
that every session gets what it asked for, a file that is already loaded, but was replaced since
or is wanted with another instruction set, is loaded from a private copy.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnnc.errors import InputError, LibraryError, printable
from bnnc.files import open_regular
from bnnc.runtime.elf import MAGIC, model_prefix

ABI_VERSION = 2
DTYPES = {
    "f16": ("float16", "tensor(float16)"),
    "f32": ("float32", "tensor(float)"),
    "f64": ("float64", "tensor(double)"),
    "i8": ("int8", "tensor(int8)"),
    "i16": ("int16", "tensor(int16)"),
    "i32": ("int32", "tensor(int32)"),
    "i64": ("int64", "tensor(int64)"),
    "u8": ("uint8", "tensor(uint8)"),
    "u16": ("uint16", "tensor(uint16)"),
    "u32": ("uint32", "tensor(uint32)"),
    "u64": ("uint64", "tensor(uint64)"),
    "bool": ("bool", "tensor(bool)"),
}
"""Element types of inputs and outputs: numpy's name and onnxruntime's."""


class OutputView(ctypes.Structure):
    """``bnnc_output``: what an observer is shown."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


class DetectOptions(ctypes.Structure):
    """``bnnc_detect_options``."""

    _fields_ = (
        ("score", ctypes.c_float),
        ("max_iou", ctypes.c_float),
        ("top", ctypes.c_int32),
    )


_INT, _POINTER, _TEXT = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p

OBSERVER = ctypes.CFUNCTYPE(_INT, _POINTER, _INT, _INT, ctypes.POINTER(OutputView))
"""``bnnc_observer``."""

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "abi_version": (ctypes.c_uint32, ()),
    "model_json": (_TEXT, ()),
    "arena_bytes": (ctypes.c_size_t, ()),
    "pool_create": (_POINTER, (_INT,)),
    "pool_destroy": (None, (_POINTER,)),
    "run": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "run_observed": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER, OBSERVER, _POINTER)),
    "detect": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER, _INT, _POINTER)),
    "isa": (_TEXT, ()),
    "set_isa": (_INT, (_TEXT,)),
    "calibrate": (ctypes.c_int64, (_POINTER, _POINTER, _INT, ctypes.c_int64)),
    "strerror": (_TEXT, (_INT,)),
}
"""The interface of bnnc.h: what each function returns and takes."""

_REBUILD = "compile the model again with this bnnc"


class Library:
    """One loaded model.

    Args:
        path: a library made by ``bnnc compile``.
        isa: instruction set to force ("portable", "avx2", "avx512"); default: the best one.

    Attributes:
        path: the file.
        info: the description of the model, as parsed from its JSON.
        arena_bytes: working memory a run needs.

    Raises:
        LibraryError: if the file is missing, damaged, for another processor or another version
            of bnnc, or lacks the instruction set.
    """

    def __init__(self, path: str | os.PathLike[str], *, isa: str | None = None) -> None:
        self.path = Path(path)
        self._handle = _open(self.path, isa)
        self.info: dict[str, Any] = self._handle.info
        self.arena_bytes = int(self.call("arena_bytes"))

    def call(self, function: str, *args: Any) -> Any:
        """Call one of the library's C functions; the interpreter lock is released meanwhile."""
        return self._handle.functions[function](*args)

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return bytes(self.call("isa")).decode()

    def explain(self, code: int) -> str:
        """What the library says about an error code."""
        return bytes(self.call("strerror", code)).decode("utf-8", "replace")


def is_library(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a shared library, by content and not by name.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


class _Handle:
    """What the dynamic loader returned, with the functions looked up."""

    def __init__(self, path: Path, file: str, prefix: str, isa: str | None) -> None:
        self.real_path = os.path.realpath(path)
        try:
            library = ctypes.CDLL(file)
            _check_version(_function(library, prefix, "abi_version")(), path)
            self.functions = {name: _function(library, prefix, name) for name in _FUNCTIONS}
        except (OSError, AttributeError) as error:
            reason = printable(str(error).replace(file, path.name))
            raise LibraryError(f"cannot be loaded: {reason}", file=path) from None
        self._library = library
        self.info = parse_info(self.functions["model_json"](), path)
        if isa is not None:
            self._force(isa, path)

    def _force(self, isa: str, path: Path) -> None:
        code = self.functions["set_isa"](isa.encode())
        if code:
            inside = ", ".join(map(str, self.info.get("compiled", {}).get("isas", []))) or "none"
            raise LibraryError(
                f"cannot run with instruction set {printable(isa)!r} here",
                file=path,
                hint=f"the library holds {inside}, and this machine must support the one asked for",
            )


def _function(library: ctypes.CDLL, prefix: str, name: str) -> Callable[..., Any]:
    function = getattr(library, f"{prefix}_{name}")
    function.restype, function.argtypes = _FUNCTIONS[name]
    return function


def _check_version(version: int, path: Path) -> None:
    if version != ABI_VERSION:
        raise LibraryError(
            f"has interface version {version}, this bnnc loads version {ABI_VERSION}",
            file=path,
            hint=_REBUILD,
        )


def parse_info(text: bytes, path: Path) -> dict[str, Any]:
    """The model's description, checked as far as running it relies on it.

    Raises:
        LibraryError: if it is damaged.
    """
    try:
        info = json.loads(text)
        for tensor in [*info["inputs"], *info["outputs"]]:
            name, dtype, shape = tensor["name"], tensor["dtype"], tensor["shape"]
            sound = isinstance(name, str) and dtype in DTYPES
            if not sound or not all(isinstance(n, int) and n >= 0 for n in shape):
                raise ValueError
        for key, kind in (("layers", list), ("compiled", dict), ("metadata", dict)):
            if not isinstance(info[key], kind):
                raise ValueError
    except (ValueError, KeyError, TypeError):
        raise LibraryError("its description is damaged", file=path, hint=_REBUILD) from None
    return info


# Kept for good: ctypes never closes a library, so its choice of instruction set and its path stay
# taken after the last session is gone.
_loaded: dict[tuple[Any, ...], _Handle] = {}
_lock = threading.Lock()


def _open(path: Path, isa: str | None) -> _Handle:
    prefix = model_prefix(path)
    if not prefix.isidentifier():
        raise LibraryError("has malformed symbol names", file=path, hint=_REBUILD)
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    with _lock:
        handle = _loaded.get((identity, isa))
        if handle is None:
            real_path = os.path.realpath(path)
            taken = any(
                key[0] == identity or other.real_path == real_path for key, other in _loaded.items()
            )
            handle = _open_copy(path, prefix, isa) if taken else None
            handle = handle or _Handle(path, os.path.abspath(path), prefix, isa)
            _loaded[(identity, isa)] = handle
        return handle


def _open_copy(path: Path, prefix: str, isa: str | None) -> _Handle:
    # Importing these takes as long as loading a first library, which does without.
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        twin = os.path.join(folder, "model.so")
        try:
            shutil.copyfile(path, twin)
        except OSError as error:
            raise LibraryError(f"cannot be copied: {error.strerror}", file=path) from None
        return _Handle(path, twin, prefix, isa)
