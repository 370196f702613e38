"""Trains the bundled demo model: ``python -m bnnc.zoo.train_shapes -o shapes.onnx``.

A small binary CenterNet learns to find circles, squares and triangles on pictures drawn for it.
Takes minutes on one processor core; the same command gives the same model on the same machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bnnc.zoo.centernet import CenterNet, build
from bnnc.zoo.decode import count_found, decode
from bnnc.zoo.export import write
from bnnc.zoo.losses import Loss
from bnnc.zoo.models import specify
from bnnc.zoo.settle import measure_norms
from bnnc.zoo.shapes import LABELS, Scene, draw_scene
from bnnc.zoo.targets import draw_targets
from bnnc.zoo.training import Batch, Recipe, collate, fit, to_input

SPEC = specify("qn([2x32,2x64,2x128])", "tp2([64,32])", "h(32)", id="shapes")
HEIGHT, WIDTH = 192, 256
BATCH = 8
SCORE = 0.3
PICTURE_HEIGHT, PICTURE_WIDTH = 384, 512
# Seeds of scenes, kept apart: the demo's picture, those to evaluate on, those to train on.
PICTURE_SEED = 76
FIRST_HELD_OUT_SEED = 100
FIRST_TRAINING_SEED = 1000


@dataclass(frozen=True)
class Score:
    """Of the true boxes on held-out pictures: how many there are, how many were found, and how many
    boxes were given in all."""

    true: int
    found: int
    given: int

    def __str__(self) -> str:
        return (
            f"recall {self.found / self.true:.3f}, precision {self.found / max(1, self.given):.3f}"
        )


def train(steps: int, scenes: int, seed: int) -> CenterNet:
    """The demo network after ``steps`` batches drawn from ``scenes`` pictures."""
    torch.manual_seed(seed)
    model = build(SPEC, len(LABELS), seed=seed, clip=1.25)
    nn.init.constant_(model.heads.size[-1].bias, HEIGHT / 4 / model.stride)  # type: ignore[arg-type]
    pool = [draw_scene(FIRST_TRAINING_SEED + index, HEIGHT, WIDTH) for index in range(scenes)]
    batches = _batches(pool, np.random.default_rng(seed))
    started = time.monotonic()

    def report(step: int, loss: Loss) -> None:
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - started
            print(
                f"step {step + 1}/{steps}  loss {loss.total:.3f}  {seconds:.0f} s", file=sys.stderr
            )

    fit(model, batches, Recipe(steps), report=report)
    measure_norms(model, (next(batches).images for _ in range(32)))
    return model.eval()


def evaluate(model: CenterNet, scenes: int) -> Score:
    """Compare ``model`` with the truth on ``scenes`` pictures it was not trained on."""
    true = found = given = 0
    for seed in range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + scenes):
        scene = draw_scene(seed, HEIGHT, WIDTH)
        with torch.no_grad():
            (boxes,) = decode(*model(to_input(scene.pixels[None])), score=SCORE)
        true += len(scene.labels)
        given += len(boxes.labels)
        found += count_found(boxes, scene.boxes, scene.labels)
    return Score(true, found, given)


def _batches(pool: Sequence[Scene], rng: np.random.Generator) -> Iterator[Batch]:
    while True:
        chosen = [_varied(pool[index], rng) for index in rng.integers(len(pool), size=BATCH)]
        targets = [
            draw_targets(scene.boxes, scene.labels, len(LABELS), HEIGHT, WIDTH) for scene in chosen
        ]
        yield collate(np.stack([scene.pixels for scene in chosen]), targets)


def _varied(scene: Scene, rng: np.random.Generator) -> Scene:
    """``scene`` mirrored either way or both, its colours permuted and its brightness changed."""
    pixels, boxes = scene.pixels[..., rng.permutation(3)], scene.boxes.copy()
    if rng.random() < 0.5:
        pixels, boxes[:, [0, 2]] = pixels[:, ::-1], WIDTH - boxes[:, [2, 0]]
    if rng.random() < 0.5:
        pixels, boxes[:, [1, 3]] = pixels[::-1], HEIGHT - boxes[:, [3, 1]]
    changed = np.clip(pixels * rng.uniform(0.8, 1.2) + rng.uniform(-20, 20), 0, 255)
    return Scene(changed.astype(np.uint8), boxes, scene.labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, say how good the model is, write it and, if asked, the demo's picture."""
    parser = argparse.ArgumentParser(prog="python -m bnnc.zoo.train_shapes", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("shapes.onnx"))
    parser.add_argument("--picture", type=Path, help="also draw the demo's picture here (PNG)")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = train(options.steps, options.scenes, options.seed)
    print(f"on pictures not trained on: {evaluate(model, 200)}")
    write(model, options.output, HEIGHT, WIDTH, labels=LABELS, name=SPEC.id)
    if options.picture is not None:
        from PIL import Image

        pixels = draw_scene(PICTURE_SEED, PICTURE_HEIGHT, PICTURE_WIDTH).pixels
        Image.fromarray(pixels).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
