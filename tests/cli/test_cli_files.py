"""Files that commands write: never in place of what they read."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bnnc.cli import arguments
from bnnc.cli.main import _parser
from bnnc.errors import InputError


@pytest.fixture
def folder(model: Path, library: Path, tmp_path: Path) -> Path:
    """What the commands below read."""
    shutil.copy(model, tmp_path / "m.onnx")
    shutil.copy(model, tmp_path / "m.h")
    shutil.copy(model, tmp_path / "00_import.onnx")
    shutil.copy(library, tmp_path / "m.so")
    (tmp_path / "run.pt").write_bytes(b"a checkpoint of many hours")
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    return tmp_path


@pytest.fixture
def external(model: Path, tmp_path: Path) -> Path:
    """The model, with its weights in ``external.data`` beside it."""
    import onnx

    path = tmp_path / "external.onnx"
    options = {"location": "external.data", "size_threshold": 0}
    onnx.save(onnx.load(model), path, save_as_external_data=True, **options)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "command",
    [
        "compile m.onnx -o m.onnx",
        "compile m.onnx -o link.onnx",
        "compile link.onnx -o m.onnx",
        "compile m.h -o m.c --emit c",
        "compile m.h -o m.a --emit a",
        "compile 00_import.onnx -o new.so --dump-passes .",
        "stats m.onnx --html m.onnx",
        "stats m.so --html m.so",
        "profile m.so --html m.so",
        "profile m.so --input x=x.npy --html x.npy",
        "run m.so --input x=x.npy -o x.npy",
        "run m.so --input x=x.npy -o m.so",
        "zoo export run.pt -o run.pt",
    ],
)
def test_no_output_replaces_an_input(
    bnnc, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(folder)
    before = contents(folder)
    ran = bnnc(*command.split())
    assert ran.code == 1 and "would" in ran.err and "replace" in ran.err
    assert ran.err.count("\n") == 1 and contents(folder) == before


@pytest.mark.parametrize("command", ["compile {} -o {}", "stats {} --html {}"])
def test_no_output_replaces_external_data(bnnc, external: Path, command: str) -> None:
    before = contents(external.parent)
    ran = bnnc(*command.format(external, external.with_suffix(".data")).split())
    assert ran.code == 1 and "external.data: is read by this command" in ran.err
    assert contents(external.parent) == before


def test_compiling_from_python_replaces_no_external_data_either(external: Path) -> None:
    import bnnc

    before = contents(external.parent)
    with pytest.raises(InputError, match=r"external\.data: is the model itself, or holds its we"):
        bnnc.compile(external, external.with_suffix(".data"))
    assert contents(external.parent) == before


def test_an_output_of_an_earlier_run_is_replaced(bnnc, library: Path, folder: Path) -> None:
    command = ("run", library, "--input", f"x={folder / 'x.npy'}", "-o", folder / "y.npz")
    for _ in range(2):
        assert bnnc(*command).code == 0


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for argument in parser._actions:
        if isinstance(argument, argparse._SubParsersAction):
            for below in argument.choices.values():
                yield from parsers(below)


def test_every_argument_that_names_a_file_is_declared_as_read_or_written() -> None:
    found = 0
    for parser in parsers(_parser()):
        kinds = (parser.get_default(kind) or () for kind in ("read", "models", "written"))
        declared = {name for kind in kinds for name in kind}
        for argument in parser._actions:
            if argument.type in (Path, arguments.named_file):
                assert argument.dest in declared, (parser.prog, argument.dest)
                found += 1
    assert found > 20
