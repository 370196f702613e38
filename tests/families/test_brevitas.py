"""Networks of Brevitas, exported to QONNX: an optional test, for where both are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for package in ("brevitas", "qonnx", "onnxoptimizer"):
    pytest.importorskip(package, reason="needs brevitas, qonnx and onnxoptimizer")

from brevitas.core.quant import QuantType  # noqa: E402
from brevitas.export import export_qonnx  # noqa: E402
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear  # noqa: E402
from qonnx.core.modelwrapper import ModelWrapper  # noqa: E402
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean  # noqa: E402
from qonnx.util.cleanup import cleanup_model  # noqa: E402
from torch import nn  # noqa: E402

import bnnc  # noqa: E402
from bnnc import compiler  # noqa: E402
from bnnc.analysis.verify import verify  # noqa: E402

BINARY = {"weight_quant_type": QuantType.BINARY, "bias": False}


def signs() -> nn.Module:
    return QuantIdentity(quant_type=QuantType.BINARY, scaling_impl_type="const", scaling_init=0.5)


def network() -> nn.Module:
    """Two binary convolutions and a binary dense layer, as Brevitas' own examples have them."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        signs(),
        QuantConv2d(16, 24, 3, padding=1, **BINARY),
        nn.BatchNorm2d(24),
        nn.MaxPool2d(2),
        signs(),
        QuantConv2d(24, 32, 3, **BINARY),
        nn.BatchNorm2d(32),
        nn.Flatten(),
        signs(),
        QuantLinear(32 * 4 * 4, 10, **BINARY),
    )


def channels_last(model: ModelWrapper) -> ModelWrapper:
    return cleanup_model(model).transform(ConvertToChannelsLastAndClean())


FORMS = {"exported": lambda model: model, "cleaned": cleanup_model, "channels last": channels_last}
"""What QONNX's own transformations make of the export."""


@pytest.mark.parametrize("form", FORMS)
def test_a_brevitas_network_is_binary_and_verifies(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = network().eval(), tmp_path / "model.onnx"
    export_qonnx(module, args=torch.randn(1, 3, 12, 12), export_path=str(path))
    FORMS[form](ModelWrapper(str(path))).save(str(path))
    graph, report = compiler.reference_graph(path)
    assert [verdict.binary for verdict in report.verdicts] == [False, True, True, True]
    session = bnnc.compile(path, tmp_path / "model.so", threads=1)
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
    result = verify(graph, session, [{graph.inputs[0].name: x}])
    assert result.good, result.failures
