"""Building what the user asked for from a model's C text and weights.

Large weights never pass the C compiler: an assembler file includes them as they are. Compilers
work in a folder of their own; what they made is copied beside its place and then renamed, so that
a good file is never half overwritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bnnc.errors import InputError, ToolchainError, printable
from bnnc.files import check_place, fresh_file
from bnnc.toolchain import pyext, runtime_sources
from bnnc.toolchain.compilers import Compiler, find
from bnnc.toolchain.objects import runtime_objects
from bnnc.toolchain.targets import Target, resolve

CFLAGS = ("-O3", "-g0", "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-pthread")
LINK_FLAGS = ("-shared", "-pthread", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,-Bsymbolic")
"""The last one: a library calls its own functions, not another model's of the same name."""
LIBRARIES = ("-lm",)

_WEIGHTS = """\
    .section .rodata
    .balign 64
    .globl {symbol}
    .hidden {symbol}
    .type {symbol}, %object
{symbol}:
    .incbin "weights.bin"
    .size {symbol}, . - {symbol}
    .section .note.GNU-stack, "", %progbits
"""
_PREFIX = re.compile(r"(?!bnnc_)[A-Za-z][A-Za-z0-9_]{0,62}")  # the runtime's own names begin so
_TAKEN = frozenset("linux unix errno stdin stdout stderr EOF INFINITY NAN NULL".split())  # macros


@dataclass(frozen=True)
class Sources:
    """A model as code generation hands it over.

    Attributes:
        text: C text of the model. Compiled with the runtime's folder on the include path and,
            where a prefix was asked for, ``BNNC_PREFIX`` defined.
        weights: what the symbol ``bnnc_weights`` (with the prefix, if any) shall hold. For
            ``emit="c"`` the text holds its weights itself.
    """

    text: str
    weights: bytes


def build(
    sources: Sources,
    output: str | os.PathLike[str],
    *,
    emit: str = "so",
    target: str = "native",
    prefix: str | None = None,
    cc: str | None = None,
) -> list[Path]:
    """Build a library, a C file or an extension module.

    Args:
        sources: the model.
        output: the file to make. ``emit="c"`` and ``"a"`` put the header beside it.
        emit: one of :data:`EMITS`.
        target: a target's name, see ``bnnc targets``.
        prefix: what the public symbols start with, default ``bnnc``.
        cc: the C compiler's command; default: see :func:`bnnc.toolchain.find`.

    Returns:
        The files made, ``output`` first.

    Raises:
        InputError: if an option or the place of the output does not fit.
        ToolchainError: if there is no compiler or it fails.
    """
    if emit not in EMITS:
        raise InputError(f"cannot emit {printable(emit)!r}; choose one of {', '.join(EMITS)}")
    prefix = "bnnc" if prefix is None else prefix
    if not _PREFIX.fullmatch(prefix) or prefix in _TAKEN:
        raise InputError(f"{printable(prefix)!r} is no prefix for C symbols")
    output = Path(output)
    job = _Job(sources, output, resolve(target), prefix, cc)
    check_place(output)
    return EMITS[emit](job)


@dataclass(frozen=True)
class _Job:
    sources: Sources
    output: Path
    target: Target
    prefix: str
    cc: str | None

    @property
    def flags(self) -> list[str]:
        return [*CFLAGS, f"-I{runtime_sources.folder()}"]

    def objects(self, compiler: Compiler, work: Path) -> list[Path]:
        """The model's object files, made in ``work``, then the runtime's."""
        (work / "model.c").write_text(self.sources.text)
        (work / "weights.bin").write_bytes(self.sources.weights)
        symbol = f"{self.prefix}_weights"
        (work / "weights.s").write_text(_WEIGHTS.format(symbol=symbol))
        prefixed = [*self.flags, *runtime_sources.prefix_flags(self.prefix)]
        model = _compile(compiler, prefixed, work / "model.c")
        weights = _compile(compiler, [], work / "weights.s")
        runtime = runtime_objects(compiler, self.flags, work, prefix=self.prefix)
        return [model, weights, *runtime]


