"""``bnnc detect``: pictures, folders, videos."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnnc.cli.detect import write_image


@pytest.fixture
def folder(shapes_voc: Path, tmp_path: Path) -> Path:
    """Two pictures, one of them in a folder below."""
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    scenes = sorted((shapes_voc / "JPEGImages").iterdir())
    shutil.copy(scenes[0], place / "a.jpg")
    Image.open(scenes[1]).save(place / "below" / "b.png")
    return place


def documents(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_boxes_are_printed(bnnc, shapes_library: Path, folder: Path) -> None:
    ran = bnnc("detect", shapes_library, folder / "a.jpg", "--threads", 1)
    first, *rows = ran.out.splitlines()
    assert ran.code == 0 and first.startswith(f"{folder / 'a.jpg'}: {len(rows)} boxes")
    assert all(row.split()[0] in ("circle", "square", "triangle") for row in rows)


def test_each_picture_is_a_line_of_json(bnnc, shapes_library: Path, folder: Path) -> None:
    ran = bnnc("detect", shapes_library, folder, "--json", "--threads", 1, "--score", 0.5)
    first, second = documents(ran.out)
    assert (first["width"], first["height"]) == (256, 192) and first["drawn"] is None
    assert second["file"].endswith("below/b.png")
    found = first["detections"][0]
    assert found["label"] in ("circle", "square", "triangle") and found["score"] >= 0.5
    assert len(found["box"]) == 4


def test_boxes_are_drawn(bnnc, shapes_library: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    ran = bnnc("detect", shapes_library, folder, "-o", out, "--threads", 1)
    assert ran.code == 0 and "2 pictures, " in ran.out
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == ["a_boxes.jpg", "below/b_boxes.png"]
    drawn = np.asarray(Image.open(out / "below/b_boxes.png").resize((256, 192)))
    plain = np.asarray(Image.open(folder / "below/b.png"))
    assert (np.abs(drawn.astype(int) - plain).max(axis=2) > 60).sum() > 100


def test_no_picture_read_is_overwritten(
    bnnc, shapes_library: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a.jpg", folder / "a_boxes.jpg")
    before = (folder / "a_boxes.jpg").read_bytes()
    images = (folder / "a.jpg", folder / "a_boxes.jpg")
    ran = bnnc("detect", shapes_library, *images, "-o", folder, "--threads", 1)
    assert ran.code == 0 and (folder / "a_boxes.jpg").read_bytes() == before
    assert {p.name for p in folder.glob("a*")} == {
        "a.jpg",
        "a_boxes.jpg",
        "a_boxes_2.jpg",
        "a_boxes_boxes.jpg",
    }


def test_pictures_of_one_name_are_kept_apart(
    bnnc, shapes_library: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "below/b.png", folder / "b.png")
    images = (folder / "b.png", folder / "below/b.png")
    bnnc("detect", shapes_library, *images, "-o", tmp_path / "out", "--threads", 1)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"b_boxes.png", "b_boxes_2.png"}


def test_drawn_pictures_inside_the_folder_are_not_looked_at_again(
    bnnc, shapes_library: Path, folder: Path
) -> None:
    for _ in range(2):
        ran = bnnc("detect", shapes_library, folder, "-o", folder / "out", "--json")
        assert len(documents(ran.out)) == 2
    ran = bnnc("detect", shapes_library, folder, "-o", folder)
    assert ran.code == 1 and "need a folder of their own" in ran.err


def test_what_cannot_be_read_is_told_and_passed_over(
    bnnc, shapes_library: Path, folder: Path
) -> None:
    (folder / "0.jpg").write_bytes(b"no picture")
    (folder / "below/a.png").symlink_to("nowhere")
    ran = bnnc("detect", shapes_library, folder, folder / "none.jpg", "--threads", 1)
    assert ran.code == 1 and "2 pictures, " in ran.out and "; 3 failed" in ran.out
    assert ran.err.count("\n") == 3 and "0.jpg: is no picture" in ran.err
    assert "none.jpg: cannot be read: No such file" in ran.err


def test_what_cannot_be_drawn_is_told_and_passed_over(
    bnnc, shapes_library: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a.jpg", folder / f"{'n' * 250}.jpg")
    shutil.copy(folder / "a.jpg", folder / "z.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/below").touch()  # where the folder of that name belongs
    ran = bnnc("detect", shapes_library, folder, "-o", tmp_path / "out", "--threads", 1)
    assert ran.code == 1 and "2 pictures, " in ran.out and "; 2 failed" in ran.out
    long, below = ran.err.splitlines()
    assert "/nnnn" in long and "cannot be written: File name too long" in long
    assert "out/below: cannot be made for below/b.png: File exists" in below
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a_boxes.jpg", "z_boxes.jpg", "below"}


def test_a_picture_that_takes_too_much_memory_is_told_and_passed_over(
    bnnc, shapes_library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnc import pictures

    read = pictures.read_picture

    def large(path: str) -> np.ndarray:
        if path.endswith("a.jpg"):
            raise MemoryError
        return read(path)

    monkeypatch.setattr(pictures, "read_picture", large)
    ran = bnnc("detect", shapes_library, folder, "--threads", 1)
    assert ran.code == 1 and "1 picture, " in ran.out and "b.png: " in ran.out
    assert ran.err == f"bnnc: error: {folder / 'a.jpg'}: takes too much memory\n"


def test_a_pipe_is_no_picture(bnnc, shapes_library: Path, folder: Path) -> None:
    os.mkfifo(folder / "0.png")
    ran = bnnc("detect", shapes_library, folder, "--threads", 1)
    assert ran.code == 1 and "2 pictures, " in ran.out
    assert "0.png: cannot be read: it is not an ordinary file" in ran.err


def test_a_least_score_that_is_no_number_is_told(
    bnnc, shapes_library: Path, folder: Path, shapes_voc: Path
) -> None:
    for command in (("detect", shapes_library, folder), ("eval", shapes_library, shapes_voc)):
        ran = bnnc(*command, "--score", "nan")
        assert ran.code == 1 and not ran.out
        assert ran.err == "bnnc: error: the least score of a box is a number, not nan\n"


@pytest.mark.parametrize(
    ("name", "kind"), [("x.JPG", "JPEG"), ("x.jpeg", "JPEG"), ("x.PNG", "PNG")]
)
def test_a_drawn_picture_is_of_the_kind_that_its_name_says(
    tmp_path: Path, name: str, kind: str
) -> None:
    write_image(np.zeros((8, 8, 3), np.uint8), tmp_path / name)
    assert Image.open(tmp_path / name).format == kind


def test_a_folder_without_pictures_is_told(bnnc, shapes_library: Path, tmp_path: Path) -> None:
    ran = bnnc("detect", shapes_library, tmp_path)
    assert ran.code == 1 and f"{tmp_path}: holds no pictures" in ran.err


def test_a_place_that_cannot_be_written_is_told(
    bnnc, shapes_library: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ran = bnnc("detect", shapes_library, folder, "-o", tmp_path / "file")
    assert ran.code == 1 and "cannot be made" in ran.err and ran.err.count("\n") == 1


# ---- videos -----------------------------------------------------------------------------------


@pytest.fixture
def clip(shapes_voc: Path, tmp_path: Path) -> Path:
    """Three frames."""
    pytest.importorskip("cv2", reason="needs OpenCV, the extra [video]")
    from bnnc.detect.video import VideoWriter

    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for path in sorted((shapes_voc / "JPEGImages").iterdir())[:3]:
            writer.write(np.asarray(Image.open(path)))
    return tmp_path / "clip.mp4"


def test_a_video_is_gone_through_frame_by_frame(bnnc, shapes_library: Path, clip: Path) -> None:
    ran = bnnc("detect", shapes_library, clip, "--json", "--threads", 1)
    assert [(d["frame"], d["width"]) for d in documents(ran.out)] == [(0, 256), (1, 256), (2, 256)]
    assert all(d["detections"] for d in documents(ran.out))


def test_a_video_is_drawn(bnnc, shapes_library: Path, clip: Path, tmp_path: Path) -> None:
    from bnnc.detect.video import Video

    ran = bnnc("detect", shapes_library, clip, "-o", tmp_path / "out", "--threads", 1)
    assert ran.code == 0, ran.err
    (written,) = (tmp_path / "out").iterdir()
    video = Video(written)
    assert written.name == "clip_boxes.mp4" and video.rate == 10 and len(list(video)) == 3


def test_a_video_stops_where_it_shall(bnnc, shapes_library: Path, clip: Path) -> None:
    ran = bnnc("detect", shapes_library, clip, "--json", "--frames", 2)
    assert ran.code == 0 and len(documents(ran.out)) == 2


def test_a_damaged_video_is_told(bnnc, shapes_library: Path, clip: Path, tmp_path: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:200])
    ran = bnnc("detect", shapes_library, clip, "-o", tmp_path / "out")
    assert ran.code == 1 and "clip.mp4: " in ran.err and not list((tmp_path / "out").iterdir())


def test_a_pipe_is_no_video(bnnc, shapes_library: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV, the extra [video]")
    os.mkfifo(tmp_path / "x.mp4")
    ran = bnnc("detect", shapes_library, tmp_path / "x.mp4")
    assert ran.code == 1 and "cannot be read: it is not an ordinary file" in ran.err


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file can be longer than 4 KiB, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="needs POSIX's limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_drawn_video_that_the_disk_does_not_hold_is_told(
    bnnc, shapes_library: Path, clip: Path, tmp_path: Path, little_room: None
) -> None:
    (tmp_path / "out").mkdir()
    before = tmp_path / "out/clip_boxes.mp4"
    before.write_bytes(b"before")
    ran = bnnc("detect", shapes_library, clip, "-o", tmp_path / "out", "--json")
    assert ran.code == 1 and "clip_boxes.mp4: cannot be written: not every picture" in ran.err
    assert before.read_bytes() == b"before" and list((tmp_path / "out").iterdir()) == [before]


def test_a_camera_that_is_not_there_is_told(bnnc, shapes_library: Path) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV, the extra [video]")
    ran = bnnc("detect", shapes_library, "99")
    assert ran.code == 1 and "there is no camera 99" in ran.err


class Interrupted:
    """A camera or a video during which somebody presses Ctrl-C."""

    rate = 10.0

    def __init__(self, source: object) -> None:
        pass

    def __iter__(self) -> Iterator[np.ndarray]:
        yield np.zeros((480, 640, 3), np.uint8)
        yield np.zeros((480, 640, 3), np.uint8)
        raise KeyboardInterrupt


def test_interrupting_a_camera_keeps_what_it_saw(
    bnnc, shapes_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV, the extra [video]")
    from bnnc.detect import video

    seen = video.Video
    monkeypatch.setattr(video, "Video", Interrupted)
    ran = bnnc("detect", shapes_library, "0", "-o", tmp_path, "--threads", 1)
    assert ran.code == 0 and len(list(seen(tmp_path / "camera0_boxes.mp4"))) == 2


def test_interrupting_a_video_leaves_no_half_of_it(
    bnnc, shapes_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="needs OpenCV, the extra [video]")
    from bnnc.detect import video

    monkeypatch.setattr(video, "Video", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        bnnc("detect", shapes_library, "x.mp4", "-o", tmp_path, "--threads", 1)
    assert not list(tmp_path.iterdir())


def test_without_opencv_a_video_is_told_what_it_needs(
    bnnc, shapes_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "x.mp4").touch()
    ran = bnnc("detect", shapes_library, tmp_path / "x.mp4")
    assert ran.code == 1 and "need OpenCV; pip install 'bnnc[video]'" in ran.err
