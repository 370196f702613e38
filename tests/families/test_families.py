"""Whole networks of the literature, as their authors write them in torch and both of torch's
exporters export them: which of their layers are binary is known, each layer verifies."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from classifiers import (  # noqa: E402
    BinaryDenseNet,
    BinaryMlp,
    BiRealNet,
    MeliusNet,
    ReActNet,
    RealToBinaryNet,
    XnorNet,
)
from detectors import Decoded, Yolo, bidet, lws_det  # noqa: E402
from torch import nn  # noqa: E402

import bnnc  # noqa: E402
from bnnc import compiler  # noqa: E402
from bnnc.analysis.verify import verify  # noqa: E402
from bnnc.ir import interpreter  # noqa: E402
from bnnc.zoo.centernet import build  # noqa: E402
from bnnc.zoo.models import specify  # noqa: E402


@dataclass(frozen=True)
class Family:
    """A network, its input, and what is binary in it.

    Attributes:
        make: builds it.
        binary: names of the binary layers, as torch calls their modules.
        total: how many convolutions and matrix products there are.
        shape: of its input.
    """

    make: Callable[[], nn.Module]
    binary: tuple[str, ...]
    total: int
    shape: tuple[int, ...] = (1, 3, 32, 32)


def each(pattern: str, *places: object) -> tuple[str, ...]:
    return tuple(pattern.format(place) for place in places)


def quicknet() -> nn.Module:
    return build(specify("qn([2x32,1x70,1x162])", "tp4([24,16])", "h(8)", input=64), 3, seed=1)


def resnet() -> nn.Module:
    return build(specify("rn([1x8,1x12])", "tp2([8,8])", "h(8)", input=64), 3, seed=1)


_VGG = each("vgg.{}", 0, 4, 7, 11, 14, 18, 21)
_SSD = (*_VGG, *each("top.{}", 1, 5, 8), *each("extras.{}", "0.0", "0.3", "1.0", "1.3"))

FAMILIES: dict[str, Family] = {
    "Bi-Real Net": Family(BiRealNet, each("blocks.{}.conv", *range(4)), 8),
    "XNOR-Net": Family(XnorNet, (*each("features.{}.conv", 0, 2), "hidden"), 7),
    "Real-to-Binary": Family(RealToBinaryNet, each("blocks.{}.conv", 0, 1), 8),
    "ReActNet": Family(
        ReActNet,
        (
            *each("blocks.{}.conv", 0, 1, 2),
            *each("blocks.{}", "0.points.0", "1.points.0", "1.points.1"),
            *each("blocks.{}", "2.points.0", "2.points.1"),
        ),
        10,
    ),
    "MeliusNet": Family(
        MeliusNet,
        tuple(f"{b}.{c}" for b in ("first.0", "first.1", "second") for c in ("dense", "improve")),
        9,
    ),
    "BinaryDenseNet": Family(BinaryDenseNet, each("convs.{}", 0, 1, 2), 6),
    "binary MLP": Family(BinaryMlp, each("layers.{}", 1, 4, 7, 10), 4, (1, 3, 16, 16)),
    "SSD as BiDet has it": Family(
        bidet,
        (*_SSD, *each("boxes.{}", *range(4)), *each("scores.{}", *range(4))),
        23,
        (1, 3, 64, 64),
    ),
    "SSD as LWS-Det has it": Family(lws_det, _SSD, 23, (1, 3, 64, 64)),
    "YOLO-like": Family(Yolo, ("down.0.3.conv", "down.1.3.conv", "up.3.conv"), 13, (1, 3, 64, 64)),
    "CenterNet decoded in the graph": Family(Decoded, ("body.3", "body.5"), 6, (1, 3, 64, 64)),
    "QuickNet CenterNet": Family(
        quicknet,
        each("encoder.{}.conv", "0.block.0", "0.block.1", "1.block.0", "2.block.0"),
        19,
        (1, 3, 64, 64),
    ),
    "ResNet CenterNet": Family(resnet, (), 17, (1, 3, 64, 64)),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink):
        warnings.simplefilter("ignore")
        yield
    logging.disable(disabled)


def normal(family: Family) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(family.shape).astype(np.float32)


def settled(family: Family) -> nn.Module:
    """The network with BatchNorm statistics of its own activations, some gammas negative."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = family.make()
    norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        if norm.affine:
            norm.weight.data = torch.rand_like(norm.weight) + 0.5
            norm.weight.data[::3] *= -1
            norm.bias.data = 0.3 * torch.randn_like(norm.bias)
        norm.momentum = 0.3
    module.train()
    with torch.no_grad():
        for _ in range(8):
            module(torch.randn(4, *family.shape[1:]))
    return module.eval()


def by_dynamo(module: nn.Module, x: torch.Tensor, path: Path) -> None:
    for optimize in (True, False):  # what it optimises is not always a model afterwards
        program = torch.onnx.export(module, (x,), dynamo=True, optimize=optimize, verbose=False)
        assert program is not None
        program.save(str(path))
        with contextlib.suppress(onnx.checker.ValidationError):
            onnx.checker.check_model(str(path))
            return


def by_torchscript(module: nn.Module, x: torch.Tensor, path: Path) -> None:
    torch.onnx.export(module, (x,), str(path), dynamo=False, opset_version=13)


EXPORTERS = {"dynamo": by_dynamo, "torchscript": by_torchscript}


def _params() -> Iterator[object]:
    for pair in itertools.product(FAMILIES, EXPORTERS):
        slow = [pytest.mark.slow] if pair == ("SSD as BiDet has it", "dynamo") else []
        yield pytest.param(pair, marks=slow, id=" by ".join(pair))


@pytest.fixture(scope="module", params=list(_params()))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path]:
    """(family, exporter, ONNX file)."""
    family, exporter = request.param
    path = tmp_path_factory.mktemp("family") / "model.onnx"
    module = settled(FAMILIES[family])
    with quiet():
        EXPORTERS[exporter](module, torch.zeros(FAMILIES[family].shape), path)
    return family, exporter, path


Exported = tuple[str, str, Path]


def test_the_binary_layers_are_found(exported: Exported) -> None:
    name, exporter, path = exported
    family = FAMILIES[name]
    _, report = compiler.reference_graph(path)
    binary = [verdict.name for verdict in report.verdicts if verdict.binary]
    assert (len(binary), len(report.verdicts)) == (len(family.binary), family.total)
    if exporter == "torchscript":  # the other calls a convolution as the norm folded into it
        assert sorted(binary) == sorted(family.binary)
    missed = [v for v in report.verdicts if v.candidate and not v.binary]
    assert not missed


def test_every_layer_verifies(exported: Exported, tmp_path: Path) -> None:
    name, _, path = exported
    family = FAMILIES[name]
    session = bnnc.compile(path, tmp_path / "model.so", threads=1)
    graph, _ = compiler.reference_graph(path)
    (value,) = graph.inputs
    result = verify(graph, session, [{value.name: normal(family)}])
    assert result.good, result.failures
    assert sum(layer["binary"] for layer in session.info["layers"]) >= len(family.binary)


def test_the_reference_is_what_onnxruntime_computes(exported: Exported) -> None:
    """But for signs within rounding of zero, and what comes of them."""
    name, _, path = exported
    onnxruntime = pytest.importorskip("onnxruntime")
    graph, _ = compiler.reference_graph(path)
    (value,) = graph.inputs
    feeds = {value.name: normal(FAMILIES[name])}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for found, wanted in zip(interpreter.run(graph, feeds), session.run(None, feeds)):
        assert found.shape == wanted.shape
        close = np.isclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
        assert close.mean() > 0.98
