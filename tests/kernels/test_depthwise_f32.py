"""depthwise_f32: float convolutions of every channel by itself, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from floats import Case, Geometry, geometries, programs, splits
from harness import Arguments, Isa
from hypothesis import given, settings
from hypothesis import strategies as st


def check(isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)
    w = rng.standard_normal((g.oc, 1, *g.kernel)).astype(np.float32)
    bias = rng.standard_normal(g.oc).astype(np.float32) if seed % 2 else None
    case = Case(program, (g.batch, g.oc, g.oh, g.ow), rng)
    args = Arguments(
        "bnnc_conv_f32_args",
        shape=g.struct(),
        x=x,
        w=w,
        bias=bias,
        epilogue=case.epilogue(),
    )
    isa.run("depthwise_f32", args, cuts)
    windows = np.repeat(g.windows(x), g.oc // g.ic, axis=3)
    raw = np.einsum("yxncpq,cyx->ncpq", windows, w[:, 0].astype(np.float64))
    case.check(raw if bias is None else raw + bias[:, None, None])
    before = case.raw_outputs()
    isa.run("depthwise_f32", args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"


@settings(max_examples=40, deadline=None)
@given(
    g=geometries(st.integers(1, 1), max_groups=70),
    multiplier=st.sampled_from([1, 1, 2]),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_geometry_and_epilogue(
    isa: Isa,
    g: Geometry,
    multiplier: int,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    check(isa, dataclasses.replace(g, oc=g.ic * multiplier), program, cuts, seed)


@pytest.mark.parametrize(
    "g",
    [
        Geometry(1, 5, 5, 5, 128, 128, strides=(2, 2), pads=(1, 1, 1, 1)),
        Geometry(1, 2, 2, 2, 5, 1200, pads=(1, 1, 1, 1)),
        Geometry(1, 2, 2, 2, 130, 260, kernel=(65, 65), strides=(65, 65)),
        Geometry(1, 2, 2, 2, 30, 40, kernel=(33, 33), pads=(16, 16, 16, 16)),
        Geometry(1, 3, 3, 3, 16, 16, dilations=(4, 4), pads=(4, 4, 4, 4)),
        Geometry(1, 2, 2, 2, 3, 5, kernel=(2, 2), strides=(1, 100_000)),
    ],
    ids=str,
)
@pytest.mark.parametrize("program", [("relu", "store"), ("store", "sign_nhwc"), ("sign_planar",)])
def test_wide_rows_and_large_windows(isa: Isa, g: Geometry, program: tuple[str, ...]) -> None:
    check(isa, g, program, [0.2, 0.7], 1)


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 40), st.integers(1, 140)),
    multiplier=st.sampled_from([1, 1, 2]),
    stride=st.sampled_from([1, 2, 2]),
    pads=st.tuples(*[st.integers(0, 3)] * 3),
    pool=st.sampled_from([(2, 2), (2, 2), (3, 3), (1, 4)]),
    blurs=st.booleans(),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_pooled_windows(
    isa: Isa,
    sizes: tuple[int, int, int, int],
    multiplier: int,
    stride: int,
    pads: tuple[int, int, int],
    pool: tuple[int, int],
    blurs: bool,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    batch, channels, ih, iw = sizes
    ih, iw = max(ih, 3 - pads[0] - pads[1]), max(iw, 2 - pads[2])
    g = Geometry(
        batch,
        channels,
        channels,
        channels * multiplier,
        ih,
        iw,
        strides=(stride, stride),
        pads=(pads[0], 1, pads[1], pads[2]),
    )
    rng = np.random.default_rng(seed)
    raw_size = ih + pool[0] - 1, iw + pool[1] - 1
    x = rng.standard_normal((batch, channels, *raw_size)).astype(np.float32)
    w = rng.standard_normal((g.oc, 1, 3, 3)).astype(np.float32)
    if blurs:  # the last channel's middle weight stays its own
        w[: g.oc - 1] = w[: g.oc - 1, :, 1:2] * np.float32([[0.5], [1], [-2]])
    bias = rng.standard_normal(g.oc).astype(np.float32)
    case = Case(program, (batch, g.oc, g.oh, g.ow), rng)
    args = Arguments(
        "bnnc_conv_f32_args",
        shape=g.struct(ih=raw_size[0], iw=raw_size[1]),
        x=x,
        w=w,
        bias=bias,
        epilogue=case.epilogue(),
        pool_h=pool[0],
        pool_w=pool[1],
    )
    isa.run("pooled_depthwise_f32", args, cuts)
    pooled = Geometry(1, 1, 1, 1, *raw_size, kernel=pool).windows(x).max(axis=(0, 1))
    windows = np.repeat(g.windows(pooled), multiplier, axis=3)
    raw = np.einsum("yxncpq,cyx->ncpq", windows, w[:, 0].astype(np.float64))
    case.check(raw + bias[:, None, None])
    before = case.raw_outputs()
    isa.run("pooled_depthwise_f32", args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"
