"""Calls single C kernels from Python.

The runtime is compiled once into a library whose internal functions are visible; a test fills an
argument struct with arrays and runs a kernel of one instruction set's table on it. What a kernel
may read or write lies at the end of memory: touching a byte behind it is a crash, which names the
test.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import itertools
import mmap
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from bnnc.codegen.kernels import scratch as declared
from bnnc.codegen.kernels.scratch import SCRATCH_BYTES
from bnnc.ir.graph import Node
from bnnc.ir.ops import OPS
from bnnc.ir.types import DType

RUNTIME_C = Path(__file__).parents[2] / "runtime_c"
FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
ISAS = ("portable", "avx2", "avx512")
TILE = 512
STEPS = (
    *("affine", "relu", "prelu", "clip", "unary"),
    *("add", "mul", "scale", "store", "sign", "threshold"),
)

_EXTRA_CDEF = """
typedef struct bnnc_pool bnnc_pool;
const bnnc_isa_table *bnnc_supported_table(const char *name);
const bnnc_isa_table *bnnc_active(void);
const char *bnnc_isa(void);
int bnnc_set_isa(const char *name);
const char *bnnc_strerror(int code);
uint32_t bnnc_abi_version(void);
bnnc_pool *bnnc_pool_create(int threads);
void bnnc_pool_destroy(bnnc_pool *pool);
void bnnc_parallel(bnnc_pool *pool, const bnnc_kernel *kernel, const void *args, void *scratch);
"""


def compiler() -> list[str]:
    """The command of the C compiler the tests use: ``$CC``, or the first of the usual ones on the
    path; empty if there is none."""
    if named := os.environ.get("CC"):
        return shlex.split(named)
    return [path for path in map(shutil.which, ("cc", "gcc", "clang")) if path][:1]


def sources() -> list[Path]:
    """The runtime's C files."""
    return sorted([*RUNTIME_C.glob("*.c"), *RUNTIME_C.glob("isa/*.c")])


def cdef() -> str:
    """What kernel.h declares between its cdef marks, as cffi reads it."""
    text = (RUNTIME_C / "kernel.h").read_text()
    inside = text.split("/* cdef begin */")[1].split("/* cdef end */")[0]
    return inside + _EXTRA_CDEF


