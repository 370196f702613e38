"""ResNet (He et al., 2016) and Real-to-Binary (Martinez et al., 2020): stem, blocks, scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnc.zoo.quicknet import conv3x3, encoder_norm

EXPANSION = 4
"""Output features of a bottleneck block over those of its 3x3 convolution."""
STEM_FEATURES = 64
GATE_REDUCTION = 8


class ResNetStem(nn.Module):
    """[N, 3, H, W] -> [N, features, H/4, W/4]."""

    def __init__(self, features: int = STEM_FEATURES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, features, 7, stride=2, padding=3, bias=False)
        self.norm = encoder_norm(features)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.norm(self.conv(x))), 3, stride=2, padding=1)


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut around; the stride is in the first 1x1, as first published."""

    def __init__(self, in_channels: int, features: int, *, stride: int) -> None:
        super().__init__()
        out = features * EXPANSION
        self.reduce = nn.Conv2d(in_channels, features, 1, stride, bias=False)
        self.reduce_norm = encoder_norm(features)
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm = encoder_norm(features)
        self.expand = nn.Conv2d(features, out, 1, bias=False)
        self.expand_norm = encoder_norm(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out, 1, stride, bias=False), encoder_norm(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.reduce_norm(self.reduce(x)))
        y = F.relu(self.norm(self.conv(y)))
        return F.relu(self.shortcut(x) + self.expand_norm(self.expand(y)))


class Gate(nn.Module):
    """A factor in (0, 1) for each channel, from the block's real-valued input.

    Dense layers are 1x1 convolutions here. [N, in, H, W] -> [N, features, 1, 1].
    """

    def __init__(self, in_channels: int, features: int) -> None:
        super().__init__()
        hidden = max(1, in_channels // GATE_REDUCTION)
        self.squeeze = nn.Conv2d(in_channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(x))))


class RealToBinaryBlock(nn.Module):
    """y = shortcut(x) + PReLU(gate(x) * conv(sign(BN(x)))), with zero-padding."""

    def __init__(
        self, in_channels: int, features: int, *, stride: int, binary: bool, clip: float
    ) -> None:
        super().__init__()
        self.norm = encoder_norm(in_channels)
        self.conv = conv3x3(
            in_channels, features, binary=binary, stride=stride, pad_value=0.0, clip=clip
        )
        self.gate = Gate(in_channels, features)
        self.activation = nn.PReLU(features)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != features:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(in_channels, features, 1, bias=False),
                encoder_norm(features),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.gate(x) * self.conv(self.norm(x))
        return self.shortcut(x) + self.activation(y)


class ResNetScale(nn.Module):
    """The blocks of one scale; the first takes the stride and the change of features."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return x


def bottleneck_scale(in_channels: int, features: int, blocks: int, *, stride: int) -> ResNetScale:
    """``blocks`` bottleneck blocks; output [N, EXPANSION * features, H/stride, W/stride]."""
    out = features * EXPANSION
    return ResNetScale(
        [
            BottleneckBlock(out if index else in_channels, features, stride=1 if index else stride)
            for index in range(blocks)
        ]
    )


def real_to_binary_scale(
    in_channels: int, features: int, *, binary: Sequence[bool], stride: int, clip: float
) -> ResNetScale:
    """One Real-to-Binary block for each flag; output [N, features, H/stride, W/stride]."""
    return ResNetScale(
        [
            RealToBinaryBlock(
                features if index else in_channels,
                features,
                stride=1 if index else stride,
                binary=flag,
                clip=clip,
            )
            for index, flag in enumerate(binary)
        ]
    )
