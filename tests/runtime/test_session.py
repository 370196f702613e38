"""What running a compiled model promises."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc.errors import InputError, LibraryError
from bnnc.runtime import InferenceSession

X = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


@pytest.fixture
def session(toy: Path) -> InferenceSession:
    return InferenceSession(toy, threads=1)


def test_inputs_and_outputs_are_described_as_onnxruntime_does(session: InferenceSession) -> None:
    (x,) = session.get_inputs()
    assert (x.name, x.shape, x.type) == ("x", [1, 2, 3], "tensor(float)")
    assert [y.name for y in session.get_outputs()] == ["scaled", "shifted"]


def test_a_run_returns_all_outputs(session: InferenceSession) -> None:
    scaled, shifted = session.run(None, {"x": X})
    np.testing.assert_array_equal(scaled, X * 2)
    np.testing.assert_array_equal(shifted, X + 1)


def test_outputs_are_chosen_by_name(session: InferenceSession) -> None:
    (shifted,) = session.run(["shifted"], {"x": X})
    np.testing.assert_array_equal(shifted, X + 1)


def test_a_session_is_called_with_its_inputs_in_order(session: InferenceSession) -> None:
    np.testing.assert_array_equal(session(X)[0], X * 2)


def test_load_is_reached_from_the_package(toy: Path) -> None:
    assert bnnc.load(toy, threads=1).threads == 1


def test_results_go_to_given_arrays(session: InferenceSession) -> None:
    out = [np.zeros_like(X), np.zeros_like(X)]
    results = session.run(None, {"x": X}, out=out)
    assert results[0] is out[0] and results[1] is out[1]
    np.testing.assert_array_equal(out[1], X + 1)


def test_a_result_may_replace_the_input(session: InferenceSession) -> None:
    x = X.copy()
    session.run(["scaled"], {"x": x}, out=[x])
    np.testing.assert_array_equal(x, X * 2)


def test_an_array_that_is_not_contiguous_is_copied(session: InferenceSession) -> None:
    turned = np.ascontiguousarray(X.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(session(turned)[0], X * 2)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"y": X}, "there is no input 'y'; expected 'x'"),
        ({}, "input 'x' is missing"),
        ({"x": X[:, :1]}, "input 'x' has shape 1x1x3; expected 1x2x3"),
        ({"x": X[0]}, "input 'x' has shape 2x3; expected 1x2x3"),
        ({"x": X.astype(np.float64)}, "input 'x' holds float64; expected float32"),
        ({"x": [[["a"]]]}, "input 'x' holds <U1; expected float32"),
        ([X], "inputs are given as a dictionary from names to arrays"),
    ],
)
def test_a_wrong_input_is_told(session: InferenceSession, feeds: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        session.run(None, feeds)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["z"], "there is no output 'z'; expected 'scaled', 'shifted'"),
        ("scaled", "output names are given as a list"),
    ],
)
def test_a_wrong_output_name_is_told(
    session: InferenceSession, names: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        session.run(names, {"x": X})


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ([], "must be a list of 1"),
        ([np.zeros((1, 2, 4), np.float32)], "has shape 1x2x4; expected 1x2x3"),
        ([np.zeros((1, 2, 3))], "must be an array of float32"),
        ([np.zeros((1, 3, 2), np.float32).transpose(0, 2, 1)], "must be contiguous"),
    ],
)
def test_a_wrong_result_array_is_told(
    session: InferenceSession, out: list[np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        session.run(["scaled"], {"x": X}, out=out)


def test_the_number_of_positional_inputs_is_checked(session: InferenceSession) -> None:
    with pytest.raises(InputError, match="2 arrays given; the model takes 'x'"):
        session(X, X)


@pytest.mark.parametrize("threads", [0, -1, 5000, 1.5, "2"])
def test_the_number_of_threads_is_checked(toy: Path, threads: object) -> None:
    with pytest.raises(InputError, match="threads must be a number"):
        InferenceSession(toy, threads=threads)  # type: ignore[arg-type]


def test_numbers_may_be_numpys(toy: Path) -> None:
    session = InferenceSession(toy, threads=np.int64(2))  # type: ignore[arg-type]
    assert type(session.threads) is int and session.threads == 2
    assert len(session.detect({"x": X}, top=np.int64(2))) == 2  # type: ignore[arg-type]


def test_threads_that_cannot_start_are_told(toy: Path) -> None:
    with pytest.raises(LibraryError, match="cannot start 65 threads"):
        InferenceSession(toy, threads=65)


def test_threads_default_to_the_processors_of_this_process(toy: Path) -> None:
    assert InferenceSession(toy).threads == len(os.sched_getaffinity(0))


# ---- open batch -------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [0, 1, 5])
def test_an_open_batch_takes_any_number_of_items(open_toy: Path, items: int) -> None:
    session = InferenceSession(open_toy, threads=1)
    assert session.get_inputs()[0].shape == ["batch", 2, 3]
    x = np.arange(items * 6, dtype=np.float32).reshape(items, 2, 3)
    scaled, shifted = session(x)
    np.testing.assert_array_equal(scaled, x * 2)
    np.testing.assert_array_equal(shifted, x + 1)


def test_an_open_batch_still_has_fixed_other_axes(open_toy: Path) -> None:
    with pytest.raises(InputError, match="has shape 4x2x2; expected batchx2x3"):
        InferenceSession(open_toy, threads=1)(np.zeros((4, 2, 2), np.float32))


# ---- observing --------------------------------------------------------------------------------


def test_an_observer_sees_each_layer_with_its_outputs(session: InferenceSession) -> None:
    seen = []
    session.run_observed({"x": X}, lambda k, v: seen.append((k, v[0].view(np.float32).copy())))
    assert [layer for layer, _ in seen] == [0, 1]
    np.testing.assert_array_equal(seen[0][1], X.ravel() * 2)
    np.testing.assert_array_equal(seen[1][1], X.ravel() + 1)


def test_what_an_observer_sees_is_read_only(session: InferenceSession) -> None:
    def write(_layer: int, views: list[np.ndarray]) -> None:
        views[0][0] = 1

    with pytest.raises(ValueError, match="read-only"):
        session.run_observed({"x": X}, write)


def test_an_exception_in_an_observer_stops_the_run_and_surfaces(session: InferenceSession) -> None:
    seen = []

    def fail(layer: int, _views: list[np.ndarray]) -> None:
        seen.append(layer)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        session.run_observed({"x": X}, fail)
    assert seen == [0]
    np.testing.assert_array_equal(session(X)[0], X * 2)


def test_the_time_before_a_run_belongs_to_no_layer(
    session: InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    arrays = session._interface.arrays

    def slow(feeds: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], int]:
        for _ in range(100):
            next(clock)
        return arrays(feeds)

    monkeypatch.setattr(session._interface, "arrays", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    assert session.run_timed({"x": X}) == [1.0, 1.0]


class Told(Exception):
    """What a signal's handler raises here."""


