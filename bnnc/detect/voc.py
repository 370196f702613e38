"""Pictures with their true boxes, in a folder as Pascal VOC lays it out.

::

    JPEGImages/<name>.jpg           the pictures (other formats than JPEG will do)
    Annotations/<name>.xml          their boxes
    ImageSets/Main/<split>.txt      which of them belong to a split, a name on each line
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from bnnc.errors import InputError, printable
from bnnc.files import open_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".webp", ".tif", ".tiff")
_MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Annotation:
    """One picture's true boxes.

    Attributes:
        name: what the split calls the picture.
        picture: its file.
        corners: float32 [N, 4], x0, y0, x1, y1 as in :class:`bnnc.detect.boxes.Boxes`. VOC counts
            pixels from 1 and both ends in, so xmin..xmax there is xmin - 1 to xmax here.
        names: the classes' names, one for each box.
        difficult: bool [N], boxes that count neither as found nor as missed.
    """

    name: str
    picture: Path
    corners: np.ndarray
    names: tuple[str, ...]
    difficult: np.ndarray


class Voc(Sequence[Annotation]):
    """One split of a Pascal VOC folder, in the split's order; files are read when asked for.

    Args:
        root: the folder that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: a list in ``ImageSets/Main``, without ``.txt``.

    Raises:
        InputError: if the folder is none of Pascal VOC's, or has no such split or an empty one.
            Reading an annotation raises it, naming the file, if that is missing or damaged, or
            its picture is missing.
    """

    def __init__(self, root: str | os.PathLike[str], split: str) -> None:
        self.root = Path(root)
        self.split = split
        lists = self.root / "ImageSets" / "Main"
        for folder in (lists, self.root / "Annotations", self.root / "JPEGImages"):
            if not folder.is_dir():
                inside = folder.relative_to(self.root)
                raise InputError(f"is no Pascal VOC folder: it has no {inside}", file=root)
        known = sorted(path.stem for path in lists.glob("*.txt"))
        if split not in known:
            raise InputError(
                f"has no split {printable(split)!r}",
                file=root,
                hint=f"it has {', '.join(map(printable, known)) or 'none'}",
            )
        self.names = tuple(self._listed(lists / f"{split}.txt"))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Annotation:  # type: ignore[override]
        name = self.names[index]
        path = self.root / "Annotations" / f"{name}.xml"
        corners, names, difficult = read_annotation(path)
        return Annotation(name, self._picture(name), corners, names, difficult)

    def __iter__(self) -> Iterator[Annotation]:
        return (self[index] for index in range(len(self)))

    def _listed(self, path: Path) -> Iterator[str]:
        lines = [line.strip() for line in _bytes(path).decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line]
        if not lines:
            raise InputError("names no picture", file=path)
        for line in lines:
            # The lists of single classes say -1, 0 or 1 behind the name.
            whole = (self.root / "Annotations" / f"{line}.xml").is_file()
            name = line if whole else line.split()[0]
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(f"names {printable(name)!r}, which leads outside", file=path)
            yield name

    def _picture(self, name: str) -> Path:
        folder = self.root / "JPEGImages"
        for suffix in SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
        raise InputError("the picture is missing", file=folder / f"{name}.jpg")


def read_annotation(path: Path) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """The boxes of an annotation file: corners float32 [N, 4], names, difficult bool [N]; see
    :class:`Annotation`. Boxes without an area are left out.

    Raises:
        InputError: if it cannot be read or is no such file; it names the file.
    """
    try:
        root = _parsed(_bytes(path))
    except (expat.ExpatError, LookupError) as error:
        raise InputError(f"is damaged XML: {error}", file=path) from None
    except ValueError as error:
        raise InputError(str(error), file=path) from None
    if root.tag != "annotation":
        raise InputError(f"is no annotation of Pascal VOC's but {printable(root.tag)!r}", file=path)
    corners, names, difficult = [], [], []
    for number, found in enumerate(root.findall("object"), 1):
        name = (found.findtext("name") or "").strip()
        try:
            if not name:
                raise ValueError
            values = [float(found.findtext(f"bndbox/{k}", "")) for k in _CORNERS]
            hard = bool(int(found.findtext("difficult") or 0))
            if not np.isfinite(values).all():
                raise ValueError
        except ValueError:
            what = f"object {number} has no name, box or sound 'difficult'"
            raise InputError(what, file=path) from None
        x0, y0, x1, y1 = values
        if x1 > x0 and y1 > y0:
            corners.append((x0 - 1, y0 - 1, x1, y1))
            names.append(name)
            difficult.append(hard)
    array = np.array(corners, np.float32).reshape(-1, 4)
    return array, tuple(names), np.array(difficult, bool)


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def classes_of(annotations: Iterable[Annotation]) -> list[str]:
    """The names found in annotations, sorted."""
    return sorted({name for annotation in annotations for name in annotation.names})


def _parsed(data: bytes) -> Element:
    """An XML document as a tree. No entity may be declared: a few of them, nested, are enough to
    fill any memory, and annotations need none.

    Raises:
        expat.ExpatError: if it is damaged.
        ValueError: if it declares an entity.
    """

    def refuse(*_: object) -> NoReturn:
        raise ValueError("declares XML entities, which no annotation needs")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(data, True)
    return builder.close()


def _bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    if len(data) > _MAX_BYTES:
        raise InputError("is far too large for what it should be", file=path)
    return data
