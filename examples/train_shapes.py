"""Train the bundled demo model, and draw its picture.

    python examples/train_shapes.py -o shapes.onnx --picture shapes.png

A small binary CenterNet learns to find circles, squares and triangles on pictures drawn for it.
Takes minutes on one processor core; the same command gives the same model on the same machine.
Needs ``pip install 'bnnc[train]'``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bnnc.detect.detector import Detector
from bnnc.detect.evaluation import Evaluation, Evaluator
from bnnc.detect.network import Network
from bnnc.detect.voc import Annotation
from bnnc.zoo.centernet import CenterNet, build
from bnnc.zoo.export import write
from bnnc.zoo.metadata import describe
from bnnc.zoo.models import specify
from bnnc.zoo.recipes import Recipe
from bnnc.zoo.shapes import LABELS, PICTURE_SEED, PICTURE_SIZE, Scene, draw_scene
from bnnc.zoo.targets import draw_targets
from bnnc.zoo.training import Batch, Trainer, collate, fit

SPEC = specify("qn([2x32,2x64,2x128])", "tp2([64,32])", "h(32)", id="shapes")
HEIGHT, WIDTH = 192, 256
BATCH = 8
# Seeds of scenes, kept apart: those to evaluate on, those to train on.
FIRST_HELD_OUT_SEED = 100
FIRST_TRAINING_SEED = 1000


def train(steps: int, scenes: int, seed: int) -> CenterNet:
    """The demo network after ``steps`` batches drawn from ``scenes`` pictures."""
    torch.manual_seed(seed)
    recipe = Recipe(
        epochs=1, batch=BATCH, learning_rate=3e-3, warm_up=50, averaging=0.998, clip=1.25
    )
    model = build(SPEC, len(LABELS), seed=seed, clip=recipe.clip)
    nn.init.constant_(model.heads.size[-1].bias, HEIGHT / 4 / model.stride)  # type: ignore[arg-type]
    pool = [draw_scene(FIRST_TRAINING_SEED + index, HEIGHT, WIDTH) for index in range(scenes)]
    batches = _batches(pool, np.random.default_rng(seed))
    trainer = Trainer(model, recipe, steps)
    with tqdm(total=steps, unit="step") as bar:

        def report(loss) -> None:
            bar.set_postfix(loss=f"{loss.total.item():.3f}", refresh=False)
            bar.update()

        for _ in fit(trainer, range(1), lambda epoch: islice(batches, steps), report=report):
            pass
    return trainer.averaged(islice(batches, 32))


def evaluate(model: CenterNet, scenes: int) -> Evaluation:
    """Compare ``model`` with the truth on ``scenes`` pictures it was not trained on."""
    metadata = describe("shapes", LABELS, model.stride)
    detector = Detector(Network("torch", metadata, HEIGHT, WIDTH, False, model.predict), score=0)
    evaluator = Evaluator(LABELS)
    for seed in range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + scenes):
        scene = draw_scene(seed, HEIGHT, WIDTH)
        names = tuple(LABELS[label] for label in scene.labels)
        certain = np.zeros(len(names), bool)
        truth = Annotation(str(seed), Path(), scene.boxes, names, certain)
        evaluator.add(truth, detector(scene.pixels))
    return evaluator.result()


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("shapes.onnx"))
    parser.add_argument("--picture", type=Path, help="also draw the demo's picture here (PNG)")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = train(options.steps, options.scenes, options.seed)
    result = evaluate(model, 200)
    each = ", ".join(f"{c.name} {100 * c.area:.1f}" for c in result.classes)
    print(f"mAP on 200 pictures not trained on: {100 * result.area:.1f} ({each})")
    write(model, options.output, HEIGHT, WIDTH, labels=LABELS, name=SPEC.id)
    if options.picture is not None:
        from PIL import Image

        pixels = draw_scene(PICTURE_SEED, *PICTURE_SIZE).pixels
        Image.fromarray(pixels).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
