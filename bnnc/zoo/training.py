"""Training a network: steps, and all it takes to go on after a break."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnc.errors import InputError
from bnnc.zoo.centernet import CenterNet
from bnnc.zoo.layers import clip_latent_weights
from bnnc.zoo.losses import Loss, centernet_loss
from bnnc.zoo.metadata import PREPROCESSING
from bnnc.zoo.recipes import Recipe
from bnnc.zoo.settle import measure_norms
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

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


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


class Trainer:
    """Trains a network in place.

    Args:
        model: on the device to train on.
        recipe: how.
        steps: batches in an epoch.
    """

    def __init__(self, model: CenterNet, recipe: Recipe, steps: int) -> None:
        self.model, self.recipe, self.steps = model, recipe, steps
        self.done = 0
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._averages = [p.detach().clone() for p in self._parameters]
        self._optimiser = torch.optim.Adam(self._parameters, lr=recipe.learning_rate)
        self._level = recipe.learning_rate
        self._least_loss, self._stale = math.inf, 0

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        rise = min(1.0, (self.done + 1) / max(1, self.recipe.warm_up))
        if self.recipe.schedule == "plateau":
            return self._level * rise
        part = self.done / (self.steps * self.recipe.epochs)
        return self._level * rise * (1 + math.cos(math.pi * part)) / 2

    def step(self, batch: Batch) -> Loss:
        """One step on ``batch``; its loss before the step."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate
        self.model.train()
        loss = centernet_loss(
            self.model.logits(batch.images),
            batch.heatmap,
            batch.size,
            batch.offset,
            batch.centres,
            balanced=self.recipe.balanced,
        )
        self._optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        self._optimiser.step()
        clip_latent_weights(self.model)
        decay = min(self.recipe.averaging, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            for average, parameter in zip(self._averages, self._parameters):
                average.lerp_(parameter, 1 - decay)
        self.done += 1
        return loss

    def end_epoch(self, loss: float) -> None:
        """Tell that an epoch is over, and its mean loss, by which the plateau is known."""
        if loss < self._least_loss:
            self._least_loss, self._stale = loss, 0
        else:
            self._stale += 1
        if self._stale > self.recipe.patience:
            self._level, self._stale = self._level / 10, 0
        if self.recipe.final_from is not None and self.done == self.recipe.final_from * self.steps:
            self._level = self.recipe.final_rate

    def averaged(self, batches: Iterable[Batch]) -> CenterNet:
        """A copy for use, with the averaged weights where the recipe averages.

        Its BatchNorm statistics are measured on ``batches``: those kept while training are not
        those of the averaged weights.
        """
        model = copy.deepcopy(self.model)
        if self.recipe.averaging:
            parameters = (p for p in model.parameters() if p.requires_grad)
            with torch.no_grad():
                for average, parameter in zip(self._averages, parameters):
                    parameter.copy_(average)
            device = self._parameters[0].device
            measure_norms(model, (batch.images.to(device) for batch in batches))
        return model.eval()

    def state(self) -> dict[str, Any]:
        """Everything :meth:`restore` needs, as plain values and tensors."""
        return {
            "model": self.model.state_dict(),
            "averages": self._averages,
            "optimiser": self._optimiser.state_dict(),
            "done": self.done,
            "level": self._level,
            "least_loss": self._least_loss,
            "stale": self._stale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state` was taken, of the same network and recipe.

        Raises InputError where it does not fit; the trainer is of no use then.
        """
        try:
            self._restore(state)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError("holds a training state that does not fit its network") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        averages = zip(self._parameters, self._averages, state["averages"], strict=True)
        for parameter, average, saved in averages:
            moments = self._optimiser.state.get(parameter, {}).values()
            # Torch would find those of other shapes only at the next step.
            if any(held.shape not in ((), parameter.shape) for held in (saved, *moments)):
                raise ValueError
            average.copy_(saved)
        self.done, self._level = int(state["done"]), float(state["level"])
        self._least_loss, self._stale = float(state["least_loss"]), int(state["stale"])


def fit(
    trainer: Trainer,
    epochs: Iterable[int],
    batches: Callable[[int], Iterable[Batch]],
    *,
    report: Callable[[Loss], None] = lambda loss: None,
) -> Iterable[int]:
    """Train epoch by epoch; yields the number of each when it is done.

    Args:
        trainer: what trains.
        epochs: numbers of the epochs to train.
        batches: an epoch's batches by its number.
        report: called after each step.
    """
    device = next(trainer.model.parameters()).device
    for epoch in epochs:
        losses = []
        for batch in batches(epoch):
            loss = trainer.step(batch.to(device))
            losses.append(loss.total.item())
            report(loss)
        trainer.end_epoch(sum(losses) / max(1, len(losses)))
        yield epoch
