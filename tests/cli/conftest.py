"""A small model as a file, and compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnnc.cli.main import main


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stem (float) -> sign -> block (binary) -> ReLU, as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(0)
    signs = np.where(rng.standard_normal((8, 4, 3, 3)) < 0, -1, 1).astype(np.float32)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Sign", ["a"], ["s"], name="sign"),
        helper.make_node("Conv", ["s", "b"], ["c"], name="block"),
        helper.make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    shapes = {"x": [1, 3, 8, 8], "y": [1, 8, 6, 6]}
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(signs, "b")]
    graph = helper.make_graph(nodes, "tiny", [x], [y], constants)
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def library(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, compiled."""
    path = tmp_path_factory.mktemp("library") / "tiny.so"
    assert main(["compile", str(model), "-o", str(path)]) == 0
    return path
