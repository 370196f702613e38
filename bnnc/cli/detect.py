"""``bnnc detect``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.terminal import Progress, count_text
from bnnc.errors import InputError, printable
from bnnc.files import fresh_file, make_folder

if TYPE_CHECKING:
    import numpy as np

    from bnnc.detect.boxes import Boxes
    from bnnc.detect.detector import Detector

NAME = "detect"
HELP = "find things on pictures, folders of pictures, a video or a camera"
EXAMPLE = "bnnc detect det.so photo.jpg holiday/ -o found --score 0.5"

_JPEG = frozenset((".jpg", ".jpeg"))
_QUALITY = 92
_AHEAD = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_read(parser, "library", metavar="MODEL.so")
    arguments.add_read(
        parser,
        "images",
        type=str,
        nargs="+",
        metavar="IMAGE",
        help="a picture, a folder (with those below, by name), a video, or a camera's number",
    )
    arguments.add_written(
        parser,
        "-o",
        "--output",
        metavar="DIR",
        help="draw the boxes and write the pictures there, as NAME_boxes.jpg or .png",
    )
    parser.add_argument(
        "--score", type=float, default=0.3, help="least score of a box (default: 0.3)"
    )
    parser.add_argument(
        "--frames",
        type=arguments.positive,
        metavar="N",
        help="stop a video or camera after so many frames (a camera stops at Ctrl-C, too)",
    )
    arguments.add_nms(parser)
    arguments.add_threads(parser)
    arguments.add_isa(parser)
    parser.add_argument(
        "--json", action="store_true", help="print a JSON document a line, one for each picture"
    )


def run(args: argparse.Namespace) -> int:
    from bnnc.detect.detector import Detector

    detector = Detector(
        args.library, threads=args.threads, score=args.score, max_iou=args.nms, isa=args.isa
    )
    if args.output is not None:
        make_folder(args.output)
    job = _Job(args, detector, _Places(args.output))
    with Progress("detecting") as progress:
        for source, picture in _read_ahead(_sources(args.images, args.output)):
            try:
                if picture is None:
                    job.video(source, progress)
                else:
                    job.picture(source, picture.result(), progress)
            except InputError as error:
                job.fail(error, progress)
            except MemoryError:
                job.fail(InputError("takes too much memory", file=source.title), progress)
    if not args.json and job.done + job.failed > 1:
        failed = f"; {job.failed} failed" if job.failed else ""
        print(f"{count_text(job.done, 'picture')}, {job.speed():.1f} a second{failed}")
    return 1 if job.failed else 0


@dataclass(frozen=True)
class _Source:
    """One picture, video or camera.

    Attributes:
        origin: the file, or the camera's number.
        inside: the file's place in the folder it was found in; just its name if it was named.
        is_video: whether it has frames.
    """

    origin: Path | int
    inside: Path
    is_video: bool

    @property
    def title(self) -> str:
        """What users call it."""
        return str(self.origin) if isinstance(self.origin, Path) else self.inside.name


def _sources(images: list[str], output: Path | None) -> Iterator[_Source]:
    """What the arguments stand for, in their order.

    Raises:
        InputError: for a folder that cannot be gone through.
    """
    from bnnc.detect import video
    from bnnc.pictures import pictures_in

    for image in images:
        path = Path(image)
        if os.path.isdir(path):
            if output is not None and path.resolve() == output.resolve():
                raise InputError("the drawn pictures need a folder of their own", file=output)
            empty = True
            for found in pictures_in(path, but=output):
                empty = False
                yield _Source(found, found.relative_to(path), False)
            if empty:
                raise InputError("holds no pictures", file=path)
        elif image.isdecimal() and not os.path.exists(path):
            yield _Source(int(image), Path(f"camera{int(image)}"), True)
        else:
            yield _Source(path, Path(path.name), path.suffix.lower() in video.SUFFIXES)


def _read_ahead(
    sources: Iterable[_Source],
) -> Iterator[tuple[_Source, Future[np.ndarray] | None]]:
    """Each source with its pixels, unless it is a video: the next pictures are read while one is
    looked at."""
    from bnnc.pictures import read_picture

    waiting: deque[tuple[_Source, Future[np.ndarray] | None]] = deque()
    with ThreadPoolExecutor(max_workers=1) as reader:
        try:
            for source in sources:
                origin = source.origin
                readable = isinstance(origin, Path) and not source.is_video
                picture = reader.submit(read_picture, str(origin)) if readable else None
                waiting.append((source, picture))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft()
        except InputError:
            yield from waiting  # what came before it is sound
            raise
        yield from waiting


class _Places:
    """Files to write drawn pictures to: never one that was read, never one twice."""

    def __init__(self, output: Path | None) -> None:
        self.output = output
        self._taken: set[str] = set()

    def keep(self, path: Path) -> None:
        """Never give out this one."""
        self._taken.add(os.path.realpath(path))

    def place(self, inside: Path, suffix: str) -> Path:
        """A file in the output folder for a picture at ``inside`` its own folder.

        Raises:
            InputError: if its folder there cannot be made.
        """
        assert self.output is not None
        folder = self.output / inside.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be made for {inside}: {error.strerror}"
            raise InputError(reason, file=folder) from None
        number = 1
        while True:
            more = f"_{number}" if number > 1 else ""
            path = folder / f"{inside.stem}_boxes{more}{suffix}"
            if os.path.realpath(path) not in self._taken:
                self.keep(path)
                return path
            number += 1


@dataclass
class _Job:
    """What is to be done with every picture, and how much is."""

    args: argparse.Namespace
    detector: Detector
    places: _Places
    done: int = 0
    failed: int = 0
    start: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        for path in (self.args.library, *self.args.images):
            self.places.keep(Path(path))

    def speed(self) -> float:
        """Pictures a second."""
        return self.done / (time.perf_counter() - self.start)

    def picture(self, source: _Source, pixels: np.ndarray, progress: Progress) -> None:
        """Find what is on a picture, uint8 [H, W, 3], and tell.

        Raises:
            InputError: if the drawn one cannot be written.
        """
        from bnnc.detect.drawing import draw

        assert isinstance(source.origin, Path)
        boxes = self.detector(pixels)
        written = None
        if self.args.output is not None:
            suffix = source.origin.suffix.lower()
            written = self.places.place(source.inside, suffix if suffix in _JPEG else ".png")
            write_image(draw(pixels, boxes), written)
        self._tell(source.title, pixels.shape, boxes, written, None, progress)

    def video(self, source: _Source, progress: Progress) -> None:
        """Find what is on a video's frames, and tell.

        Raises:
            InputError: if it cannot be read or the drawn one not be written.
        """
        from bnnc.detect.drawing import draw
        from bnnc.detect.video import Video, VideoWriter

        video = Video(source.origin)
        title = source.title
        seen = 0

        def frames() -> Iterator[tuple[np.ndarray, Boxes]]:
            nonlocal seen
            try:
                for frame in video:
                    yield frame, self.detector(frame)
                    seen += 1
                    if seen == self.args.frames:
                        return
            except KeyboardInterrupt:
                if isinstance(source.origin, Path):
                    raise  # else it is how one ends a camera
            if not seen:
                raise InputError("holds no frame that can be read", file=title)

        if self.args.output is None:
            for frame, boxes in frames():
                self._tell(title, frame.shape, boxes, None, seen, progress)
        else:
            written = self.places.place(source.inside, ".mp4")
            with fresh_file(written) as fresh, VideoWriter(fresh, video.rate) as writer:
                for frame, boxes in frames():
                    writer.write(draw(frame, boxes))
                    self._tell(title, frame.shape, boxes, written, seen, progress)

    def fail(self, error: InputError, progress: Progress) -> None:
        """Tell why a picture or video, or the rest of one, is passed over."""
        self.failed += 1
        progress.aside(f"bnnc: error: {error}", sys.stderr)

    def _tell(
        self,
        title: str,
        shape: tuple[int, ...],
        boxes: Boxes,
        written: Path | None,
        frame: int | None,
        progress: Progress,
    ) -> None:
        self.done += 1
        progress(f"{count_text(self.done, 'picture')}, {self.speed():.1f} a second")
        where = {"file": title} if frame is None else {"file": title, "frame": frame}
        if self.args.json:
            document = {
                **where,
                "width": shape[1],
                "height": shape[0],
                "detections": found_document(boxes),
                "drawn": None if written is None else str(written),
            }
            progress.aside(json.dumps(document), sys.stdout)
            return
        name = printable(title) if frame is None else f"{printable(title)} frame {frame}"
        to = "" if written is None else f" -> {written}"
        lines = [f"{name}: {count_text(len(boxes), 'box', 'boxes')}{to}"]
        progress.aside("\n".join([*lines, *found_lines(boxes)]), sys.stdout)


def found_document(boxes: Boxes) -> list[dict[str, Any]]:
    """Detections for machines."""
    rows = zip(boxes.names, boxes.scores.tolist(), boxes.corners.tolist())
    return [{"label": name, "score": score, "box": box} for name, score, box in rows]


def found_lines(boxes: Boxes) -> Iterator[str]:
    """Detections for people, a line each."""
    width = max((len(printable(name)) for name in boxes.names), default=0)
    for name, score, box in zip(boxes.names, boxes.scores, boxes.corners):
        corners = ", ".join(f"{value:.0f}" for value in box)
        yield f"  {printable(name):<{width}}  {score:.2f}  [{corners}]"


def write_image(pixels: np.ndarray, path: Path) -> None:
    """Write a picture, uint8 [H, W, 3], as JPEG or PNG, complete or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    with fresh_file(path) as fresh:
        if path.suffix.lower() in _JPEG:
            image.save(fresh, "JPEG", quality=_QUALITY)
        else:
            image.save(fresh, "PNG", compress_level=3)
