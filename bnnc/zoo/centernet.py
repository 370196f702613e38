"""The builder: a specification becomes a CenterNet."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnc.errors import InputError
from bnnc.zoo.models import Model
from bnnc.zoo.quicknet import QuickNetScale, QuickNetStem, outer_norm
from bnnc.zoo.resnet import (
    EXPANSION,
    STEM_FEATURES,
    ResNetStem,
    bottleneck_scale,
    real_to_binary_scale,
)

OUTPUTS = ("heatmap", "size", "offset")
"""What the outputs are called, in their order."""
STEM_STRIDE = 4
HEATMAP_PRIOR = -2.19
"""Bias of the heatmap's last layer: sigmoid(-2.19) = 0.1, as in *Objects as Points*."""


class Upsampling(nn.Module):
    """One step of the decoder: [N, in, H, W] -> [N, features, 2H, 2W]."""

    def __init__(self, in_channels: int, features: int, kernel: int) -> None:
        super().__init__()
        # 2H = (H - 1) * 2 - 2 * padding + kernel + output_padding
        odd = kernel % 2
        self.conv = nn.ConvTranspose2d(
            in_channels,
            features,
            kernel,
            stride=2,
            padding=(kernel - 2 + odd) // 2,
            output_padding=odd,
            bias=False,
        )
        self.norm = outer_norm(features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Heads(nn.Module):
    """The three branches on the decoder's output, each named after what it gives.

    [N, in, H, W] -> logits of the heatmap [N, classes, H, W], size and offset [N, 2, H, W].
    """

    def __init__(self, in_channels: int, features: int, classes: int) -> None:
        super().__init__()
        self.heatmap = _head(in_channels, features, classes)
        self.size = _head(in_channels, features, 2)
        self.offset = _head(in_channels, features, 2)
        nn.init.constant_(self.heatmap[-1].bias, HEATMAP_PRIOR)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.heatmap(x), self.size(x), self.offset(x)


class CenterNet(nn.Module):
    """Stem, encoder, decoder and heads, as ``model`` specifies.

    Modules are named by what they are: ``stem.conv``, ``encoder.2.block.1.conv`` (third scale,
    second block), ``encoder.2.transition.blur``, ``decoder.0.conv``, ``heads.heatmap.0``.

    Args:
        model: the specification.
        classes: channels of the heatmap.
        clip: of the binary layers.

    Shapes:
        input [N, 3, H, W], normalised. With s = ``stride`` and any H and W, the outputs are
        heatmap [N, classes, H/s, W/s] in (0, 1), size [N, 2, H/s, W/s] (width, height) and offset
        [N, 2, H/s, W/s] (x, y), rounded up; sizes and offsets in cells of the output grid.
    """

    def __init__(self, model: Model, classes: int, *, clip: float = 1.0) -> None:
        super().__init__()
        if not 1 <= classes <= 65536:
            raise InputError(f"{classes} classes", hint="use 1 to 65536")
        scales = model.encoder.scales
        self.coarsest = coarsest_stride_of(model)
        if len(model.decoder.features) > len(scales) + 1:
            raise InputError(
                f"{model.decoder} enlarges {model.encoder} beyond the input",
                hint=f"use at most {len(scales) + 1} steps",
            )
        self.stride = stride_of(model)
        self.stem: nn.Module
        if model.encoder.kind == "qn":
            self.stem = QuickNetStem(scales[0][1])
        else:
            self.stem = ResNetStem()
        self.encoder = nn.Sequential(*_scales(model, clip))
        features = scales[-1][1] * (EXPANSION if model.encoder.kind == "rn" else 1)
        steps = []
        for step in model.decoder.features:
            steps.append(Upsampling(features, step, model.decoder.kernel))
            features = step
        self.decoder = nn.Sequential(*steps)
        self.heads = Heads(features, model.head.features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, size, offset = self.logits(x)
        return torch.sigmoid(logits), size, offset

    @torch.no_grad()
    def predict(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, for an input float32 [N, 3, H, W]."""
        outputs = self(torch.from_numpy(np.ascontiguousarray(x)))
        return dict(zip(OUTPUTS, (tensor.numpy() for tensor in outputs)))

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``forward``, with the heatmap before its sigmoid: what the loss takes."""
        height, width = _height_and_width(x)
        below, right = -height % self.coarsest, -width % self.coarsest
        if below or right:
            x = F.pad(x, (0, right, 0, below))
        logits, size, offset = self.heads(self.decoder(self.encoder(self.stem(x))))
        if below or right:
            inside = (..., slice(-(-height // self.stride)), slice(-(-width // self.stride)))
            return logits[inside], size[inside], offset[inside]
        return logits, size, offset


def coarsest_stride_of(model: Model) -> int:
    """Input pixels to a cell of the encoder's last scale."""
    return STEM_STRIDE * 2 ** (len(model.encoder.scales) - 1)


def stride_of(model: Model) -> int:
    """Input pixels to a cell of the output grid."""
    return int(coarsest_stride_of(model) // 2 ** len(model.decoder.features))


def build(
    model: Model, classes: int = 20, *, seed: int | None = None, clip: float = 1.0
) -> CenterNet:
    """A freshly initialised network.

    Args:
        model: from ``models.MODELS``, or made by ``models.specify``.
        classes: how many the heatmap tells apart.
        seed: of the initial weights; None takes torch's generator as it is.
        clip: of the binary layers' gradients and latent weights.

    Raises InputError where the parts do not fit.
    """
    if seed is None:
        return CenterNet(model, classes, clip=clip)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CenterNet(model, classes, clip=clip)


def _scales(model: Model, clip: float) -> list[nn.Module]:
    scales = model.encoder.scales
    masks = model.binary.mask(model.encoder)
    modules: list[nn.Module] = []
    features = STEM_FEATURES
    for index, ((blocks, width), mask) in enumerate(zip(scales, masks)):
        stride = 2 if index else 1
        if model.encoder.kind == "qn":
            following = scales[index + 1][1] if index + 1 < len(scales) else None
            modules.append(QuickNetScale(width, following, binary=mask, clip=clip))
        elif model.encoder.kind == "rtb":
            modules.append(
                real_to_binary_scale(features, width, binary=mask, stride=stride, clip=clip)
            )
            features = width
        else:
            modules.append(bottleneck_scale(features, width, blocks, stride=stride))
            features = width * EXPANSION
    return modules


def _head(in_channels: int, features: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, features, 3, padding=1, bias=False),
        outer_norm(features),
        nn.ReLU(),
        nn.Conv2d(features, channels, 1),
    )


def _height_and_width(x: Tensor) -> tuple[int, int]:
    # Sizes are plain numbers here: a tracer's warning that they become constants is no news.
    with warnings.catch_warnings():
        if torch.jit.is_tracing():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return int(x.shape[2]), int(x.shape[3])
