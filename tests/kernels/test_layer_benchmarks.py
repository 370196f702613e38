"""The benchmarks that pages quote run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import harness
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = re.search(
    r"^    (python -m tests\.benchmarks\.binary_layers .*)$",
    (ROOT / "docs" / "designing.md").read_text(),
    re.M,
)


@pytest.mark.slow
def test_the_binary_layers_of_the_page_on_design_are_timed() -> None:
    assert COMMAND is not None
    if harness.isa("avx512") is None:
        pytest.skip("this processor has no AVX-512")
    _, *arguments = shlex.split(COMMAND[1])
    done = subprocess.run(
        [sys.executable, *arguments, "--repeats", "1"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(layer in done.stdout for layer in ("64ch@62", "162ch@32"))
