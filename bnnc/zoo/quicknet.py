"""QuickNet's stem, residual blocks and transitions, after Bannink et al., *Larq Compute Engine*."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bnnc.zoo.layers import BinaryConv2d, Blur


def encoder_norm(channels: int) -> nn.BatchNorm2d:
    """The encoder's BatchNorm: eps 1e-5, and Keras' momentum 0.9, which torch counts as 0.1."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)


def outer_norm(channels: int, *, affine: bool = True) -> nn.BatchNorm2d:
    """BatchNorm outside the encoder: eps 1e-3, and Keras' momentum 0.99."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01, affine=affine)


def conv3x3(
    in_channels: int, features: int, *, binary: bool, stride: int, pad_value: float, clip: float
) -> nn.Conv2d:
    """The convolution of a residual block, binary or float; both name their weights alike."""
    if binary:
        return BinaryConv2d(in_channels, features, stride=stride, pad_value=pad_value, clip=clip)
    return nn.Conv2d(in_channels, features, 3, stride, padding=1, bias=False)


class QuickNetStem(nn.Module):
    """[N, 3, H, W] -> [N, features, H/4, W/4]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        hidden = features // 4
        self.conv = nn.Conv2d(3, hidden, 3, stride=2, padding=1, bias=False)
        self.norm = outer_norm(hidden)
        self.depthwise = nn.Conv2d(
            hidden, hidden, 3, stride=2, padding=1, groups=hidden, bias=False
        )
        self.depthwise_norm = outer_norm(hidden, affine=False)
        self.pointwise = nn.Conv2d(hidden, features, 1, bias=False)
        self.pointwise_norm = outer_norm(features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        x = self.depthwise_norm(self.depthwise(x))
        x = self.pointwise_norm(self.pointwise(x))
        return x


class QuickNetBlock(nn.Module):
    """y = x + BN(ReLU(conv(sign(x)))), one convolution to a shortcut; same shape in and out."""

    def __init__(self, features: int, *, binary: bool, clip: float) -> None:
        super().__init__()
        self.conv = conv3x3(features, features, binary=binary, stride=1, pad_value=1.0, clip=clip)
        self.norm = encoder_norm(features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(F.relu(self.conv(x)))


class Transition(nn.Module):
    """To the next scale: [N, in, H, W] -> [N, features, H/2, W/2]."""

    def __init__(self, in_channels: int, features: int) -> None:
        super().__init__()
        self.blur = Blur(in_channels)
        self.conv = nn.Conv2d(in_channels, features, 1, bias=False)
        self.norm = encoder_norm(features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(x), 2, stride=1)
        return self.norm(self.conv(self.blur(x)))


class QuickNetScale(nn.Module):
    """The blocks of one scale, then the transition to the next where there is one."""

    def __init__(
        self, features: int, following: int | None, *, binary: Sequence[bool], clip: float
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(QuickNetBlock(features, binary=flag, clip=clip) for flag in binary)
        )
        self.transition = None if following is None else Transition(features, following)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return x if self.transition is None else self.transition(x)
