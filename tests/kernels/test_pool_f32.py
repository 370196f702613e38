"""max_pool_f32 and average_pool_f32, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from floats import Geometry, geometries, splits
from harness import Arguments, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

LARGE = [
    Geometry(1, 1, 3, 3, 128, 127, kernel=(2, 2)),
    Geometry(1, 1, 2, 2, 33, 33, kernel=(33, 33)),
    Geometry(1, 1, 1, 1, 1, 120_000, kernel=(1, 120_000)),
    Geometry(1, 1, 1, 1, 2, 60_000, kernel=(2, 3), strides=(1, 2), pads=(0, 1, 0, 1)),
    Geometry(1, 1, 1, 1, 2, 60_000, kernel=(2, 2), strides=(1, 5000)),
]


def run(isa: Isa, kernel: str, g: Geometry, cuts: list[float], x: np.ndarray, **fields: int):
    out = Guarded((g.batch, g.ic, g.oh, g.ow), align=4)
    shape = g.struct(groups=g.ic)
    args = Arguments("bnnc_pool_args", shape=shape, x=x, out=out.array, **fields)
    isa.run(kernel, args, cuts)
    return out.check()


def random(g: Geometry, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)


def check_max(isa: Isa, g: Geometry, cuts: list[float], seed: int) -> None:
    x = random(g, seed)
    expected = g.windows(x, -np.inf).max(axis=(0, 1))
    np.testing.assert_array_equal(run(isa, "max_pool_f32", g, cuts, x), expected)


def check_average(isa: Isa, g: Geometry, cuts: list[float], seed: int, count_pad: int) -> None:
    x = random(g, seed)
    inside = g.windows(np.ones_like(x)).sum(axis=(0, 1))
    total = g.windows(x).sum(axis=(0, 1))
    size = g.kernel[0] * g.kernel[1] if count_pad else np.maximum(inside, 1)
    found = run(isa, "average_pool_f32", g, cuts, x, count_pad=count_pad)
    np.testing.assert_allclose(found, total / size, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(g=geometries(st.integers(1, 4), max_groups=1), cuts=splits(), seed=st.integers(0, 2**32 - 1))
def test_max_pool_of_any_geometry(isa: Isa, g: Geometry, cuts: list[float], seed: int) -> None:
    check_max(isa, g, cuts, seed)


@settings(max_examples=40, deadline=None)
@given(
    g=geometries(st.integers(1, 4), max_groups=1),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
    count_pad=st.integers(0, 1),
)
def test_average_pool_of_any_geometry(
    isa: Isa, g: Geometry, cuts: list[float], seed: int, count_pad: int
) -> None:
    check_average(isa, g, cuts, seed, count_pad)


@pytest.mark.parametrize("g", LARGE, ids=str)
def test_large_windows_and_rows(isa: Isa, g: Geometry) -> None:
    check_max(isa, g, [0.5], 0)
    check_average(isa, g, [0.5], 0, 0)
