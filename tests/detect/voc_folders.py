"""Small Pascal VOC folders, written on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

Object = tuple[str, tuple[float, float, float, float], int]
"""Name, xmin ymin xmax ymax as the file says, difficult."""


def object_xml(found: Object) -> str:
    name, corners, difficult = found
    box = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners)
    )
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{box}</bndbox></object>"
    )


def write_voc(
    root: Path,
    pictures: Mapping[str, Sequence[Object]],
    *,
    split: str = "test",
    size: tuple[int, int] = (64, 48),
) -> Path:
    """A folder of grey pictures with these objects."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, objects in pictures.items():
        Image.new("RGB", size, (120, 120, 120)).save(root / "JPEGImages" / f"{name}.jpg")
        text = "".join(map(object_xml, objects))
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{n}\n" for n in pictures))
    return root
