"""What can be compiled for. Declared once: adding a target is adding a row to ``TARGETS``."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path

from bnnc.errors import ToolchainError, printable

_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}
_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "popcnt"})
_AVX512_BASE = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_AVX512_MORE = frozenset({"avx512_vpopcntdq", "avx512_bitalg", "avx512vbmi", "gfni"})
_FEATURES = {
    "portable": frozenset(),
    "avx2": _AVX2,
    "avx512": _AVX2 | _AVX512_BASE | _AVX512_MORE,
}
"""Instruction sets, each with the features it needs, as Linux spells them. Linux lists a feature
only where it also saves the registers."""


@dataclass(frozen=True)
class Target:
    """A family of machines.

    Attributes:
        name: as ``--target`` takes it.
        machine: processor family, as in ``uname -m``.
        system: operating system, as in ``uname -s``, lower case.
        triple: what a GNU cross compiler's name starts with.
        zig: the same for zig, with the oldest C library a result shall run on.
        isas: instruction sets a library for it holds, the best last.
    """

    name: str
    machine: str
    system: str
    triple: str
    zig: str
    isas: tuple[str, ...]

    @property
    def is_native(self) -> bool:
        """Whether this machine runs what is compiled for it."""
        return (self.machine, self.system) == _here()

    def supported_isas(self) -> tuple[str, ...]:
        """Those of ``isas`` that this machine runs; none where the target is another one's."""
        if not self.is_native:
            return ()
        return tuple(isa for isa in self.isas if _FEATURES[isa] <= _processor_features())


TARGETS = (
    Target(
        "x86_64-linux",
        "x86_64",
        "linux",
        "x86_64-linux-gnu",
        "x86_64-linux-gnu.2.17",
        ("portable", "avx2", "avx512"),
    ),
    Target(
        "aarch64-linux",
        "aarch64",
        "linux",
        "aarch64-linux-gnu",
        "aarch64-linux-gnu.2.17",
        ("portable",),
    ),
)


def resolve(name: str) -> Target:
    """The target called ``name``; ``native`` is this machine's.

    Raises:
        ToolchainError: if there is none.
    """
    for target in TARGETS:
        if target.name == name or (name == "native" and target.is_native):
            return target
    listed = ", ".join(("native", *(target.name for target in TARGETS)))
    if name == "native":
        machine, system = _here()
        what = f"bnnc does not compile for this machine ({machine}, {system}) yet"
    else:
        what = f"there is no target {printable(name)!r}"
    raise ToolchainError(what, hint=f"choose one of {listed}")


def _here() -> tuple[str, str]:
    machine = platform.machine().lower()
    return _ALIASES.get(machine, machine), platform.system().lower()


@functools.cache
def _processor_features() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
