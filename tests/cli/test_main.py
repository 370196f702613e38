"""What holds for every command: help, exit codes, errors in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnnc import __version__
from bnnc.cli import run as run_command
from bnnc.cli.main import COMMANDS
from bnnc.errors import InputError

NAMES = [command.NAME for command in COMMANDS]


def test_without_a_command_help_is_shown_and_the_code_is_usage(bnnc) -> None:
    ran = bnnc()
    assert ran.code == 2 and all(name in ran.err for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_an_example(bnnc, name: str) -> None:
    ran = bnnc(name, "--help")
    assert ran.code == 0 and f"example:\n  bnnc {name}" in ran.out


@pytest.mark.parametrize("name", [name for name in NAMES if name != "zoo"])
def test_every_command_speaks_json(bnnc, name: str) -> None:
    assert "--json" in bnnc(name, "--help").out


@pytest.mark.parametrize("action", ["list", "export"])
def test_every_zoo_action_speaks_json(bnnc, action: str) -> None:
    assert "--json" in bnnc("zoo", action, "--help").out


def test_the_version_is_told(bnnc) -> None:
    assert bnnc("--version").out == f"bnnc {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("compile",),
        ("compile", "x.onnx"),
        ("compile", "x.onnx", "-o", "x.so", "--emit", "exe"),
        ("compile", "x.onnx", "-o", "x.so", "--shape", "input"),
        ("compile", "x.onnx", "-o", "x.so", "--shape", "input=0x3"),
        ("compile", "x.onnx", "-o", "x.so", "--shape", "=1x3"),
        ("compile", "x.onnx", "-o", "x.so", "--shape", "input=?x0"),
        ("run", "x.so", "--input", "x.npy"),
        ("run", "x.so", "--threads", "0"),
        ("run", "x.so", "--threads", "many"),
        ("stats", "x.onnx", "--convention", "mine"),
        ("zoo",),
        ("zoo", "export", "q0"),
    ],
)
def test_a_usage_error_is_one_line_and_code_2(bnnc, arguments: tuple[str, ...]) -> None:
    ran = bnnc(*arguments)
    assert ran.code == 2 and not ran.out
    assert ran.err.startswith("bnnc: error: ") and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile", "none.onnx", "-o", "x.so"),
        ("stats", "none.onnx"),
        ("run", "none.so"),
        ("verify", "none.onnx", "none.so"),
        ("bench", "none.so"),
        ("profile", "none.so"),
    ],
)
def test_a_missing_file_is_one_line_and_code_1(
    bnnc, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = bnnc(*arguments)
    assert ran.code == 1 and not ran.out
    assert ran.err.startswith("bnnc: error: none.") and ran.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("x is wrong", hint="mend it"), "x is wrong; mend it"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "x.so"), "x.so: No space left on device"),
        (ModuleNotFoundError("no", name="onnx"), "this needs the Python package onnx; install"),
        (AssertionError("oh\nno"), "a fault of bnnc's own, please report it (AssertionError: oh"),
    ],
)
def test_any_failure_is_one_line_and_code_1(
    bnnc, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def fail(_args: object) -> int:
        raise error

    monkeypatch.setattr(run_command, "run", fail)
    ran = bnnc("run", "x.so")
    assert ran.code == 1 and ran.err.startswith(f"bnnc: error: {text}")
    assert ran.err.count("\n") == 1


def test_a_traceback_is_shown_only_for_debugging(bnnc, tmp_path: Path) -> None:
    assert "Traceback" not in bnnc("run", tmp_path / "none.so").err
    assert "Traceback" in bnnc("run", tmp_path / "none.so", "--debug").err


def test_an_interruption_is_told_shortly() -> None:
    """From the first moment on: here where the command line is being imported."""
    script = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'bnnc.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from bnnc.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "bnnc: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_leaves_nothing_behind(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    temporary, folder = tmp_path / "temporary", tmp_path / "folder"
    temporary.mkdir()
    folder.mkdir()
    compiler = tmp_path / "cc"
    compiler.write_text(
        f'#!/bin/sh\n[ "$1" != -c ] && exec cc "$@"\ntouch {folder}/begun\nexec sleep 60\n'
    )
    compiler.chmod(0o755)
    command = [sys.executable, "-m", "bnnc", "compile", model, "-o", folder / "m.so"]
    running = subprocess.Popen(
        [*command, "--cc", compiler],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a test run may ignore it
    )
    while not (folder / "begun").exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)
    assert running.communicate()[1] == "bnnc: interrupted\n"
    assert running.returncode == (130 if number == signal.SIGINT else -number)
    assert [path.name for path in folder.iterdir()] == ["begun"] and not any(temporary.iterdir())


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "bnnc", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"bnnc {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from bnnc.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'networkx', 'numpy', 'cffi', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_does_not_hurt() -> None:
    command = f"{sys.executable} -m bnnc zoo list | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("id") and not done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_hurt(closed: str, model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.html"
    command = f"{sys.executable} -m bnnc stats {model} --html {picture} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert picture.read_text().endswith("</html>\n") and list(tmp_path.iterdir()) == [picture]


def test_output_to_a_file_has_no_control_characters(bnnc) -> None:
    ran = bnnc("targets")
    assert all(ch == "\n" or ch.isprintable() for ch in ran.out + ran.err)
