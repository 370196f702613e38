"""The package's face: what ``import bnnc`` offers, and that it is loaded when first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bnnc
from bnnc.errors import InputError


@pytest.mark.parametrize("name", bnnc.__all__)
def test_everything_promised_is_there(name: str) -> None:
    assert getattr(bnnc, name) is not None and name in dir(bnnc)


def test_the_interfaces_header_is_where_get_include_says() -> None:
    assert "bnnc_run" in (Path(bnnc.get_include()) / "bnnc.h").read_text()


def test_an_unknown_attribute_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'bnnc' has no attribute 'nothing'"):
        _ = bnnc.nothing


def test_importing_is_light() -> None:
    probe = "import sys, bnnc; sys.exit(str({'numpy', 'cffi', 'onnx'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert not done.stderr.strip()


def test_statistics_of_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx: cannot be read"):
        bnnc.stats(tmp_path / "none.onnx")


def test_statistics_in_an_unknown_convention_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no convention 'mine'"):
        bnnc.stats(tmp_path / "none.onnx", convention="mine")
