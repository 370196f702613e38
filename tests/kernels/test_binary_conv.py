"""binary_conv_nhwc and binary_conv_planar: exact for any geometry, padding value and epilogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from floats import Geometry, geometries, splits
from harness import Arguments, Epilogue, Guarded, Isa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing import bits
from bnnc.ir.epilogue import COMPARES, Step, run_steps
from bnnc.ir.graph import Node
from bnnc.ir.layout import BITS_NHWC, BITS_PLANAR, pack, planar_first_row, stored_bytes, unpack
from bnnc.ir.types import DType, TensorType

RAW: tuple[str, ...] = ()
RESIDUAL = ("relu", "affine", "add", "store", "sign_planar")
RECTIFIED = ("relu", "affine", "add", "relu", "store")
PROGRAMS = (
    RAW,
    ("threshold_planar",),
    ("threshold_nhwc",),
    RESIDUAL,
    RESIDUAL[1:],
    RESIDUAL[:-1],
    RESIDUAL[1:-1],
    RECTIFIED,
    ("affine", "add", "store", "sign_nhwc"),
    ("prelu", "scale", "add", "store", "sign_planar", "sign_nhwc"),
    ("relu", "store"),
)
"""Epilogues to try: steps in order, bits with their layout."""


@dataclass
class Output:
    """What one step writes, guarded on both sides."""

    made: Guarded
    layout: str


@dataclass
class Case:
    """A convolution of random signs with an epilogue over random operands."""

    geometry: Geometry
    pad: int
    program: tuple[str, ...]
    seed: int
    outputs: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        g = self.geometry
        self.rng = np.random.default_rng(self.seed)
        self.x = self.rng.random((g.batch, g.ic, g.ih, g.iw)) < self.rng.choice([0.5, 0.5, 0.9])
        self.w = self.rng.random((g.oc, g.ic // g.groups, *g.kernel)) < 0.5
        self.shape = (g.batch, g.oc, g.oh, g.ow)

    def sums(self) -> np.ndarray:
        """int32 [N, OC, OH, OW]."""
        g = self.geometry
        windows = g.windows(np.where(self.x, 1.0, -1.0), self.pad).astype(np.float32)
        kh, kw, n, _, oh, ow = windows.shape
        windows = windows.reshape(kh * kw, n, g.groups, -1, oh * ow)
        columns = windows.transpose(2, 0, 3, 1, 4).reshape(g.groups, -1, n * oh * ow)
        signs = np.where(self.w, np.float32(1), np.float32(-1))
        rows = signs.reshape(g.groups, g.oc // g.groups, -1, kh * kw).swapaxes(2, 3)
        out = rows.reshape(g.groups, g.oc // g.groups, -1) @ columns
        return np.ascontiguousarray(out.reshape(g.oc, n, oh, ow).swapaxes(0, 1)).astype(np.int32)

    def arguments(self, kernel: str) -> Arguments:
        g = self.geometry
        planar = kernel == "binary_conv_planar"
        layout = BITS_PLANAR if planar else BITS_NHWC
        x = pack(self.x, TensorType(DType.B1, self.x.shape), layout)
        if planar:
            self._scramble_junk(x)
        self._make_steps()
        out = None
        if not self.program:
            self.outputs.append(Output(Guarded(self.shape, np.int32), "dense"))
            out = self.outputs[0].made.array
        return Arguments(
            "bnnc_binary_conv_args",
            shape=g.struct(),
            x=x,
            w=bits.pack_planar(self.w) if planar else bits.pack_nhwc(self.w),
            pad=self.pad,
            border=bits.border_correction(self.w, self.pad) if planar else None,
            raw=int(not self.program),
            out=out,
            epilogue=Epilogue(self.c_steps, g.oc, g.oh, g.ow),
        )

    def check(self) -> None:
        """Assert that every output equals the interpreter's, bit for bit."""
        sums = self.sums()
        expected = [sums]
        if self.program:
            node = cast(Node, SimpleNamespace(attrs={"steps": tuple(self.steps)}))
            expected = run_steps(node, sums, [None, *self.operands])
        for output, wanted in zip(self.outputs, expected, strict=True):
            got = output.made.check()
            if output.layout != "dense":
                got = self._unpack(got, output.layout)
            np.testing.assert_array_equal(got, wanted)

    def raw_outputs(self) -> list[bytes]:
        return [
            self._unpack(o.made.array, o.layout).tobytes()
            if o.layout != "dense"
            else o.made.array.tobytes()
            for o in self.outputs
        ]

    def _unpack(self, raw: np.ndarray, layout: str) -> np.ndarray:
        b1 = TensorType(DType.B1, self.shape)
        logical = unpack(raw, b1, layout)
        # What is not the tensor's own bits must be as the layout says, too.
        whole = self.shape[3] % 8 == 0 or layout != BITS_PLANAR
        if whole:
            np.testing.assert_array_equal(raw, pack(logical, b1, layout))
        return logical

    def _scramble_junk(self, planes: np.ndarray) -> None:
        """The bits of a row beyond its width may hold anything."""
        width = self.geometry.iw
        if width % 8 == 0:
            return
        _, _, height, _ = self.x.shape
        row = -(-width // 8)
        per_plane = planes.reshape(
            -1, stored_bytes(TensorType(DType.B1, (1, 1, height, width)), BITS_PLANAR)
        )
        first = planar_first_row(width)
        last = per_plane[:, first + row - 1 : first + height * row : row]
        last ^= self.rng.integers(0, 256, last.shape, np.uint8) & np.uint8(0xFF << width % 8 & 0xFF)

    def _make_steps(self) -> None:
        n, c, _, _ = self.shape
        self.outputs.clear()
        self.steps: list[Step] = []
        self.operands: list[np.ndarray] = []
        self.c_steps: list[tuple[str, dict[str, Any]]] = []
        most = self.w[0].size
        for name in self.program:
            kind, _, layout = name.partition("_")
            like = {"add": [self.shape], "scale": [(n, c)], "affine": [(c,), (c,)]}
            values = [self._random(*s) for s in like.get(kind, [(c,)])]
            if kind in ("relu", "store"):
                values = []
            if kind == "threshold":
                thresholds = self.rng.integers(-most // 4 - 2, most // 4 + 3, c, np.int32)
                thresholds[self.rng.random(c) < 0.1] = self.rng.choice([-most, most, most + 1])
                values = [thresholds, (self.rng.random(c) < 0.5).astype(np.uint8)]
            fields: dict[str, Any] = dict(zip("ab", values))
            slots = tuple(range(1 + len(self.operands), 1 + len(self.operands) + len(values)))
            result, params = None, ()
            if kind in ("store", "sign", "threshold"):
                result = len(self.outputs)
                where = f"bits_{layout}" if layout else "dense"
                size = stored_bytes(TensorType(DType.B1, self.shape), where)
                made = Guarded(size, np.uint8) if layout else Guarded(self.shape, align=4)
                self.outputs.append(Output(made, where))
                fields["out"] = made.array
                fields |= {"layout": where} if layout else {}
            if kind == "sign":
                compare = str(self.rng.choice(["ge", *COMPARES]))
                fields["compare"] = compare
                params = (compare,)
            self.operands += [v.astype(bool) if v.dtype == np.uint8 else v for v in values]
            if kind == "scale":
                self.operands[-1] = self.operands[-1].reshape(n, c, 1, 1)
            self.steps.append(Step(kind, slots, result, params))
            self.c_steps.append((kind, fields))

    def _random(self, *shape: int) -> np.ndarray:
        values = self.rng.standard_normal(shape).astype(np.float32)
        values[self.rng.random(shape) < 0.05] = self.rng.choice([0.0, -0.0, 1e-41, 3e38])
        return values


def check(isa: Isa, kernel: str, case: Case, cuts: list[float]) -> None:
    with np.errstate(all="ignore"):
        args = case.arguments(kernel)
        isa.run(kernel, args, cuts)
        case.check()
        first = case.raw_outputs()
        isa.run(kernel, args)
        assert case.raw_outputs() == first, "the result depends on how the work is divided"


pads = st.sampled_from([-1, 0, 1])
programs = st.sampled_from(PROGRAMS)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(
    g=geometries(st.one_of(st.integers(1, 20), st.integers(60, 70), st.just(130)), max_size=20),
    pad=pads,
    program=programs,
    cuts=splits(),
    seed=seeds,
)
@example(Geometry(1, 1, 64, 64, 16, 16, pads=(1, 1, 1, 1)), 0, ("threshold_nhwc",), [0.5], 0)
@example(Geometry(2, 33, 33, 66, 9, 7, pads=(1, 2, 0, 1)), 0, RAW, [], 1)
@example(Geometry(1, 3, 300, 90, 5, 5, (5, 5), (2, 2), pads=(2, 2, 2, 2)), -1, RAW, [], 2)
@example(Geometry(3, 1, 1000, 130, 1, 1, (1, 1)), 1, ("threshold_planar",), [0.3], 3)
@example(Geometry(1, 1, 3, 2, 2, 1100, (1, 3), pads=(0, 1, 0, 1)), 0, RESIDUAL, [0.4], 4)
def test_nhwc_computes_any_geometry(
    isa: Isa, g: Geometry, pad: int, program: tuple[str, ...], cuts: list[float], seed: int
) -> None:
    check(isa, "binary_conv_nhwc", Case(g, pad, program, seed), cuts)


@pytest.mark.parametrize("pad", [-1, 0, 1])
def test_nhwc_computes_windows_larger_than_its_buffer(isa: Isa, pad: int) -> None:
    g = Geometry(1, 1, 64 * 90, 5, 12, 13, (12, 11), pads=(3, 4, 2, 1))
    check(isa, "binary_conv_nhwc", Case(g, pad, RAW, 0), [0.5])


sizes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.sampled_from([8, 16, 24, 32, 64, 128])),
    st.tuples(st.integers(1, 4), st.sampled_from([250, 600, 520, 1111])),
)
channels = st.one_of(st.integers(1, 36), st.sampled_from([64, 72, 100, 162]))