def _compile(compiler: Compiler, flags: list[str], source: Path) -> Path:
    made = source.with_suffix(".o")
    arguments = ["-c", *flags, "-o", made.name, source.name]
    compiler.run(arguments, makes=made, doing=f"compiling {source.name}")
    return made


def _shared_library(job: _Job) -> list[Path]:
    compiler = find(job.target, job.cc)
    with _work_folder() as work:
        made = work / "model.so"
        link: list[str | Path] = [*LINK_FLAGS, "-o", made, *job.objects(compiler, work), *LIBRARIES]
        compiler.run(link, makes=made, doing="linking the library")
        return [_copy(made, job.output)]


def _extension(job: _Job) -> list[Path]:
    if not job.target.is_native:
        raise InputError("an extension module can only be built for this machine")
    if job.prefix != "bnnc":
        raise InputError("an extension module takes no prefix: its file's name tells it apart")
    module = pyext.module_name(job.output)
    compiler = find(job.target, job.cc)
    with _work_folder() as work:
        objects = job.objects(compiler, work)
        for name, text in pyext.sources(module).items():
            (work / name).write_text(text)
            flags = [*job.flags, *pyext.flags(module, name)]
            objects.append(_compile(compiler, flags, work / name))
        made = work / "module.so"
        # Python's own symbols are found in the interpreter that imports the module.
        link_flags = [flag for flag in LINK_FLAGS if flag != "-Wl,-z,defs"]
        link: list[str | Path] = [*link_flags, "-o", made, *objects, *LIBRARIES]
        compiler.run(link, makes=made, doing="linking the module")
        return [_copy(made, job.output)]


def _static_library(job: _Job) -> list[Path]:
    compiler = find(job.target, job.cc)
    archiver = _archiver(compiler)
    header = _header_path(job.output)
    with _work_folder() as work:
        made = work / "model.a"
        members: list[str | Path] = ["rcs", made, *job.objects(compiler, work)]
        archiver.run(members, makes=made, doing="making the static library")
        library = _copy(made, job.output)
    return [library, _write(header, runtime_sources.header(job.prefix))]


def _c_file(job: _Job) -> list[Path]:
    header = _header_path(job.output)
    text = runtime_sources.single_file(job.sources.text, job.prefix)
    return [_write(job.output, text), _write(header, runtime_sources.header(job.prefix))]


EMITS: dict[str, Callable[[_Job], list[Path]]] = {
    "so": _shared_library,
    "c": _c_file,
    "a": _static_library,
    "pyext": _extension,
}
"""What can be built, each with what builds it."""


def _archiver(compiler: Compiler) -> Compiler:
    """The archiver that goes with a compiler."""
    *front, last = compiler.command[:1] if compiler.family != "zig" else compiler.command[:-3]
    if compiler.family == "zig":
        return Compiler((*front, "ar"), "ar", "")
    name = os.path.basename(last)
    candidates = [last[: -len(name)] + name[:-3] + "ar"] if name.endswith("gcc") else []
    for candidate in (*candidates, "ar", "llvm-ar"):
        if shutil.which(candidate):
            return Compiler((candidate,), "ar", "")
    raise ToolchainError("found no archiver (ar)", hint="install binutils")


def _header_path(output: Path) -> Path:
    header = output.with_suffix(".h")
    if header == output:
        raise InputError("would be overwritten by its own header", file=output, hint="name it .c")
    check_place(header)
    return header


def _write(path: Path, text: str) -> Path:
    with fresh_file(path) as fresh:
        fresh.write_text(text)
    return path


def _copy(made: Path, output: Path) -> Path:
    # A library is executable, as its linker made it, for whom the user's umask lets it be.
    with fresh_file(output, made.stat().st_mode & 0o777) as fresh:
        shutil.copyfile(made, fresh)
    return output


@contextlib.contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder for compilers to work in.

    Raises:
        ToolchainError: if there is none, or no room in it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ToolchainError(
            f"cannot be compiled in: {error.strerror or error}",
            file=tempfile.tempdir,
            hint="name a folder with room in TMPDIR",
        ) from None
