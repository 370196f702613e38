"""Fixtures for tests of C kernels."""

from __future__ import annotations

import harness
import pytest


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.isa(name)) for name in harness.isas()],
    scope="session",
)
def isa(request: pytest.FixtureRequest) -> harness.Isa:
    """The kernels of each instruction set in turn; skips those this machine cannot run."""
    if not harness.compiler():
        pytest.skip("there is no C compiler on the path")
    found = harness.isa(request.param)
    if found is None:
        pytest.skip(f"this machine does not support {request.param}")
    return found
