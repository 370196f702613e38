"""The C runtime as object files, compiled once and kept in the user's cache.

The key is everything that an object depends on: the compiler, its flags, and the content of the
runtime's files. Objects appear by rename, so two builds at the same time do no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bnnc.toolchain import runtime_sources
from bnnc.toolchain.compilers import Compiler

_KEPT = 12
"""Sets of objects kept; older ones go when a new one comes."""

_UNFINISHED = "new-"
"""What folders of sets being made begin with; one that is a day old belongs to a killed build."""

_DAY = 24 * 3600


def runtime_objects(compiler: Compiler, flags: Sequence[str], scratch: Path) -> list[Path]:
    """Object files of the C runtime, compiled if the cache does not have them.

    Args:
        compiler: the compiler.
        flags: what it is called with.
        scratch: a folder to work in where the cache cannot be written.

    Raises:
        ToolchainError: if a file does not compile.
    """
    units = runtime_sources.units()
    key = _key(compiler, flags)
    cache = _cache_folder()
    home = cache / key if cache is not None else None
    if home is not None and home.is_dir():
        with contextlib.suppress(OSError):
            os.utime(home)
        objects = [home / f"{unit.stem}.o" for unit in units]
        if all(path.is_file() for path in objects):
            return objects
    with contextlib.ExitStack() as stack:
        if home is not None:
            temporary = tempfile.TemporaryDirectory(
                prefix=_UNFINISHED, dir=cache, ignore_cleanup_errors=True
            )
            work = Path(stack.enter_context(temporary))
        else:
            work = scratch / "runtime"
            work.mkdir()
        _compile_all(compiler, flags, units, work)
        if home is None:
            return [work / f"{unit.stem}.o" for unit in units]
        shutil.rmtree(home, ignore_errors=True)
        with contextlib.suppress(OSError):  # another build was quicker: its objects are as good
            os.rename(work, home)
        _forget_old(home)
    return [home / f"{unit.stem}.o" for unit in units]


def _compile_all(
    compiler: Compiler, flags: Sequence[str], units: Sequence[Path], work: Path
) -> list[Path]:
    given_up = threading.Event()

    def compile_one(unit: Path) -> Path:
        made = work / f"{unit.stem}.o"
        compiler.run(
            ["-c", *flags, "-o", made, unit],
            makes=made,
            doing=f"compiling {unit.name}",
            given_up=given_up.is_set,
        )
        return made

    with ThreadPoolExecutor(max_workers=_processors()) as workers:
        try:
            return list(workers.map(compile_one, units))
        finally:
            given_up.set()  # Ctrl-C reaches this thread only; one that fails ends the others too


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key(compiler: Compiler, flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    program = shutil.which(compiler.command[0]) or compiler.command[0]
    for text in (os.path.realpath(program), *compiler.command, compiler.version, *flags):
        digest.update(text.encode() + b"\0")
    root = runtime_sources.folder()
    for path in runtime_sources.files():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _cache_folder() -> Path | None:
    """The folder for objects, made if need be; None where nothing can be written."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        home = os.path.expanduser("~")
        base = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")
    path = Path(base) / "bnnc" / "objects"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError:
        return None
    return path


def _forget_old(home: Path) -> None:
    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    others = [path for path in home.parent.iterdir() if path != home]
    sets = [path for path in others if not path.name.startswith(_UNFINISHED)]
    old = sorted(sets, key=age, reverse=True)[_KEPT - 1 :]
    yesterday = time.time() - _DAY
    old += [p for p in others if p.name.startswith(_UNFINISHED) and age(p) < yesterday]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
