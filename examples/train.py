"""Train a binary CenterNet on a folder in Pascal VOC's form, and export it.

    python examples/train.py --train VOC2007:trainval --train VOC2012:trainval --val VOC2007:test \
        --model q3 --out runs/q3

trains as the paper does. For a few hundred pictures, in minutes and without a GPU:

    python examples/train.py --train bccd:train --val bccd:val --recipe small --size 192x256 \
        --encoder 'qn([2x32,2x64,2x128])' --decoder 'tp4([64,32])' --head 'h(32)' --out runs/bccd

Needs ``pip install 'bnnc[train]'``. The folder ``--out`` gets ``last.pt`` after every epoch, from
which the same command goes on after a break, ``best.pt``, ``log.jsonl``, ``pictures/`` with early
looks at what the network finds, and at the end ``model.onnx``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bnnc.detect.detector import Detector
from bnnc.detect.drawing import draw
from bnnc.detect.evaluation import Evaluation, Evaluator
from bnnc.detect.network import Network
from bnnc.detect.voc import Annotation, Voc, classes_of
from bnnc.errors import BnncError, InputError
from bnnc.files import make_folder
from bnnc.pictures import picture_size, read_picture
from bnnc.zoo import checkpoint, export
from bnnc.zoo.centernet import CenterNet, build
from bnnc.zoo.checkpoint import Checkpoint
from bnnc.zoo.dataset import Batches, Example, mean_size
from bnnc.zoo.metadata import describe
from bnnc.zoo.models import Model, find, specify
from bnnc.zoo.notation import NONE_BINARY, BinaryBlocks
from bnnc.zoo.recipes import RECIPES, Recipe
from bnnc.zoo.training import Trainer, fit

NORM_BATCHES = 64
"""Batches that BatchNorm statistics of averaged weights are measured on."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return train(options)
    except BnncError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--train", action="append", required=True, metavar="DIR:SPLIT", help="pictures; repeatable")
    add("--val", metavar="DIR:SPLIT", help="pictures to evaluate on")
    add("--out", type=Path, required=True, help="folder of this run; made where it is missing")
    add("--labels", help="classes in order, with commas (default: those found, sorted)")
    add("--model", help="a network of the zoo, or give its parts:")
    add("--encoder", default="qn([4x64,4x128,4x162,4x256])", help="default: %(default)s")
    add("--decoder", default="tp4([64,32,8])", help="default: %(default)s")
    add("--head", default="h(32)", help="default: %(default)s")
    add("--size", default="512x512", metavar="HxW", help="of the input (default: %(default)s)")
    add("--float", action="store_true", help="train the full-precision twin")
    add("--binary-scales", metavar="1,2", help="only these scales of the encoder are binary")
    add("--start", type=Path, metavar="CKPT", help="weights to begin with, of a network of the "
        "same shape, binary or not: binarise part by part")  # fmt: skip
    add("--recipe", choices=RECIPES, default="paper", help="default: %(default)s")
    add("--epochs", type=int, help="instead of the recipe's")
    add("--batch", type=int, help="instead of the recipe's")
    add("--lr", type=float, help="learning rate instead of the recipe's")
    add("--seed", type=int, default=0, help="of weights, order and augmentation")
    add("--device", default="cpu", help="cpu, cuda, ...")
    add("--threads", type=int, help="processor threads of torch")
    add("--workers", type=int, default=0, help="processes that read pictures (default: none)")
    add("--every", type=int, default=5, help="epochs between evaluations (default: %(default)s)")
    return result


