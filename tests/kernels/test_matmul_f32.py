"""matmul_f32: matrix products with constant or computed operands, on every instruction set."""

from __future__ import annotations

import numpy as np
from floats import Case, programs, splits
from harness import Arguments, Guarded, Isa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnnc.codegen.packing.floats import pack_matmul


@settings(max_examples=50, deadline=None)
@given(
    m=st.integers(1, 70),
    n=st.integers(1, 200),
    k=st.integers(1, 70),
    packed=st.booleans(),
    program=programs(),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
@example(m=1, n=1000, k=600, packed=True, program=("store", "sign_nhwc"), cuts=[0.5], seed=0)
@example(m=67, n=400, k=1030, packed=False, program=("store",), cuts=[0.5], seed=1)
@example(m=67, n=200, k=1030, packed=True, program=("relu", "store"), cuts=[0.5], seed=1)
def test_epilogues_act_on_every_row(
    isa: Isa,
    m: int,
    n: int,
    k: int,
    packed: bool,
    program: tuple[str, ...],
    cuts: list[float],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32) if seed % 2 else None
    case = Case(program, (m, n, 1, 1), rng)
    args = Arguments(
        "bnnc_matmul_args",
        **{"batch": 1, "m": m, "n": n, "k": k, "packed_b": int(packed), "a": a},
        b=pack_matmul(b) if packed else b,
        bias=bias,
        epilogue=case.epilogue(),
    )
    isa.run("matmul_f32", args, cuts)
    raw = a.astype(np.float64) @ b + (0 if bias is None else bias)
    case.check(raw[:, :, None, None])
    before = case.raw_outputs()
    isa.run("matmul_f32", args)
    assert case.raw_outputs() == before, "the result depends on how the work is divided"


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    m=st.integers(1, 70),
    n=st.integers(1, 200),
    k=st.integers(1, 70),
    repeats=st.tuples(st.booleans(), st.booleans()),
    cuts=splits(),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_and_repeated_operands(
    isa: Isa,
    batch: int,
    m: int,
    n: int,
    k: int,
    repeats: tuple[bool, bool],
    cuts: list[float],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((1 if repeats[0] else batch, m, k)).astype(np.float32)
    b = rng.standard_normal((1 if repeats[1] else batch, k, n)).astype(np.float32)
    out = Guarded((batch, m, n), align=4)
    args = Arguments(
        "bnnc_matmul_args",
        **{"batch": batch, "m": m, "n": n, "k": k, "packed_b": 0, "a": a, "b": b},
        a_stride=0 if repeats[0] else m * k,
        b_stride=0 if repeats[1] else k * n,
        out=out.array,
    )
    isa.run("matmul_f32", args, cuts)
    expected = np.broadcast_to(a.astype(np.float64) @ b, out.array.shape)
    np.testing.assert_allclose(out.check(), expected, rtol=1e-4, atol=1e-4)
