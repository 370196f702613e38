"""C compilers: finding one, knowing which it is, and running it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bnnc.errors import ToolchainError, printable
from bnnc.toolchain.targets import Target

_NONE = "install gcc or clang, or `pip install ziglang`, or name one with --cc"
_PATIENCE = 60.0
"""Seconds in which a compiler says what it is; one that hangs is none."""

GLANCE = 0.1
"""Seconds between two looks at whether a call is over or given up."""

_GRACE = 1.0
"""Seconds in which a compiler that is stopped may clear away its own files."""

_Result = TypeVar("_Result")

_FAULT = re.compile(
    "error:|undefined reference|cannot open|cannot find|final link failed", re.IGNORECASE
)


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Compiler:
    """A C compiler that compiles for a target.

    Attributes:
        command: how it is called, with the flags that select the target.
        family: "gcc", "clang" or "zig".
        version: the first line it says about itself.
    """

    command: tuple[str, ...]
    family: str
    version: str

    @property
    def title(self) -> str:
        """How a person would call it."""
        return shlex.join(self.command)

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        makes: Path,
        doing: str,
        given_up: Callable[[], bool] = _never,
    ) -> None:
        """Call it, in the folder of the file that it makes.

        Args:
            arguments: what follows the command.
            makes: the file that is there afterwards and is not before.
            doing: what it is asked to do, for the error: "compiling pool.c".
            given_up: asked now and then whether nobody waits any more; the call is stopped then.

        Raises:
            ToolchainError: if it fails, with the first error it printed; ``details`` on the
                exception holds all of it. Also if it says that it succeeded and made nothing.
        """
        code, text = _call([*self.command, *map(str, arguments)], makes.parent, given_up)
        if code != 0:
            fault = _first_error(code, text)
        elif not makes.is_file() or makes.stat().st_size == 0:
            fault = "it says it succeeded, but made nothing"
        else:
            return
        error = ToolchainError(f"{self.title} failed {doing}: {fault}")
        error.details = text
        raise error


def find(target: Target, cc: str | None = None) -> Compiler:
    """A compiler for ``target``.

    Args:
        target: what to compile for.
        cc: the command to use, as on the command line; default: ``$CC``, else the first that
            works of cc, gcc, clang (or the target's cross compiler) and zig.

    Raises:
        ToolchainError: if there is none, or the one asked for is missing or of another target.
    """
    for given, source in ((cc, "--cc"), (os.environ.get("CC"), "$CC")):
        if given and given.strip():
            return _asked_for(given, source, target)
    for command in _candidates(target):
        compiler = _identify(command, target)
        if compiler is not None:
            return compiler
    raise ToolchainError(f"found no C compiler for {target.name}", hint=_NONE)


def _asked_for(given: str, source: str, target: Target) -> Compiler:
    try:
        command = tuple(shlex.split(given))
    except ValueError:
        command = (given,)
    program = _program(command[0])
    if program is None:
        raise ToolchainError(f"{source} names {printable(given)!r}, which is not there", hint=_NONE)
    compiler = _identify((program, *command[1:]), target)
    if compiler is None:
        raise ToolchainError(
            f"{source} names {printable(given)!r}, which is no C compiler for {target.name}",
            hint=_NONE,
        )
    return compiler


def _candidates(target: Target) -> Iterator[tuple[str, ...]]:
    names = ("cc", "gcc", "clang") if target.is_native else (f"{target.triple}-gcc",)
    for program in filter(None, map(_program, names)):
        yield (program,)
    clang = _program("clang")
    if not target.is_native and clang is not None:
        yield (clang, f"--target={target.triple}")
    zig = _program("zig")
    if importlib.util.find_spec("ziglang") is not None:
        yield (sys.executable, "-m", "ziglang", "cc")
    elif zig is not None:
        yield (zig, "cc")


def _program(name: str) -> str | None:
    """What calls the program ``name`` from any folder; None if there is none."""
    place = shutil.which(name)
    if place is None:
        return None
    return name if os.path.isabs(place) else os.path.abspath(place)


def _identify(command: tuple[str, ...], target: Target) -> Compiler | None:
    """What ``command`` is, or None if it is no working C compiler for ``target``."""
    deadline = time.monotonic() + _PATIENCE

    def given_up() -> bool:
        return time.monotonic() > deadline

    code, text = _call([*command, "--version"], None, given_up)
    version = text.strip().splitlines()[0].strip() if code == 0 and text.strip() else ""
    if not version:
        return None
    if "zig" in " ".join(command):
        # Without a target zig compiles for exactly this processor.
        full = (*command, "-target", target.zig, "-mcpu=baseline")
        return Compiler(full, "zig", version)
    code, machine = _call([*command, "-dumpmachine"], None, given_up)
    family, _, _ = machine.strip().partition("-")
    if code != 0 or {"amd64": "x86_64", "arm64": "aarch64"}.get(family, family) != target.machine:
        return None
    return Compiler(command, "clang" if "clang" in version.lower() else "gcc", version)


def _call(
    command: Sequence[str], cwd: Path | None, given_up: Callable[[], bool]
) -> tuple[int, str]:
    """Exit code and everything printed. An exception, as by Ctrl-C, stops the call.

    A thread holds the compiler, because signals interrupt only the main one: no compiler is
    started and then lost before it is known.
    """
    left = threading.Event()

    def given_up_or_left() -> bool:
        return left.is_set() or given_up()

    with ThreadPoolExecutor(max_workers=1) as holder:
        try:
            return awaited(holder.submit(_held, command, cwd, given_up_or_left))
        finally:
            left.set()


def awaited(future: Future[_Result]) -> _Result:
    """What ``future`` results in. An exception, as by Ctrl-C, ends the wait for it.

    A signal that comes just before a thread goes to sleep is handled when it wakes, so this sleeps
    a little at a time.
    """
    while not future.done():
        wait([future], GLANCE)
    return future.result()


def _held(
    command: Sequence[str], cwd: Path | None, given_up: Callable[[], bool]
) -> tuple[int, str]:
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a linker that its driver starts can be stopped with it
        )
    except OSError as error:
        return 127, str(error.strerror)
    with process:
        while not given_up():
            with contextlib.suppress(subprocess.TimeoutExpired):
                printed, _ = process.communicate(timeout=GLANCE)
                return process.returncode, printed.decode("utf-8", "replace")
        _stop(process)
    return -signal.SIGTERM, ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the leader of a session and all it started: first so that they clear away their files,
    then whatever they do."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_GRACE)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _first_error(code: int, text: str) -> str:
    if code < 0:
        return f"it was stopped by signal {-code}, as when memory runs out"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # collect2, between gcc and the linker, only repeats that the linker failed.
    told = [line for line in lines if not line.startswith("collect2: ")] or lines
    for line in told:
        if _FAULT.search(line) and "warning:" not in line:
            return printable(line, 200)
    return printable(told[0], 200) if told else f"exit code {code}, without a word"
