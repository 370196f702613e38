"""Signals while C calls Python back."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class HeldSignals:
    """A context in which no signal's handler raises into C.

    A handler runs wherever the interpreter is when the signal comes. On the way of a callback from
    C into Python and back there is nobody to catch what it raises: it would be lost. Here handlers
    run at once as ever, but what they raise waits until the context ends, which raises it (the
    first, if there are several). Elsewhere than in the main thread no handler runs, and this does
    nothing.

    Attributes:
        free: whether handlers may raise at once, for where it is caught. It ends with the first
            that does, so that no second one disturbs the catching.
        raised: what waits.
    """

    def __init__(self) -> None:
        self.free = False
        self.raised: list[BaseException] = []
        self._over = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        try:
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)
        except BaseException:  # of a handler that was not held yet
            self._restore()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        if self.raised:
            raise self.raised[0]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        free, self.free = self.free, self._over
        try:
            self._handlers[number](number, frame)
        except BaseException as error:
            if free:
                raise
            self.raised.append(error)
        else:
            self.free = free

    def _restore(self) -> None:
        """Give each handler its signal back, unless someone else has taken it."""
        numbers = list(self._handlers)
        try:
            while numbers:
                try:
                    while numbers:
                        if signal.getsignal(numbers[-1]) == self._handle:
                            signal.signal(numbers[-1], self._handlers[numbers[-1]])
                        numbers.pop()
                except BaseException as error:  # of a handler that has its signal back
                    self.raised.append(error)
        finally:
            self._over = self.free = True
