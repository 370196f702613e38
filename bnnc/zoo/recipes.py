"""How to train: the paper's recipe, and one for a few hundred pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Augmentation:
    """What a training picture may be changed by, drawn anew each time it is seen.

    Attributes:
        rotation: most degrees, either way.
        translation: most, either way, as a part of the input's width and height.
        scale: least and greatest factor, drawn evenly in its logarithm.
        shear: most degrees, either way, along either axis.
        mirror: whether to mirror left to right, in half of the cases.
        flip: whether to flip upside down, in half of the cases.
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    mirror: bool = False
    flip: bool = False


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: times every picture is seen.
        batch: pictures in a step.
        learning_rate: Adam's, reached after ``warm_up`` steps of linear rise.
        warm_up: those steps.
        schedule: "cosine" falls to zero over the whole run; "plateau" takes a tenth whenever an
            epoch's mean loss has not improved for ``patience`` epochs.
        patience: see ``schedule``.
        final_from, final_rate: with "plateau", the epoch (from 0) at which the rate is set, and
            to what.
        averaging: weights are averaged over time with this decay a step; 0 for none.
        balanced: the focal loss counts rare classes more, see ``losses.focal_loss``.
        clip: of binary layers' gradients and latent weights.
        augmentation: changes to the pictures.
    """

    epochs: int
    batch: int
    learning_rate: float
    warm_up: int = 0
    schedule: Literal["cosine", "plateau"] = "cosine"
    patience: int = 10
    final_from: int | None = None
    final_rate: float = 1e-4
    averaging: float = 0.0
    balanced: bool = False
    clip: float = 1.0
    augmentation: Augmentation = Augmentation()


PAPER = Recipe(
    epochs=200,
    batch=32,
    learning_rate=1e-3,
    schedule="plateau",
    final_from=100,
    augmentation=Augmentation(rotation=10, translation=0.1, scale=(0.7, 1.4), shear=5, mirror=True),
)
"""The paper's; it gives no amounts for its augmentation, those are ours."""

SMALL = Recipe(
    epochs=30,
    batch=4,
    learning_rate=3e-3,
    warm_up=50,
    averaging=0.998,
    balanced=True,
    clip=1.25,
    augmentation=Augmentation(translation=0.1, scale=(0.8, 1.25), mirror=True, flip=True),
)
"""For a few hundred pictures, from scratch, in minutes on a processor."""

RECIPES = {"paper": PAPER, "small": SMALL}
"""Every recipe by the name users give."""
