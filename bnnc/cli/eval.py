"""``bnnc eval``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.networks import network_for
from bnnc.cli.terminal import Progress, count_text, print_json
from bnnc.errors import InputError, printable

if TYPE_CHECKING:
    from bnnc.detect.agreement import Agreement
    from bnnc.detect.detector import Detector
    from bnnc.detect.evaluation import Evaluation
    from bnnc.detect.voc import Voc

NAME = "eval"
HELP = "measure a detector's mAP on a Pascal VOC folder, alone or beside another"
EXAMPLE = "bnnc eval det.so VOC2007 --split test --against det.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(
        parser, "model", metavar="MODEL", help="a compiled library, an ONNX file or a checkpoint"
    )
    arguments.add_read(parser, "data", metavar="VOC_DIR")
    parser.add_argument(
        "--split", default="test", metavar="NAME", help="list in ImageSets/Main (default: test)"
    )
    arguments.add_model(
        parser,
        "--against",
        metavar="MODEL",
        help="another file of the same model: both mAPs, and how far the detections agree",
    )
    parser.add_argument(
        "--score", type=float, default=0.0, help="least score that counts (default: 0, all)"
    )
    arguments.add_nms(parser)
    arguments.add_threads(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from bnnc.detect.agreement import Agreement
    from bnnc.detect.detector import Detector
    from bnnc.detect.evaluation import Evaluator
    from bnnc.detect.voc import Voc

    data = Voc(args.data, args.split)
    paths = [args.model] if args.against is None else [args.model, args.against]
    detectors = [
        Detector(network_for(path, threads=args.threads), score=args.score, max_iou=args.nms)
        for path in paths
    ]
    classes, unknown = _classes(detectors, data)
    evaluators = [Evaluator(classes) for _ in detectors]
    agreement = Agreement()
    seconds = [0.0 for _ in detectors]
    with Progress("evaluating") as progress:
        for number, truth in enumerate(data):
            speed = f", {number / seconds[0]:.1f} a second" if number else ""
            progress(f"{number} of {count_text(len(data), 'picture')}{speed}")
            found = []
            for index, (detector, evaluator) in enumerate(zip(detectors, evaluators)):
                start = time.perf_counter()
                boxes = detector(truth.picture)
                seconds[index] += time.perf_counter() - start
                evaluator.add(truth, boxes)
                found.append(boxes)
            if len(found) == 2:
                agreement.add(*found)
    results = [evaluator.result() for evaluator in evaluators]
    document = {
        "data": str(args.data),
        "split": args.split,
        "models": [
            {"file": str(p), "run_by": d.network.title, "pictures_per_second": len(data) / s}
            | r.document()
            for p, d, s, r in zip(paths, detectors, seconds, results)
        ],
        "agreement": _agreement(agreement) if args.against else None,
        "unknown_classes": unknown,
    }
    if args.json:
        print_json(document)
        return 0
    print(_table(results))
    for model in document["models"]:
        print(
            f"{printable(model['file'])}: mAP {model['map']['area']:.2f} "
            f"(eleven-point {model['map']['eleven_point']:.2f}), "
            f"{model['pictures_per_second']:.1f} pictures a second, {model['run_by']}"
        )
    if args.against:
        print(_agreement_text(agreement, results))
    if unknown:
        print(f"not looked at, since the model does not know them: {', '.join(unknown)}")
    return 0


def _classes(detectors: Sequence[Detector], data: Voc) -> tuple[Sequence[str], list[str]]:
    """The classes to look for, and those of the data that are not among them.

    Raises:
        InputError: if the models name different classes, or none that is in the data.
    """
    from bnnc.detect.voc import classes_of

    found = classes_of(data)
    classes = detectors[0].classes or tuple(found)
    for other in detectors[1:]:
        if other.classes and other.classes != classes:
            raise InputError("the two models find different classes")
    if found and not set(found) & set(classes):
        raise InputError(
            f"the model finds {_listed(classes)}; the pictures hold {_listed(found)}",
            file=data.root,
        )
    return classes, [name for name in found if name not in classes]


def _listed(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(printable, names[:limit])) + more


def _table(results: Sequence[Evaluation]) -> str:
    """Average precision of each class; the eleven-point one, too, of a single detector."""
    from bnnc.analysis.report import columns

    first = results[0]
    titles = ("AP", "eleven-point") if len(results) == 1 else ("AP", "AP there")
    rows: list[tuple[str, ...]] = [("class", "boxes", "detections", *titles)]
    for index, found in enumerate(first.classes):
        second = found.eleven_point if len(results) == 1 else results[1].classes[index].area
        figures = (_percent(found.area), _percent(second))
        rows.append((printable(found.name), str(found.boxes), str(found.detections), *figures))
    second = first.eleven_point if len(results) == 1 else results[1].area
    boxes, detections = (sum(getattr(c, k) for c in first.classes) for k in ("boxes", "detections"))
    rows.append(("mean", str(boxes), str(detections), _percent(first.area), _percent(second)))
    return columns(rows, right=(1, 2, 3, 4))


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.2f}"


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return {
        "detections": agreement.detections,
        "alone": agreement.alone,
        "alone_percent": agreement.alone_percent,
        "pictures_touched": agreement.touched,
        "pictures_touched_percent": agreement.touched_percent,
    }


def _agreement_text(agreement: Agreement, results: Sequence[Evaluation]) -> str:
    moved = 100 * (results[0].area - results[1].area)
    return (
        f"mAP moved by {moved:+.2f}; {agreement.alone} of {agreement.detections} detections above "
        f"0.1 have no partner ({agreement.alone_percent:.2f} %), on {agreement.touched} of "
        f"{count_text(agreement.pictures, 'picture')} ({agreement.touched_percent:.1f} %)"
    )
