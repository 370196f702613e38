"""A few seconds of fuzzing, and that it would find something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_changed_models_are_compiled_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.models", "--minutes", "0.15", "--seed", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
