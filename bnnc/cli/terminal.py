"""What commands print: documents, tables, and progress while one waits."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from bnnc.errors import printable

_SILENT_SECONDS = 2.0
_TICK_SECONDS = 0.25


def print_json(document: Any) -> None:
    """A JSON document on standard output; numbers that JSON does not know become null."""
    print(json.dumps(_known(document), indent=2, allow_nan=False))


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _known(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Progress:
    """Says what is being done and for how long, once it takes over two seconds, on one line of a
    terminal; says nothing where there is none.

    >>> with Progress("compiling") as progress:
    ...     progress("linking")
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._detail = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown = 0
        self._lock = threading.Lock()

    def __call__(self, detail: str) -> None:
        """Say more closely what is being done."""
        self._detail = detail

    def aside(self, text: str, stream: TextIO) -> None:
        """Print lines that stay, out of the way of the line that is being rewritten."""
        with self._lock:
            if self._shown:
                self._show("")
            print(text, file=stream, flush=True)

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._show("")

    def _watch(self) -> None:
        start = time.monotonic()
        if self._stop.wait(_SILENT_SECONDS):
            return
        while not self._stop.wait(_TICK_SECONDS):
            detail = f": {self._detail}" if self._detail else ""
            seconds = int(time.monotonic() - start)
            with self._lock:
                self._show(printable(f"{self._doing}{detail} ({seconds} s)", 78))

    def _show(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._shown)}" + ("" if text else "\r"))
        sys.stderr.flush()
        self._shown = len(text)


def shape_text(shape: Sequence[int | str]) -> str:
    """``1x3x512x512``."""
    return "x".join(map(str, shape)) or "scalar"


def bytes_text(count: int) -> str:
    """``1.5 MiB``; small ones in bytes."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def count_text(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 layer``, ``2 layers``; ``nouns`` where an s does not make the plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {nouns or noun + 's'}"