def cache_folder() -> Path:
    """A folder of this user's own for compiled test libraries."""
    folder = Path(tempfile.gettempdir()) / f"bnnc-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def compile_cached(file: Path, flags: Sequence[str]) -> Path:
    """Compile one file to an object, unless that has been done with the same content and flags.

    Raises:
        subprocess.CalledProcessError: if the compiler refuses; its message is in ``stderr``.
    """
    cc = compiler()
    assert cc, "there is no C compiler on the path"
    digest = hashlib.sha256(repr([*cc, *flags]).encode())
    for path in [file, *included()]:
        digest.update(str(path).encode())
        digest.update(path.read_bytes())
    made = cache_folder() / f"{file.stem}-{digest.hexdigest()[:24]}.o"
    with made.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be compiling it
        if not made.exists():
            draft = made.with_name(f"{made.name}.{os.getpid()}")
            command = [*cc, *flags, "-c", "-o", str(draft), str(file)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            draft.rename(made)
    return made


def link_cached(objects: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """Link objects of :func:`compile_cached` to a shared library, with the same memory."""
    cc = compiler()
    assert cc, "there is no C compiler on the path"
    digest = hashlib.sha256(repr([*cc, *flags, *map(str, objects)]).encode())
    made = cache_folder() / f"runtime-{digest.hexdigest()[:24]}.so"
    if not made.exists():
        draft = made.with_name(f"{made.name}.{os.getpid()}")
        command = [*cc, "-shared", *flags, "-o", str(draft), *map(str, objects), "-lm", "-lpthread"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        draft.rename(made)
    return made


def included() -> list[Path]:
    """Every header and kernel template."""
    return sorted([*RUNTIME_C.rglob("*.h"), *RUNTIME_C.rglob("*.inl")])


def compiled(file: Path) -> Path:
    """The object that :func:`library` is linked from."""
    return compile_cached(file, [*FLAGS, '-DBNNC_INTERNAL=__attribute__((visibility("default")))'])


@functools.cache
def library() -> tuple[cffi.FFI, Any]:
    """The runtime with its internal functions visible: (ffi, lib)."""
    with ThreadPoolExecutor(2) as workers:
        objects = list(workers.map(compiled, sources()))
    path = link_cached(objects)
    ffi = cffi.FFI()
    ffi.cdef(cdef())
    return ffi, ffi.dlopen(str(path))


@dataclass(frozen=True)
class Isa:
    """One instruction set's kernels."""

    name: str
    table: Any

    def run(
        self, kernel: str, args: Any, splits: Sequence[float] = (), scratch: Any = None
    ) -> None:
        """Run all units of ``kernel``.

        Args:
            kernel: its name in the table.
            args: a struct from :class:`Arguments`.
            splits: where the units are cut into ranges, as fractions of their number; the ranges
                run in an order that begins in the middle, each with scratch full of garbage.
            scratch: memory to use; if None, as much as the kernel declares, where memory ends.
        """
        entry = getattr(self.table, kernel)
        units = entry.units(args.pointer)
        assert units >= 0
        cuts = sorted({0, units, *(int(units * fraction) for fraction in splits)})
        ranges = list(itertools.pairwise(cuts))
        memory = _scratch(kernel, args.struct) if scratch is None else scratch
        ffi, _ = library()
        for begin, end in ranges[len(ranges) // 2 :] + ranges[: len(ranges) // 2]:
            memory[:] = 0xAB
            entry.run(args.pointer, begin, end, ffi.cast("void *", memory.ctypes.data))


@functools.cache
def _most_scratch() -> np.ndarray:
    return fenced(SCRATCH_BYTES, 64)


def _scratch(kernel: str, args: Any) -> np.ndarray:
    size = SCRATCHES[kernel](args) if kernel in SCRATCHES else SCRATCH_BYTES
    memory = _most_scratch()
    return memory[len(memory) - (size + 63) // 64 * 64 :]


SCRATCHES: dict[str, Callable[[Any], int]] = {
    "binary_conv_planar": lambda a: declared.planar(a.shape),
    "conv_f32": lambda a: declared.conv(a.shape),
    "conv_transpose_f32": lambda a: declared.conv_transpose(a.shape),
    "depthwise_f32": lambda a: declared.depthwise(a.shape),
    "pooled_depthwise_f32": lambda a: declared.pooled(a.shape),
    "conv_f32_winograd": lambda a: declared.winograd(a.shape),
    "conv_transpose_f32_winograd": lambda a: declared.winograd(
        a.shape, a.tile, phases=2, expand=bool(a.expand)
    ),
    "branched_conv_f32": lambda a: declared.winograd(
        a.shape, hidden=max(a.branches[k].hidden for k in range(a.count))
    ),
    "map_f32": lambda a: declared.ROW_BYTES,
    **dict.fromkeys(("unary", "cast", "copy", "fill", "gather", "look_up", "top_k"), lambda a: 0),
}
"""What kernels declare as scratch, given their arguments; what is not here may use all there is."""


def isa(name: str) -> Isa | None:
    """The kernels for ``name``, or None where this machine cannot run them."""
    ffi, lib = library()
    table = lib.bnnc_supported_table(name.encode())
    return None if table == ffi.NULL else Isa(name, table)


def fenced(size: int, align: int = 1, fill: int = 0xAB) -> np.ndarray:
    """``size`` bytes of ``fill`` that begin at a multiple of ``align`` and, as far as that allows,
    end where memory ends: touching what is behind crashes."""
    whole = -(-(size + align) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, whole + mmap.PAGESIZE), np.uint8)
    behind = ctypes.c_void_p(memory.ctypes.data + whole)
    assert ctypes.CDLL(None).mprotect(behind, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    memory = memory[:whole]
    memory[:] = fill
    start = (whole - size) // align * align
    return memory[start : start + size]


def aligned(count: int, dtype: Any = np.uint8) -> np.ndarray:
    """A flat array in :func:`fenced` memory whose first byte is aligned to 64."""
    dtype = np.dtype(dtype)
    return fenced(count * dtype.itemsize, 64).view(dtype)


def is_fenced(array: np.ndarray) -> bool:
    """Whether ``array`` lies in memory of :func:`fenced`."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


class Guarded:
    """An output array between guard bytes and the end of memory, to see that nothing else was
    written.

    Attributes:
        array: the array, C-contiguous; its bytes are 0xCD until written.
    """

    def __init__(
        self, shape: Sequence[int] | int, dtype: Any = np.float32, align: int = 64
    ) -> None:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        whole = fenced(size + 128, align, fill=0xCD)
        start = 128 if align == 64 else len(whole) - size
        self._before, inside, self._behind = np.split(whole, [start, start + size])
        self.array = inside.view(dtype).reshape(shape)

    def check(self) -> np.ndarray:
        """The array, after asserting that the bytes around it are untouched."""
        assert (self._before == 0xCD).all(), "written before the output"
        assert (self._behind == 0xCD).all(), "written behind the output"
        return self.array


@dataclass(frozen=True)
class Structs:
    """An array of structs of a type, each with fields as those of :class:`Arguments`."""

    type_name: str
    fields: Sequence[dict[str, Any]]


class Arguments:
    """An argument struct and the arrays it points to.

    Fields are given by name: numbers, arrays (a pointer to their data, or to a fenced copy where
    the kernel only reads them; they are kept alive), sequences for array fields, dicts for nested
    structs, :class:`Structs` for pointers to several, and :class:`Epilogue`.
    """

    def __init__(self, type_name: str, **fields: Any) -> None:
        ffi, _ = library()
        self._kept: list[Any] = []
        self.struct = ffi.new(f"{type_name} *")
        self.pointer = ffi.cast("const void *", self.struct)
        self._fill(self.struct, fields)

    def _fill(self, struct: Any, fields: dict[str, Any]) -> None:
        ffi, _ = library()
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                self._kept.append(_placed(struct, name, value))
            elif isinstance(value, dict):
                self._fill(getattr(struct, name), value)
            elif isinstance(value, Epilogue):
                self._kept.append(value)
                setattr(struct, name, value.struct[0])
            elif isinstance(value, Structs):
                array = ffi.new(f"{value.type_name}[]", len(value.fields))
                self._kept.append(array)
                for element, inside in zip(array, value.fields):
                    self._fill(element, inside)
                setattr(struct, name, array)
            elif value is None:
                setattr(struct, name, ffi.NULL)
            else:
                setattr(struct, name, value)


class Epilogue:
    """A bnnc_epilogue; ``steps`` are (kind, fields) with kinds as in bnnc.ir.epilogue.

    Fields are those of bnnc_step: numbers, arrays for a, b and out, ``compare`` as "ge", "gt",
    "nlt", "nle", ``layout`` as "bits_nhwc" or "bits_planar", ``function`` as its number.
    """

    COMPARES = ("ge", "gt", "nlt", "nle")
    LAYOUTS = ("bits_nhwc", "bits_planar")

    def __init__(
        self,
        steps: Sequence[tuple[str, dict[str, Any]]],
        channels: int,
        height: int = 1,
        width: int = 1,
    ) -> None:
        ffi, _ = library()
        self._kept: list[Any] = []
        array = ffi.new("bnnc_step[]", max(1, len(steps)))
        for step, (kind, fields) in zip(array, steps):
            step.kind = STEPS.index(kind)
            for name, value in fields.items():
                if name == "compare":
                    step.compare = self.COMPARES.index(value)
                elif name == "layout":
                    step.layout = self.LAYOUTS.index(value)
                elif isinstance(value, np.ndarray):
                    self._kept.append(_placed(step, name, value))
                else:
                    setattr(step, name, value)
        self._kept.append(array)
        self.struct = ffi.new("bnnc_epilogue *")
        self.struct.steps = array
        self.struct.count = len(steps)
        self.struct.channels = channels
        self.struct.height = height
        self.struct.width = width


@functools.cache
def _read_only() -> dict[str, set[str]]:
    """For each struct of kernel.h the fields that point to what a kernel only reads."""
    found = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", cdef(), re.DOTALL):
        declarations = re.findall(
            r"const ([^;]*);", re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        )
        found[name] = set(
            re.findall(r"\*\s*(\w+)\s*[,[;]", " ".join(d + ";" for d in declarations))
        )
    return found


def _placed(struct: Any, name: str, array: np.ndarray) -> np.ndarray:
    """Point a field at ``array``, or where a kernel only reads it, at a fenced copy of it; returns
    what to keep alive."""
    ffi, _ = library()
    type_name = ffi.typeof(struct).cname.rstrip(" *&")
    if name in _read_only()[type_name] and not is_fenced(array):
        copy = fenced(array.nbytes)
        copy[:] = array.reshape(-1).view(np.uint8)
        array = copy
    setattr(struct, name, ffi.cast("void *", array.ctypes.data))
    return array


TYPES = {
    DType.F32: 0,
    DType.I32: 1,
    DType.I64: 2,
    DType.U8: 3,
    DType.I8: 4,
    DType.BOOL: 5,
}
"""Element types to BNNC_TYPE_ numbers."""

CAST_TYPES = {
    DType.F16: 6,
    DType.F64: 7,
    DType.I16: 8,
    DType.U16: 9,
    DType.U32: 10,
    DType.U64: 11,
}
"""The numbers of those that are only cast and moved."""


@functools.cache
def function_codes() -> dict[str, int]:
    """BNNC_FN_ numbers by name, as the IR spells it (``HardSwish``)."""
    _, lib = library()
    names = re.findall(r"BNNC_FN_(\w+)", cdef())
    return {
        "".join(part.capitalize() for part in name.split("_")): getattr(lib, f"BNNC_FN_{name}")
        for name in names
    }


def reference(op: str, *arrays: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """What the IR's op makes of ``arrays``."""
    declared = OPS[op]
    with np.errstate(all="ignore"):
        return declared.compute(Node(declared, "", declared.complete(attrs), 0), arrays)


def isas() -> Iterator[str]:
    """Every instruction set a library may hold, best last."""
    yield from ISAS
