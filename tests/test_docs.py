"""Every command and every line of Python in the README works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bnnc.cli.main import main

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def _commands() -> list[list[str]]:
    lines = "".join(_blocks("sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.slow
def test_the_commands_and_the_python_of_the_readme_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    commands = _commands()
    assert len(commands) >= 5
    for program, *arguments in commands:
        if program == "bnnc":
            assert main(arguments) == 0, (arguments, capsys.readouterr())
    x = np.zeros((1, 3, 512, 512), np.float32)
    for block in _blocks("python"):
        exec(block, {"x": x})


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
