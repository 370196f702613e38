"""Pascal VOC folders: what is read, and what is told of damaged ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from voc_folders import write_voc

from bnnc.detect.voc import Voc, classes_of, read_annotation
from bnnc.errors import InputError

CAT = ("cat", (3, 5, 10, 20), 0)
HARD_DOG = ("dog", (1, 1, 64, 48), 1)


def xml(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "x.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_pixels_are_counted_from_zero_and_ends_lie_outside(tmp_path: Path) -> None:
    (annotation,) = Voc(write_voc(tmp_path, {"a": [CAT, HARD_DOG]}), "test")
    assert annotation.corners.tolist() == [[2, 4, 10, 20], [0, 0, 64, 48]]
    assert annotation.names == ("cat", "dog") and annotation.difficult.tolist() == [False, True]
    assert annotation.picture == tmp_path / "JPEGImages" / "a.jpg"


def test_pictures_come_in_the_splits_order(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"b": [CAT], "a": [], "c": [HARD_DOG]})
    assert [annotation.name for annotation in Voc(root, "test")] == ["b", "a", "c"]
    assert classes_of(Voc(root, "test")) == ["cat", "dog"]


def test_boxes_without_area_are_left_out(tmp_path: Path) -> None:
    flat = ("cat", (5, 5, 5, 9), 0)
    (annotation,) = Voc(write_voc(tmp_path, {"a": [flat, CAT]}), "test")
    assert len(annotation.corners) == 1


def test_parts_of_objects_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    text = f"<annotation><object>{part}<name>person</name>{box}</object></annotation>"
    corners, names, difficult = read_annotation(xml(tmp_path, text))
    assert names == ("person",) and not difficult.any() and corners.tolist() == [[0, 1, 3, 4]]


def test_lists_with_flags_and_names_with_spaces_are_read(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": [], "my cat": []})
    (root / "ImageSets/Main/cat_test.txt").write_text("a  -1\nmy cat\n\n")
    assert Voc(root, "cat_test").names == ("a", "my cat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged XML: no element found"),
        ("<annotation>", "is damaged XML"),
        (b"\xff\xfe\x00", "is damaged XML"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "is damaged XML"),
        ("<html/>", "is no annotation of Pascal VOC's but 'html'"),
        ("<annotation><object/></annotation>", "object 1 has no name, box"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1 has no name, box"),
    ],
)
def test_a_damaged_annotation_is_told(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = xml(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_annotation(path)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "1e999"])
def test_a_corner_that_is_no_number_is_told(tmp_path: Path, value: str) -> None:
    root = write_voc(tmp_path, {"a": [("cat", (1, 1, value, 5), 0)]})  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"a\.xml: object 1 has no name, box"):
        list(Voc(root, "test"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(tmp_path: Path, encoding: str) -> None:
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12)
    )
    text = f"<!DOCTYPE x [{entities}]><annotation><object><name>&m;</name></object></annotation>"
    with pytest.raises(InputError, match="declares XML entities"):
        read_annotation(xml(tmp_path, text.encode(encoding)))


def test_external_entities_are_refused(tmp_path: Path) -> None:
    text = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'
    with pytest.raises(InputError, match="declares XML entities"):
        read_annotation(xml(tmp_path, text))


def test_deep_nesting_is_survived(tmp_path: Path) -> None:
    depth = 200_000
    text = "<annotation>" + "<a>" * depth + "</a>" * depth + "</annotation>"
    assert not len(read_annotation(xml(tmp_path, text))[0])


def test_a_folder_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no Pascal VOC folder: it has no ImageSets/Main"):
        Voc(tmp_path, "test")


def test_an_unknown_split_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": []}, split="train")
    with pytest.raises(InputError, match="has no split 'test'; it has train"):
        Voc(root, "test")


def test_an_empty_split_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"test\.txt: names no picture"):
        Voc(write_voc(tmp_path, {}), "test")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_name_that_leads_outside_is_told(tmp_path: Path, name: str) -> None:
    root = write_voc(tmp_path, {})
    (root / "ImageSets/Main/test.txt").write_text(name)
    with pytest.raises(InputError, match="leads outside"):
        Voc(root, "test")


def test_a_missing_picture_or_annotation_is_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": [], "b": []})
    (root / "JPEGImages/a.jpg").unlink()
    (root / "Annotations/b.xml").unlink()
    with pytest.raises(InputError, match=r"a\.jpg: the picture is missing"):
        Voc(root, "test")[0]
    with pytest.raises(InputError, match=r"b\.xml: cannot be read: No such file"):
        Voc(root, "test")[1]


def test_a_pipe_is_no_annotation_and_no_list(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": []})
    (root / "Annotations/a.xml").unlink()
    os.mkfifo(root / "Annotations/a.xml")
    os.mkfifo(root / "ImageSets/Main/pipe.txt")
    with pytest.raises(InputError, match=r"a\.xml: cannot be read: it is not an ordinary file"):
        Voc(root, "test")[0]
    with pytest.raises(InputError, match=r"pipe\.txt: cannot be read: it is not an ordinary"):
        Voc(root, "pipe")


def test_pascal_vocs_own_files_are_read(shared_data: Path) -> None:
    annotations = list(Voc(shared_data / "voc-tiny", "train"))
    assert all(len(a.corners) and a.picture.is_file() for a in annotations)
    assert all(set(a.names) <= set(classes_of(annotations)) for a in annotations)


def test_the_blood_cells_are_read(shared_data: Path) -> None:
    annotations = list(Voc(shared_data / "bccd", "trainval"))
    assert len(annotations) == 292 and classes_of(annotations) == ["Platelets", "RBC", "WBC"]
    corners = np.concatenate([a.corners for a in annotations])
    assert (corners[:, 2:] > corners[:, :2]).all()
