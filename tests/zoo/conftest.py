"""What the tests of the networks share."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import onnx
import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["torchscript", "dynamo"])
def exporter(
    request: pytest.FixtureRequest,
) -> Callable[[nn.Module, torch.Tensor], onnx.ModelProto]:
    """Each of torch's ONNX exporters: module and example input in, model out."""

    def export(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if request.param == "dynamo":
                program = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False)
                return program.model_proto
            torch.onnx.export(module.eval(), (example,), buffer, dynamo=False, opset_version=17)
        return onnx.load_from_string(buffer.getvalue())

    return export
