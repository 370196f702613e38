"""What handlers of signals do while C calls Python back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from bnnc.runtime.signals import HeldSignals


class Told(Exception):
    """What the handler raises."""


@pytest.fixture(autouse=True)
def came() -> Iterator[list[int]]:
    """How often SIGUSR1 has come, whose handler raises."""
    count: list[int] = []

    def handle(number: int, _frame: object) -> None:
        count.append(number)
        raise Told(len(count))

    before = signal.signal(signal.SIGUSR1, handle)
    yield count
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_runs_at_once_and_what_it_raises_waits(came: list[int]) -> None:
    reached = False
    with pytest.raises(Told), HeldSignals():
        signal.raise_signal(signal.SIGUSR1)
        reached = bool(came)
    assert reached


def test_the_first_of_several_is_raised() -> None:
    with pytest.raises(Told, match="1"), HeldSignals():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)


def test_where_handlers_are_free_they_raise_at_once_but_once(came: list[int]) -> None:
    with pytest.raises(Told, match="2"), HeldSignals() as signals:
        signals.free = True
        with pytest.raises(Told, match="1"):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert len(came) == 2


def test_contexts_may_be_nested() -> None:
    with pytest.raises(Told), HeldSignals():
        with pytest.raises(Told), HeldSignals():
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
