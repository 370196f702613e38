"""Pictures as arrays: whatever a file, Pillow or an array holds, as 8-bit RGB.

This stands under detection and training, so that both see the same pixels.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bnnc.errors import InputError
from bnnc.files import open_regular

SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .jp2 .png .ppm .pgm .tif .tiff .webp .avif".split())
"""What a picture's name ends in, in any case, where pictures are looked for in a folder."""

_ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF's orientations that exchange height and width."""


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """The pixels of a picture file as one sees it, uint8 [H, W, 3], RGB: turned as its EXIF data
    say, deeper channels cut to 8 bits, transparent parts on white, the first frame of several.

    Raises:
        InputError: if it cannot be read, is damaged, or holds floating-point pixels.
    """
    with _opened(path) as picture:
        return _rgb(picture)


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of what :func:`read_picture` gives. Pixels are decoded only where there is
    no other way to know, so damage among them may go unnoticed.

    Raises:
        InputError: if it cannot be read or is no picture.
    """
    with _opened(path) as picture:
        if picture.format == "PNG" and not _may_be_turned(Path(path).read_bytes()):
            return picture.height, picture.width
        if picture.format == "TIFF":  # turned before or after decoding, as Pillow's version has it
            picture = _upright(picture)
        on_its_side = _orientation(picture) in _ON_ITS_SIDE
        return picture.size if on_its_side else (picture.height, picture.width)


def pixels_of(image: object) -> np.ndarray:
    """Pixels uint8 [H, W, 3], RGB, of a file's path, a Pillow image, or an array uint8 [H, W, 3]
    RGB or [H, W] grey.

    Raises:
        InputError: if it is none of these or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_picture(image)
    if isinstance(image, Image.Image):
        return _rgb(image)
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise InputError(f"a picture is a path, a Pillow image or an array, not {kind}")
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        shape = "x".join(map(str, image.shape))
        raise InputError(
            f"a picture is an array of uint8 HxWx3 (RGB) or HxW, not {image.dtype} {shape}"
        )
    return image if colour else np.repeat(image[:, :, None], 3, axis=2)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """A picture file, not decoded yet; whatever is wrong with it in the user's terms."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata
            with open_regular(path) as file, Image.open(file) as picture:
                yield picture
    except UnidentifiedImageError:
        raise InputError("is no picture that can be read", file=path) from None
    except Image.DecompressionBombError:
        raise InputError("is too large a picture", file=path) from None
    except InputError as error:
        raise error.at(file=path) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all sorts of things on damaged files
        reason = getattr(error, "strerror", None) or "is damaged"
        raise InputError(f"cannot be read: {reason}", file=path) from None


def _may_be_turned(png: bytes) -> bool:
    """Whether a PNG may hold EXIF data or XMP. They may stand behind the pixels, all of which
    Pillow decodes to look there."""
    text = png.lower()
    return b"exif" in text or b"xmp\0" in text


def _orientation(picture: Image.Image) -> int:
    """As EXIF has it: 1 where it is not turned."""
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(picture: Image.Image) -> Image.Image:
    return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


def _rgb(picture: Image.Image) -> np.ndarray:
    picture = _upright(picture)
    if picture.mode == "F":
        raise InputError("holds floating-point pixels", hint="convert it to 8 bits a channel")
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        # 16 bits, also where Pillow keeps them in 32; what fits into 8 is taken as it is.
        grey = deep >> 8 if deep.size and deep.max() > 255 else deep
        return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def pictures_in(folder: Path, *, but: Path | None = None) -> Iterator[Path]:
    """The picture files in a folder and those below, told by their names' ends.

    Folders are gone through depth first: a folder's own pictures in the order of their names, then
    its folders in the order of theirs. Links to folders are not followed.

    Args:
        but: a folder to leave out.

    Raises:
        InputError: if the folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", file=error.filename)

    left_out = None if but is None else but.resolve()
    for here, folders, names in os.walk(folder, onerror=fail):
        place = Path(here)
        folders[:] = sorted(name for name in folders if (place / name).resolve() != left_out)
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield place / name
