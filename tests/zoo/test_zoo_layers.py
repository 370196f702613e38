"""Binary layers: what they compute, what gradient they pass, how they export."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from side_by_side import run_onnx

from bnnc.errors import InputError
from bnnc.zoo.layers import (
    BinaryConv2d,
    Blur,
    Sign,
    clip_latent_weights,
    freeze_binary_weights,
    sign,
)

TINY = 1e-45  # the smallest float32
EDGES = [0.0, -0.0, math.nan, TINY, -TINY, math.inf, -math.inf, 3.0, -3.0]
SIGNS = [1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]


def test_sign_of_both_zeros_is_plus_one_and_of_nan_minus_one() -> None:
    assert sign(torch.tensor(EDGES)).tolist() == SIGNS


@given(x=st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_sign_is_plus_one_exactly_where_x_is_at_least_zero(x: list[float]) -> None:
    assert sign(torch.tensor(x)).tolist() == [1.0 if value >= 0 else -1.0 for value in x]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sign_keeps_the_type(dtype: torch.dtype) -> None:
    result = sign(torch.tensor([-2.0, 0.0], dtype=dtype))
    assert result.dtype == dtype
    assert result.tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("clip", [1.0, 1.25])
def test_gradient_passes_straight_through_where_x_is_within_the_clip(clip: float) -> None:
    x = torch.tensor([-2.0, -clip, -0.3, 0.0, clip, clip + 1e-3], requires_grad=True)
    (sign(x, clip) * torch.arange(1.0, 7.0)).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 0.0]


def test_sign_means_the_same_after_export(exporter) -> None:
    x = torch.tensor([EDGES])
    (result,) = run_onnx(exporter(Sign(), x), x.numpy())
    assert result.tolist() == [SIGNS]


@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 3),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    pad_value=st.sampled_from([-1.0, 0.0, 1.0]),
)
def test_binary_convolution_is_a_convolution_of_signs(
    groups: int, kernel: tuple[int, int], stride: int, dilation: int, pad_value: float
) -> None:
    layer = BinaryConv2d(
        2 * groups,
        3 * groups,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        pad_value=pad_value,
    )
    x = torch.randn(2, 2 * groups, 9, 8)
    rows, columns = (size // 2 * dilation for size in kernel)
    padded = F.pad(sign(x), (columns, columns, rows, rows), value=pad_value)
    expected = F.conv2d(padded, sign(layer.weight), None, stride, 0, dilation, groups)
    result = layer(x)
    assert torch.equal(result, expected)
    assert result.shape[2:] == (-(-9 // stride), -(-8 // stride))


def test_one_padding_makes_every_output_of_a_layer_odd_or_every_one_even() -> None:
    taps = 5 * 9
    result = BinaryConv2d(5, 4)(torch.randn(1, 5, 6, 6))
    assert torch.all((result.long() - taps) % 2 == 0)


def test_zero_padding_contributes_nothing() -> None:
    layer = BinaryConv2d(1, 1, pad_value=0.0)
    torch.nn.init.ones_(layer.weight)
    result = layer(torch.ones(1, 1, 3, 3))
    assert result[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize("pad_value", [-1.0, 0.0, 1.0])
def test_gradients_reach_input_and_latent_weights_as_through_a_float_convolution(
    pad_value: float,
) -> None:
    layer = BinaryConv2d(3, 2, pad_value=pad_value, clip=1.25)
    x = torch.randn(1, 3, 5, 4, requires_grad=True)
    weights = torch.randn(1, 2, 5, 4)
    (layer(x) * weights).sum().backward()

    bits, kernel = (sign(t).detach().requires_grad_() for t in (x, layer.weight))
    padded = F.pad(bits, (1, 1, 1, 1), value=pad_value)
    (F.conv2d(padded, kernel) * weights).sum().backward()
    window = x.detach().abs() <= 1.25
    torch.testing.assert_close(x.grad, bits.grad * window)
    torch.testing.assert_close(layer.weight.grad, kernel.grad)


def test_latent_weights_are_clipped_to_the_clip() -> None:
    layer = BinaryConv2d(1, 1, 1, clip=1.25)
    torch.nn.init.constant_(layer.weight, -7.0)
    clip_latent_weights(torch.nn.Sequential(layer))
    assert layer.weight.item() == -1.25


def test_freezing_keeps_the_answer_and_leaves_signs_as_weights() -> None:
    layer, x = BinaryConv2d(3, 4), torch.randn(1, 3, 6, 6)
    before = layer(x)
    freeze_binary_weights(torch.nn.Sequential(layer))
    assert torch.equal(layer(x), before)
    assert set(layer.weight.flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("pad_value", [0.0, 1.0])
def test_binary_convolution_gives_the_same_integers_after_export(exporter, pad_value) -> None:
    layer = BinaryConv2d(5, 6, (3, 5), stride=2, pad_value=pad_value)
    x = torch.randn(1, 5, 9, 10)
    (result,) = run_onnx(exporter(layer, x), x.numpy())
    np.testing.assert_array_equal(result, layer(x).detach().numpy())


def test_one_padding_exports_as_a_single_pad(exporter) -> None:
    model = exporter(BinaryConv2d(2, 2), torch.randn(1, 2, 5, 5))
    kinds = {node.op_type for node in model.graph.node} - {"Constant"}
    assert kinds <= {"GreaterOrEqual", "Where", "Pad", "Conv"}


def test_blur_averages_with_binomial_weights_and_is_not_trained() -> None:
    blur = Blur(2)
    assert not any(parameter.requires_grad for parameter in blur.parameters())
    result = blur(torch.ones(1, 2, 7, 7))
    assert result.shape == (1, 2, 4, 4)
    assert torch.all(result[..., 1:3, 1:3] == 1)
    assert result[0, 0, 0, 0] == 9 / 16


@pytest.mark.parametrize("options", [{"pad_value": 0.5}, {"kernel_size": 2}])
def test_impossible_layers_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        BinaryConv2d(1, 1, **options)
