"""``bnnc eval``: mAP on a Pascal VOC folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from voc_folders import write_voc

from bnnc.errors import InputError


def test_a_good_detector_scores_well(bnnc, shapes_library: Path, shapes_voc: Path) -> None:
    ran = bnnc("eval", shapes_library, shapes_voc, "--threads", 1)
    assert ran.code == 0, ran.err
    assert re.search(r"^circle +\d+ +\d+ +\d", ran.out, re.M)
    assert re.search(r"mAP \d+\.\d\d \(eleven-point \d+\.\d\d\), [\d.]+ pictures a sec", ran.out)


def test_figures_come_as_json(bnnc, shapes_library: Path, shapes_voc: Path) -> None:
    ran = bnnc("eval", shapes_library, shapes_voc, "--json", "--threads", 1, "--score", 0.1)
    document = json.loads(ran.out)
    (model,) = document["models"]
    assert model["map"]["area"] > 90 and model["pictures"] == 6
    assert [c["name"] for c in model["classes"]] == ["circle", "square", "triangle"]


def test_compiling_does_not_move_the_map(
    bnnc, shapes_model: Path, shapes_library: Path, shapes_voc: Path
) -> None:
    pytest.importorskip("onnxruntime")
    options = ("--against", shapes_model, "--threads", 1)
    document = json.loads(bnnc("eval", shapes_library, shapes_voc, "--json", *options).out)
    ours, theirs = (model["map"]["area"] for model in document["models"])
    assert abs(ours - theirs) < 0.5
    assert document["agreement"]["alone_percent"] <= 5
    text = bnnc("eval", shapes_library, shapes_voc, *options).out
    assert "mAP moved by" in text and "have no partner" in text


def test_classes_the_model_does_not_know_are_named(
    bnnc, shapes_library: Path, tmp_path: Path
) -> None:
    box = (1, 1, 20, 20)
    root = write_voc(tmp_path, {"a": [("circle", box, 0), ("emu", box, 0)]})
    ran = bnnc("eval", shapes_library, root, "--threads", 1)
    assert ran.code == 0 and "since the model does not know them: emu" in ran.out


def test_a_folder_of_other_classes_is_told(bnnc, shapes_library: Path, tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": [("emu", (1, 1, 20, 20), 0)]})
    ran = bnnc("eval", shapes_library, root)
    assert ran.code == 1 and ran.err.count("\n") == 1
    assert "the model finds circle, square, triangle; the pictures hold emu" in ran.err


@pytest.mark.parametrize("content", [b"", b"\x08\x01", b"PK\x03\x04"])
def test_a_file_that_is_no_model_is_told(
    bnnc, shapes_voc: Path, tmp_path: Path, content: bytes
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(content)
    ran = bnnc("eval", tmp_path / "bad.onnx", shapes_voc)
    assert ran.code == 1 and "bad.onnx" in ran.err and ran.err.count("\n") == 1


def test_a_model_that_says_nothing_of_pictures_is_told(bnnc, toy: Path, shapes_voc: Path) -> None:
    ran = bnnc("eval", toy, shapes_voc)
    assert ran.code == 1 and "is no picture in three colours" in ran.err
    assert InputError.__name__ not in ran.err