@settings(max_examples=80, deadline=None)
@given(
    batch=st.integers(1, 2),
    ic=channels,
    oc=st.integers(1, 70),
    size=sizes,
    pad=pads,
    program=programs,
    cuts=splits(),
    seed=seeds,
)
@example(1, 64, 64, (32, 32), 1, RESIDUAL, [0.3], 0)
@example(1, 66, 80, (16, 16), 1, RESIDUAL, [0.3], 1)
@example(1, 66, 80, (16, 32), 1, RECTIFIED, [0.3], 1)
@example(1, 16, 130, (16, 24), 1, RESIDUAL, [0.3], 2)
@example(2, 28, 9, (24, 24), 0, ("threshold_planar",), [], 3)
@example(1, 15, 3, (1, 1), 1, RAW, [], 4)
@example(1, 4, 70, (1, 600), 1, ("threshold_planar",), [0.7], 5)
def test_planar_computes_any_size(
    isa: Isa,
    batch: int,
    ic: int,
    oc: int,
    size: tuple[int, int],
    pad: int,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    if not bits.planar_fits(ic, *size, pad):
        pad = 1
    g = Geometry(batch, 1, ic, oc, *size, pads=(1, 1, 1, 1))
    check(isa, "binary_conv_planar", Case(g, pad, program, seed), cuts)


@pytest.mark.parametrize("program", [RAW, RESIDUAL, RESIDUAL[1:], ("threshold_planar",)], ids=str)
@pytest.mark.parametrize(
    "ic, oc, size", [(324, 64, 24), (512, 70, 16), (1500, 3, 16), (7281, 2, 8)]
)
def test_planar_sums_over_many_channels(
    isa: Isa, ic: int, oc: int, size: int, program: tuple[str, ...]
) -> None:
    g = Geometry(1, 1, ic, oc, size, size, pads=(1, 1, 1, 1))
    check(isa, "binary_conv_planar", Case(g, 1, program, ic), [0.5])


def test_planar_fills_its_scratch_with_parts_of_many_output_channels(isa: Isa) -> None:
    g = Geometry(1, 1, 8, 3000, 8, 64, pads=(1, 1, 1, 1))
    check(isa, "binary_conv_planar", Case(g, 1, ("threshold_planar",), 0), [0.3, 0.6])


def test_planar_is_chosen_for_maps_that_fill_its_vectors() -> None:
    assert bits.planar_pays(64, 128, 128, 64, 1)
    assert bits.planar_pays(324, 14, 14, 324, 0)
    assert not bits.planar_pays(512, 7, 7, 512, 1), "a fifth of one vector"
    assert not bits.planar_pays(64, 64, 64, 2, 1), "tables for two channels"
    assert not bits.planar_pays(64, 1, 512, 64, 0), "a row that is first and last"


@pytest.mark.parametrize("kernel", ["binary_conv_nhwc", "binary_conv_planar"])
@pytest.mark.parametrize("ones", [False, True])
def test_sums_reach_their_extremes(isa: Isa, kernel: str, ones: bool) -> None:
    case = Case(Geometry(1, 1, 512, 2, 16, 16, pads=(1, 1, 1, 1)), 1, RAW, 0)
    case.x[:] = ones
    case.w[0], case.w[1] = ones, not ones
    check(isa, kernel, case, [])


@pytest.mark.parametrize(
    "ic", [2, 14, 28, 30, 56, 58, 114, 128, 228, 454, 456, 910, 1820, 3642, 7280]
)
@pytest.mark.parametrize("ones", [False, True])
def test_rectified_sums_reach_their_extremes_and_cross_zero(isa: Isa, ic: int, ones: bool) -> None:
    case = Case(Geometry(1, 1, ic, 6, 16, 32, pads=(1, 1, 1, 1)), 1, RESIDUAL, ic)
    case.x[:] = ones
    case.w[0], case.w[1] = ones, not ones
    for channel, beyond in zip((2, 3, 4), (-1, 0, 1)):
        agreeing = np.arange(9 * ic) < 9 * ic // 2 + beyond
        case.w[channel] = np.where(agreeing, ones, not ones).reshape(case.w[channel].shape)
    check(isa, "binary_conv_planar", case, [])


def test_an_output_may_take_the_place_of_the_tensor_that_is_added(isa: Isa) -> None:
    case = Case(Geometry(1, 1, 16, 24, 32, 32, pads=(1, 1, 1, 1)), 1, RESIDUAL, 0)
    args = case.arguments("binary_conv_planar")
    stored = case.outputs[0].made.array
    stored[:] = case.operands[2]
    args.struct.epilogue.steps[2].a = args.struct.epilogue.steps[3].out
    isa.run("binary_conv_planar", args, [0.4])
    case.check()