@pytest.fixture
def told() -> Iterator[list[int]]:
    """The signals that came, by a handler of SIGALRM and SIGUSR1 that raises Told."""
    came: list[int] = []

    def handle(number: int, _frame: object) -> None:
        came.append(number)
        raise Told

    before = {number: signal.signal(number, handle) for number in (signal.SIGALRM, signal.SIGUSR1)}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def test_no_signal_is_lost_whenever_it_comes(
    session: InferenceSession, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    gc.disable()  # what a signal raises in one of its callbacks is lost, whoever is to blame
    try:
        for step in range(300):
            with pytest.raises(Told):
                signal.setitimer(signal.ITIMER_REAL, 0.001 + step * 1e-5)
                while len(told) == step:
                    session.run_observed({"x": X}, lambda _layer, _views: None)
            assert len(told) == step + 1
    finally:
        gc.enable()
    assert not lost


def test_a_signal_ends_an_observed_run_after_the_layer(
    session: InferenceSession, told: list[int]
) -> None:
    seen: list[int] = []
    with pytest.raises(Told):
        signal.setitimer(signal.ITIMER_REAL, 0.001)  # C sleeps before the first layer is seen
        session.run_observed({"x": X}, lambda layer, _views: seen.append(layer))
    assert 1 not in seen


def test_a_signal_interrupts_an_observer_at_once(
    session: InferenceSession, told: list[int]
) -> None:
    seen: list[int] = []

    def observe(layer: int, _views: list[np.ndarray]) -> None:
        signal.raise_signal(signal.SIGALRM)
        seen.append(layer)

    with pytest.raises(Told):
        session.run_observed({"x": X}, observe)
    assert not seen


def test_a_signal_whose_handler_raises_nothing_leaves_the_run_alone(
    session: InferenceSession,
) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: came.append(number))
    seen: list[int] = []
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        session.run_observed({"x": X}, lambda layer, _views: seen.append(layer))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert came == [signal.SIGALRM] and seen == [0, 1]


