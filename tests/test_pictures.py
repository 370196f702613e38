"""Whatever a picture file holds, as 8-bit RGB."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnnc.errors import InputError
from bnnc.pictures import picture_size, pictures_in, pixels_of, read_picture

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (7, 9, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (7, 9)).astype(np.uint8)


def saved(tmp_path: Path, image: Image.Image, name: str = "x.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.ppm", "x.PNG"])
def test_colours_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.fromarray(COLOUR), name)
    np.testing.assert_array_equal(read_picture(path), COLOUR)


@pytest.mark.parametrize("name", ["x.jpg", "x.webp"])
def test_lossy_pictures_are_read(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.new("RGB", (20, 10), (200, 100, 50)), name)
    pixels = read_picture(path)
    assert pixels.shape == (10, 20, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 10


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    pixels = read_picture(saved(tmp_path, Image.fromarray(GREY)))
    np.testing.assert_array_equal(pixels, np.repeat(GREY[:, :, None], 3, 2))


def test_black_and_white_is_read(tmp_path: Path) -> None:
    pixels = read_picture(saved(tmp_path, Image.fromarray(GREY).convert("1")))
    assert set(np.unique(pixels)) == {0, 255}


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_picture(saved(tmp_path, image)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (10, 10, 10, 0))
    image.putpixel((1, 2), (10, 10, 10, 255))
    pixels = read_picture(
        saved(tmp_path, image.convert(mode), "x.tif" if mode == "PA" else "x.png")
    )
    assert (pixels[0, 0] == 255).all() and np.abs(pixels[2, 1].astype(int) - 10).max() <= 1


def test_a_palettes_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((2, 1), 1)
    pixels = read_picture(saved(tmp_path, image, transparency=0))
    assert (pixels[0, 0] == 255).all() and pixels[1, 2].tolist() == [200, 0, 0]


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_are_cut_to_their_upper_eight(tmp_path: Path, name: str) -> None:
    deep = GREY.astype(np.uint16) * 256 + 200
    deep[0, 0] = 65535
    pixels = read_picture(saved(tmp_path, Image.fromarray(deep), name))
    np.testing.assert_array_equal(pixels[:, :, 1], deep >> 8)


def test_four_inks_are_read(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = read_picture(saved(tmp_path, image, "x.jpg"))
    assert pixels[4, 4, 0] > 200 and pixels[4, 4, 1:].max() < 50


def test_floating_point_pixels_are_told(tmp_path: Path) -> None:
    image = Image.fromarray(np.ones((3, 3), np.float32))
    with pytest.raises(InputError, match=r"x\.tif: holds floating-point pixels"):
        read_picture(saved(tmp_path, image, "x.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_the_camera_says(tmp_path: Path, orientation: int) -> None:
    turned = Image.new("RGB", (32, 16))
    turned.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_picture(saved(tmp_path, turned, exif=exif.tobytes()))
    assert pixels.shape[:2] == ((16, 32) if orientation <= 4 else (32, 16))
    # Where the stored picture's first corner is to be seen, as the EXIF standard says.
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)} | {
        5: (0, 0),
        6: (0, -1),
        7: (-1, -1),
        8: (-1, 0),
    }
    assert pixels[corner[orientation]].tolist() == [255, 255, 255]
    assert (pixels == 255).all(axis=2).sum() == 64


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
def test_a_size_is_that_of_the_picture_as_it_is_read(
    tmp_path: Path, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.new("RGB", (32, 16)), name, exif=exif)
    assert picture_size(path) == read_picture(path).shape[:2]
    assert picture_size(path) == ((32, 16) if orientation == 6 else (16, 32))


@pytest.mark.parametrize(
    "chunk",
    [
        b"eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
        b'iTXtXML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>',
    ],
)
def test_a_png_may_say_behind_its_pixels_how_it_is_turned(tmp_path: Path, chunk: bytes) -> None:
    path = saved(tmp_path, Image.new("RGB", (32, 16)))
    pixels, end = path.read_bytes()[:-12], path.read_bytes()[-12:]
    written = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(pixels + written + end)
    assert picture_size(path) == read_picture(path).shape[:2] == (32, 16)


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_a_size_is_told_without_the_pixels(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.fromarray(COLOUR).resize((64, 32)), name)
    path.write_bytes(path.read_bytes()[:-200])
    assert picture_size(path) == (32, 64)


def test_the_first_frame_of_several_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" * 9])
def test_a_file_that_is_no_picture_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    for read in (read_picture, picture_size):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif", "x.gif"])
def test_a_picture_cut_short_is_told(tmp_path: Path, name: str) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: "):
        read_picture(path)


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file or directory"):
        read_picture(tmp_path / "none.png")


def test_a_picture_that_would_fill_the_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, Image.new("1", (4000, 4000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="is too large a picture"):
        read_picture(path)


def test_arrays_and_pillow_images_are_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(COLOUR))
    for image in (path, str(path), Image.fromarray(COLOUR), COLOUR):
        np.testing.assert_array_equal(pixels_of(image), COLOUR)
    assert pixels_of(GREY).shape == (7, 9, 3)


@pytest.mark.parametrize(
    "image",
    [
        None,
        3,
        COLOUR.astype(np.float32),
        COLOUR[None],
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((3, 5, 5), np.uint8),
    ],
)
def test_what_is_no_picture_is_told(image: object) -> None:
    with pytest.raises(InputError, match="a picture is a"):
        pixels_of(image)


def test_a_folder_is_gone_through_in_order(tmp_path: Path) -> None:
    names = ["b/z.png", "b/a.JPG", "a/c/x.webp", "a/y.png", "z.png", "a.jpeg", "out/q.png"]
    for name in (*names, "notes.txt", "a/labels.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in pictures_in(tmp_path)]
    assert found == "a.jpeg z.png a/y.png a/c/x.webp b/a.JPG b/z.png out/q.png".split()
    left = [path.name for path in pictures_in(tmp_path, but=tmp_path / "out")]
    assert "q.png" not in left and len(left) == 6
