"""unary, cast, broadcast and where against the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import CAST_TYPES, TYPES, Arguments, Guarded, Isa, function_codes, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.ir.types import DType

SIZES = st.one_of(st.integers(0, 70), st.sampled_from([1023, 1024, 1025, 5000]))
SEEDS = st.integers(0, 2**31)
INTEGERS = (DType.I32, DType.I64, DType.U8, DType.I8)

# Functions of floats: attributes in the op's order, the range of interest, relative tolerance.
FLOAT_FUNCTIONS: dict[str, tuple[dict[str, float], float, float]] = {
    "Relu": ({}, 3, 0),
    "LeakyRelu": ({"alpha": 0.1}, 3, 0),
    "Clip": ({"min": -0.5, "max": 0.25}, 1, 0),
    "Sigmoid": ({}, 20, 1e-6),
    "Tanh": ({}, 5, 1e-6),
    "HardSwish": ({}, 5, 1e-6),
    "HardSigmoid": ({"alpha": 0.3, "beta": 0.4}, 4, 1e-6),
    "Exp": ({}, 100, 1e-6),
    "Log": ({}, 100, 1e-6),
    "Sqrt": ({}, 100, 1e-6),
    "Neg": ({}, 3, 0),
    "Abs": ({}, 3, 0),
    "Floor": ({}, 100, 0),
    "Ceil": ({}, 100, 0),
    "Round": ({}, 100, 0),
    "Reciprocal": ({}, 3, 1e-6),
    "Erf": ({}, 4, 1e-6),
    "Softplus": ({}, 30, 1e-6),
    "Elu": ({"alpha": 0.7}, 5, 1e-6),
    "Selu": ({"alpha": 1.67, "gamma": 1.05}, 5, 1e-6),
    "Softsign": ({}, 10, 1e-6),
    "Sin": ({}, 10, 1e-6),
    "Cos": ({}, 10, 1e-6),
    "Asin": ({}, 1, 1e-6),
    "Acos": ({}, 1, 1e-6),
    "Atan": ({}, 10, 1e-6),
    "Asinh": ({}, 10, 1e-6),
    "Acosh": ({}, 10, 1e-6),
    "Atanh": ({}, 1, 1e-6),
}
EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1.5, 1e-40, 3e38], np.float32)


def run_unary(
    isa: Isa, name: str, x: np.ndarray, attrs: dict[str, Any], splits: Any = ()
) -> np.ndarray:
    """The kernel's result; ``attrs`` in the op's order."""
    low, high = (*map(float, attrs.values()), 0.0, 0.0)[:2]
    out = Guarded(x.shape, x.dtype)
    code = function_codes()[name]
    type_code = TYPES[DType.of(x.dtype)]
    args = Arguments(
        "bnnc_unary_args",
        count=x.size,
        function=code,
        type=type_code,
        low=low,
        high=high,
        x=x,
        out=out.array,
    )
    isa.run("unary", args, splits)
    return out.check()


@pytest.mark.parametrize("name", FLOAT_FUNCTIONS)
def test_functions_of_floats_are_good_to_a_millionth(isa: Isa, name: str) -> None:
    attrs, reach, tolerance = FLOAT_FUNCTIONS[name]
    x = np.linspace(-reach, reach, 20001, dtype=np.float32)
    x = np.concatenate([x, x / 1000, np.arange(-9, 9, dtype=np.float32) / 2, EDGES])
    if name in ("Log", "Sqrt"):
        x = np.concatenate([np.abs(x), EDGES])
    got = run_unary(isa, name, x, attrs, [0.3, 0.7])
    (wanted,) = reference(name, x, **attrs)
    tiny = 1.2e-38 if tolerance else 0.0
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tiny, equal_nan=True)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["Relu", "Exp", "Floor"]), SIZES, SEEDS)
def test_a_result_does_not_depend_on_its_place_in_the_row(
    isa: Isa, name: str, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = np.full(size, rng.standard_normal(), np.float32)
    got = run_unary(isa, name, x, {}, rng.random(2))
    assert len(set(got.tolist())) <= 1


@pytest.mark.parametrize("zero", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [DType.F32, DType.I32, DType.I8])
def test_sign_of_zero_is_its_attribute(isa: Isa, dtype: DType, zero: int) -> None:
    values = EDGES if dtype is DType.F32 else np.arange(-3, 4).astype(dtype.numpy)
    got = run_unary(isa, "Sign", values, {"zero": zero})
    np.testing.assert_array_equal(got, reference("Sign", values, zero=zero)[0])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["Relu", "Clip", "Neg", "Abs"]), st.sampled_from(INTEGERS), SIZES, SEEDS)
def test_functions_of_integers_equal_numpys(
    isa: Isa, name: str, dtype: DType, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype.numpy)
    x = rng.integers(info.min, info.max, size, dtype.numpy, endpoint=True)
    bounds = sorted(rng.choice([-np.inf, -100.0, 3.0, 200.0, np.inf], 2).tolist())
    attrs = {"min": bounds[0], "max": bounds[1]} if name == "Clip" else {}
    got = run_unary(isa, name, x, attrs, rng.random(2))
    np.testing.assert_array_equal(got, reference(name, x, **attrs)[0])


def test_not_negates(isa: Isa) -> None:
    x = np.array([True, False, True])
    np.testing.assert_array_equal(run_unary(isa, "Not", x, {}), ~x)


def random_of(dtype: DType, shape: Any, rng: np.random.Generator) -> np.ndarray:
    """Values that every type can hold, floats with fractions."""
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    low = 0 if dtype.numpy.kind == "u" else -9
    if dtype.is_float:
        return np.asarray(rng.uniform(low, 9, shape), dtype.numpy)
    return rng.integers(low, 9, shape).astype(dtype.numpy)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(TYPES)), st.sampled_from(list(TYPES)), SIZES, SEEDS)
def test_cast_is_astype(isa: Isa, source: DType, target: DType, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = random_of(source, size, rng)
    if target is DType.U8:
        x = np.abs(x)
    out = Guarded(size, target.numpy)
    codes = {"from": TYPES[source], "to": TYPES[target]}
    isa.run("cast", Arguments("bnnc_cast_args", count=size, x=x, out=out.array, **codes), [0.5])
    np.testing.assert_array_equal(out.check(), x.astype(target.numpy))


def cast(isa: Isa, x: np.ndarray, target: DType) -> np.ndarray:
    numbers = {**TYPES, **CAST_TYPES}
    out = Guarded(x.shape, target.numpy)
    codes = {"from": numbers[DType.of(x.dtype)], "to": numbers[target]}
    isa.run("cast", Arguments("bnnc_cast_args", count=x.size, x=x, out=out.array, **codes))
    return out.check()


def test_every_half_float_becomes_the_float_it_is(isa: Isa) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(cast(isa, x, DType.F32), x.astype(np.float32))


def test_floats_are_rounded_to_half_floats(isa: Isa) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    between = (halves[:-1] + halves[1:]) / 2
    near = [np.nextafter(between, np.float32(side)) for side in (-np.inf, np.inf)]
    random = np.random.default_rng(1).integers(0, 2**32, 50_000, np.uint32).view(np.float32)
    x = np.concatenate([halves, between, *near, random, EDGES])
    with np.errstate(all="ignore"):
        wanted = x.astype(np.float16)
    np.testing.assert_array_equal(cast(isa, x, DType.F16), wanted)


@pytest.mark.parametrize("source", [DType.F64, DType.I16, DType.U16, DType.U32, DType.U64])
def test_other_types_are_cast_to_those_code_computes_with_and_back(isa: Isa, source: DType) -> None:
    x = random_of(source, 100, np.random.default_rng(2))
    for target in (DType.F32,) if source is DType.F64 else (DType.F32, DType.I32, DType.I64):
        there = cast(isa, x, target)
        np.testing.assert_array_equal(there, x.astype(target.numpy))
        np.testing.assert_array_equal(cast(isa, there, source), there.astype(source.numpy))


def test_casting_a_wide_integer_wraps(isa: Isa) -> None:
    x = np.array([300, -1, 2**40 + 7], np.int64)
    for target in (DType.U8, DType.I8, DType.I32):
        out = Guarded(3, target.numpy)
        codes = {"from": TYPES[DType.I64], "to": TYPES[target]}
        isa.run("cast", Arguments("bnnc_cast_args", count=3, x=x, out=out.array, **codes))
        np.testing.assert_array_equal(out.check(), x.astype(target.numpy))


def test_casting_floats_beyond_every_integer_is_defined(isa: Isa) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30], np.float32)
    for target, least in ((DType.I32, -(2**31)), (DType.I64, -(2**63))):
        out = Guarded(4, target.numpy)
        codes = {"from": TYPES[DType.F32], "to": TYPES[target]}
        isa.run("cast", Arguments("bnnc_cast_args", count=4, x=x, out=out.array, **codes))
        assert out.check().tolist() == [least] * 4


@st.composite
def broadcast_shapes(
    draw: st.DrawFn, operands: int
) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Shapes of equal rank that broadcast, and the shape they give."""
    big = st.sampled_from([1, 2, 3, 5, 7, 33, 300])
    whole = draw(st.lists(big, max_size=5).filter(lambda s: np.prod(s) <= 20000))
    shapes = []
    for _ in range(operands):
        keep = draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole)))
        shapes.append(tuple(n if kept else 1 for n, kept in zip(whole, keep)))
    return shapes, tuple(np.broadcast_shapes(*shapes))