def test_handlers_have_their_signals_back_after_an_observed_run(
    session: InferenceSession, told: list[int]
) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in sorted(signal.valid_signals())]

    before = handlers()
    session.run_observed({"x": X}, lambda _layer, _views: None)
    assert handlers() == before
    with pytest.raises(Told):
        session.run_observed({"x": X}, lambda *_: signal.raise_signal(signal.SIGUSR1))
    assert handlers() == before


def test_a_handler_set_by_an_observer_stays(session: InferenceSession, told: list[int]) -> None:
    def observe(_layer: int, _views: list[np.ndarray]) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    session.run_observed({"x": X}, observe)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN


def test_a_run_is_observed_in_any_thread(session: InferenceSession) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(1) as worker:
        worker.submit(
            session.run_observed, {"x": X}, lambda layer, _views: seen.append(layer)
        ).result()
    assert seen == [0, 1]


# ---- threads, processes, life ----------------------------------------------------------------


def test_two_threads_may_run_one_session(session: InferenceSession) -> None:
    def work(seed: int) -> bool:
        x = np.full((1, 2, 3), seed, np.float32)
        return all(np.array_equal(session(x)[1], x + 1) for _ in range(10))

    with ThreadPoolExecutor(4) as workers:
        assert all(workers.map(work, range(8)))


def test_a_run_releases_the_interpreter_lock(session: InferenceSession) -> None:
    ticks = 0
    done = threading.Event()

    def run() -> None:
        for _ in range(20):
            session(X)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        ticks += 1
    thread.join()
    assert ticks > 20


def test_a_closed_session_does_not_run(toy: Path) -> None:
    with InferenceSession(toy, threads=2) as session:
        session(X)
    with pytest.raises(LibraryError, match="the session is closed"):
        session(X)


def _living_pools(session: InferenceSession) -> int:
    return int(session._library._handle._library.toy_living_pools())


def test_threads_end_with_the_session(toy: Path) -> None:
    keeper = InferenceSession(toy, threads=1)
    before = _living_pools(keeper)
    session = InferenceSession(toy, threads=2)
    assert _living_pools(keeper) == before + 1
    del session
    gc.collect()
    assert _living_pools(keeper) == before


def test_a_forked_process_runs_with_threads_of_its_own(toy: Path) -> None:
    session = InferenceSession(toy, threads=2)
    session(X)
    child = os.fork()
    if child == 0:
        good = np.array_equal(session(X)[0], X * 2) and session._pool.process == os.getpid()
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# ---- boxes ------------------------------------------------------------------------------------


def test_boxes_come_as_records(session: InferenceSession) -> None:
    boxes = session.detect({"x": X}, score=4, max_iou=0.5, top=5)
    assert boxes["score"].tolist() == [4, 5] and boxes["label"].tolist() == [4, 5]
    assert boxes["corners"].tolist() == [[4, 0.5, 5, 0], [5, 0.5, 5, 0]]


def test_no_more_boxes_come_than_are_asked_for(session: InferenceSession) -> None:
    assert len(session.detect({"x": X}, top=2)) == 2


def test_a_model_without_a_decoder_is_told(session: InferenceSession) -> None:
    with pytest.raises(LibraryError, match="the run failed: toy trouble"):
        session.detect({"x": X - 1})


@pytest.mark.parametrize(
    "options",
    [
        {"max_iou": 0},
        {"max_iou": 1.5},
        {"max_iou": np.nan},
        {"top": 0},
        {"top": 1 << 20},
        {"top": 1.5},
    ],
)
def test_an_option_out_of_range_is_told(session: InferenceSession, options: dict) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        session.detect({"x": X}, **options)


def test_boxes_are_found_on_one_item(open_toy: Path) -> None:
    with pytest.raises(InputError, match="on a batch of one, not of 2"):
        InferenceSession(open_toy, threads=1).detect({"x": np.concatenate([X, X])})
