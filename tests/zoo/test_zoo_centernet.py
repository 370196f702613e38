"""The builder: shapes, names, and networks of every kind under both exporters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from side_by_side import run_onnx

from bnnc.errors import InputError
from bnnc.zoo.centernet import build
from bnnc.zoo.layers import BinaryConv2d
from bnnc.zoo.models import MODELS, specify
from bnnc.zoo.notation import BinaryBlocks
from bnnc.zoo.settle import measure_norms, settle, smooth_noise

SMALL = {
    "qn": specify("qn([1x8,2x12,1x16])", "tp4([8,6])", "h(8)"),
    "qn, mixed": specify("qn([2x8,2x12])", "tp3([8])", "h(8)", binary=BinaryBlocks(scales=(2,))),
    "rtb": specify("rtb([1x16,2x24])", "tp2([8])", "h(8)"),
    "rn": specify("rn([1x4,1x6])", "tp2([8])", "h(8)"),
}


def picture(height: int, width: int) -> torch.Tensor:
    return smooth_noise(1, height, width, torch.Generator().manual_seed(9))


@pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (50, 33), (1, 1)])
def test_outputs_are_a_quarter_of_any_input_size(spec, size: tuple[int, int]) -> None:
    model = build(spec, 5, seed=0).eval()
    rows, columns = (-(-side // 4) for side in size)
    shapes = [tuple(output.shape) for output in model(torch.zeros(2, 3, *size))]
    assert shapes == [(2, channels, rows, columns) for channels in (5, 2, 2)]


@pytest.mark.parametrize("kernel", range(2, 7))
def test_a_decoder_of_any_kernel_doubles_the_size(kernel: int) -> None:
    model = build(specify("qn([1x4,1x8])", f"tp{kernel}([4])", "h(4)"), 1, seed=0).eval()
    assert model(torch.zeros(1, 3, 32, 32))[0].shape[2:] == (8, 8)


def test_a_size_that_is_filled_up_answers_as_if_zeros_stood_beyond_it() -> None:
    model = build(SMALL["qn"], 3, seed=0).eval()
    x = picture(40, 20)
    whole = torch.zeros(1, 3, 48, 32)
    whole[..., :40, :20] = x
    for part, all_of_it in zip(model(x), model(whole)):
        torch.testing.assert_close(part, all_of_it[..., :10, :5])


def test_the_heatmap_is_the_sigmoid_of_the_logits() -> None:
    model = build(SMALL["qn"], 3, seed=0).eval()
    x = picture(32, 32)
    assert torch.equal(model(x)[0], torch.sigmoid(model.logits(x)[0]))


def test_modules_have_readable_names() -> None:
    names = dict(build(SMALL["qn"], 3, seed=0).named_modules())
    for name in (
        "stem.conv",
        "encoder.1.block.1.conv",
        "encoder.1.block.1.norm",
        "encoder.0.transition.blur",
        "decoder.0.conv",
        "heads.heatmap.0",
        "heads.size.3",
        "heads.offset.3",
    ):
        assert name in names
    assert "encoder.2.transition" not in {k for k, v in names.items() if v is not None}


def test_binary_and_float_blocks_share_their_state() -> None:
    q = [
        specify("qn([1x8,1x8])", "tp2([4])", "h(4)", binary=BinaryBlocks(scales))
        for scales in (None, (), (1,))
    ]
    binary, real, mixed = (build(spec, 2, seed=0) for spec in q)
    real.load_state_dict(binary.state_dict())
    mixed.load_state_dict(real.state_dict())
    kinds = [
        [isinstance(model.encoder[i].block[0].conv, BinaryConv2d) for i in range(2)]
        for model in (binary, real, mixed)
    ]
    assert kinds == [[True, True], [False, False], [True, False]]


def test_a_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second, third = (build(SMALL["qn"], 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.stem.conv.weight, second.stem.conv.weight)
    assert not torch.equal(first.stem.conv.weight, third.stem.conv.weight)


@pytest.mark.parametrize("spec", SMALL.values(), ids=SMALL)
def test_networks_mean_the_same_after_export(exporter, spec) -> None:
    model = build(spec, 4, seed=0).eval()
    settle(model, 48, 48)
    x = picture(48, 48)
    for expected, result in zip(model(x), run_onnx(exporter(model, x), x.numpy())):
        np.testing.assert_allclose(result, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [64, 256])
def test_settled_activations_are_of_the_scale_of_a_trained_network(size: int) -> None:
    model = build(MODELS["q3"], 4, seed=0)
    settle(model, size, size, seed=3)
    seen: list[float] = []
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda module, x, y: seen.append(y.detach().std().item()))
    model.eval()(smooth_noise(4, size, size, torch.Generator().manual_seed(4)))
    assert len(seen) == 28
    assert all(0.4 < deviation < 2.5 for deviation in seen)


def test_settling_keeps_the_mode_and_the_momenta() -> None:
    model = build(SMALL["qn"], 2, seed=0).train()
    before = [m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    settle(model, 32, 32)
    after = [m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert model.training
    assert after == before


def test_measured_statistics_are_the_mean_over_batches() -> None:
    model = build(SMALL["qn"], 2, seed=0)
    batches = list(torch.randn(3, 2, 3, 32, 32))
    measure_norms(model, batches)
    features = model.stem.conv(torch.cat(batches)).detach()
    torch.testing.assert_close(model.stem.norm.running_mean, features.mean((0, 2, 3)))


def test_impossible_networks_are_refused() -> None:
    with pytest.raises(InputError):
        build(SMALL["qn"], 0)
    with pytest.raises(InputError):
        build(specify("qn([1x8])", "tp2([4,4,4])", "h(4)"), 1)
