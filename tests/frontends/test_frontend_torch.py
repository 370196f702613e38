"""Torch modules under both of torch's exporters."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnnc.errors import InputError, ModelError, UnsupportedError
from bnnc.frontends import torch as frontend
from bnnc.frontends.onnx import load
from bnnc.ir import interpreter

EXPORTERS = ["dynamo", "torchscript"]


def assert_agrees(module: nn.Module, *inputs: torch.Tensor, exporter: str) -> Any:
    """The imported graph computes what the module does."""
    graph = frontend.load(module, inputs, exporter=exporter)
    graph.check()
    with torch.no_grad():
        expected = module.eval()(*inputs)
    expected = expected if isinstance(expected, (tuple, list)) else [expected]
    feeds = {value.name: x.numpy() for value, x in zip(graph.inputs, inputs)}
    found = interpreter.run(graph, feeds)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-4)
    return graph


class BinaryConv(nn.Module):
    """Signs of weights and input, padded with ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(torch.sign(x), (1, 1, 1, 1), value=1.0)
        return F.conv2d(padded, torch.sign(self.weight))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = BinaryConv(channels)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x + self.bn(F.relu(self.conv(x))))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.encoder = nn.Sequential(nn.Sequential(Block(8), Block(8)), nn.MaxPool2d(2))
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)
        self.heads = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)])
        self.classify = nn.Linear(4, 5)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = F.relu(self.up(self.encoder(self.stem(image))))
        return [*(head(x) for head in self.heads), self.classify(x.mean((2, 3)))]


@pytest.fixture(params=EXPORTERS)
def exporter(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_network_is_imported_with_its_module_names(exporter: str) -> None:
    torch.manual_seed(1)
    graph = assert_agrees(Network(), torch.randn(1, 3, 16, 16), exporter=exporter)
    names = [node.name for node in graph.nodes()]
    expected = [
        "stem",
        "encoder.0.0.conv.sign",
        "encoder.0.0.conv.pad",
        "encoder.0.0.conv",
        "encoder.0.0.relu",
        "encoder.0.0.bn",
        "encoder.0.0.add",
        "encoder.0.0.act",
        "encoder.0.1.conv",
        "encoder.1",
        "up",
        "heads.0",
        "heads.1",
        "classify",
    ]
    assert [name for name in names if name in expected] == expected
    assert graph.name == "Network"
    assert [value.name for value in graph.inputs] == ["image"]
    assert not graph.open_batch


def test_the_module_is_left_as_it_was(exporter: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2))).train()
    module[1].eval()
    modes = [part.training for part in module.modules()]
    state = {key: value.clone() for key, value in module.state_dict().items()}
    frontend.load(module, (torch.randn(1, 3, 16, 16),), exporter=exporter)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_batch_norm_uses_its_statistics(exporter: str) -> None:
    module = nn.Sequential(nn.BatchNorm2d(3)).train()
    module(torch.randn(4, 3, 5, 5) * 3 + 1)
    assert_agrees(module.train(), torch.randn(1, 3, 5, 5), exporter=exporter)


def test_inputs_can_be_named(exporter: str) -> None:
    graph = frontend.load(
        nn.Conv2d(3, 2, 1), torch.randn(1, 3, 4, 4), input_names=["photo"], exporter=exporter
    )
    assert [value.name for value in graph.inputs] == ["photo"]


