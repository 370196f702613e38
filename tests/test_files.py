"""Files are written whole or not at all, and none that is read is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bnnc.errors import InputError
from bnnc.files import check_kept, check_place, fresh_file, make_folder


def write(path: Path, text: str) -> None:
    with fresh_file(path) as fresh:
        fresh.write_text(text)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_written_file_has_the_rights_that_new_files_have(
    tmp_path: Path, mask: int, mode: int
) -> None:
    own = os.umask(mask)
    try:
        write(tmp_path / "x.txt", "text")
    finally:
        os.umask(own)
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == mode


def test_a_file_may_be_written_by_several_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: write(path, text), texts))
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'漢' * 83}.html"  # 254 bytes of the 255 that file systems allow
    write(path, "text")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["漢" * 100, "none/x.txt", "file/x.txt"])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("before")
    told = pytest.raises(InputError, match=r"x\.txt: cannot be written: No space left")
    with told, fresh_file(path) as fresh:
        fresh.write_text("a part")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_reader_of_standard_output_that_leaves_is_no_failed_write(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), fresh_file(tmp_path / "x.mp4"):
        raise BrokenPipeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("check", [check_place, lambda path: write(path, "text")])
def test_no_folder_and_no_device_is_replaced(tmp_path: Path, check: Callable[[Path], None]) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="folder: is a folder; name a file to write"):
        check(tmp_path / "folder")
    with pytest.raises(InputError, match="pipe: is not an ordinary file"):
        check(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_place_that_will_do_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    check_place(tmp_path / "old")
    check_place(tmp_path / "new")
    assert (tmp_path / "old").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_an_output_that_is_read_under_another_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(InputError, match="link: is read; give the output another name"):
        check_kept([tmp_path / "x"], [tmp_path / "new", tmp_path / "link"], "is read")


def test_what_is_read_is_not_asked_for_where_no_output_exists(tmp_path: Path) -> None:
    def read() -> Iterator[Path]:
        raise AssertionError
        yield tmp_path

    check_kept(read(), [tmp_path / "new", "no\0path"], "is read")


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match="x: cannot be made: File exists"):
        make_folder(tmp_path / "x")
