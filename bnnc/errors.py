"""The errors a user can meet. Each is one line: where, what was found, what to do next.

This module stands under everything and imports nothing, so that a machine which only runs
compiled models reports its errors in the same form as the compiler.
"""

from __future__ import annotations


class BnncError(Exception):
    """A mistake the user can mend.

    Args:
        what: what was found, in the user's terms.
        file: the file at fault, if there is one.
        node: the node as its owner names it, for example ``encoder.2.block.1.conv``.
        hint: what to do next.
    """

    def __init__(
        self, what: str, *, file: object = None, node: str | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.node = node
        self.hint = hint
        super().__init__(str(self))

    def at(self, *, file: object = None, node: str | None = None) -> BnncError:
        """The same error with a place filled in where none was known yet."""
        if self.file is None and file is not None:
            self.file = str(file)
        if self.node is None:
            self.node = node
        self.args = (str(self),)
        return self

    def __str__(self) -> str:
        where = ": ".join(printable(part) for part in (self.file, self.node) if part)
        text = f"{where}: {self.what}" if where else self.what
        whole = f"{text}; {self.hint}" if self.hint else text
        return printable(whole, len(whole))


class ModelError(BnncError):
    """The model is damaged, contradictory or too large."""


class UnsupportedError(ModelError):
    """The model is sound but uses something bnnc cannot compile."""


class InputError(BnncError):
    """An array, picture or option given at run time does not fit."""


class ToolchainError(BnncError):
    """No C compiler, or one that failed.

    Attributes:
        details: everything the compiler printed, many lines.
    """

    details = ""


class LibraryError(BnncError):
    """A compiled library that cannot be loaded here, or whose run failed."""


def printable(text: str, limit: int = 120) -> str:
    """Return ``text`` on one line, without control characters, cut to ``limit`` characters."""
    clean = "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
