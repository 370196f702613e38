"""The house stands as drawn: imports only point the allowed way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ALLOWED = {
    "errors": set(),
    "version": set(),
    "files": {"errors"},
    "pictures": {"errors", "files"},
    "ir": {"errors"},
    "zoo": {"errors", "files", "pictures"},
    "toolchain": {"errors", "files"},
    "runtime": {"errors", "files"},
    "frontends": {"errors", "files", "ir"},
    "passes": {"errors", "files", "ir"},
    "codegen": {"errors", "ir"},
    "analysis": {"errors", "files", "ir", "runtime"},
    "detect": {"errors", "files", "pictures", "runtime"},
    "data": set(),
    "compiler": {
        "errors",
        "files",
        "version",
        "ir",
        "frontends",
        "passes",
        "codegen",
        "toolchain",
        "analysis",
        "runtime",
    },
}
"""Who may import whom, by room. ``cli`` and the package's face may import everything."""

EVERYTHING = {"cli", "__init__", "__main__"}


def _files() -> list[tuple[str, Path]]:
    rooms = []
    for base, prefix in ((ROOT / "bnnc", ()), (ROOT / "frontends", ("frontends",))):
        for path in sorted(base.rglob("*.py")):
            parts = (*prefix, *path.relative_to(base).with_suffix("").parts)
            rooms.append((parts[0], path))
    return rooms


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == "bnnc" or name.startswith("bnnc."):
                rooms.add(([*name.split("."), "__init__"])[1])
    return rooms


@pytest.mark.parametrize(
    ("room", "path"), _files(), ids=lambda v: v if isinstance(v, str) else v.name
)
def test_imports_point_the_allowed_way(room: str, path: Path) -> None:
    if room in EVERYTHING:
        return
    stray = _imported_rooms(path) - ALLOWED[room] - {room}
    assert not stray, f"{path.relative_to(ROOT)} imports {sorted(stray)}"


def test_every_package_is_installed() -> None:
    listed = set(re.findall(r'^    "(bnnc[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.M))
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("bnnc/**/__init__.py")}
    folders |= {
        Path("bnnc") / path.parent.relative_to(ROOT)
        for path in ROOT.glob("frontends/**/__init__.py")
    }
    assert listed == {".".join(folder.parts) for folder in folders} | {"bnnc.runtime_c"}


def test_imports_inside_the_package_are_absolute() -> None:
    relative = [
        path
        for _, path in _files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


@pytest.mark.parametrize("command", ["import bnnc", "from bnnc.cli.main import main; main([])"])
def test_starting_up_imports_no_heavy_library(command: str) -> None:
    probe = (
        "import sys\ntry:\n    "
        + command
        + "\nexcept SystemExit:\n    pass\n"
        + "heavy = {'torch', 'onnx', 'networkx', 'onnxruntime'} & set(sys.modules)\n"
        + "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_running_a_library_needs_only_numpy() -> None:
    probe = (
        "import sys\nfor name in ('cffi', 'onnx', 'networkx', 'torch', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "import bnnc\nbnnc.load\nbnnc.InferenceSession\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
