"""How names and shapes from a model are shown in a message: on one line, cut, quoted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from bnnc.errors import printable


def quote(name: str) -> str:
    """``name`` in quotes, safe to print."""
    return f"'{printable(name, 80)}'"


def dims(shape: Iterable[object]) -> str:
    """A shape as ``1x3x512x512``; a scalar's is ``scalar``, a very long one is cut."""
    shown = [printable(str(size), 24) for size in islice(shape, 13)]
    if len(shown) > 12:
        shown[12] = "\N{HORIZONTAL ELLIPSIS}"
    return "x".join(shown) or "scalar"


def listing(items: Sequence[str], limit: int = 6) -> str:
    """``a, b and 3 more``: at most ``limit`` items, and how many were left out."""
    shown = ", ".join(items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
