"""map_f32 and the epilogues it runs: any program of steps, over any shape."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from harness import Arguments, Epilogue, Guarded, Isa, function_codes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnnc.ir.epilogue import Step, run_steps
from bnnc.ir.graph import Node
from bnnc.ir.layout import LAYOUTS, planar_first_row, stored_bytes, unpack
from bnnc.ir.types import DType, TensorType

BITS = LAYOUTS[1:]
COMPARES = Epilogue.COMPARES
UNARY = {"Sigmoid": (), "HardSwish": (), "LeakyRelu": (("alpha", 0.1),)}
VALUE_STEPS = ("affine", "relu", "prelu", "clip", "unary", "add", "mul", "scale")
OPERANDS = {"affine": 2, "prelu": 1, "add": 1, "mul": 1, "scale": 1, "sign": 1}


@dataclass
class Program:
    """Steps for the interpreter and the same for the kernel."""

    steps: list[Step]
    operands: list[np.ndarray]
    c_steps: list[tuple[str, dict[str, Any]]]
    outputs: list[tuple[Guarded, str]]


def make(kinds: list[str], shape: tuple[int, int, int, int], rng: np.random.Generator) -> Program:
    """A program of ``kinds`` with random operands; "sign" takes its details from ``rng``."""
    program = Program([], [], [], [])
    n, c, _, _ = shape
    b1 = TensorType(DType.B1, shape)
    for kind in kinds:
        like = {"add": shape, "mul": shape, "scale": (n, c, 1, 1)}.get(kind, (c,))
        slots = []
        for _ in range(OPERANDS.get(kind, 0)):
            slots.append(1 + len(program.operands))
            program.operands.append(rng.standard_normal(like).astype(np.float32))
        fields: dict[str, Any] = dict(
            zip("ab", program.operands[len(program.operands) - len(slots) :])
        )
        params: tuple[Any, ...] = ()
        result = None
        if kind == "clip":
            params = (-0.5, 0.75)
            fields |= {"low": -0.5, "high": 0.75}
        elif kind == "unary":
            name = list(UNARY)[rng.integers(len(UNARY))]
            params = (name, *UNARY[name])
            fields |= {"function": function_codes()[name], "low": 0.1}
        elif kind == "store":
            result = len(program.outputs)
            program.outputs.append((Guarded(shape), "dense"))
        elif kind == "sign":
            result = len(program.outputs)
            layout, compare = BITS[rng.integers(2)], COMPARES[rng.integers(4)]
            params = (compare,)
            fields |= {"compare": compare, "layout": layout}
            program.outputs.append((Guarded(stored_bytes(b1, layout), np.uint8), layout))
        if result is not None:
            fields["out"] = program.outputs[-1][0].array
        program.steps.append(Step(kind, tuple(slots), result, params))
        program.c_steps.append((kind, fields))
    return program


def check(isa: Isa, kinds: list[str], shape: tuple[int, int, int, int], seed: int) -> None:
    """Run a program over random values and compare every output with the interpreter's."""
    rng = np.random.default_rng(seed)
    program = make(kinds, shape, rng)
    n, c, h, w = shape
    x = rng.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[rng.integers(0, x.size, 3)] = (0.0, -0.0, np.nan)
    args = Arguments("bnnc_map_args", batch=n, x=x, epilogue=Epilogue(program.c_steps, c, h, w))
    isa.run("map_f32", args, rng.random(2))
    node = cast(Node, SimpleNamespace(attrs={"steps": tuple(program.steps)}))
    expected = run_steps(node, x, [x, *program.operands])
    exact = "unary" not in kinds
    for (guarded, layout), wanted in zip(program.outputs, expected):
        got = guarded.check()
        if layout != "dense":
            got = unpack(got, TensorType(DType.B1, shape), layout)
        if exact:
            np.testing.assert_array_equal(got, wanted)
        elif layout == "dense":
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)
        else:
            assert (got != wanted).mean() < 0.02


