"""conv_f32 and conv_f32_winograd: convolutions and their epilogues, on every instruction set."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from floats import Case, Geometry, geometries, programs, splits
from harness import Arguments, Epilogue, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing.floats import pack_conv, pack_conv_winograd


def convolve(g: Geometry, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    windows = g.windows(x)
    kh, kw, n, _, oh, ow = windows.shape
    grouped = windows.reshape(kh, kw, n, g.groups, -1, oh, ow)
    weights = w.astype(np.float64).reshape(g.groups, g.oc // g.groups, -1, kh, kw)
    out = np.einsum("yxngipq,goiyx->ngopq", grouped, weights, optimize=True)
    out = out.reshape(n, g.oc, oh, ow)
    return out if b is None else out + b[:, None, None]


def check(
    isa: Isa,
    g: Geometry,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
    kernel: str = "conv_f32",
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)
    w = rng.standard_normal((g.oc, g.ic // g.groups, *g.kernel)).astype(np.float32)
    bias = rng.standard_normal(g.oc).astype(np.float32) if seed % 2 else None
    case = Case(program, (g.batch, g.oc, g.oh, g.ow), rng)
    args = Arguments(
        "bnnc_conv_f32_args",
        shape=g.struct(),
        x=x,
        w=pack_conv(w, g.groups) if kernel == "conv_f32" else pack_conv_winograd(w),
        bias=bias,
        epilogue=case.epilogue(),
    )
    isa.run(kernel, args, cuts)
    case.check(convolve(g, x, w, bias))
    before = case.raw_outputs()
    isa.run(kernel, args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"


@pytest.mark.parametrize("weight", [3e38, np.inf, np.nan])
def test_weights_beyond_floats_are_transformed_without_a_warning(weight: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack_conv_winograd(np.full((8, 4, 3, 3), weight, np.float32))


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
        Geometry(1, 1, 1, 4, 35, 17, strides=(2, 2)),
        Geometry(1, 1, 5, 4, 36, 16, strides=(2, 2), pads=(1, 1, 0, 0)),
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
@pytest.mark.parametrize(
    "program",
    [("relu", "store"), ("store", "sign_planar"), ("store", "sign_nhwc"), ("sign_planar",)],
)
def test_shapes_that_slice_and_split_differently(
    isa: Isa, g: Geometry, program: tuple[str, ...]
) -> None:
    check(isa, g, program, [0.2, 0.7], 1)


@st.composite
def whole_vectors_at_stride_2(draw: st.DrawFn) -> Geometry:
    """Convolutions whose rows of outputs are whole vectors, as a network's first often is."""
    kernel = draw(st.sampled_from([(3, 3), (7, 7), (2, 2), (5, 4), (1, 3), (3, 8)]))
    pads = draw(st.tuples(*[st.integers(0, 4)] * 4))
    ow, spare = 16 * draw(st.integers(1, 4)), draw(st.integers(0, 1))
    dilation = draw(st.integers(1, 2))
    return Geometry(
        batch=draw(st.integers(1, 2)),
        groups=1,
        ic=draw(st.integers(1, 4)),
        oc=draw(st.integers(1, 20)),
        ih=max(1, dilation * (kernel[0] - 1) + 1 - pads[0] - pads[2]) + draw(st.integers(0, 40)),
        iw=max(1, 2 * (ow - 1) + kernel[1] - pads[1] - pads[3] + spare),
        kernel=kernel,
        strides=(draw(st.integers(1, 3)), 2),
        dilations=(dilation, 1),
        pads=pads,
    )


@settings(max_examples=60, deadline=None)
@given(
    g=whole_vectors_at_stride_2(),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_split_into_even_and_odd_columns(
    isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int
) -> None:
    check(isa, g, program, cuts, seed)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20)),
    image=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_winograd_on_any_image(
    isa: Isa,
    sizes: tuple[int, int, int],
    image: tuple[int, int],
    pads: tuple[int, int, int, int],
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    batch, ic, oc = sizes
    ih, iw = max(image[0], 3 - pads[0] - pads[2]), max(image[1], 3 - pads[1] - pads[3])
    g = Geometry(batch, 1, ic, oc, ih, iw, pads=pads)
    check(isa, g, program, cuts, seed, "conv_f32_winograd")


@pytest.mark.parametrize(
    "g",
    [
        Geometry(1, 1, 32, 12, 64, 64, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 250, 9, 12, 40, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 3, 9, 6, 600, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 100, 8, 16, 516, pads=(0, 16, 0, 16)),
    ],
    ids=str,
)
@pytest.mark.parametrize("program", [("relu", "store"), ("store", "sign_nhwc"), ("sign_planar",)])
def test_winograd_on_blocks_of_every_kind(isa: Isa, g: Geometry, program: tuple[str, ...]) -> None:
    check(isa, g, program, [0.2, 0.7], 1, "conv_f32_winograd")


def test_winograd_is_within_a_few_roundings(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    g = Geometry(1, 1, 64, 16, 32, 32, pads=(1, 1, 1, 1))
    x = np.maximum(rng.standard_normal((1, 64, 32, 32)), 0).astype(np.float32)
    w = rng.standard_normal((16, 64, 3, 3)).astype(np.float32)
    out = Guarded((1, 16, 32, 32))
    args = Arguments(
        "bnnc_conv_f32_args",
        shape=g.struct(),
        x=x,
        w=pack_conv_winograd(w),
        epilogue=Epilogue([("store", {"out": out.array})], 16, 32, 32),
    )
    isa.run("conv_f32_winograd", args)
    expected = convolve(g, x, w, None)
    assert np.abs(out.check() - expected).max() < 3e-6 * np.abs(expected).max()
