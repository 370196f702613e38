"""Networks of Larq, exported by tf2onnx: an optional test, for where both are installed, or where
LARQ_PYTHON names a Python that has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import bnnc
from bnnc import compiler
from bnnc.analysis.verify import verify
from bnnc.ir import interpreter

HERE = Path(__file__).parent

BINARY = {
    "quicknet": (4, 8),
    "bireal": (3, 6),
    "binarynet": (4, 5),
    "zero_or_one": (2, 4),
    "other_layers": (4, 6),
    "places": (3, 4),
    "dense_blocks": (3, 5),
}
"""Binary layers, and all that multiply."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every network as an ONNX file."""
    python = os.environ.get("LARQ_PYTHON", sys.executable)
    modules = ("tensorflow", "tf_keras", "larq", "tf2onnx")
    find = f"import importlib.util as u; assert all(map(u.find_spec, {modules}))"
    if subprocess.run([python, "-c", find], capture_output=True).returncode:
        pytest.skip(f"needs {', '.join(modules)} (or LARQ_PYTHON, a Python that has them)")
    folder = tmp_path_factory.mktemp("larq")
    command = [python, HERE / "larq_networks.py", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("form", ["", ".nchw", ".newest"])
@pytest.mark.parametrize("name", BINARY)
def test_a_larq_network_is_binary_and_verifies(
    name: str, form: str, folder: Path, tmp_path: Path
) -> None:
    path = folder / f"{name}{form}.onnx"
    graph, report = compiler.reference_graph(path)
    found = [verdict.name for verdict in report.verdicts if verdict.binary]
    assert (len(found), len(report.verdicts)) == BINARY[name], found
    session = bnnc.compile(path, tmp_path / "model.so", threads=1)
    (value,) = graph.inputs
    x = np.random.default_rng(0).standard_normal(value.shape).astype(np.float32)
    result = verify(graph, session, [{value.name: x}])
    assert result.good, result.failures


@pytest.mark.parametrize("name", BINARY)
def test_the_reference_is_what_onnxruntime_computes(name: str, folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    graph, _ = compiler.reference_graph(folder / f"{name}.onnx")
    (value,) = graph.inputs
    feeds = {value.name: np.random.default_rng(0).standard_normal(value.shape).astype(np.float32)}
    session = onnxruntime.InferenceSession(
        str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,), (wanted,) = interpreter.run(graph, feeds), session.run(None, feeds)
    assert found.shape == wanted.shape
    close = np.isclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    assert close.mean() > 0.98
