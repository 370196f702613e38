"""resize_f32: interpolation by tables, on every instruction set."""

from __future__ import annotations

import numpy as np
from floats import splits
from harness import Arguments, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st


def resize(
    isa: Isa,
    x: np.ndarray,
    tables: list[np.ndarray],
    cuts: list[float],
) -> np.ndarray:
    iy, wy, ix, wx = tables
    planes, ih, iw = x.shape
    out = Guarded((planes, len(iy), len(ix)), align=4)
    args = Arguments(
        "bnnc_resize_args",
        **{"planes": planes, "ih": ih, "iw": iw, "oh": len(iy), "ow": len(ix)},
        **{"taps_h": iy.shape[1], "taps_w": ix.shape[1]},
        **{"iy": iy, "ix": ix, "wy": wy, "wx": wx, "x": x, "out": out.array},
    )
    isa.run("resize_f32", args, cuts)
    return out.check()


def expected(x: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    iy, wy, ix, wx = tables
    rows = np.einsum("pytx,yt->pyx", x.astype(np.float64)[:, iy], wy)
    return np.einsum("pyxt,xt->pyx", rows[:, :, ix], wx)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 50)] * 4),
    taps=st.tuples(*[st.integers(1, 4)] * 2),
    planes=st.integers(1, 5),
    repeat=st.booleans(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_tables(
    isa: Isa,
    sizes: tuple[int, int, int, int],
    taps: tuple[int, int],
    planes: int,
    repeat: bool,
    cuts: list[float],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    ih, iw, oh, ow = sizes
    x = rng.standard_normal((planes, ih, iw)).astype(np.float32)
    tables = []
    for inside, out, count in ((ih, oh, taps[0]), (iw, ow, taps[1])):
        tables.append(rng.integers(0, inside, (out, count)).astype(np.int32))
        tables.append(rng.standard_normal((out, count)).astype(np.float32))
    if repeat:
        for table in tables[:2]:
            table[1::2] = table[: 2 * (oh // 2) : 2]
    found = resize(isa, x, tables, cuts)
    np.testing.assert_allclose(found, expected(x, tables), rtol=1e-4, atol=1e-4)


def test_nearest_copies_exactly(isa: Isa) -> None:
    x = np.random.default_rng(0).standard_normal((3, 7, 9)).astype(np.float32)
    tables = []
    for size in (7, 9):
        tables.append((np.arange(2 * size, dtype=np.int32) // 2)[:, None].copy())
        tables.append(np.ones((2 * size, 1), np.float32))
    np.testing.assert_array_equal(resize(isa, x, tables, [0.4]), x.repeat(2, 1).repeat(2, 2))


def test_rows_too_wide_for_scratch(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 140_000)).astype(np.float32)
    tables = [np.array([[0, 1]], np.int32), np.array([[0.25, 0.75]], np.float32)]
    tables.append(rng.integers(0, 140_000, (50, 2)).astype(np.int32))
    tables.append(rng.standard_normal((50, 2)).astype(np.float32))
    found = resize(isa, x, tables, [])
    np.testing.assert_allclose(found, expected(x, tables), rtol=1e-5, atol=1e-5)