class Two(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left * 2 + right


def test_several_inputs(exporter: str) -> None:
    graph = assert_agrees(Two(), torch.randn(2, 3), torch.randn(3), exporter=exporter)
    assert [value.name for value in graph.inputs] == ["left", "right"]


class Again(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = -x
        return y, x, y


def test_a_tensor_that_is_returned_again_is_another_output(exporter: str) -> None:
    graph = assert_agrees(Again(), torch.randn(1, 3), exporter=exporter)
    first, _, again = graph.output_names
    assert again == f"{first}#2"


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def up(x: torch.Tensor, mode: str, **kwargs: Any) -> torch.Tensor:
    return F.interpolate(x, mode=mode, **kwargs)


FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "windows": lambda x: (
        up(x, "nearest", scale_factor=2),
        up(x, "bilinear", scale_factor=1.5, align_corners=False),
        up(x, "bilinear", size=(13, 7), align_corners=True),
        up(x, "bicubic", scale_factor=2, align_corners=False),
        up(x, "bilinear", scale_factor=0.5, align_corners=False),
        F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=True),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        F.adaptive_avg_pool2d(x, 1).flatten(1),
        F.conv1d(x.flatten(2), torch.ones(3, 4, 5), stride=2),
        F.max_pool1d(x.flatten(2), 3),
    ),
    "movement": lambda x: (
        F.pad(x, (1, 2, 2, 1), mode="reflect"),
        F.pad(x, (1, 1, 1, 1), mode="circular"),
        F.pad(x, (1, 1, 0, 2), mode="replicate"),
        *x.chunk(2, 1),
        *x.split([1, 3], 1),
        x[:, 1::2, :, -3:],
        F.pixel_shuffle(x, 2),
        F.pixel_unshuffle(x, 2),
        x.view(1, 2, 2, 8, 6).transpose(1, 2).reshape(1, 4, 8, 6),
        x.repeat(1, 2, 1, 3),
        torch.roll(x, 2, 3),
        x.flip(3),
        torch.stack([x, x * 2], 1).flatten(1, 2),
        x.mean((2, 3), keepdim=True).expand_as(x) * x,
        x.flatten(2).gather(2, x.flatten(2).argmax(2, keepdim=True)),
    ),
    "elementwise": lambda x: (
        torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x)),
        ((x > 0.1) & (x < 1)).float() * 2 - 1,
        F.hardswish(x) + F.hardtanh(x) + F.silu(x) + F.gelu(x) + F.elu(x),
        F.mish(x) * F.softplus(x) - F.hardsigmoid(x),
        F.relu6(x * 4),
        x.masked_fill(x < 0, -1.5),
        (x * 10).abs().int() // 3 % 4,
    ),
    "reductions": lambda x: (
        F.normalize(x, dim=1),
        F.layer_norm(x, x.shape[2:]),
        F.group_norm(x, 2),
        F.instance_norm(x),
        F.softmax(x.flatten(2) @ x.flatten(2).transpose(1, 2), -1),
        F.log_softmax(x, 1),
        *x.flatten(1).topk(5),
        x.argmax(1),
        *(x.sum((2, 3)), x.amax(1), x.std((2, 3)), x.logsumexp(1), x.prod(1)),
    ),
    # Torch 2.13's newer exporter writes an invalid model for two equal clamps.
    "straight through": lambda x: (x.sign() - x.clamp(-1, 1)).detach() + x.clamp(-1, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch(name: str, exporter: str) -> None:
    torch.manual_seed(2)
    assert_agrees(Apply(FUNCTIONS[name]), torch.randn(1, 4, 8, 6), exporter=exporter)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 6, 3, padding="same", dilation=2)
        self.circular = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4)
        self.up = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)
        self.line = nn.Conv1d(4, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.same(x), self.circular(x), self.up(x), self.line(x.flatten(2))


def test_convolutions_of_torch(exporter: str) -> None:
    torch.manual_seed(3)
    assert_agrees(Convolutions(), torch.randn(1, 4, 8, 6), exporter=exporter)


@pytest.mark.filterwarnings("ignore")
def test_a_file_exported_with_open_batch_and_size(exporter: str) -> None:
    torch.manual_seed(4)
    module, x = Network().eval(), torch.randn(2, 3, 32, 24)
    if exporter == "dynamo":
        free = torch.export.Dim.DYNAMIC
        program = torch.onnx.export(
            module, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: free, 2: free, 3: free},)
        )
        assert program is not None
        model = program.model_proto
    else:
        buffer = io.BytesIO()
        torch.onnx.export(
            module,
            (x,),
            buffer,
            dynamo=False,
            input_names=["image"],
            dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}},
        )
        model = onnx.ModelProto.FromString(buffer.getvalue())
    with pytest.raises(ModelError, match=r"for example --shape image=1x3x512x512"):
        load(model)
    graph = load(model, {"image": (None, 3, 40, 16)})
    assert graph.open_batch
    one = torch.randn(1, 3, 40, 16)
    found = interpreter.run(graph, {"image": one.numpy()})
    with torch.no_grad():
        for mine, theirs in zip(found, module(one)):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-4)


