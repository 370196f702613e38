"""Parts of published binary networks, each binarised as its authors' code does it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Binarise = Callable[[Tensor], Tensor]


def polynomial_sign(x: Tensor) -> Tensor:
    """Bi-Real Net's: Sign forward, the derivative of a piecewise quadratic backward."""
    forward = torch.sign(x)
    below, negative, inside = ((x < at).to(torch.float32) for at in (-1, 0, 1))
    soft = (-1) * below + (x * x + 2 * x) * (1 - below)
    soft = soft * negative + (-x * x + 2 * x) * (1 - negative)
    soft = soft * inside + 1 * (1 - inside)
    return forward.detach() - soft.detach() + soft


def clipped_sign(x: Tensor) -> Tensor:
    """The straight-through estimator: Sign forward, Hardtanh backward."""
    soft = torch.clamp(x, -1, 1)
    return (torch.sign(x) - soft).detach() + soft


def compared_sign(x: Tensor) -> Tensor:
    return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


def larq_sign(x: Tensor) -> Tensor:
    """Larq's ``ste_sign``: never 0."""
    return torch.sign(torch.sign(x) + 0.1)


def scaled_weights(latent: Tensor) -> Tensor:
    """XNOR-Net's: the sign times the mean magnitude of each output channel."""
    dims = tuple(range(1, latent.dim()))
    return torch.sign(latent) * latent.abs().mean(dims, keepdim=True)


def bireal_weights(latent: Tensor) -> Tensor:
    """The same, with Bi-Real Net's straight-through estimator around it."""
    binary, clipped = scaled_weights(latent), torch.clamp(latent, -1, 1)
    return binary.detach() - clipped.detach() + clipped


def centred_weights(latent: Tensor) -> Tensor:
    """IR-Net's: balanced before the sign, scaled by a power of two."""
    dims = tuple(range(1, latent.dim()))
    balanced = latent - latent.mean(dims, keepdim=True)
    balanced = balanced / balanced.std(dims, keepdim=True)
    scale = 2 ** torch.round(torch.log2(balanced.abs().mean(dims, keepdim=True)))
    return torch.sign(balanced) * scale


class BinaryConv(nn.Conv2d):
    """A convolution that binarises its latent weights, and its input too if told how.

    Args:
        pad_with: what surrounds the input, where that is not zero.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        kernel: int = 3,
        *,
        weights: Binarise = scaled_weights,
        signs: Binarise | None = None,
        stride: int = 1,
        padding: int | None = None,
        pad_with: float = 0.0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        around = dilation * (kernel // 2) if padding is None else padding
        super().__init__(channels, features, kernel, stride, around, dilation, groups, bias=bias)
        self.weights, self.signs, self.pad_with = weights, signs, pad_with

    def forward(self, x: Tensor) -> Tensor:
        if self.signs is not None:
            x = self.signs(x)
        padding = self.padding
        if self.pad_with:
            x = F.pad(x, (self.padding[0],) * 4, value=self.pad_with)
            padding = (0, 0)
        weights = self.weights(self.weight)
        return F.conv2d(x, weights, self.bias, self.stride, padding, self.dilation, self.groups)


class BinaryLinear(nn.Linear):
    """A dense layer of binary weights on binary activations."""

    def __init__(self, inputs: int, outputs: int, signs: Binarise) -> None:
        super().__init__(inputs, outputs)
        self.signs = signs

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.signs(x), torch.sign(self.weight), self.bias)


class Shift(nn.Module):
    """ReActNet's learnable bias, one a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(0.3 * torch.randn(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.expand_as(x)


class RPReLU(nn.Sequential):
    """ReActNet's PReLU, shifted on both sides."""

    def __init__(self, channels: int) -> None:
        super().__init__(Shift(channels), nn.PReLU(channels), Shift(channels))


def conv_norm(channels: int, features: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A float convolution and its normalisation."""
    conv = nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(features))