def strides_of(x: np.ndarray, shape: tuple[int, ...]) -> list[int]:
    """Element strides of ``x`` seen through ``shape``."""
    return [step // x.itemsize for step in np.broadcast_to(x, shape).strides]


def run_broadcast(
    isa: Isa,
    kernel: str,
    arrays: list[np.ndarray],
    shape: tuple[int, ...],
    out_dtype: Any,
    **fields: Any,
) -> np.ndarray:
    """The kernel's result for operands named x, y, z."""
    out = Guarded(shape, out_dtype)
    for name, array in zip("xyz", arrays):
        fields |= {name: array, f"{name}_strides": strides_of(array, shape)}
    args = Arguments(
        "bnnc_broadcast_args", rank=len(shape), shape=list(shape), out=out.array, **fields
    )
    isa.run(kernel, args, [0.2, 0.7])
    return out.check()


ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*ARITHMETIC, *COMPARISONS, "Mod", "FMod"]),
    st.sampled_from([DType.F32, *INTEGERS]),
    broadcast_shapes(2),
    SEEDS,
)
def test_operands_broadcast_as_in_numpy(
    isa: Isa,
    name: str,
    dtype: DType,
    shapes: tuple[list[tuple[int, ...]], tuple[int, ...]],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    operands, shape = shapes
    arrays = [random_of(dtype, s, rng) for s in operands]
    if dtype is DType.F32:
        name = "FMod" if name == "Mod" else name
        for array in arrays:
            array.reshape(-1)[:1] = rng.choice([np.nan, 0, np.inf, 1])
    attrs = {"fmod": int(name == "FMod")} if name in ("Mod", "FMod") else {}
    (wanted,) = reference("Mod" if attrs else name, *arrays, **attrs)
    codes = {"function": function_codes()[name], "type": TYPES[dtype]}
    got = run_broadcast(isa, "broadcast", arrays, shape, wanted.dtype, **codes)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [DType.I32, DType.I64])
