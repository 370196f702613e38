"""Fixtures that several areas use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bnnc.cli.main import main

HERE = Path(__file__).parent / "runtime"
INCLUDE = HERE.parents[1] / "runtime_c"
SHARED = HERE.parents[2] / "shared"
MakeToy = Callable[..., Path]


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def bnnc(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command line and collect what it printed."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the data sets, which are not part of the project."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs the data sets beside the checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> MakeToy:
    """Compile toy.c, a model written by hand in C, with these macros defined: the runtime is
    tested without the compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("toy")

    def make(name: str = "toy.so", **macros: str) -> Path:
        path = folder / name
        if not path.exists():
            defined = [f"-D{key}={value}" for key, value in macros.items()]
            command = [compiler, "-shared", "-fPIC", f"-I{INCLUDE}", *defined]
            subprocess.run([*command, "-o", str(path), str(HERE / "toy.c")], check=True)
        return path

    return make


@pytest.fixture(scope="session")
def toy(make_toy: MakeToy) -> Path:
    return make_toy()


@pytest.fixture(scope="session")
def open_toy(make_toy: MakeToy) -> Path:
    """The same with an open batch."""
    return make_toy("open.so", TOY_OPEN='"true"')
