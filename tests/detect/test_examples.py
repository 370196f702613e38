"""The examples that use a detector work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import bnnc
from bnnc.detect.voc import Voc

EXAMPLES = Path(__file__).parents[2] / "examples"
LINE = re.compile(r"(\w+) (\d\.\d\d) \[(.*)\]$")


def test_detecting_from_python(shapes_library: Path, shapes_voc: Path) -> None:
    pictures = [str(truth.picture) for truth in Voc(shapes_voc, "test")]
    command = [sys.executable, EXAMPLES / "detect.py", shapes_library, *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert all(LINE.search(line) for line in lines)
    assert {line.split(": ")[0] for line in lines} == set(pictures)


@pytest.mark.slow
def test_detecting_from_c(
    shapes_model: Path, shapes_library: Path, shapes_voc: Path, tmp_path: Path
) -> None:
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("needs make and a C compiler")
    for name in ("Makefile", "detect.c"):
        shutil.copy(EXAMPLES / "c" / name, tmp_path)
    settings = [f"BNNC={sys.executable} -m bnnc", f"MODEL={shapes_model}", "CFLAGS=-Wall -Werror"]
    subprocess.run(["make", *settings], cwd=tmp_path, check=True, capture_output=True)
    detector = bnnc.Detector(shapes_library, threads=1, score=0.5)
    for truth in Voc(shapes_voc, "test"):
        Image.open(truth.picture).save(tmp_path / "picture.ppm")
        command = [tmp_path / "detect", tmp_path / "picture.ppm"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = [LINE.match(line) for line in done.stdout.splitlines()]
        expected = detector(truth.picture)
        assert [line and line[1] for line in found] == list(expected.names)
        for line, score in zip(found, expected.scores):
            assert line is not None and float(line[2]) == pytest.approx(score, abs=0.0051)
    done = subprocess.run([tmp_path / "detect", tmp_path / "Makefile"], capture_output=True)
    assert done.returncode == 2 and b"usage: detect FILE.ppm, 256 x 192" in done.stderr
