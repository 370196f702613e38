"""Style and types are checked by the tools that own them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_is_clean_for_ruff() -> None:
    _passes(sys.executable, "-m", "ruff", "check", ".")


def test_python_is_formatted() -> None:
    _passes(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_ir_and_passes_are_strictly_typed() -> None:
    strict = ("--strict", "--follow-imports=silent")
    _passes(sys.executable, "-m", "mypy", *strict, "-p", "bnnc.ir", "-p", "bnnc.passes")


def test_c_is_formatted() -> None:
    clang_format = shutil.which("clang-format", path=str(Path(sys.executable).parent))
    assert clang_format, "clang-format is in the test extra"
    runtime = ROOT / "runtime_c"
    sources = [str(p) for p in sorted(runtime.rglob("*")) if p.suffix in {".c", ".h", ".inl"}]
    assert sources
    _passes(clang_format, "--dry-run", "--Werror", *sources)
