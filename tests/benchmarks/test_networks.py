"""The same for pytest-benchmark, on the smallest network and one thread.

pytest tests/benchmarks/test_networks.py
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks import networks


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return networks.build("q3", folder, 512, networks.CONTESTANTS)


@pytest.mark.parametrize("name", networks.CONTESTANTS)
def test_inference(name: str, files: tuple[Path, Path], benchmark: BenchmarkFixture) -> None:
    runs, left_out = networks.prepare(networks.Job(*files, threads=1, names=(name,)))
    if name not in runs:
        pytest.skip(f"{name} {left_out[name]}")
    benchmark.pedantic(runs[name], rounds=10, warmup_rounds=1)
