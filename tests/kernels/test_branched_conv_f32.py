"""branched_conv_f32: 3x3 convolutions with a 1x1 one behind each, on every instruction set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from floats import Case, Geometry, programs, splits
from harness import Arguments, Isa, Structs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv_f32 import convolve

from bnnc.codegen.packing.floats import pack_conv, pack_conv_winograd

Branches = list[tuple[int, int, tuple[str, ...]]]
"""For each branch: channels between the two, channels of the result, steps."""


def check(
    isa: Isa, g: Geometry, branches: Branches, relu: bool, cuts: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = random(g.batch, g.ic, g.ih, g.iw)
    parts, cases = [], []
    for number, (hidden, oc, program) in enumerate(branches):
        w, points = random(hidden, g.ic, 3, 3), random(oc, hidden, 1, 1)
        bias, point_bias = (random(hidden), random(oc)) if number % 2 == 0 else (None, None)
        case = Case(program, (g.batch, oc, g.oh, g.ow), rng)
        part = {"hidden": hidden, "w": pack_conv_winograd(w), "bias": bias}
        part |= {"points": pack_conv(points), "point_bias": point_bias}
        parts.append({**part, "epilogue": case.epilogue()})
        between = convolve(replace(g, oc=hidden), x, w, bias)
        between = np.maximum(between, 0) if relu else between
        flat = Geometry(g.batch, 1, hidden, oc, g.oh, g.ow, kernel=(1, 1))
        cases.append((case, convolve(flat, between, points, point_bias)))
    args = Arguments(
        "bnnc_branched_conv_args",
        shape=g.struct(),
        x=x,
        low=0.0 if relu else -np.inf,
        count=len(parts),
        branches=Structs("bnnc_branch", parts),
    )
    isa.run("branched_conv_f32", args, cuts)
    for case, expected in cases:
        case.check(expected)
    before = [case.raw_outputs() for case, _ in cases]
    isa.run("branched_conv_f32", args)
    after = [case.raw_outputs() for case, _ in cases]
    assert after == before, "the result depends on how the work is divided"


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 20)),
    branches=st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 20), programs()), min_size=1, max_size=3
    ),
    image=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    relu=st.booleans(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_image_and_branches(
    isa: Isa,
    sizes: tuple[int, int],
    branches: Branches,
    image: tuple[int, int],
    pads: tuple[int, int, int, int],
    relu: bool,
    cuts: list[float],
    seed: int,
) -> None:
    batch, ic = sizes
    ih, iw = max(image[0], 3 - pads[0] - pads[2]), max(image[1], 3 - pads[1] - pads[3])
    check(isa, Geometry(batch, 1, ic, 0, ih, iw, pads=pads), branches, relu, cuts, seed)


@pytest.mark.parametrize(
    "g",
    [
        Geometry(1, 1, 4, 0, 64, 128, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 256, 0, 9, 40, pads=(1, 1, 1, 1)),
        Geometry(1, 1, 110, 0, 6, 300, pads=(1, 1, 1, 1)),
    ],
    ids=str,
)
def test_blocks_of_every_kind(isa: Isa, g: Geometry) -> None:
    programs_of_heads = [("relu", "store"), ("store",), ("store", "sign_nhwc")]
    branches = list(zip((128, 32, 9), (20, 2, 70), programs_of_heads))
    check(isa, g, branches, True, [0.2, 0.7], 1)
