"""conv_f32: float convolutions with fused epilogues, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from floats import Case, Geometry, geometries, programs, splits
from harness import Arguments, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing.floats import pack_conv


def convolve(g: Geometry, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    windows = g.windows(x)
    kh, kw, n, _, oh, ow = windows.shape
    grouped = windows.reshape(kh, kw, n, g.groups, -1, oh, ow)
    weights = w.astype(np.float64).reshape(g.groups, g.oc // g.groups, -1, kh, kw)
    out = np.einsum("yxngipq,goiyx->ngopq", grouped, weights, optimize=True)
    out = out.reshape(n, g.oc, oh, ow)
    return out if b is None else out + b[:, None, None]


def check(isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)
    w = rng.standard_normal((g.oc, g.ic // g.groups, *g.kernel)).astype(np.float32)
    bias = rng.standard_normal(g.oc).astype(np.float32) if seed % 2 else None
    case = Case(program, (g.batch, g.oc, g.oh, g.ow), rng)
    args = Arguments(
        "bnnc_conv_f32_args",
        shape=g.struct(),
        x=x,
        w=pack_conv(w, g.groups),
        bias=bias,
        epilogue=case.epilogue(),
    )
    isa.run("conv_f32", args, cuts)
    case.check(convolve(g, x, w, bias))
    before = case.raw_outputs()
    isa.run("conv_f32", args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"


@settings(max_examples=40, deadline=None)
@given(
    g=geometries(st.integers(1, 20)),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_geometry_and_epilogue(
    isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int
) -> None:
    check(isa, g, program, cuts, seed)


@pytest.mark.parametrize(
    "g",
    [
        Geometry(1, 1, 3, 32, 64, 64, strides=(2, 2), pads=(0, 0, 1, 1)),
        Geometry(1, 1, 40, 324, 8, 8, kernel=(1, 1)),
        Geometry(2, 1, 324, 20, 1, 1, kernel=(1, 1)),
        Geometry(1, 1, 200, 36, 9, 11, pads=(1, 1, 1, 1)),
        Geometry(1, 2, 300, 28, 5, 8, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 2, 9, 3, 700, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 4, 192, 32, 32, pads=(1, 1, 1, 1)),
        Geometry(1, 12, 24, 12, 10, 10, pads=(1, 1, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("program", [("relu", "store"), ("store", "sign_nhwc"), ("sign_planar",)])
def test_shapes_that_slice_and_split_differently(
    isa: Isa, g: Geometry, program: tuple[str, ...]
) -> None:
    check(isa, g, program, [0.2, 0.7], 1)
