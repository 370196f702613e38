"""A training run on disk: what the network is, and where its training stands.

A checkpoint holds plain values and tensors only, so that reading one runs no code of its author's.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bnnc.errors import InputError
from bnnc.files import fresh_file
from bnnc.zoo.centernet import CenterNet, build, stride_of
from bnnc.zoo.metadata import describe
from bnnc.zoo.models import LARGEST_INPUT, Model, specify
from bnnc.zoo.notation import BinaryBlocks

FORMAT = "bnnc checkpoint 1"


@dataclass
class Checkpoint:
    """What a file holds.

    Attributes:
        model: the network's specification.
        labels: one for each class.
        height, width: of its input.
        weights: its state for use, as ``state_dict`` gives it: averaged, with measured BatchNorms.
        training: all a run needs to go on, or nothing.
        file: where it was read from, if it was.
    """

    model: Model
    labels: Sequence[str]
    height: int
    width: int
    weights: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    file: str | os.PathLike[str] | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What the network's ONNX file says of itself."""
        return describe(self.model.id, self.labels, stride_of(self.model))

    def network(self) -> CenterNet:
        """The network with its weights, in inference mode. Raises InputError where they do not
        fit."""
        try:
            network = build(self.model, len(self.labels))
            network.load_state_dict(self.weights)
        except InputError as error:
            raise error.at(file=self.file) from None
        except (RuntimeError, TypeError, AttributeError) as error:  # torch says it in many lines
            raise InputError("holds weights that do not fit its network", file=self.file) from error
        return network.eval()


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write ``checkpoint``; the file at ``path`` is the old or the new one, never a part of it.

    Raises InputError where it cannot be written.
    """
    target = Path(path)
    model = checkpoint.model
    content = {
        "format": FORMAT,
        "model": {
            "id": model.id,
            "encoder": str(model.encoder),
            "decoder": str(model.decoder),
            "head": str(model.head),
            "input": model.input,
            "scales": None if model.binary.scales is None else list(model.binary.scales),
            "probability": model.binary.probability,
            "seed": model.binary.seed,
        },
        "labels": list(checkpoint.labels),
        "height": checkpoint.height,
        "width": checkpoint.width,
        "weights": checkpoint.weights,
        "training": checkpoint.training,
    }
    with fresh_file(target) as fresh, fresh.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what :func:`save` wrote. Raises InputError where the file is missing, damaged or of
    another kind."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError("is not an ordinary file", file=path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from error
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError("is no checkpoint, or a damaged one", file=path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            "is no checkpoint of bnnc's training", file=path, hint="examples/train.py writes them"
        )
    try:
        return _checkpoint(content, path)
    except InputError as error:
        raise error.at(file=path) from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError("is an incomplete or damaged checkpoint", file=path) from error


def _checkpoint(content: dict[str, Any], path: str | os.PathLike[str]) -> Checkpoint:
    """What a file's content means. Raises all sorts of things where a part is missing or none."""
    said = content["model"]
    scales = said["scales"]
    model = specify(
        said["encoder"],
        said["decoder"],
        said["head"],
        id=str(said["id"]),
        input=int(said["input"]),
        binary=BinaryBlocks(
            None if scales is None else tuple(map(int, scales)),
            float(said["probability"]),
            int(said["seed"]),
        ),
    )
    labels, height, width = list(content["labels"]), int(content["height"]), int(content["width"])
    if not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels are names")
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST_INPUT:
        raise InputError(f"is of a network for {height} x {width} pixels")
    training = dict(content["training"])
    return Checkpoint(model, labels, height, width, content["weights"], training, path)
