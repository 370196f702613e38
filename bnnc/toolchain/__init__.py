"""From C text to a library: targets, C compilers, and the build. Knows no graph and no model, only
text, bytes and files."""

from __future__ import annotations

from bnnc.toolchain.build import EMITS, Sources, build
from bnnc.toolchain.compilers import Compiler, find
from bnnc.toolchain.targets import TARGETS, Target, resolve

__all__ = ["EMITS", "TARGETS", "Compiler", "Sources", "Target", "build", "find", "resolve"]