def test_integer_division_never_traps(isa: Isa, dtype: DType) -> None:
    least = np.iinfo(dtype.numpy).min
    x = np.array([least, 7, least, -7], dtype.numpy)
    y = np.array([-1, 0, 0, 2], dtype.numpy)
    results = {}
    for name in ("Div", "Mod", "FMod"):
        codes = {"function": function_codes()[name], "type": TYPES[dtype]}
        results[name] = run_broadcast(isa, "broadcast", [x, y], (4,), dtype.numpy, **codes).tolist()
    assert results == {"Div": [least, 0, 0, -3], "Mod": [0, 0, 0, 1], "FMod": [0, 0, 0, -1]}


@pytest.mark.parametrize("dtype", [DType.F32, DType.I32, DType.I64])
def test_powers(isa: Isa, dtype: DType) -> None:
    x = np.array([2, 3, -2, 10, 0, 7], dtype.numpy)
    y = np.array([10, 3, 3, 2, 0, -1], dtype.numpy)
    codes = {"function": function_codes()["Pow"], "type": TYPES[dtype]}
    got = run_broadcast(isa, "broadcast", [x, y], (6,), dtype.numpy, **codes)
    np.testing.assert_allclose(got, reference("Pow", x, y)[0], rtol=1e-6)


def test_prelu_broadcasts_its_slope(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    slope = rng.standard_normal((3, 1, 1)).astype(np.float32)
    codes = {"function": function_codes()["PRelu"], "type": TYPES[DType.F32]}
    got = run_broadcast(isa, "broadcast", [x, slope], x.shape, np.float32, **codes)
    np.testing.assert_array_equal(got, reference("PRelu", x, slope)[0])


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["And", "Or", "Xor", "Equal"]), broadcast_shapes(2), SEEDS)
def test_logic_broadcasts(
    isa: Isa, name: str, shapes: tuple[list[tuple[int, ...]], tuple[int, ...]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = [random_of(DType.BOOL, s, rng) for s in shapes[0]]
    codes = {"function": function_codes()[name], "type": TYPES[DType.BOOL]}
    got = run_broadcast(isa, "broadcast", arrays, shapes[1], np.bool_, **codes)
    np.testing.assert_array_equal(got, reference(name, *arrays)[0])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(TYPES)), broadcast_shapes(3), SEEDS)
def test_where_selects_and_broadcasts(
    isa: Isa,
    dtype: DType,
    shapes: tuple[list[tuple[int, ...]], tuple[int, ...]],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    operands, shape = shapes
    condition = random_of(DType.BOOL, operands[0], rng)
    arrays = [condition, *(random_of(dtype, s, rng) for s in operands[1:])]
    got = run_broadcast(isa, "where", arrays, shape, dtype.numpy, type=TYPES[dtype])
    np.testing.assert_array_equal(got, np.where(*arrays))
