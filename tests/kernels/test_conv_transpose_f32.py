"""conv_transpose_f32 and conv_transpose_f32_winograd: transposed float convolutions, on every
instruction set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from floats import Case, programs, splits
from harness import Arguments, Epilogue, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing.floats import pack_conv_transpose, pack_conv_transpose_winograd


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


def check(
    isa: Isa,
    g: Geometry,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
    winograd: int | None = None,
    expand: bool = False,
) -> None:
    """Run a kernel and compare.

    Args:
        winograd: the size of its tiles.
        expand: whether it transforms the weights itself.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.batch, g.ic, g.ih, g.iw)).astype(np.float32)
    w = rng.standard_normal((g.ic, g.oc // g.groups, *g.kernel)).astype(np.float32)
    bias = rng.standard_normal(g.oc).astype(np.float32) if seed % 2 else None
    case = Case(program, (g.batch, g.oc, g.oh, g.ow), rng)
    kernel, packed = "conv_transpose_f32", pack_conv_transpose(w, g.groups, g.strides, g.dilations)
    if winograd:
        kernel += "_winograd"
        packed = pack_conv_transpose_winograd(w, g.crop, winograd, expand=expand)
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
        w=packed,
        bias=bias,
        tile=winograd or 0,
        expand=int(expand),
        epilogue=case.epilogue(),
    )
    isa.run(kernel, args, cuts)
    case.check(transpose(g, x, w, bias))
    before = case.raw_outputs()
    isa.run(kernel, args)
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


@st.composite
def two_columns(draw: st.DrawFn) -> Geometry:
    """Kernels and strides of two columns: an output has the inputs of one column."""
    groups, height = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    stride_h = draw(st.integers(1, 3))
    kernel = draw(st.integers(stride_h, stride_h + 2))
    width = draw(st.integers(1, 4)) * 16 + draw(st.sampled_from([0, 0, 5, 8]))
    crop = draw(st.integers(0, kernel - 1)), draw(st.sampled_from([0, 0, 1, 2]))
    return Geometry(
        batch=draw(st.integers(1, 2)),
        groups=groups,
        ic=groups * draw(st.integers(1, 40)),
        oc=groups * draw(st.integers(1, 20)),
        ih=height,
        iw=width,
        oh=(height - 1) * stride_h + kernel - crop[0] + draw(st.integers(0, 2)),
        ow=2 * width - draw(st.integers(0, 5)),
        kernel=(kernel, 2),
        strides=(stride_h, 2),
        crop=crop,
    )


@settings(max_examples=40, deadline=None)
@given(
    g=two_columns(),
    program=st.sampled_from([("store",), ("relu", "store"), ("store", "sign_nhwc")]),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_two_columns_at_a_time(
    isa: Isa, g: Geometry, program: tuple[str, ...], cuts: list[float], seed: int
) -> None:
    check(isa, g, program, cuts, seed)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20)),
    image=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    extra=st.tuples(st.integers(-4, 2), st.integers(-4, 2)),
    tile=st.sampled_from([2, 4]),
    expand=st.booleans(),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_winograd_on_any_image(
    isa: Isa,
    sizes: tuple[int, int, int],
    image: tuple[int, int],
    crop: tuple[int, int],
    extra: tuple[int, int],
    tile: int,
    expand: bool,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    batch, ic, oc = sizes
    oh, ow = (max(1, 2 * n + 2 - c + e) for n, c, e in zip(image, crop, extra))
    g = Geometry(batch, 1, ic, oc, *image, oh, ow, (4, 4), (2, 2), crop=crop)
    check(isa, g, program, cuts, seed, winograd=tile, expand=expand)


@pytest.mark.parametrize(
    ("g", "tile"),
    [
        (Geometry(1, 1, 512, 9, 6, 10, 12, 20, (4, 4), (2, 2), crop=(1, 1)), 2),
        (Geometry(1, 1, 256, 9, 8, 18, 16, 36, (4, 4), (2, 2), crop=(1, 1)), 4),
        (Geometry(1, 1, 3, 4, 3, 600, 6, 1200, (4, 4), (2, 2), crop=(1, 1)), 4),
        (Geometry(1, 1, 50, 8, 5, 130, 10, 261, (4, 4), (2, 2), crop=(1, 1)), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("program", [("relu", "store"), ("store", "sign_nhwc"), ("sign_planar",)])
@pytest.mark.parametrize("expand", [False, True], ids=["kept", "expanded"])
def test_winograd_on_blocks_of_every_kind(
    isa: Isa, g: Geometry, tile: int, expand: bool, program: tuple[str, ...]
) -> None:
    check(isa, g, program, [0.2, 0.7], 1, winograd=tile, expand=expand)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("expand", [False, True], ids=["kept", "expanded"])
def test_winograd_is_within_a_few_roundings(isa: Isa, tile: int, expand: bool) -> None:
    rng = np.random.default_rng(0)
    g = Geometry(1, 1, 64, 16, 16, 16, 32, 32, (4, 4), (2, 2), crop=(1, 1))
    x = np.maximum(rng.standard_normal((1, 64, 16, 16)), 0).astype(np.float32)
    w = rng.standard_normal((64, 16, 4, 4)).astype(np.float32)
    out = Guarded((1, 16, 32, 32))
    sizes = {"batch": 1, "groups": 1, "ic": 64, "oc": 16, "ih": 16, "iw": 16, "oh": 32, "ow": 32}
    taps = {"kh": 4, "kw": 4, "stride_h": 2, "stride_w": 2, "pad_top": 1, "pad_left": 1}
    args = Arguments(
        "bnnc_conv_f32_args",
        shape={**sizes, **taps, "dilation_h": 1, "dilation_w": 1},
        x=x,
        w=pack_conv_transpose_winograd(w, (1, 1), tile, expand=expand),
        tile=tile,
        expand=int(expand),
        epilogue=Epilogue([("store", {"out": out.array})], 16, 32, 32),
    )
    isa.run("conv_transpose_f32_winograd", args)
    expected = transpose(g, x, w, None)
    assert np.abs(out.check() - expected).max() < 3e-6 * np.abs(expected).max()
