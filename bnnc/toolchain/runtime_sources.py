"""The C runtime's files: where they are, and as one text."""

from __future__ import annotations

import re
from pathlib import Path

from bnnc.errors import ToolchainError

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_POSIX = """\
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif"""
"""Asks for threads and signals where the compiler is told to keep to ISO C (``-std=c99``)."""

_ON_PREFIXES = """\
 * Where two models are linked into one program, each is generated with a prefix of its own:
 * define BNNC_PREFIX to it before including this file.
"""
"""What the header says of prefixes before it has one."""

_INTERFACE = (
    "abi_version",
    "model_json",
    "arena_bytes",
    "pool_create",
    "pool_destroy",
    "run",
    "run_observed",
    "detect",
    "isa",
    "set_isa",
    "calibrate",
    "strerror",
)


def folder() -> Path:
    """The folder of the C runtime, in an installed package or the source tree.

    Raises:
        ToolchainError: if it is missing, as in a damaged installation.
    """
    package = Path(__file__).parent.parent
    for place in (package / "runtime_c", package.parent / "runtime_c"):
        if (place / "kernel.h").is_file():
            return place
    raise ToolchainError("the C runtime is missing", file=package, hint="install bnnc again")


def kernel_units() -> list[Path]:
    """The C files of the kernels, one for each instruction set, in a fixed order."""
    return sorted(folder().glob("isa/*.c"))


def other_units() -> list[Path]:
    """The other C files to compile, in a fixed order."""
    return sorted(folder().glob("*.c"))


def prefix_flags(prefix: str) -> list[str]:
    """What the compiler is called with where public symbols start with ``prefix``."""
    return [] if prefix == "bnnc" else [f"-DBNNC_PREFIX={prefix}"]


def files() -> list[Path]:
    """Everything that objects depend on, in a fixed order."""
    root = folder()
    return sorted(p for p in root.rglob("*") if p.suffix in (".c", ".h", ".inl"))


def header(prefix: str) -> str:
    """``bnnc.h`` for a model whose symbols start with ``prefix``, complete in itself; headers of
    several models go together in one program."""
    text = (folder() / "bnnc.h").read_text()
    if prefix == "bnnc":
        return text
    text = re.sub(r"#ifdef BNNC_PREFIX\n.*?#endif\n\n?", "", text, count=1, flags=re.DOTALL)
    text = text.replace(_ON_PREFIXES, f" * Every name starts with this model's prefix, {prefix}.\n")
    text = re.sub(r"\bBNNC_H\b", f"BNNC_H_{prefix}", text)
    names = "|".join(_INTERFACE)
    return re.sub(rf"\bbnnc_({names})\b", rf"{prefix}_\1", text)


def single_file(model: str, prefix: str) -> str:
    """The model's C text and the runtime as one C file that depends on nothing but libc.

    Args:
        model: the model's C text, weights included. Its opening comment stays on top.
        prefix: what the public symbols start with.
    """
    banner, rest = _split_banner(model)
    lines = [banner, _POSIX, "#define BNNC_INTERNAL static"]
    if prefix != "bnnc":
        lines.append(f"#define BNNC_PREFIX {prefix}")
    seen: set[Path] = set()
    root = folder()
    for unit in (*other_units(), *kernel_units()):
        lines.append(f"\n/* ---- {unit.relative_to(root).as_posix()} ---- */\n")
        lines.append(_inlined(unit.read_text(), unit.parent, seen))
    lines.append("\n/* ---- the model ---- */\n")
    lines.append(_inlined(rest, root, seen))
    return "\n".join(lines)


def _split_banner(text: str) -> tuple[str, str]:
    end = text.find("*/") + 2 if text.startswith("/*") else 0
    return text[:end], text[end:].lstrip("\n")


def _inlined(text: str, place: Path, seen: set[Path]) -> str:
    """``text`` with local includes written out: headers once, templates (.inl) every time."""
    lines = []
    for line in text.splitlines():
        match = _INCLUDE.match(line)
        if match is None:
            lines.append(line)
            continue
        path = (place / match[1]).resolve()
        if path.suffix == ".h" and path in seen:
            continue
        seen.add(path)
        lines.append(_inlined(path.read_text(), path.parent, seen).rstrip("\n"))
    return "\n".join(lines) + "\n"