class BinaryInForward(nn.Conv2d):
    """Weights are made binary when they are used, so that no weight's name tells the layer's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(torch.sign(x), torch.sign(self.weight) * scale)


def test_a_layer_binary_in_forward_keeps_its_name_before_a_batch_norm(exporter: str) -> None:
    layers = OrderedDict(conv=BinaryInForward(4, 4, 3), bn=nn.BatchNorm2d(4))
    graph = frontend.load(nn.Sequential(layers).eval(), torch.randn(1, 4, 8, 8), exporter=exporter)
    assert {"conv", "bn"} <= {node.name for node in graph.nodes()}


@pytest.mark.filterwarnings("ignore")
def test_a_layer_binary_in_forward_keeps_its_name_where_torch_folds_the_batch_norm_in() -> None:
    layers = OrderedDict(conv=BinaryInForward(4, 4, 3), bn=nn.BatchNorm2d(4))
    module, x = nn.Sequential(layers).eval(), torch.randn(1, 4, 8, 8)
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    assert program is not None and len(program.model_proto.graph.node) == 2
    graph = load(program.model_proto)
    assert [node.name for node in graph.nodes()] == ["conv.sign", "conv"]


def test_what_torch_exported_is_imported_with_its_shapes() -> None:
    torch.manual_seed(5)
    module, x = Network().eval(), torch.randn(1, 3, 16, 16)
    graph = frontend.load_exported(torch.export.export(module, (x,)))
    assert [value.name for value in graph.inputs] == ["image"]
    found = interpreter.run(graph, {"image": x.numpy()})
    with torch.no_grad():
        for mine, theirs in zip(found, module(x)):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "transform",
    [
        lambda module, x: torch.export.export(module, (x,)).module(),
        lambda module, x: torch.jit.trace(module, x),
        lambda module, x: torch.jit.script(module),
    ],
    ids=["exported", "traced", "scripted"],
)
def test_what_torch_made_of_a_module_is_imported_as_one(
    transform: Callable[[nn.Module, torch.Tensor], nn.Module],
) -> None:
    torch.manual_seed(6)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    x = torch.randn(1, 3, 8, 8)
    graph = frontend.load(transform(module, x), x)
    found = interpreter.run(graph, {graph.inputs[0].name: x.numpy()})
    np.testing.assert_allclose(found[0], module(x).detach().numpy(), rtol=1e-4, atol=1e-4)


# ---- behaviour --------------------------------------------------------------------------------


def test_the_exporters_are_quiet(
    exporter: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    frontend.load(nn.Conv2d(3, 2, 1), (torch.randn(1, 3, 4, 4),), exporter=exporter)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_the_older_exporter_stands_in_where_onnxscript_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    graph = frontend.load(nn.Sequential(nn.Conv2d(3, 2, 1)), torch.randn(1, 3, 4, 4))
    assert [node.name for node in graph.nodes()] == ["0"]


def test_a_module_that_fails_is_reported_in_one_line(exporter: str) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("sizes differ\nsecond line")

    with pytest.raises(ModelError) as caught:
        frontend.load(Apply(fail), torch.ones(1), exporter=exporter)
    assert str(caught.value) == "torch cannot export Apply to ONNX: sizes differ"


def test_what_no_exporter_writes_rightly_is_not_to_be_exported_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = onnx.helper.make_model(
        onnx.helper.make_graph([], "broken", [], [onnx.ValueInfoProto(name="y")]),
        producer_name="pytorch",
    )
    monkeypatch.setattr(frontend, "_EXPORTERS", {"dynamo": lambda *_: broken})
    with pytest.raises(ModelError, match=r"output 'y'; torch's exporters wrote this"):
        frontend.load(nn.ReLU(), torch.ones(1))


class SignOfData(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 1
        x.data = x.data.sign()
        return x * 2


class BranchOnData(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.max() if x.max() > 5 else x + 1


@pytest.mark.parametrize("kind", [SignOfData, BranchOnData])
def test_a_module_of_which_tracing_misses_something_is_refused(
    kind: type[nn.Module], exporter: str
) -> None:
    with pytest.raises(ModelError, match=r"faithfully.*neither write to a tensor's .data nor"):
        frontend.load(kind(), torch.linspace(-2, 2, 12), exporter=exporter)


def test_of_random_numbers_the_operator_is_named() -> None:
    """And not that a trace draws other ones than the module."""

    def noisy(x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)

    with pytest.raises(UnsupportedError, match="RandomUniformLike"):
        frontend.load(Apply(noisy), torch.ones(4), exporter="torchscript")


def test_an_unknown_exporter_is_refused() -> None:
    with pytest.raises(InputError, match=r"no exporter 'onnx'; use one of dynamo, torchscript"):
        frontend.load(nn.ReLU(), torch.ones(1), exporter="onnx")


def test_example_inputs_must_be_tensors() -> None:
    with pytest.raises(InputError, match=r"example_inputs holds a ndarray; give torch tensors"):
        frontend.load(nn.ReLU(), (np.ones(1),))


def test_importing_the_package_imports_neither_torch_nor_onnx() -> None:
    code = "import sys, bnnc.frontends; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
