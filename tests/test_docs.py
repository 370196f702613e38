"""Every command and every line of Python in the README and the pages of docs/ works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bnnc.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").glob("*.md"))


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def _commands(text: str) -> list[list[str]]:
    lines = "".join(_blocks(text, "sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def _run(commands: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    for program, *arguments in commands:
        assert program == "bnnc"
        assert main(arguments) == 0, (arguments, capsys.readouterr())


@pytest.mark.slow
def test_the_commands_and_the_python_of_the_readme_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    commands = _commands(README)
    assert len(commands) >= 5
    _run(commands, capsys)
    x = np.zeros((1, 3, 512, 512), np.float32)
    for block in _blocks(README, "python"):
        exec(block, {"x": x})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_and_the_python_of_a_page_work(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    for block in _blocks(text, "python"):
        exec(block, {"__name__": page.stem})
    commands = _commands(text)
    assert commands
    _run(commands, capsys)


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *PAGES, ROOT / "examples" / "bccd.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_demo_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out

    def shape(text: str) -> list[str]:
        return [re.sub(r"[\d.]+", "#", line).strip() for line in text.strip().splitlines()]

    shown = re.search(r"^```\n(found.*?)^```", README, re.M | re.S)
    assert shown is not None
    assert [line[:8] for line in shape(shown[1])] == [line[:8] for line in shape(printed)]
