"""Realistic BatchNorm statistics without training, so that an untrained graph behaves like one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnc.zoo.centernet import CenterNet

SIDES = (256, 512)
"""The least and the most pixels, each way, that :func:`settle` measures on."""


def smooth_noise(images: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Pictures [images, 3, height, width] of zero mean and unit variance, as normalised inputs are.

    Noise in octaves. An octave's amplitude falls with its frequency, from not at all in the first
    picture to inversely, as in photographs, in the last.
    """
    slopes = torch.linspace(0.0, 1.0, images).reshape(-1, 1, 1, 1)
    total = torch.zeros(images, 3, height, width)
    cells = 2
    while cells < 2 * max(height, width):
        octave = torch.randn(images, 3, min(cells, height), min(cells, width), generator=generator)
        octave = F.interpolate(octave, (height, width), mode="bilinear", align_corners=False)
        total += octave / cells**slopes
        cells *= 2
    centred = total - total.mean((1, 2, 3), keepdim=True)
    return centred / centred.std((1, 2, 3), keepdim=True)


@torch.no_grad()
def measure_norms(model: CenterNet, batches: Iterable[Tensor]) -> None:
    """Set every BatchNorm's statistics to their mean over ``batches`` ([N, 3, H, W] each).

    One forward pass a batch is enough: in training mode each layer normalises by the batch's own
    statistics, so those behind it see what they will see in use. The mode is left as it was.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training = model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean
    model.train()
    for batch in batches:
        model.logits(batch)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(training)


@torch.no_grad()
def settle(model: CenterNet, height: int, width: int, *, seed: int = 0) -> None:
    """Give ``model`` the BatchNorms of a trained network: scales and shifts drawn near 1 and 0,
    statistics measured on smooth noise.

    The noise has ``height`` x ``width`` pixels, but no side outside ``SIDES``: on a coarse grid of
    few cells, channels that seldom fire would seem constant, and be magnified without bound.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            draws = torch.randn(2, module.num_features, generator=generator)
            module.weight.copy_(torch.exp(0.25 * draws[0]))
            module.bias.copy_(0.1 * draws[1])
    rows, columns = (max(SIDES[0], min(side, SIDES[1])) for side in (height, width))
    images = 2 * SIDES[1] ** 2 // (rows * columns)
    measure_norms(model, [smooth_noise(images, rows, columns, generator)])