def train(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipe_of(options)
    height, width = size_of(options.size)
    training = [annotation for text in options.train for annotation in open_voc(text)]
    held_out = list(open_voc(options.val)) if options.val else []
    found = classes_of(training)
    labels = options.labels.split(",") if options.labels else found
    examples = [example_of(annotation, labels) for annotation in training]
    check_boxes(examples, labels, found, ", ".join(options.train))
    for annotation in held_out:
        picture_size(annotation.picture)  # rather told now than after the first epochs
    model = model_of(options)
    network = build(model, len(labels), seed=options.seed, clip=recipe.clip)
    set_size_prior(network, mean_size(examples, height, width))
    if options.start is not None:
        start_from(network, options.start)
    network.to(options.device)
    batches = Batches(
        examples,
        classes=len(labels),
        height=height,
        width=width,
        stride=network.stride,
        batch=recipe.batch,
        augmentation=recipe.augmentation,
        seed=options.seed,
        workers=options.workers,
    )
    trainer = Trainer(network, recipe, len(batches))
    run = Run(options.out, model, labels, height, width, recipe, options.seed)
    first = run.resume(trainer)
    if first >= recipe.epochs:
        print(
            f"{options.out}: is finished, epoch {recipe.epochs} was the last; to train on, "
            f"choose another --out with --start {options.out / 'last.pt'}"
        )
        return run.finish()
    count = sum(p.numel() for p in network.parameters())
    print(
        f"{model.encoder} {model.decoder} {model.head}, {count / 1e6:.2f} M parameters; "
        f"{len(examples)} pictures, {', '.join(labels)}; epochs {first + 1} to {recipe.epochs}"
    )
    with tqdm(total=recipe.epochs * len(batches), initial=trainer.done, unit="step") as bar:
        shown: dict[str, str] = {}
        losses: list[float] = []

        def report(loss) -> None:
            losses.append(loss.total.item())
            shown["loss"] = f"{np.mean(losses[-len(batches) :]):.3f}"
            bar.set_postfix(shown, refresh=False)
            bar.update()

        for epoch in fit(trainer, range(first, recipe.epochs), batches.epoch, report=report):
            last = epoch + 1 == recipe.epochs
            if not (last or (epoch + 1) % options.every == 0):
                run.save(trainer, epoch)
                continue
            # Epochs past the last are never trained on; any will do to measure norms.
            extra = batches.epoch(recipe.epochs + epoch)
            deployed = trainer.averaged(itertools.islice(extra, NORM_BATCHES)).cpu()
            result = evaluate(deployed, held_out, labels, height, width) if held_out else None
            run.save(trainer, epoch, deployed, result, float(np.mean(losses[-len(batches) :])))
            if result is not None:
                shown["mAP"] = f"{100 * result.area:.1f}"
                run.look(deployed, held_out, epoch)
            losses.clear()
    return run.finish()


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe, with what the command line changes."""
    changes = {"epochs": options.epochs, "batch": options.batch, "learning_rate": options.lr}
    given = {name: value for name, value in changes.items() if value is not None}
    if any(value <= 0 for value in given.values()):
        raise InputError("--epochs, --batch and --lr are above zero")
    return dataclasses.replace(RECIPES[options.recipe], **given)


def size_of(text: str) -> tuple[int, int]:
    """Height and width from ``192x256``."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and 0 < int(part) <= 8192 for part in parts):
        raise InputError(f"{text!r} is no size", hint="write height x width, as in 192x256")
    return int(parts[0]), int(parts[1])


def open_voc(text: str) -> Voc:
    """The pictures that ``DIR:SPLIT`` names."""
    root, colon, split = text.rpartition(":")
    if not colon:
        raise InputError(f"{text!r} names no split", hint="write DIR:SPLIT, as in VOC2007:trainval")
    return Voc(root, split)


def model_of(options: argparse.Namespace) -> Model:
    """The network that the command line asks for."""
    if options.model:
        model = find(options.model)
    else:
        name = options.out.resolve().name
        model = specify(options.encoder, options.decoder, options.head, id=name)
    if options.float:
        return dataclasses.replace(model, binary=NONE_BINARY)
    if options.binary_scales:
        try:
            scales = tuple(int(part) for part in options.binary_scales.split(","))
        except ValueError:
            raise InputError(
                f"{options.binary_scales!r} names no scales", hint="as in 1,2"
            ) from None
        return dataclasses.replace(model, binary=BinaryBlocks(scales=scales))
    return model


def example_of(annotation: Annotation, labels: Sequence[str]) -> Example:
    """What is trained on: boxes that are not difficult, of the classes asked for."""
    wanted = [
        name in labels and not hard for name, hard in zip(annotation.names, annotation.difficult)
    ]
    chosen = [labels.index(name) for name, keep in zip(annotation.names, wanted) if keep]
    corners = annotation.corners[np.array(wanted, bool)]
    return Example(annotation.picture, corners, np.array(chosen, np.int64))


def check_boxes(
    examples: Sequence[Example], labels: Sequence[str], found: Sequence[str], where: str
) -> None:
    """See that there is something to learn, and tell of which classes there is nothing."""
    learnt = {int(label) for example in examples for label in example.labels}
    missing = [name for label, name in enumerate(labels) if label not in learnt]
    which = f" {', '.join(missing)}" if missing else ""
    problem = InputError(
        f"no picture has a box to learn{which} from",
        file=where,
        hint=f"the classes found are {', '.join(found)}" if found else "train on some that have",
    )
    if not learnt:
        raise problem
    if missing:
        print(f"train: note: {problem}", file=sys.stderr)


def set_size_prior(network: CenterNet, size: tuple[float, float]) -> None:
    """Let the size head begin at the mean box instead of at nothing."""
    bias = network.heads.size[-1].bias
    with torch.no_grad():
        bias.copy_(torch.tensor(size) / network.stride)


def start_from(network: CenterNet, path: Path) -> None:
    """Take over the weights of a network of the same shape, whichever of its blocks are binary."""
    try:
        network.load_state_dict(checkpoint.load(path).weights)
    except RuntimeError as error:
        raise InputError("holds a network of another shape", file=path) from error


def detector_of(
    network: CenterNet, labels: Sequence[str], height: int, width: int, score: float
) -> Detector:
    """``network`` as a detector; the same that ``bnnc eval`` makes of a checkpoint."""
    metadata = describe("", labels, network.stride)
    run = Network("torch", metadata, height, width, False, network.predict)
    return Detector(run, score=score)


def evaluate(
    network: CenterNet, voc: Sequence[Annotation], labels: Sequence[str], height: int, width: int
) -> Evaluation:
    """How well ``network`` does on ``voc``."""
    detector, evaluator = detector_of(network, labels, height, width, 0), Evaluator(labels)
    for annotation in tqdm(voc, desc="evaluating", leave=False):
        evaluator.add(annotation, detector(annotation.picture))
    return evaluator.result()


class Run:
    """The folder of a run."""

    def __init__(
        self,
        folder: Path,
        model: Model,
        labels: Sequence[str],
        height: int,
        width: int,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.folder, self.model, self.labels = folder, model, labels
        self.height, self.width = height, width
        self.settings = {"recipe": _plain(dataclasses.asdict(recipe)), "seed": seed}
        self.best = -1.0
        self.weights: dict[str, torch.Tensor] = {}
        make_folder(folder / "pictures")

    def resume(self, trainer: Trainer) -> int:
        """Go on from ``last.pt`` where there is one; the first epoch to train."""
        path = self.folder / "last.pt"
        if not path.exists():
            return 0
        try:
            return self._go_on(trainer, checkpoint.load(path))
        except InputError as error:
            raise InputError(error.what, file=path, hint="choose another --out") from error

    def _go_on(self, trainer: Trainer, found: Checkpoint) -> int:
        held = found.training
        try:
            theirs = _identity(found, held["settings"])
            state, first, best = held["state"], int(held["epoch"]) + 1, float(held["best"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("holds no training to go on with") from error
        ours = _identity(self, self.settings)
        other = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if other:
            raise InputError(f"is of a run with other settings: {', '.join(other)}")
        trainer.restore(state)
        self.best, self.weights = best, found.weights
        return first

    def save(
        self,
        trainer: Trainer,
        epoch: int,
        deployed: CenterNet | None = None,
        result: Evaluation | None = None,
        loss: float = 0.0,
    ) -> None:
        """Write ``last.pt``, and where there is a ``result`` the log, and ``best.pt`` if it is."""
        if deployed is not None:
            self.weights = deployed.state_dict()
        better = result is not None and result.area > self.best
        if better:
            self.best = result.area
        training = {
            "settings": self.settings,
            "state": trainer.state(),
            "epoch": epoch,
            "best": self.best,
        }
        self._write("last.pt", self.weights or trainer.model.state_dict(), training)
        if better:
            self._write("best.pt", self.weights, {})
        if deployed is not None:
            said = {"epoch": epoch + 1, "loss": loss, **(result.document() if result else {})}
            with open(self.folder / "log.jsonl", "a") as log:
                log.write(json.dumps(said) + "\n")
            if result is not None:
                each = "  ".join(f"{c.name} {100 * c.area:.1f}" for c in result.classes)
                tqdm.write(
                    f"epoch {epoch + 1}: loss {loss:.3f}, mAP {100 * result.area:.1f}  ({each})"
                )

    def _write(self, name: str, weights: dict, training: dict) -> None:
        content = Checkpoint(self.model, self.labels, self.height, self.width, weights, training)
        checkpoint.save(content, self.folder / name)

    def look(self, network: CenterNet, voc: Sequence[Annotation], epoch: int) -> None:
        """Draw what the network finds on the first pictures, side by side."""
        detector = detector_of(network, self.labels, self.height, self.width, 0.3)
        pictures = [read_picture(annotation.picture) for annotation in voc[:4]]
        shown = [Image.fromarray(draw(picture, detector(picture))) for picture in pictures]
        sheet = Image.new("RGB", (sum(s.width for s in shown), max(s.height for s in shown)))
        at = 0
        for image in shown:
            sheet.paste(image, (at, 0))
            at += image.width
        sheet.save(self.folder / "pictures" / f"epoch-{epoch + 1:04d}.png")

    def finish(self) -> int:
        """Export the last weights."""
        path = export.export_checkpoint(self.folder / "last.pt", self.folder / "model.onnx")
        print(
            f"wrote {path}, {path.stat().st_size / 1024:.0f} KiB; bnnc compile makes it a library"
        )
        return 0


def _identity(run: Run | Checkpoint, settings: dict) -> dict[str, object]:
    """All that must be the same for a run to go on, by the names to tell it by."""
    return {
        "name": run.model.id,
        "network": dataclasses.replace(run.model, id="", note=""),
        "labels": list(run.labels),
        "size": (run.height, run.width),
        "seed": settings["seed"],
        **settings["recipe"],
    }


def _plain(value: object) -> object:
    """``value`` as JSON would give it back, to compare with what a file holds."""
    return json.loads(json.dumps(value))


if __name__ == "__main__":
    sys.exit(main())
