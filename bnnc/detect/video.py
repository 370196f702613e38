"""Pictures from a video file or a camera, and into a video file; OpenCV does the work."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bnnc.errors import InputError
from bnnc.files import check_readable

SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split())
"""What a video file's name ends in, in any case."""

_USUAL_RATE = 25.0


class Video:
    """The frames of a video file or a camera, uint8 [H, W, 3], RGB, one after the other.

    Args:
        source: a file, or a camera's number.

    Attributes:
        rate: frames a second.
        frames: how many there are, as far as the file says; 0 if it does not.

    Raises:
        InputError: if OpenCV is not installed, or the source cannot be opened.
    """

    def __init__(self, source: Path | int) -> None:
        self._cv2 = _opencv()
        if isinstance(source, Path):
            check_readable(source)
        self.source = source
        self._capture = self._cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            if isinstance(source, int):
                raise InputError(f"there is no camera {source}")
            raise InputError("is no video that can be read", file=source)
        rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= 1000 else _USUAL_RATE
        self.frames = max(0, int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                there, frame = self._capture.read()
                if not there:
                    return
                yield np.ascontiguousarray(frame[:, :, ::-1])
        finally:
            self._capture.release()


class VideoWriter:
    """Writes frames, uint8 [H, W, 3], RGB, all of one size, into an MP4 file.

    Raises:
        InputError: if OpenCV is not installed.
        OSError: if the file cannot be written. OpenCV does not tell that a disk is full: it is
            found out on leaving, where nothing else went wrong.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._cv2 = _opencv()
        self._path, self._rate = path, rate
        self._writer: Any = None
        self._frames = 0

    def write(self, frame: np.ndarray) -> None:
        """Add a frame."""
        if self._writer is None:
            height, width = frame.shape[:2]
            code = self._cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = self._cv2.VideoWriter(str(self._path), code, self._rate, (width, height))
            if not self._writer.isOpened():
                raise OSError(errno.EIO, "OpenCV makes no such video")
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        self._frames += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None and self._written() != self._frames:
            raise OSError(errno.EIO, "not every picture is in it; is the disk full?")

    def _written(self) -> int:
        """The frames that a reader of the file finds, 0 if it finds no video."""
        capture = self._cv2.VideoCapture(str(self._path))
        frames = int(capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return frames


def _opencv() -> Any:
    # What cannot be opened is told by an error; OpenCV and FFmpeg need not chat about it as well.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError:
        raise InputError(
            "videos and cameras need OpenCV", hint="pip install 'bnnc[video]'"
        ) from None
    return cv2
