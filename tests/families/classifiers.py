"""Binary classifiers of the literature, at reduced size."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from binary_parts import (
    BinaryConv,
    BinaryLinear,
    RPReLU,
    Shift,
    bireal_weights,
    centred_weights,
    clipped_sign,
    compared_sign,
    conv_norm,
    polynomial_sign,
)
from torch import Tensor, nn


class BiRealBlock(nn.Module):
    """Liu et al., 2018: a shortcut around every convolution."""

    def __init__(self, channels: int, features: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = BinaryConv(
            channels, features, stride=stride, weights=bireal_weights, signs=polynomial_sign
        )
        self.norm = nn.BatchNorm2d(features)
        self.shortcut = (
            nn.Sequential(nn.AvgPool2d(2, stride), *conv_norm(channels, features, 1))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.shortcut(x)


class BiRealNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(
            BiRealBlock(16, 16), BiRealBlock(16, 36, 2), BiRealBlock(36, 36), BiRealBlock(36, 70, 2)
        )
        self.dense = nn.Linear(70, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        return self.dense(torch.flatten(x, 1))


class XnorBlock(nn.Module):
    """Rastegari et al., 2016: BatchNorm, sign, convolution, and the map K of local means of |x|."""

    def __init__(self, channels: int, features: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-4)
        self.conv = BinaryConv(
            channels, features, kernel, signs=torch.sign, groups=groups, bias=True
        )
        box = torch.full((1, 1, kernel, kernel), 1 / kernel**2)
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        means = x.abs().mean(1, keepdim=True)
        local = F.conv2d(means, self.box, padding=self.box.shape[-1] // 2)
        return F.relu(self.conv(x) * local)


class XnorLinear(nn.Linear):
    """A binary dense layer of binary inputs, each row of them times its mean magnitude."""

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.sign(x) * x.abs().mean(1, keepdim=True)
        return F.linear(signs, torch.sign(self.weight), self.bias)


class XnorNet(nn.Module):
    """An AlexNet, as XNOR-Net binarises it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2), nn.BatchNorm2d(24), nn.ReLU())
        self.features = nn.Sequential(
            XnorBlock(24, 64, 5, groups=2), nn.MaxPool2d(3, 2), XnorBlock(64, 48, 3)
        )
        self.norm = nn.BatchNorm1d(48 * 7 * 7)
        self.hidden = XnorLinear(48 * 7 * 7, 60)
        self.dense = nn.Linear(60, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.flatten(self.features(self.stem(x)), 1))
        return self.dense(F.relu(self.hidden(x)))


class RealToBinaryBlock(nn.Module):
    """Martinez et al., 2020: a gate computed from the real-valued input scales the result."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = BinaryConv(channels, channels, signs=clipped_sign, weights=torch.sign)
        self.squeeze = nn.Linear(channels, channels // 8)
        self.excite = nn.Linear(channels // 8, channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.act(self.conv(self.norm(x)) * gate[:, :, None, None]) + x


class RealToBinaryNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 32, 3, 2), nn.PReLU(32))
        self.blocks = nn.Sequential(RealToBinaryBlock(32), RealToBinaryBlock(32))
        self.dense = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.blocks(self.stem(x)).mean((2, 3)))


class ReActBlock(nn.Module):
    """Liu et al., 2020: a 3x3 and one or two 1x1 convolutions, each with a shortcut."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.move, self.move_points = Shift(channels), Shift(channels)
        self.conv = BinaryConv(
            channels, channels, stride=stride, weights=bireal_weights, signs=polynomial_sign
        )
        self.norm, self.act = nn.BatchNorm2d(channels), RPReLU(channels)
        self.pool = nn.AvgPool2d(2, 2) if stride > 1 else nn.Identity()
        self.points = nn.ModuleList(
            BinaryConv(channels, channels, 1, weights=bireal_weights) for _ in range(stride)
        )
        self.point_norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(stride))
        self.point_act = RPReLU(channels * stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(self.move(x))) + self.pool(x))
        signs = polynomial_sign(self.move_points(x))
        wide = [norm(conv(signs)) + x for conv, norm in zip(self.points, self.point_norms)]
        return self.point_act(wide[0] if len(wide) == 1 else torch.cat(wide, 1))


class ReActNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 2)
        self.blocks = nn.Sequential(ReActBlock(16), ReActBlock(16, 2), ReActBlock(32, 2))
        self.dense = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        return self.dense(x.view(x.size(0), -1))


class MeliusBlock(nn.Module):
    """Bethge et al., 2021: a dense block that adds features, an improvement block that adds to the
    newest of them."""

    def __init__(self, channels: int, growth: int = 16) -> None:
        super().__init__()
        wide = channels + growth
        self.norm, self.improve_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(wide)
        self.dense = BinaryConv(channels, growth, signs=compared_sign, weights=centred_weights)
        self.improve = BinaryConv(wide, growth, signs=compared_sign, weights=centred_weights)
        self.growth = growth

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.dense(self.norm(x))], 1)
        better = self.improve(self.improve_norm(x))
        return torch.cat([x[:, : -self.growth], x[:, -self.growth :] + better], 1)


class MeliusNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 16, 3, 2), nn.ReLU())
        self.first = nn.Sequential(MeliusBlock(16), MeliusBlock(32))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(48), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Conv2d(48, 24, 1, bias=False)
        )
        self.second = MeliusBlock(24)
        self.dense = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.transition(self.first(self.stem(x))))
        return self.dense(F.relu(x).mean((2, 3)))


class BinaryDenseNet(nn.Module):
    """Bethge et al., 2019: signs of everything so far, concatenated as signs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 24, 3, 2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(3))
        self.convs = nn.ModuleList(
            BinaryConv(24 + 16 * i, 16, dilation=1 + i % 2, pad_with=1.0) for i in range(3)
        )
        self.reduce = nn.Conv2d(72, 32, 1)
        self.dense = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        features, signs = [x], [torch.sign(x)]
        for conv, norm in zip(self.convs, self.norms):
            features.append(norm(conv(torch.cat(signs, 1))))
            signs.append(torch.sign(features[-1]))
        x = F.relu(self.reduce(torch.cat(features, 1)))
        return self.dense(F.max_pool2d(x, 2).mean((2, 3)))


class BinaryMlp(nn.Module):
    """Hubara et al., 2016: dense layers, BatchNorm, Hardtanh, sign."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3 * 16 * 16, 200, 162, 70)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [
                BinaryLinear(inputs, outputs, clipped_sign),
                nn.BatchNorm1d(outputs),
                nn.Hardtanh(),
            ]
        self.layers = nn.Sequential(*layers, BinaryLinear(70, 10, clipped_sign))

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.layers(x), 1)
