"""C compilers: finding one, knowing which it is, and running it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnnc.errors import ToolchainError, printable
from bnnc.toolchain.targets import Target

_NONE = "install gcc or clang, or `pip install ziglang`, or name one with --cc"


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

    def run(self, arguments: Sequence[str | Path], *, doing: str, cwd: Path | None = None) -> None:
        """Call it.

        Args:
            arguments: what follows the command.
            doing: what it is asked to do, for the error: "compiling pool.c".

        Raises:
            ToolchainError: if it fails, with the first error it printed; ``details`` on the
                exception holds all of it.
        """
        code, text = _call([*self.command, *map(str, arguments)], cwd=cwd)
        if code == 0:
            return
        error = ToolchainError(f"{self.title} failed {doing}: {_first_error(code, text)}")
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
    if shutil.which(command[0]) is None:
        raise ToolchainError(f"{source} names {printable(given)!r}, which is not there", hint=_NONE)
    compiler = _identify(command, target)
    if compiler is None:
        raise ToolchainError(
            f"{source} names {printable(given)!r}, which is no C compiler for {target.name}",
            hint=_NONE,
        )
    return compiler


def _candidates(target: Target) -> Iterator[tuple[str, ...]]:
    names = ("cc", "gcc", "clang") if target.is_native else (f"{target.triple}-gcc",)
    for name in names:
        if shutil.which(name):
            yield (name,)
    if not target.is_native and shutil.which("clang"):
        yield ("clang", f"--target={target.triple}")
    if importlib.util.find_spec("ziglang") is not None:
        yield (sys.executable, "-m", "ziglang", "cc")
    elif shutil.which("zig"):
        yield ("zig", "cc")


def _identify(command: tuple[str, ...], target: Target) -> Compiler | None:
    """What ``command`` is, or None if it is no working C compiler for ``target``."""
    code, text = _call([*command, "--version"])
    version = text.strip().splitlines()[0].strip() if code == 0 and text.strip() else ""
    if not version:
        return None
    if "zig" in " ".join(command):
        # Without a target zig compiles for exactly this processor.
        full = (*command, "-target", target.zig, "-mcpu=baseline")
        return Compiler(full, "zig", version)
    code, machine = _call([*command, "-dumpmachine"])
    family, _, _ = machine.strip().partition("-")
    if code != 0 or {"amd64": "x86_64", "arm64": "aarch64"}.get(family, family) != target.machine:
        return None
    return Compiler(command, "clang" if "clang" in version.lower() else "gcc", version)


def _call(command: Sequence[str], cwd: Path | None = None) -> tuple[int, str]:
    """Exit code and everything printed."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return 127, str(error.strerror)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _first_error(code: int, text: str) -> str:
    if code < 0:
        return f"it was stopped by signal {-code}, as when memory runs out"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line.lower() or "undefined reference" in line:
            return printable(line, 200)
    return printable(lines[0], 200) if lines else f"exit code {code}, without a word"
