"""The benchmark behind the README's table runs."""

from __future__ import annotations

import json
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