shapes = st.tuples(
    st.integers(1, 2),
    st.one_of(st.integers(1, 20), st.integers(60, 70), st.just(130)),
    st.integers(1, 9),
    st.one_of(st.integers(1, 40), st.sampled_from([64, 128, 520, 1000])),
)
programs = st.lists(st.sampled_from([*VALUE_STEPS, "store", "sign"]), max_size=6).map(
    lambda kinds: [*kinds, "store" if len(kinds) % 2 else "sign"]
)


@settings(max_examples=60, deadline=None)
@given(programs, shapes, st.integers(0, 2**31))
@example(["relu", "affine", "add", "store", "sign"], (1, 64, 16, 32), 0)
@example(["affine", "relu", "add", "relu", "sign", "store"], (2, 9, 3, 13), 1)
def test_every_program_of_steps_equals_the_interpreter(
    isa: Isa, kinds: list[str], shape: tuple[int, int, int, int], seed: int
) -> None:
    check(isa, kinds, shape, seed)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 6), min_size=1), shapes, st.integers(0, 2**31))
def test_every_part_of_the_usual_program_equals_the_interpreter(
    isa: Isa, places: set[int], shape: tuple[int, int, int, int], seed: int
) -> None:
    usual = ("relu", "affine", "relu", "add", "relu", "store", "sign")
    kinds = [usual[place] for place in sorted(places)]
    check(isa, [*kinds, "sign"], shape, seed)


@pytest.mark.parametrize("layout", BITS)
@pytest.mark.parametrize("compare", COMPARES)
def test_signs_at_equality_infinity_and_nan_follow_the_comparison(
    isa: Isa, compare: str, layout: str
) -> None:
    edges = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    x = np.tile(edges, (1, 8, 1, 1)).reshape(1, 8, 1, 8)
    thresholds = edges.copy()
    shape = (1, 8, 1, 8)
    out = Guarded(stored_bytes(TensorType(DType.B1, shape), layout), np.uint8)
    sign = {"a": thresholds, "compare": compare, "layout": layout, "out": out.array}
    args = Arguments("bnnc_map_args", batch=1, x=x, epilogue=Epilogue([("sign", sign)], 8, 1, 8))
    isa.run("map_f32", args)
    v, t = x, thresholds[:, None, None]
    wanted = {"ge": v >= t, "gt": v > t, "nlt": ~(v < t), "nle": ~(v <= t)}[compare]
    got = unpack(out.check(), TensorType(DType.B1, shape), layout)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("width", [3, 16, 21])
def test_planar_bits_are_surrounded_by_ones(isa: Isa, width: int) -> None:
    shape = (2, 3, 5, width)
    x = np.full(shape, -1, np.float32)
    out = Guarded(stored_bytes(TensorType(DType.B1, shape), "bits_planar"), np.uint8)
    zeros = np.zeros(3, np.float32)
    sign = {"a": zeros, "compare": "ge", "layout": "bits_planar", "out": out.array}
    epilogue = Epilogue([("sign", sign)], 3, 5, width)
    isa.run("map_f32", Arguments("bnnc_map_args", batch=2, x=x, epilogue=epilogue), [0.5])
    row = -(-width // 8)
    planes = out.check().reshape(6, -1)
    first, behind = planar_first_row(width), planar_first_row(width) + 5 * row
    inside = planes[:, first:behind]
    assert (planes[:, :first] == 0xFF).all()
    assert (planes[:, behind:] == 0xFF).all()
    bits = np.unpackbits(inside.reshape(6, 5, row), axis=2, bitorder="little")
    assert not bits[..., :width].any()
    assert bits[..., width:].all()


def test_a_residual_may_be_updated_in_place(isa: Isa) -> None:
    shape = (1, 4, 8, 24)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    stream = Guarded(shape)
    stream.array[:] = before = rng.standard_normal(shape).astype(np.float32)
    steps = [("add", {"a": stream.array}), ("store", {"out": stream.array})]
    args = Arguments("bnnc_map_args", batch=1, x=x, epilogue=Epilogue(steps, 4, 8, 24))
    isa.run("map_f32", args, [0.4])
    np.testing.assert_array_equal(stream.check(), x + before)
