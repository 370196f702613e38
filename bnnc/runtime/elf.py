"""Looks into a shared library before the dynamic loader does, which crashes or mumbles on a
damaged one: is it whole, is it for this processor, and which model does it hold?

Offsets and field names are those of the ELF-64 specification.
"""

from __future__ import annotations

import os
import platform
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bnnc.errors import LibraryError
from bnnc.files import open_regular

MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}
MAGIC = b"\x7fELF"
_MARK = "_abi_version"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SHARED_OBJECT = 3
_NOBITS, _DYNSYM = 8, 11
_REBUILD = "compile the model again"


class _Section(NamedTuple):
    kind: int
    offset: int
    size: int
    link: int


def host_machine() -> str:
    """This machine's processor family, as in :data:`MACHINES`."""
    machine = platform.machine().lower()
    return _ALIASES.get(machine, machine)


def model_prefix(path: Path, machine: str | None = None) -> str:
    """Check that ``path`` is a whole library for ``machine`` and return its symbols' prefix.

    Args:
        path: the file.
        machine: processor family it must be for; default: this machine's.

    Raises:
        LibraryError: if the file is missing, no ELF library, cut short, for another processor,
            or holds no compiled model (or several).
    """
    try:
        with open_regular(path) as file:
            symbols = _defined_symbols(file, path, machine or host_machine())
    except OSError as error:
        raise LibraryError(f"cannot be read: {error.strerror}", file=path) from None
    prefixes = [
        name[: -len(_MARK)]
        for name in symbols
        if name.endswith(_MARK) and f"{name[: -len(_MARK)]}_run_observed" in symbols
    ]
    if not prefixes:
        raise LibraryError(
            "is a shared library, but holds no model compiled by bnnc", file=path, hint=_REBUILD
        )
    if len(prefixes) > 1:
        listed = ", ".join(sorted(prefixes))
        raise LibraryError(f"holds several models ({listed}); one is expected", file=path)
    return prefixes[0]


def _defined_symbols(file: BinaryIO, path: Path, machine: str) -> set[str]:
    size = os.fstat(file.fileno()).st_size
    head = file.read(_HEADER.size)
    if not head:
        raise LibraryError("is empty", file=path, hint=_REBUILD)
    if head[:4] != MAGIC:
        raise LibraryError(
            "is not a compiled model: no ELF shared library",
            file=path,
            hint="make one with `bnnc compile MODEL.onnx -o model.so`",
        )
    if len(head) < _HEADER.size:
        raise _cut_short(path)
    fields = _HEADER.unpack(head)
    ident, kind, code = fields[:3]
    segments_at, sections_at = fields[5], fields[6]
    segment_bytes, segment_count, section_bytes, section_count = fields[9:13]
    found = MACHINES.get(code, f"processor {code}") if ident[4:6] == b"\x02\x01" else "32-bit"
    if found != machine:
        raise LibraryError(
            f"was compiled for {found}, this machine is {machine}",
            file=path,
            hint="compile the model with `--target native` here",
        )
    if kind != _SHARED_OBJECT:
        raise LibraryError("is an ELF file, but no shared library", file=path, hint=_REBUILD)

    for at, length, count, layout in (
        (segments_at, segment_bytes, segment_count, _SEGMENT),
        (sections_at, section_bytes, section_count, _SECTION),
    ):
        if not count or length != layout.size or at + length * count > size:
            raise _cut_short(path)
    for _, _, offset, _, _, length, _, _ in _table(file, _SEGMENT, segments_at, segment_count):
        if offset + length > size:
            raise _cut_short(path)
    sections = [
        _Section(entry[1], entry[4], entry[5], entry[6])
        for entry in _table(file, _SECTION, sections_at, section_count)
    ]
    if any(s.kind != _NOBITS and s.offset + s.size > size for s in sections):
        raise _cut_short(path)

    symbols: set[str] = set()
    for section in sections:
        if section.kind != _DYNSYM or section.link >= len(sections):
            continue
        names = _bytes(file, sections[section.link])
        count = section.size // _SYMBOL.size
        for start, _, _, home, _, _ in _table(file, _SYMBOL, section.offset, count):
            if home and start < len(names):
                end = names.find(b"\0", start)
                symbols.add(names[start:end].decode("ascii", "replace"))
    return symbols


def _table(file: BinaryIO, layout: struct.Struct, at: int, count: int) -> list[tuple[int, ...]]:
    file.seek(at)
    return list(layout.iter_unpack(file.read(layout.size * count)))


def _bytes(file: BinaryIO, section: _Section) -> bytes:
    file.seek(section.offset)
    return file.read(section.size)


def _cut_short(path: Path) -> LibraryError:
    return LibraryError("is damaged or cut short", file=path, hint=_REBUILD)
