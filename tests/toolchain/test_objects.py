"""The C runtime is compiled once and kept."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bnnc.errors import ToolchainError
from bnnc.toolchain import Compiler, find, objects, resolve, runtime_sources

MakeProgram = Callable[[str, str], Path]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime of two small files, and a cache of its own."""
    root = tmp_path / "runtime_c"
    (root / "isa").mkdir(parents=True)
    (root / "kernel.h").write_text("int one(void);\n")
    (root / "pool.c").write_text('#include "kernel.h"\nint one(void) { return 1; }\n')
    (root / "isa" / "portable.c").write_text("int two(void) { return 2; }\n")
    monkeypatch.setattr(runtime_sources, "folder", lambda: root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


class Counting:
    """A compiler that counts its calls."""

    def __init__(self) -> None:
        self.compiler = find(resolve("native"))
        self.command, self.version = self.compiler.command, self.compiler.version
        self.calls = 0

    def run(self, *args: object, **options: object) -> None:
        self.calls += 1
        self.compiler.run(*args, **options)  # type: ignore[arg-type]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def contents(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_every_file_is_compiled(runtime: Path, tmp_path: Path) -> None:
    made = objects.runtime_objects(find(resolve("native")), ["-O1"], tmp_path)
    assert names(made) == ["portable.o", "pool.o"]
    assert all(path.stat().st_size for path in made)


def test_what_is_compiled_is_kept(runtime: Path, tmp_path: Path) -> None:
    compiler = Counting()
    first = objects.runtime_objects(compiler, ["-O1"], tmp_path)  # type: ignore[arg-type]
    second = objects.runtime_objects(compiler, ["-O1"], tmp_path)  # type: ignore[arg-type]
    assert contents(first) == contents(second) and compiler.calls == 2


@pytest.mark.parametrize("change", ["flags", "version", "content", "header"])
def test_a_change_compiles_anew(runtime: Path, tmp_path: Path, change: str) -> None:
    compiler = Counting()
    objects.runtime_objects(compiler, ["-O1"], tmp_path)  # type: ignore[arg-type]
    flags = ["-O0"] if change == "flags" else ["-O1"]
    if change == "version":
        compiler.version = "a new one"
    if change == "content":
        (runtime / "pool.c").write_text("int three(void) { return 3; }\n")
    if change == "header":
        (runtime / "kernel.h").write_text("int one(void); /* or so */\n")
    objects.runtime_objects(compiler, flags, tmp_path)  # type: ignore[arg-type]
    assert compiler.calls == 4


def test_another_prefix_compiles_no_kernel_anew(runtime: Path, tmp_path: Path) -> None:
    compiler = Counting()
    objects.runtime_objects(compiler, [], tmp_path)  # type: ignore[arg-type]
    objects.runtime_objects(compiler, [], tmp_path, prefix="det")  # type: ignore[arg-type]
    assert compiler.calls == 3


def test_a_cache_that_cannot_be_written_is_done_without(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = objects.runtime_objects(find(resolve("native")), ["-O1"], scratch)
    assert all(path.is_relative_to(scratch) and path.is_file() for path in made)


def test_a_cache_without_room_is_done_without(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    made = objects.runtime_objects(find(resolve("native")), ["-O1"], tmp_path)
    assert all(path.stat().st_size for path in made)
    assert not list((tmp_path / "cache" / "bnnc" / "objects").iterdir())


def test_without_a_home_nothing_is_kept(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    here.mkdir(), scratch.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without entry
    made = objects.runtime_objects(find(resolve("native")), ["-O1"], scratch)
    assert all(path.is_relative_to(scratch) for path in made)
    assert not list(here.iterdir())


def test_a_cache_whose_place_depends_on_the_current_folder_does_not_count(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir(), home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(home))
    objects.runtime_objects(find(resolve("native")), ["-O1"], tmp_path)
    assert not list(here.iterdir()) and list(home.rglob("pool.o"))


@pytest.mark.parametrize("damaged", ["pool.o", "portable.o", "sizes.json"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: os.truncate(path, 0)], ids=["gone", "emptied"]
)
def test_a_damaged_cache_is_repaired(
    runtime: Path, tmp_path: Path, damaged: str, damage: Callable[[Path], None]
) -> None:
    compiler = Counting()
    good = contents(objects.runtime_objects(compiler, ["-O1"], tmp_path))  # type: ignore[arg-type]
    for path in (tmp_path / "cache").rglob(damaged):
        damage(path)
    for _ in range(2):
        made = objects.runtime_objects(compiler, ["-O1"], tmp_path)  # type: ignore[arg-type]
        assert contents(made) == good
    assert compiler.calls == (4 if damaged == "sizes.json" else 3)


def test_builds_at_the_same_time_compile_once(runtime: Path, tmp_path: Path) -> None:
    compiler = Counting()
    with ThreadPoolExecutor(6) as workers:
        made = workers.map(lambda _: objects.runtime_objects(compiler, [], tmp_path), range(6))  # type: ignore[arg-type]
        assert len({tuple(contents(paths)) for paths in made}) == 1
    assert compiler.calls == 2 and not list((tmp_path / "cache" / "bnnc" / "locks").iterdir())


def test_builds_without_locks_do_not_take_objects_from_each_other(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    builds, rounds = 4, 10
    compiler = find(resolve("native"))
    good = contents(objects.runtime_objects(compiler, ["-O1"], tmp_path))
    compiled = threading.Barrier(builds)

    class Copying:
        """A compiler that has done its work before, and waits for those of the other builds."""

        command, version = compiler.command, compiler.version

        def run(self, arguments: list[object], *, makes: Path, **_: object) -> None:
            makes.write_bytes(good[["portable.o", "pool.o"].index(makes.name)])
            if makes.name == "pool.o":
                compiled.wait(10)

    def build(number: int) -> None:
        flags = [f"-DROUND={number}"]
        objects.runtime_objects(Copying(), flags, tmp_path)  # type: ignore[arg-type]
        # From here on the objects are in the cache, and others are still putting theirs there.
        for _ in range(20):
            kept = objects.runtime_objects(compiler, flags, tmp_path)
            assert kept[0].is_relative_to(tmp_path / "cache") and contents(kept) == good

    with ThreadPoolExecutor(builds) as workers:
        for number in range(rounds):
            list(workers.map(build, [number] * builds))


def test_what_an_interruption_finds_compiling_is_stopped(
    interrupted: Callable[[], AbstractContextManager[None]],
    runtime: Path,
    tmp_path: Path,
    make_program: MakeProgram,
) -> None:
    compiler = Compiler((str(make_program("cc", f"sleep 60 > {tmp_path}/held")),), "gcc", "1")
    with interrupted():
        objects.runtime_objects(compiler, [], tmp_path)


def test_objects_that_hold_nothing_are_not_kept(
    runtime: Path, tmp_path: Path, make_program: MakeProgram
) -> None:
    compiler = Compiler((str(make_program("cc", ": > pool.o; : > portable.o")),), "gcc", "1")
    with pytest.raises(ToolchainError, match="made nothing"):
        objects.runtime_objects(compiler, [], tmp_path)
    assert not list((tmp_path / "cache").rglob("*.o"))


def test_a_failure_leaves_nothing_behind_but_what_was_done(runtime: Path, tmp_path: Path) -> None:
    (runtime / "pool.c").write_text("nonsense\n")
    with pytest.raises(ToolchainError, match=r"failed compiling pool\.c"):
        objects.runtime_objects(find(resolve("native")), ["-O1"], tmp_path)
    (kept,) = (tmp_path / "cache" / "bnnc" / "objects").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["portable.o", "sizes.json"]


def test_old_objects_are_forgotten(runtime: Path, tmp_path: Path) -> None:
    compiler = find(resolve("native"))
    for number in range(objects._KEPT + 3):
        objects.runtime_objects(compiler, [f"-DNUMBER={number}"], tmp_path)
    latest, *_ = objects.runtime_objects(compiler, [f"-DNUMBER={number}"], tmp_path)
    kept = list((tmp_path / "cache" / "bnnc" / "objects").iterdir())
    assert len(kept) == objects._KEPT and latest.parent in kept


def test_the_runtime_of_this_installation_is_found() -> None:
    assert {path.name for path in runtime_sources.files()} >= {"bnnc.h", "kernel.h", "pool.c"}


def test_what_a_killed_build_left_is_forgotten_after_a_day(runtime: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "bnnc" / "objects"
    killed, running = cache / "new-killed", cache / "new-running"
    for folder in (killed, running):
        folder.mkdir(parents=True)
    long_ago = time.time() - 2 * objects._DAY
    os.utime(killed, (long_ago, long_ago))
    objects.runtime_objects(find(resolve("native")), ["-O1"], tmp_path)
    assert running.is_dir() and not killed.exists()


def test_a_damaged_installation_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "bnnc" / "toolchain" / "runtime_sources.py"
    monkeypatch.setattr(runtime_sources, "__file__", str(module))
    with pytest.raises(ToolchainError, match="the C runtime is missing; install bnnc again"):
        runtime_sources.folder()


def test_a_compiler_that_vanishes_is_told(tmp_path: Path) -> None:
    compiler = Compiler((str(tmp_path / "gone"),), "gcc", "1")
    with pytest.raises(ToolchainError, match="No such file or directory"):
        compiler.run(["-c"], makes=tmp_path / "pool.o", doing="compiling pool.c")
    assert shutil.which("gone") is None
