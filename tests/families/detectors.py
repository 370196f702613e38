"""Detectors, binary and not, at reduced size: several heads, decoding in the graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from binary_parts import (
    Binarise,
    BinaryConv,
    bireal_weights,
    clipped_sign,
    conv_norm,
    larq_sign,
    polynomial_sign,
)
from torch import Tensor, nn


class L2Norm(nn.Module):
    """SSD's normalisation of conv4_3: each pixel to unit length, times a scale a channel."""

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10)
        return self.weight.view(1, -1, 1, 1).expand_as(x) * x


class Ssd(nn.Module):
    """SSD300 on VGG-16, binarised as BiDet (Wang et al., 2020) or LWS-Det (Xu et al., 2021) do:
    all but the first layer, with BatchNorm behind each convolution; the heads as asked.

    Outputs: boxes [N, P, 4] and class probabilities [N, P, classes] of the P priors.
    """

    classes = 21

    def __init__(self, signs: Binarise, weights: Binarise, *, binary_heads: bool) -> None:
        super().__init__()
        self.signs, self.weights = signs, weights
        self.stem = nn.Sequential(*conv_norm(3, 8), nn.Hardtanh())
        self.vgg = nn.Sequential(
            *self._layer(8, 8), nn.MaxPool2d(2, 2),
            *self._layer(8, 16), *self._layer(16, 16), nn.MaxPool2d(2, 2),
            *self._layer(16, 32), *self._layer(32, 32), nn.MaxPool2d(2, 2, ceil_mode=True),
            *self._layer(32, 64), *self._layer(64, 64),
        )  # fmt: skip
        self.norm = L2Norm(64)
        self.top = nn.Sequential(
            nn.MaxPool2d(2, 2), *self._layer(64, 64), nn.MaxPool2d(3, 1, 1),
            *self._layer(64, 128, dilation=6), *self._layer(128, 128, kernel=1),
        )  # fmt: skip
        self.extras = nn.ModuleList(
            [
                nn.Sequential(*self._layer(128, 32, kernel=1), *self._layer(32, 64, stride=2)),
                nn.Sequential(*self._layer(64, 16, kernel=1), *self._layer(16, 32, stride=2)),
            ]
        )
        sources, priors = (64, 128, 64, 32), (4, 6, 6, 4)
        self.boxes, self.scores = (
            nn.ModuleList(self._head(c, p * n, binary_heads) for c, p in zip(sources, priors))
            for n in (4, self.classes)
        )

    def _layer(
        self, channels: int, features: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> tuple[nn.Module, ...]:
        conv = BinaryConv(
            channels,
            features,
            kernel,
            stride=stride,
            dilation=dilation,
            signs=self.signs,
            weights=self.weights,
        )
        return conv, nn.BatchNorm2d(features), nn.Hardtanh()

    def _head(self, channels: int, features: int, binary: bool) -> nn.Module:
        if not binary:
            return nn.Conv2d(channels, features, 3, padding=1)
        return BinaryConv(channels, features, signs=self.signs, weights=self.weights, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.vgg(self.stem(x))
        sources = [self.norm(x)]
        x = self.top(x)
        sources.append(x)
        for extra in self.extras:
            x = extra(x)
            sources.append(x)
        boxes, scores = [], []
        for source, box, score in zip(sources, self.boxes, self.scores):
            boxes.append(box(source).permute(0, 2, 3, 1).contiguous())
            scores.append(score(source).permute(0, 2, 3, 1).contiguous())
        flat = [torch.cat([t.view(t.size(0), -1) for t in each], 1) for each in (boxes, scores)]
        batch = x.size(0)
        probabilities = F.softmax(flat[1].view(batch, -1, self.classes), dim=-1)
        return flat[0].view(batch, -1, 4), probabilities


def bidet() -> Ssd:
    return Ssd(clipped_sign, bireal_weights, binary_heads=True)


def lws_det() -> Ssd:
    return Ssd(torch.sign, torch.sign, binary_heads=False)


class CrossStage(nn.Module):
    """A split into halves, one of them through a binary residual, and a 1x1 over both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = BinaryConv(half, half, signs=larq_sign, weights=torch.sign, pad_with=1.0)
        self.norm = nn.BatchNorm2d(half)
        self.join = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return F.leaky_relu(
            self.join(torch.cat([kept, self.norm(self.conv(changed)) + changed], 1)), 0.1
        )


class Yolo(nn.Module):
    """A YOLO-like detector: a path down and one up with Resize and Concat, two scales, and the
    boxes decoded from anchors in the graph: [N, predictions, 5 + classes]."""

    classes, anchors = 3, 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 24, 3, 2), nn.SiLU())
        self.down = nn.ModuleList(
            nn.Sequential(*conv_norm(c, 2 * c, 3, 2), nn.SiLU(), CrossStage(2 * c))
            for c in (24, 48)
        )
        self.lateral = nn.Conv2d(96, 48, 1)
        self.up = nn.Sequential(*conv_norm(96, 48, 1), nn.SiLU(), CrossStage(48))
        outputs = self.anchors * (5 + self.classes)
        self.heads = nn.ModuleList(nn.Conv2d(c, outputs, 1) for c in (48, 96))
        self.register_buffer("sizes", torch.rand(2, self.anchors, 2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down[0](self.stem(x))
        coarse = self.down[1](fine)
        above = F.interpolate(self.lateral(coarse), scale_factor=2, mode="nearest")
        fine = self.up(torch.cat([above, fine], 1))
        levels = zip((fine, coarse), self.heads, self.sizes)
        return torch.cat([self._decode(head(level), sizes) for level, head, sizes in levels], 1)

    def _decode(self, x: Tensor, sizes: Tensor) -> Tensor:
        batch, _, rows, columns = x.shape
        x = x.view(batch, self.anchors, 5 + self.classes, rows, columns).permute(0, 1, 3, 4, 2)
        places, extents, scores = x.sigmoid().split((2, 2, 1 + self.classes), 4)
        y, z = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grid = torch.stack((z, y), 2).view(1, 1, rows, columns, 2).to(x.dtype)
        centres = (places * 2 - 0.5 + grid) / columns
        extents = (extents * 2) ** 2 * sizes.view(1, self.anchors, 1, 1, 2)
        return torch.cat((centres, extents, scores), 4).reshape(batch, -1, 5 + self.classes)


class Decoded(nn.Module):
    """A CenterNet with its decoding in the graph: peaks of the heatmap by a max-pool, the best by
    TopK, their sizes and offsets gathered. Outputs: corners [N, top, 4], scores and labels."""

    top = 8

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(3, 32, 3, 2),
            nn.ReLU(),
            BinaryConv(32, 32, signs=polynomial_sign),
            nn.BatchNorm2d(32),
            BinaryConv(32, 64, signs=larq_sign, weights=torch.sign, stride=2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Conv2d(64, features, 1) for features in (3, 2, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.body(x)
        heatmap, size, offset = (head(x) for head in self.heads)
        heatmap = heatmap.sigmoid()
        heatmap = heatmap * (F.max_pool2d(heatmap, 3, 1, 1) == heatmap).float()
        batch, _, rows, columns = heatmap.shape
        scores, places = heatmap.view(batch, -1).topk(self.top)
        labels, cells = places // (rows * columns), places % (rows * columns)
        y, z = (cells // columns).float(), (cells % columns).float()
        index = cells.unsqueeze(1).expand(batch, 2, self.top)
        extents = size.flatten(2).gather(2, index) / 2
        centres = torch.stack((z, y), 1) + offset.flatten(2).gather(2, index)
        return torch.cat((centres - extents, centres + extents), 1).transpose(1, 2), scores, labels
