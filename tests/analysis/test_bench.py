"""Measuring: fair turns, and rivals that fit."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bnnc.analysis import bench
from bnnc.analysis.machine import machine
from bnnc.errors import InputError


def test_contestants_take_turns() -> None:
    turns: list[str] = []
    contestants = {name: lambda name=name: turns.append(name) for name in ("a", "b")}
    timings = bench.alternate(contestants, rounds=3, warm_up=1)
    assert turns == ["a", "b"] * 4
    assert [(t.name, len(t.seconds)) for t in timings] == [("a", 3), ("b", 3)]


def test_a_timing_gives_its_median_in_milliseconds() -> None:
    said = bench.Timing("x", (0.5, 0.001, 0.002)).document()
    assert (said["median_ms"], said["best_ms"], said["worst_ms"]) == (2, 1, 500)


def test_a_rival_with_other_inputs_is_told() -> None:
    rival = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="other")])
    with pytest.raises(InputError, match="inputs differ: x here, other there"):
        bench.fitted({"x": np.zeros(1)}, rival)


def test_without_onnxruntime_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"not installed; pip install 'bnnc\[bench\]'"):
        bench.onnxruntime_session("x.onnx")


def test_a_rival_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    os.mkfifo(tmp_path / "x.onnx")
    with pytest.raises(InputError, match=r"x\.onnx: cannot be read: it is not an ordinary file"):
        bench.onnxruntime_session(tmp_path / "x.onnx")


def test_the_machine_is_told_in_one_line() -> None:
    assert "processors" in machine() and "\n" not in machine()
