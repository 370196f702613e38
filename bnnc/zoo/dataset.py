"""Pictures and their boxes as training samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from bnnc.errors import InputError
from bnnc.pictures import picture_size, read_picture
from bnnc.zoo.metadata import PREPROCESSING
from bnnc.zoo.recipes import Augmentation
from bnnc.zoo.targets import Targets, draw_targets
from bnnc.zoo.training import Batch, collate

LEAST_VISIBLE = 0.25
"""A box of which less than this part of the area is left in the picture is not asked for."""

GROUND = tuple(round(255 * mean) for mean in reversed(PREPROCESSING["mean"]))
"""The mean colour, RGB: what lies around a picture."""


@dataclass(frozen=True)
class Example:
    """A picture file and what is on it.

    Attributes:
        picture: the file.
        boxes: float32 [N, 4], x0, y0, x1, y1 in the picture's pixels.
        labels: int64 [N].
    """

    picture: Path
    boxes: np.ndarray
    labels: np.ndarray


def augmented(
    picture: Image.Image,
    boxes: np.ndarray,
    height: int,
    width: int,
    amounts: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``picture``, changed at random within ``amounts`` and brought to the input's size.

    The picture keeps its aspect and is centred; what is around it has the mean colour. It is
    resized once, with antialiasing, and then rotated, sheared and moved by bilinear interpolation;
    moves alone are whole pixels, so that they do not blur.

    Returns pixels uint8 [height, width, 3], the boxes [N, 4] in their pixels, cut at the border,
    and bool [N], which of them are still visible.
    """
    factor = min(height / picture.height, width / picture.width)
    low, high = amounts.scale
    factor *= math.exp(rng.uniform(math.log(low), math.log(high)))
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    pixels = picture.resize(size, Image.Resampling.BILINEAR)
    shift = rng.uniform(-amounts.translation, amounts.translation, 2) * (width, height)
    angle = math.radians(rng.uniform(-amounts.rotation, amounts.rotation))
    shear = np.tan(np.radians(rng.uniform(-amounts.shear, amounts.shear, 2)))
    mirrored = np.where([amounts.mirror, amounts.flip] & (rng.random(2) < 0.5), -1.0, 1.0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1, shear[0]], [shear[1], 1]]) @ np.diag(mirrored)
    # Centre onto centre, on whole pixels.
    offset = np.array([width, height]) / 2 + shift - matrix @ np.array(size) / 2
    if not (angle or shear.any()):
        offset = np.round(offset)
    back = np.linalg.inv(matrix)
    start = -back @ offset
    canvas = pixels.transform(
        (width, height),
        Image.Transform.AFFINE,
        (*back[0], start[0], *back[1], start[1]),
        Image.Resampling.BILINEAR,
        fillcolor=GROUND,
    )
    scale = np.array(size) / (picture.width, picture.height)
    corners = boxes.reshape(-1, 4)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] * scale
    moved = corners @ matrix.T + offset
    whole = np.concatenate([moved.min(1), moved.max(1)], 1)
    cut = np.clip(whole, 0, [width, height, width, height])
    areas = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (cut, whole)]
    visible = areas[0] > LEAST_VISIBLE * areas[1]
    return np.asarray(canvas), cut.astype(np.float32), visible


@dataclass(frozen=True)
class _Samples(Dataset[tuple[np.ndarray, Targets] | InputError]):
    """Samples by (epoch, index): the same pair gives the same sample, in any process.

    A picture that cannot be read gives its error: one that a process raised would come out of
    torch's loader with a traceback for its text.
    """

    examples: Sequence[Example]
    classes: int
    height: int
    width: int
    stride: int
    amounts: Augmentation
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, Targets] | InputError:
        example = self.examples[key[1]]
        rng = np.random.default_rng((self.seed, *key))
        try:
            picture = Image.fromarray(read_picture(example.picture))
        except InputError as error:
            return error
        pixels, boxes, visible = augmented(
            picture, example.boxes, self.height, self.width, self.amounts, rng
        )
        targets = draw_targets(
            boxes[visible],
            example.labels[visible],
            self.classes,
            self.height,
            self.width,
            self.stride,
        )
        return pixels, targets


class _Epoch(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index): every index once, shuffled; a short rest is left out."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, min(batch, count), seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for start in range(0, len(self) * self.batch, self.batch):
            yield [(self.epoch, int(i)) for i in order[start : start + self.batch]]


class Batches:
    """Batches of training samples, epoch by epoch; an epoch's are the same however often asked.

    Args:
        examples: at least one.
        classes: how many the labels tell apart.
        height, width: of the network's input.
        stride: the network's, input pixels to a cell of its output.
        batch: samples in each.
        augmentation: how pictures are changed.
        seed: of the order and of every change.
        workers: processes that prepare samples; 0 prepares them in this one.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        classes: int,
        height: int,
        width: int,
        stride: int,
        batch: int,
        augmentation: Augmentation,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        samples = _Samples(examples, classes, height, width, stride, augmentation, seed)
        self._epoch = _Epoch(len(examples), batch, seed)
        self._loader = DataLoader(
            samples,
            batch_sampler=self._epoch,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._epoch)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number``, from 0. Taking one raises InputError where a picture of
        it cannot be read."""
        self._epoch.epoch = number
        return map(_sound, self._loader)


def _collate(samples: list[tuple[np.ndarray, Targets] | InputError]) -> Batch | InputError:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    return collate(np.stack([pixels for pixels, _ in samples]), [t for _, t in samples])


def _sound(batch: Batch | InputError) -> Batch:
    if isinstance(batch, InputError):
        raise batch
    return batch


def mean_size(examples: Sequence[Example], height: int, width: int) -> tuple[float, float]:
    """The mean width and height of all boxes, in input pixels of a ``height`` x ``width`` input.

    Raises InputError where a picture cannot be opened.
    """
    total, count = np.zeros(2), 0
    for example in examples:
        rows, columns = picture_size(example.picture)
        factor = min(height / rows, width / columns)
        total += factor * (example.boxes[:, 2:] - example.boxes[:, :2]).sum(0)
        count += len(example.boxes)
    across, down = total / max(count, 1)
    return float(across), float(down)
