"""One training run: batches in, a trained network out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnnc.zoo.centernet import CenterNet
from bnnc.zoo.layers import clip_latent_weights
from bnnc.zoo.losses import Loss, centernet_loss
from bnnc.zoo.metadata import PREPROCESSING
from bnnc.zoo.targets import Targets


@dataclass(frozen=True)
class Batch:
    """Inputs [N, 3, H, W] and their targets: heatmap [N, classes, h, w], size and offset
    [N, 2, h, w], centres bool [N, h, w]."""

    images: Tensor
    heatmap: Tensor
    size: Tensor
    offset: Tensor
    centres: Tensor


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        steps: batches in all.
        learning_rate: Adam's, reached after ``warm_up`` steps, then falling as a cosine to zero.
        warm_up: steps of linear rise.
        averaging: weights are averaged over time with this decay a step; 0 for none.
    """

    steps: int
    learning_rate: float = 3e-3
    warm_up: int = 50
    averaging: float = 0.998

    def rate(self, step: int) -> float:
        """The learning rate at ``step``, from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warm_up))
        return self.learning_rate * rise * (1 + math.cos(math.pi * step / self.steps)) / 2


def to_input(pixels: np.ndarray) -> Tensor:
    """RGB pictures, uint8 [N, H, W, 3], as the network's input, float32 [N, 3, H, W]."""
    bgr = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(PREPROCESSING[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return (bgr / PREPROCESSING["scale"] - mean) / std


def collate(pixels: np.ndarray, targets: Sequence[Targets]) -> Batch:
    """A batch of RGB pictures, uint8 [N, H, W, 3], and the targets of each."""
    stacked = (
        torch.from_numpy(np.stack([getattr(one, name) for one in targets]))
        for name in ("heatmap", "size", "offset", "centres")
    )
    return Batch(to_input(pixels), *stacked)


def fit(
    model: CenterNet,
    batches: Iterable[Batch],
    recipe: Recipe,
    *,
    report: Callable[[int, Loss], None] = lambda step, loss: None,
) -> None:
    """Train ``model`` in place on the first ``recipe.steps`` of ``batches``.

    Ends with the averaged weights in ``model``; BatchNorm statistics are then those of the last
    steps, and want ``settle.measure_norms``. ``report`` is called after each step.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    averages = [parameter.detach().clone() for parameter in parameters]
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    model.train()
    for step, batch in zip(range(recipe.steps), batches):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        loss = centernet_loss(
            model.logits(batch.images), batch.heatmap, batch.size, batch.offset, batch.centres
        )
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        clip_latent_weights(model)
        decay = min(recipe.averaging, (step + 1) / (step + 10))
        with torch.no_grad():
            for average, parameter in zip(averages, parameters):
                average.lerp_(parameter, 1 - decay)
        report(step, loss)
    if recipe.averaging:
        with torch.no_grad():
            for average, parameter in zip(averages, parameters):
                parameter.copy_(average)
