"""The benchmarks of whole networks run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_networks_are_measured_beside_onnxruntime() -> None:
    pytest.importorskip("torch")
    small = ("--models", "q3", "--size", "64", "--threads", "1", "--seconds", "0.1")
    command = [sys.executable, "-m", "tests.benchmarks.networks", *small, "--rivals", "bnnc"]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (result,) = json.loads(done.stdout)["results"]
    assert set(result["times"]) == {"onnxruntime", "bnnc"} and not result["left_out"]
    assert result["times"]["bnnc"]["median_ratio"] > 0


@pytest.mark.slow
def test_threads_are_measured_beside_one_thread() -> None:
    pytest.importorskip("torch")
    small = ("--models", "q3", "--size", "64", "--rounds", "2", "--layers", "1")
    command = [sys.executable, "-m", "tests.benchmarks.threads", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, row, _, lost = done.stdout.splitlines()
    assert re.fullmatch(r"\| q3 (\| [\d.]+ / [\d.]+ \([\d.]+\) ){3}\|", row)
    assert re.fullmatch(r"- q3 [\w.+]+: -?\d+ us lost, ratio [\d.]+", lost)
