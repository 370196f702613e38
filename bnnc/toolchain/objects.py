"""The C runtime as object files, compiled once and kept in the user's cache.

The key is everything that an object depends on: the compiler, its flags, and the content of the
runtime's files. Objects appear by rename and are never taken away from a build that uses them, so
builds at the same time do no harm; a set that was damaged is compiled anew.

The kernels, which take long to compile, make a set of their own that no prefix changes. Their
symbols are named by its key instead: static libraries of models that share it share its kernels.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from bnnc.toolchain import runtime_sources
from bnnc.toolchain.compilers import GLANCE, Compiler, awaited

_KEPT = 12
"""Sets of objects kept; older ones go when a new one comes."""

_SIZES = "sizes.json"
"""In each set: how many bytes each object has. It comes last, so a set without it is unfinished,
and one that it does not fit is damaged."""

_UNFINISHED = "new-"
"""What folders that objects are copied into begin with; one that is a day old belongs to a killed
build."""

_DAY = 24 * 3600


def runtime_objects(
    compiler: Compiler, flags: Sequence[str], scratch: Path, *, prefix: str = "bnnc"
) -> list[Path]:
    """Object files of the C runtime, compiled if the cache does not have them.

    Args:
        compiler: the compiler.
        flags: what it is called with.
        scratch: a folder to compile in.
        prefix: what the public symbols start with.

    Raises:
        ToolchainError: if a file does not compile.
    """
    named = [*flags, f"-DBNNC_KERNELS=bnnc_{_key(compiler, flags)[:16]}"]
    kernels, others = runtime_sources.kernel_units(), runtime_sources.other_units()
    prefixed = [*named, *runtime_sources.prefix_flags(prefix)]
    return [
        *_kept_objects(compiler, named, kernels, scratch),
        *_kept_objects(compiler, prefixed, others, scratch),
    ]


def _kept_objects(
    compiler: Compiler, flags: Sequence[str], units: Sequence[Path], scratch: Path
) -> list[Path]:
    cache = _cache_folder()
    if cache is None:
        return _compile_all(compiler, flags, units, scratch)
    home = cache / _key(compiler, [*flags, *(unit.name for unit in units)])
    kept = [home / f"{unit.stem}.o" for unit in units]
    if _is_whole(home, kept):
        return kept
    with _turn(home):
        if _is_whole(home, kept):  # another build has made them meanwhile
            return kept
        objects = _compile_all(compiler, flags, units, scratch)
        with contextlib.suppress(OSError):  # as where the disk is full: not kept, then
            _keep(objects, home)
            _forget_old(home)
    return objects


@contextlib.contextmanager
def _turn(home: Path) -> Iterator[None]:
    """Let one build at a time make a set, the others wait for it: all would take all processors for
    the same. Where the file system has no locks, they do."""
    place = home.parent.with_name("locks") / home.name
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            place.parent.mkdir(mode=0o700, exist_ok=True)
            _wait_for(held.enter_context(place.open("ab")))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                place.unlink()


def _wait_for(lock: BinaryIO) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(GLANCE)
        else:
            return


def _compile_all(
    compiler: Compiler, flags: Sequence[str], units: Sequence[Path], scratch: Path
) -> list[Path]:
    work = Path(tempfile.mkdtemp(prefix="runtime-", dir=scratch))
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
            return [awaited(made) for made in [workers.submit(compile_one, u) for u in units]]
        finally:
            given_up.set()  # Ctrl-C reaches this thread only; one that fails ends the others too
            workers.shutdown(cancel_futures=True)


def _is_whole(home: Path, kept: Sequence[Path]) -> bool:
    """Whether all of a set is there; if so, it has been used now."""
    try:
        whole = bool(json.loads((home / _SIZES).read_text()) == _sizes(kept))
    except (OSError, ValueError):
        return False
    with contextlib.suppress(OSError):
        os.utime(home)
    return whole


def _sizes(objects: Sequence[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in objects}


def _keep(objects: Sequence[Path], home: Path) -> None:
    """Copy objects into the cache. Each takes its place whole, and no set is removed for another:
    builds that link the objects of ``home`` meanwhile find all of them.

    Raises:
        OSError: if there is no room for them.
    """
    with tempfile.TemporaryDirectory(
        prefix=_UNFINISHED, dir=home.parent, ignore_cleanup_errors=True
    ) as folder:
        for path in objects:
            shutil.copyfile(path, Path(folder) / path.name)
        (Path(folder) / _SIZES).write_text(json.dumps(_sizes(objects)))
        home.mkdir(mode=0o700, exist_ok=True)
        for name in (*(path.name for path in objects), _SIZES):
            os.replace(Path(folder) / name, home / name)


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
    """The folder for objects, made if need be; None where there is none and none can be made."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification has it that such a one does not count
        home = os.path.expanduser("~")
        base = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")
    path = Path(base) / "bnnc" / "objects"
    if not path.is_absolute():  # a user without an entry in the list of users has no home
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
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
