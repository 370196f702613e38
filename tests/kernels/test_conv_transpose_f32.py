"""conv_transpose_f32: transposed float convolutions, on every instruction set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from floats import Case, programs, splits
from harness import Arguments, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing.floats import pack_conv_transpose


@dataclass(frozen=True)
class Geometry:
    """A transposed convolution with an output of its own choice, so that crops and output padding
    come in every combination."""

    batch: int
    groups: int
    ic: int
    oc: int
    ih: int
    iw: int
    oh: int
    ow: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int] = (1, 1)
    crop: tuple[int, int] = (0, 0)


def transpose(g: Geometry, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    (kh, kw), (sh, sw), (dh, dw) = g.kernel, g.strides, g.dilations
    full = np.zeros(
        (
            g.batch,
            g.oc,
            max((g.ih - 1) * sh + (kh - 1) * dh + 1, g.crop[0] + g.oh),
            max((g.iw - 1) * sw + (kw - 1) * dw + 1, g.crop[1] + g.ow),
        )
    )
    grouped = x.astype(np.float64).reshape(g.batch, g.groups, -1, g.ih, g.iw)
    weights = w.astype(np.float64).reshape(g.groups, g.ic // g.groups, -1, kh, kw)
    for ky in range(kh):
        for kx in range(kw):
            rows = slice(ky * dh, ky * dh + (g.ih - 1) * sh + 1, sh)
            columns = slice(kx * dw, kx * dw + (g.iw - 1) * sw + 1, sw)
            part = np.einsum("ngihw,gio->ngohw", grouped, weights[..., ky, kx])
            full[:, :, rows, columns] += part.reshape(g.batch, g.oc, g.ih, g.iw)
    out = full[:, :, g.crop[0] : g.crop[0] + g.oh, g.crop[1] : g.crop[1] + g.ow]
    return out if b is None else out + b[:, None, None]


def check(isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)
    w = rng.standard_normal((g.ic, g.oc // g.groups, *g.kernel)).astype(np.float32)
    bias = rng.standard_normal(g.oc).astype(np.float32) if seed % 2 else None
    case = Case(program, (g.batch, g.oc, g.oh, g.ow), rng)
    args = Arguments(
        "bnnc_conv_f32_args",
        shape={
            **{"batch": g.batch, "groups": g.groups, "ic": g.ic, "oc": g.oc},
            **{"ih": g.ih, "iw": g.iw, "oh": g.oh, "ow": g.ow},
            **{"kh": g.kernel[0], "kw": g.kernel[1]},
            **{"stride_h": g.strides[0], "stride_w": g.strides[1]},
            **{"dilation_h": g.dilations[0], "dilation_w": g.dilations[1]},
            **{"pad_top": g.crop[0], "pad_left": g.crop[1]},
        },
        x=x,
        w=pack_conv_transpose(w, g.groups, g.strides, g.dilations),
        bias=bias,
        epilogue=case.epilogue(),
    )
    isa.run("conv_transpose_f32", args, cuts)
    case.check(transpose(g, x, w, bias))
    before = case.raw_outputs()
    isa.run("conv_transpose_f32", args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    groups = draw(st.integers(1, 3))
    kernel = draw(st.sampled_from([(2, 2), (4, 4), (3, 3), (1, 1), (5, 2), (1, 4)]))
    strides = draw(st.sampled_from([(2, 2), (2, 2), (1, 1), (3, 2), (5, 6), (1, 4)]))
    dilations = draw(st.sampled_from([(1, 1), (1, 1), (2, 3), (3, 2)]))
    size = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, strides, kernel, dilations)]
    crop = tuple(draw(st.integers(0, min(3, n - 1))) for n in full)
    out = [draw(st.integers(1, n - c + 2)) for n, c in zip(full, crop)]
    return Geometry(
        batch=draw(st.integers(1, 2)),
        groups=groups,
        ic=groups * draw(st.integers(1, 20)),
        oc=groups * draw(st.integers(1, 20)),
        ih=size[0],
        iw=size[1],
        oh=out[0],
        ow=out[1],
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        crop=crop,  # type: ignore[arg-type]
    )


@settings(max_examples=40, deadline=None)
@given(g=geometries(), program=programs(), cuts=splits(), seed=st.integers(0, 2**32 - 1))
def test_any_geometry_and_epilogue(
    isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int
) -> None:
    check(isa, g, program, cuts, seed)


@pytest.mark.parametrize(
    "g",
    [
        Geometry(1, 1, 300, 20, 8, 8, 16, 16, (4, 4), (2, 2), crop=(1, 1)),
        Geometry(2, 1, 5, 3, 2, 400, 4, 800, (2, 2), (2, 2)),
        Geometry(1, 1, 3, 12, 3, 5, 96, 160, (64, 64), (32, 32), crop=(16, 16)),
        Geometry(1, 1, 2, 2, 1, 3, 1, 3000, (1, 1000), (1, 1000)),
        Geometry(1, 1, 70, 324, 4, 4, 8, 8, (3, 3), (2, 2), crop=(1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("program", [("relu", "store"), ("store", "sign_nhwc"), ("sign_planar",)])
def test_shapes_that_slice_and_tile_differently(
    isa: Isa, g: Geometry, program: tuple[str, ...]
) -> None:
    check(isa, g, program, [0.2, 0.7], 1)
