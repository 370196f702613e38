"""Value domains: every way of writing a sign is proven two-valued, and its bits are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.ir import interpreter
from bnnc.ir.binary import verdicts
from bnnc.ir.bits import bits_of
from bnnc.ir.bounds import Real, interval
from bnnc.ir.domains import Domains, Finite, Pieces
from bnnc.ir.epilogue import COMPARES
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType
from bnnc.ir.weights import many_valued, two_valued

SHAPE = (2, 4, 4, 6)
F32 = DType.F32
BLUR = np.tile(np.outer([1, 2, 1], [1, 2, 1]) / 16, (4, 1, 1, 1))
UNEVEN = np.array([0, 1, 1, 1]).reshape(4, 1, 1)
PER_CHANNEL = np.array([-0.5, 0.0, 0.25, 2.0], np.float32).reshape(4, 1, 1)


class Model:
    """A graph with an input ``x``, and a short way of adding nodes."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self.graph = Graph()
        self.x = self.graph.add_input("x", TensorType(F32, shape))

    def __call__(self, op: str, *inputs: Any, name: str = "", **attrs: Any) -> Value:
        values = [i if isinstance(i, Value) else self.constant(i) for i in inputs]
        return self.graph.add(op, values, attrs, name=name).output

    def constant(self, data: Any) -> Value:
        array = np.asarray(data)
        kept = array.dtype in (bool, np.int32)
        return self.graph.constant(array if kept else array.astype(np.float32))

    def cast(self, value: Value) -> Value:
        return self("Cast", value, to=F32)


Form = Callable[[Model], Value]


def _replaced(m: Model, x: Value, comparison: str, number: float) -> Value:
    """``x``, or ``number`` where it compares so with 0, as torch has it: x[x >= 0] = 1."""
    return m("Where", m(comparison, x, 0), number, x)


def _is_nan(m: Model) -> Value:
    return m("Not", m("Equal", m.x, m.x))


def int32(number: int) -> np.ndarray:
    return np.array(number, np.int32)


def full(number: float) -> np.ndarray:
    return np.full(SHAPE, number, np.float32)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


BIPOLAR: dict[str, Form] = {
    "Sign that gives 1 at 0": lambda m: m("Sign", m.x, zero=1),
    "Sign that gives -1 at 0": lambda m: m("Sign", m.x, zero=-1),
    "Sign(Sign(x) + 0.1)": lambda m: m("Sign", m("Add", m("Sign", m.x), 0.1)),
    "Where(x >= 0, 1, -1)": lambda m: m("Where", m("GreaterOrEqual", m.x, 0), 1, -1),
    "Where(x < 0, -1, 1)": lambda m: m("Where", m("Less", m.x, 0), -1, 1),
    "Where(0 >= x, -1, 1)": lambda m: m("Where", m("GreaterOrEqual", 0, m.x), -1, 1),
    "Where(0 > x, -1, 1)": lambda m: m("Where", m("Greater", 0, m.x), -1, 1),
    "a sign behind Relu, 1 at zero": lambda m: m("Sign", m("Relu", m.x), zero=1),
    "Where(Relu(x) >= 0, 1, -1)": lambda m: m(
        "Where", m("GreaterOrEqual", m("Relu", m.x), 0), 1, -1
    ),
    "Where with branches of full shape": lambda m: m(
        "Where", m("GreaterOrEqual", m.x, full(0)), full(1), full(-1)
    ),
    "Where(not x < 0, 1, -1)": lambda m: m("Where", m("Not", m("Less", m.x, 0)), 1, -1),
    "Where(x > 0 or x == 0, 1, -1)": lambda m: m(
        "Where", m("Or", m("Greater", m.x, 0), m("Equal", m.x, 0)), 1, -1
    ),
    "(x > 0) * 2 - 1": lambda m: m("Sub", m("Mul", m.cast(m("Greater", m.x, 0)), 2), 1),
    "2 * ((x >= 0) - 0.5)": lambda m: m(
        "Mul", m("Add", m.cast(m("GreaterOrEqual", m.x, 0)), -0.5), 2
    ),
    "Clip of a sign": lambda m: m("Clip", m("Mul", m("Sign", m.x, zero=1), 3), min=-1.0, max=1.0),
    "Sign(Clip(x))": lambda m: m("Sign", m("Clip", m.x, min=-1.0, max=1.0), zero=1),
    "Sign(x + c), c per channel": lambda m: m("Sign", m("Add", m.x, PER_CHANNEL), zero=1),
    "x >= c, c per channel": lambda m: m("Where", m("GreaterOrEqual", m.x, PER_CHANNEL), 1, -1),
    "-Sign(-x)": lambda m: m("Neg", m("Sign", m("Neg", m.x), zero=1)),
    "Sign(x) + (x == 0)": lambda m: m("Add", m("Sign", m.x), m.cast(m("Equal", m.x, 0))),
    "1 where x >= 0, then -1 where x < 0": lambda m: m(
        "Where", m("Less", m.x, 0), -1, m("Where", m("GreaterOrEqual", m.x, 0), 1, m.x)
    ),
    "the same, the second time of what the first time left": lambda m: _replaced(
        m, _replaced(m, m.x, "GreaterOrEqual", 1), "Less", -1
    ),
    "1 where x > 0, then -1 where what that left is not": lambda m: _replaced(
        m, _replaced(m, m.x, "Greater", 1), "LessOrEqual", -1
    ),
    "Where(x >= c, 1, Where(x < c, -1, y)), c per channel": lambda m: m(
        "Where",
        m("GreaterOrEqual", m.x, PER_CHANNEL),
        1,
        m("Where", m("Less", m.x, PER_CHANNEL), -1, m("Sin", m.x)),
    ),
    "Where(x is NaN, 0, sign)": lambda m: m("Where", _is_nan(m), 0, m("Sign", m.x, zero=1)),
    "Where(x is NaN, 1, x >= c), c per channel": lambda m: m(
        "Where", _is_nan(m), 1, m("Where", m("GreaterOrEqual", m.x, PER_CHANNEL), 1, -1)
    ),
    "Sign(Where(x is NaN, 0, x))": lambda m: m("Sign", m("Where", _is_nan(m), 0, m.x), zero=1),
    "Sign(Where(x >= 0, 2, x))": lambda m: m("Sign", m("Where", m("Less", m.x, 0), m.x, 2)),
    "MaxPool of a sign": lambda m: m("MaxPool", m("Sign", m.x, zero=1), kernel=(2, 2)),
    "Transpose and Reshape of a sign": lambda m: m(
        "Reshape",
        m("Transpose", m("Sign", m.x, zero=1), perm=(0, 2, 3, 1)),
        shape=(2, 8, 3, 4),
    ),
    "Concat of two signs": lambda m: m(
        "Concat", m("Sign", m.x, zero=1), m("Sign", m("Neg", m.x), zero=-1), axis=1
    ),
    "Pad of a sign with 1": lambda m: m(
        "Pad", m("Sign", m.x, zero=1), pads=(0, 0, 1, 1, 0, 0, 1, 1), value=1.0
    ),
    "circular Pad of a sign": lambda m: m(
        "Pad", m("Sign", m.x, zero=1), pads=(0, 0, 1, 1, 0, 0, 1, 1), mode="wrap"
    ),
    "nearest Resize of a sign": lambda m: m(
        "Resize",
        m("Sign", m.x, zero=1),
        out_h=8,
        out_w=6,
        iy=np.repeat(np.arange(4, dtype=np.int32), 2)[:, None],
        ix=np.arange(6, dtype=np.int32)[:, None],
        wy=np.ones((8, 1), np.float32),
        wx=np.ones((6, 1), np.float32),
    ),
    "Slice of a sign": lambda m: m(
        "Slice", m("Sign", m.x, zero=1), starts=(1,), ends=(3,), axes=(1,), steps=(1,)
    ),
    "signs beside a channel of ones": lambda m: m(
        "Concat", m("Sign", m.x, zero=1), np.ones((2, 1, 4, 6)), axis=1
    ),
    "signs beside a channel of other constant signs": lambda m: m(
        "Concat", m("Sign", m.x, zero=1), np.resize([1, -1, -1], (2, 1, 4, 6)), axis=1
    ),
    "a Pad that only crops": lambda m: m(
        "Pad", m("Sign", m.x, zero=1), pads=(0, 0, -1, 0, 0, 0, 0, -2)
    ),
    "the sign of integers": lambda m: m.cast(
        m("Sign", m("Cast", m("Floor", m.x), to=DType.I32), zero=1)
    ),
    "a product of unrelated signs": lambda m: m(
        "Mul", m("Sign", m.x, zero=1), m("Sign", m("Add", m.x, 1), zero=1)
    ),
}


def _pixel(m: Model) -> Value:
    return m("Round", m("Clip", m.x, min=0.0, max=255.0))


def _remainder(m: Model, x: Value, divisor: float) -> Value:
    """As torch writes x % divisor of floats."""
    return m("Sub", x, m("Mul", m("Floor", m("Div", x, divisor)), divisor))


OTHERS: dict[str, tuple[Form, tuple[float, float]]] = {
    "BipolarQuant with a scale": (
        lambda m: m("Mul", m("Where", m("GreaterOrEqual", m.x, 0), 1, -1), 0.3),
        (-0.3, 0.3),
    ),
    "x > 0 as a number": (lambda m: m.cast(m("Greater", m.x, 0)), (0, 1)),
    "(Sign(x) + 1) / 2": (
        lambda m: m("Div", m("Add", m("Sign", m.x, zero=1), 1), 2),
        (0, 1),
    ),
    "Round(Clip(x, 0, 1))": (lambda m: m("Round", m("Clip", m.x, min=0.0, max=1.0)), (0, 1)),
    "Floor(Clip(x, 0, 1) + 0.5)": (
        lambda m: m("Floor", m("Add", m("Clip", m.x, min=0.0, max=1.0), 0.5)),
        (0, 1),
    ),
    "Ceil(Clip(x, 0, 1))": (lambda m: m("Ceil", m("Clip", m.x, min=0.0, max=1.0)), (0, 1)),
    "Clip(Round(x), 0, 1)": (lambda m: m("Clip", m("Round", m.x), min=0.0, max=1.0), (0, 1)),
    "Clip(Floor(x), -1, 0), shifted": (
        lambda m: m("Add", m("Clip", m("Floor", m.x), min=-1.0, max=0.0), 1),
        (0, 1),
    ),
    "Sign(x) * Floor(|x|), clipped": (
        lambda m: m("Clip", m("Mul", m("Sign", m.x), m("Floor", m("Abs", m.x))), min=0.0, max=1.0),
        (0, 1),
    ),
    "Min(Relu(Ceil(x) + Floor(x)), 1)": (
        lambda m: m("Min", m("Relu", m("Add", m("Ceil", m.x), m("Floor", m.x))), 1),
        (0, 1),
    ),
    "-1 up to 0, what is above it clipped there": (
        lambda m: m("Clip", m("Where", m("Greater", m.x, 0), m.x, -1), min=-9.0, max=0.0),
        (-1, 0),
    ),
    "ArgMax of two": (
        lambda m: m.cast(
            m("ArgMax", m("Reshape", m.x, shape=(2, 2, 2, 4, 6)), axis=1, keepdims=False)
        ),
        (0, 1),
    ),
    "Floor(x) mod 2": (
        lambda m: m.cast(m("Mod", m("Cast", m("Floor", m.x), to=DType.I32), int32(2))),
        (0, 1),
    ),
    "bytes divided by 128": (
        lambda m: m.cast(
            m("Div", m("Cast", m("Clip", m.x, min=0.0, max=255.0), to=DType.I32), int32(128))
        ),
        (0, 1),
    ),
    "Round(Softmax(x))": (
        lambda m: m("Round", m("Softmax", m("Clip", m.x, min=-9.0, max=9.0), axis=1)),
        (0, 1),
    ),
    "y - 2 * Floor(y / 2), a bit of an integer": (
        lambda m: _remainder(m, m("Floor", m("Div", _pixel(m), 2)), 2),
        (0, 1),
    ),
    "the remainder by 1 of halves": (
        lambda m: _remainder(m, m("Div", _pixel(m), 2), 1),
        (0, 0.5),
    ),
    "integers between bounds": (
        lambda m: m.cast(m("Min", m("Max", m("Cast", m.x, to=DType.I32), int32(0)), int32(1))),
        (0, 1),
    ),
    "Round(HardSigmoid(x))": (lambda m: m("Round", m("HardSigmoid", m.x)), (0, 1)),
    "Sign(Relu(x))": (lambda m: m("Sign", m("Relu", m.x)), (0, 1)),
    "Sign(AveragePool(Relu(x)))": (
        lambda m: m("Sign", m("AveragePool", m("Relu", m.x), kernel=(2, 2))),
        (0, 1),
    ),
    "|Sign(x)|": (lambda m: m("Abs", m("Sign", m.x)), (0, 1)),
    "x == 0": (lambda m: m.cast(m("Equal", m.x, 0)), (0, 1)),
    "1 - 2 * (x < 0), shifted": (
        lambda m: m("Sub", 3, m("Mul", m.cast(m("Less", m.x, 0)), 2)),
        (1, 3),
    ),
    "Relu of a sign": (lambda m: m("Relu", m("Sign", m.x, zero=1)), (0, 1)),
    "LeakyRelu of a sign": (
        lambda m: m("LeakyRelu", m("Sign", m.x, zero=1), alpha=0.25),
        (-0.25, 1),
    ),
    "PRelu of a sign, the same slope": (
        lambda m: m("PRelu", m("Sign", m.x, zero=1), np.full((4, 1, 1), 0.5)),
        (-0.5, 1),
    ),
    "a sign times the signs of channels": (
        lambda m: m("Mul", m("Sign", m.x, zero=1), np.array([1, -1, -1, 1.0]).reshape(4, 1, 1)),
        (-1, 1),
    ),
    "a condition on two tensors": (
        lambda m: m.cast(m("Greater", m.x, m("Sin", m.x))),
        (0, 1),
    ),
    "BatchNormalization of a sign, alike in all channels": (
        lambda m: m(
            "BatchNormalization",
            m("Sign", m.x, zero=1),
            np.full(4, 2),
            np.full(4, 1),
            np.zeros(4),
            np.ones(4),
            epsilon=0.0,
        ),
        (-1, 3),
    ),
}
TWO_VALUED = {name: (form, (-1.0, 1.0)) for name, form in BIPOLAR.items()} | OTHERS


def inputs(seed: int = 0) -> np.ndarray:
    """Numbers around every threshold the forms use, exact ones among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=SHAPE).astype(np.float32)
    special = np.array([0.0, -0.0, 0.5, -0.25, 1.0, -1.0, 2.0, np.inf, -np.inf, 1e-45], np.float32)
    places = rng.random(SHAPE) < 0.5
    x[places] = rng.choice(special, places.sum())
    return x


@pytest.mark.parametrize("name", TWO_VALUED)
def test_form_takes_the_two_values_it_should(name: str) -> None:
    form, values = TWO_VALUED[name]
    model = Model()
    value = form(model)
    found = Domains(model.graph).distinct(value)
    assert found is not None
    np.testing.assert_array_equal(found, np.array(values, np.float32))


@pytest.mark.parametrize("name", TWO_VALUED)
def test_bits_say_which_of_the_two_values_it_is(name: str) -> None:
    form, _ = TWO_VALUED[name]
    model = Model()
    value = form(model)
    bits = bits_of(Domains(model.graph), value)
    known = {model.x: inputs()}
    found = interpreter.evaluate(model.graph, known, [value, bits.x])
    column = (-1,) + (1,) * (len(value.shape) - 2)
    set_ = COMPARES[bits.compare](found[bits.x], bits.at.reshape(column))
    decoded = np.where(set_, bits.high.reshape(column), bits.low.reshape(column))
    np.testing.assert_array_equal(decoded, found[value])


@pytest.mark.parametrize("name", TWO_VALUED)
def test_nan_lands_on_one_of_the_two_values_and_where_the_model_says(name: str) -> None:
    form, values = TWO_VALUED[name]
    model = Model()
    value = form(model)
    bits = bits_of(Domains(model.graph), value)
    known = {model.x: np.full(SHAPE, np.nan, np.float32)}
    found = interpreter.evaluate(model.graph, known, [value, bits.x])
    column = (-1,) + (1,) * (len(value.shape) - 2)
    set_ = COMPARES[bits.compare](found[bits.x], bits.at.reshape(column))
    decoded = np.where(set_, bits.high.reshape(column), bits.low.reshape(column))
    clear = np.isin(found[value], np.array(values, np.float32))
    np.testing.assert_array_equal(decoded[clear], found[value][clear])


@pytest.mark.parametrize(
    ("form", "compare"),
    [
        (lambda m: m("Where", m("GreaterOrEqual", m.x, 0), 1, -1), "ge"),
        (lambda m: m("Where", m("Greater", m.x, 0), 1, -1), "gt"),
        (lambda m: m("Where", m("Less", m.x, 0), -1, 1), "nlt"),
        (lambda m: m("Where", m("LessOrEqual", m.x, 0), -1, 1), "nle"),
    ],
)
def test_a_comparison_of_x_is_found_with_its_own_meaning_at_zero_and_nan(
    form: Form, compare: str
) -> None:
    model = Model()
    value = form(model)
    bits = bits_of(Domains(model.graph), value)
    assert (bits.x, bits.compare) == (model.x, compare)


def test_thresholds_per_channel_are_found() -> None:
    model = Model()
    value = model("Where", model("GreaterOrEqual", model.x, PER_CHANNEL), 1, -1)
    bits = bits_of(Domains(model.graph), value)
    assert bits.x is model.x
    np.testing.assert_array_equal(bits.at, PER_CHANNEL.reshape(-1))


def test_onnx_sign_takes_three_values() -> None:
    model = Model()
    value = model("Sign", model.x)
    found = Domains(model.graph).distinct(value)
    assert found is not None and list(found) == [-1, 0, 1]
    found = Domains(model.graph, sign_zero=1).distinct(value)
    assert found is not None and list(found) == [-1, 1]


@pytest.mark.parametrize("first", ["Greater", "Less"])
def test_a_sign_by_hand_lets_zero_through_as_onnx_sign_does(first: str) -> None:
    numbers = {"Greater": 1, "Less": -1}
    model = Model()
    value = model.x
    for comparison in (first, *(numbers.keys() - {first})):
        value = _replaced(model, value, comparison, numbers[comparison])
    domain = Domains(model.graph).of(value)
    assert isinstance(domain, Finite) and domain.root.value is model.x
    assert [float(state) for state in domain.states[:3]] == [-1, 0, 1]


def test_the_sign_of_integers_takes_only_what_they_reach() -> None:
    model = Model()
    integers = model("Cast", model("Floor", model.x), to=DType.I32)
    for operand, signs in ((integers, [-1, 0, 1]), (model("Relu", integers), [0, 1])):
        value = model("Sign", operand)
        found = Domains(model.graph).distinct(value)
        assert found is not None and list(found) == signs


def test_a_ternary_product_of_two_conditions_takes_three_values() -> None:
    model = Model()
    inside = model.cast(model("Greater", model("Abs", model.x), 0.5))
    value = model("Mul", model("Sign", model.x), inside)
    found = Domains(model.graph).distinct(value)
    assert found is not None and list(found) == [-1, 0, 1]


@pytest.mark.parametrize(
    "move",
    [
        lambda m, x, y: m("Concat", x, y, axis=1),
        lambda m, x, y: m("Slice", x, starts=(1,), ends=(4,), axes=(1,), steps=(2,)),
        lambda m, x, y: m("Gather", x, np.array([2, 0], np.int32), axis=1),
        lambda m, x, y: m("Transpose", x, perm=(0, 2, 1, 3)),
        lambda m, x, y: m("Reshape", x, shape=(2, 2, 2, 24)),
    ],
)
def test_sets_that_differ_between_channels_move_with_them(
    move: Callable[[Model, Value, Value], Value],
) -> None:
    model = Model()
    x = model("Mul", model("Sign", model.x, zero=1), np.array([1, 2, 3, 4]).reshape(4, 1, 1))
    y = model("Sign", model("Neg", model.x), zero=1)
    moved = move(model, x, y)
    domain = Domains(model.graph).of(moved)
    assert isinstance(domain, Finite)
    levels = domain.levels()
    assert levels is not None and len(levels) == 2
    known = {x: np.abs(interpreter.evaluate(model.graph, {model.x: inputs()}, [x])[x])}
    (highest,) = interpreter.evaluate(model.graph, {**known, y: full(1)}, [moved]).values()
    np.testing.assert_array_equal(np.broadcast_to(levels[1], moved.shape), highest)


POINTS = np.array(
    [
        *(np.nextafter(np.float32(c), np.float32(way)) for c in (-1, 0, 0.5) for way in (-9, 9)),
        *(-1, 0, 0.5, -7, 7, -0.75, 0.25),
    ],
    np.float32,
)
"""Numbers on, next to and between the thresholds of :func:`choices`."""


@st.composite
def choices(draw: st.DrawFn) -> Model:
    """What comparisons with constants, logic, and choices between x and constants, among other
    functions, make of x [POINTS] and of y, which is unrelated."""
    m = Model(POINTS.shape)
    y = m("Reshape", m("Softmax", m.x, axis=0), shape=POINTS.shape)
    constants = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
    numbers, conditions = [m.x, m.x, y], [m("Less", m.x, draw(constants))]
    for _ in range(draw(st.integers(2, 9))):
        number = st.sampled_from(numbers[-3:]) | st.just(m.x)
        condition = st.sampled_from(conditions)
        match draw(st.sampled_from(["compare", "compare", "logic", "choose", "choose", "map"])):
            case "compare":
                name = draw(st.sampled_from(["Less", "LessOrEqual", "Greater", "Equal"]))
                conditions.append(m(name, draw(number), draw(number | constants)))
            case "logic":
                both = draw(condition), draw(condition)
                conditions.append(m(draw(st.sampled_from(["And", "Or", "Xor"])), *both))
                conditions.append(m("Not", draw(condition)))
            case "choose":
                chosen = draw(number | constants), draw(number | constants)
                numbers.append(m("Where", draw(condition), *chosen))
            case "map":
                name = draw(st.sampled_from(["Sign", "Relu", "Neg", "Abs", "Floor"]))
                numbers.append(m(name, draw(number)))
                numbers.append(m("Add", draw(number), draw(number | constants)))
    return m


@settings(max_examples=300, deadline=None)
@given(model=choices(), sign_zero=st.sampled_from([0, 1, -1]))
def test_a_state_says_what_every_element_in_it_takes(model: Model, sign_zero: int) -> None:
    graph = model.graph
    domains = Domains(graph, sign_zero=sign_zero)
    for node in graph.nodes():
        if node.op.name == "Sign" and not domains.means_zero(node):
            node.attrs["zero"] = sign_zero
    values = [node.output for node in graph.nodes()]
    found = interpreter.evaluate(graph, {model.x: POINTS}, values)
    found[model.x] = POINTS
    for value in values:
        domain = domains.of(value)
        if not isinstance(domain, (Finite, Pieces)) or domain.root.at is None:
            continue
        x, at = found[domain.root.value], domain.root.at
        for state, here in zip(domain.states, (x < at, x == at, x > at)):
            if isinstance(state, Real):
                assert ((state.low <= found[value]) & (found[value] <= state.high))[here].all()
            else:
                assert (found[value] == state)[here].all(), "a value that it cannot have"


def test_two_bit_quantisation_takes_four_values() -> None:
    model = Model()
    steps = model("Round", model("Mul", model("Clip", model.x, min=0.0, max=1.0), 3))
    value = model("Div", steps, 3)
    found = Domains(model.graph).distinct(value)
    assert found is not None and len(found) == 4


@pytest.mark.parametrize(
    "form",
    [
        lambda m: m("Relu", m.x),
        lambda m: m("Mul", m.x, m.cast(m("Greater", m.x, 0))),
        lambda m: m("Add", m("Sign", m.x, zero=1), m.x),
        lambda m: m("AveragePool", m("Sign", m.x, zero=1), kernel=(2, 2)),
        lambda m: m("Round", m.x),
        lambda m: _remainder(m, m.x, 2),
        lambda m: _remainder(m, m("Round", m.x), 3),
        lambda m: _remainder(m, m("Round", m.x), 0.5),
        lambda m: m("Where", m("Greater", m.x, 0), m.x, -1),
        lambda m: _replaced(m, _replaced(m, m.x, "Greater", 1), "Equal", 0),
        lambda m: m("Where", m("Greater", m.x, 1), 1, m("Where", m("Less", m.x, -1), -1, m.x)),
        lambda m: m("Where", _is_nan(m), 0, m.x),
        lambda m: m("Concat", m("Sign", m.x, zero=1), m.x, axis=1),
    ],
)
def test_what_may_take_any_value_is_real(form: Form) -> None:
    model = Model()
    value = form(model)
    assert isinstance(Domains(model.graph).of(value), Real)


def test_batch_normalisation_of_a_sign_takes_two_values_in_each_channel() -> None:
    model = Model()
    gamma = np.array([1, -2, 3, 4])
    value = model(
        "BatchNormalization",
        model("Sign", model.x, zero=1),
        *(gamma, np.zeros(4), np.zeros(4), np.ones(4)),
        epsilon=0.0,
    )
    for pooled in (
        model("MaxPool", value, kernel=(2, 2)),
        model("ReduceMax", value, axes=(3,)),
        model("ReduceMin", value, axes=(-1, 2), keepdims=False),
    ):
        domain = Domains(model.graph).of(pooled)
        assert isinstance(domain, Finite)
        levels = domain.levels()
        assert levels is not None
        np.testing.assert_array_equal(levels.reshape(2, 4), [-abs(gamma), abs(gamma)])


def test_bounds_are_not_invented_where_integers_wrap_or_division_has_a_pole() -> None:
    model = Model()
    near_zero = model(
        "Div", model("Clip", model.x, min=-1.0, max=1.0), vector(-1, 1e-3, 1, 1, 1, 1)
    )
    domains = Domains(model.graph)
    assert domains.of(near_zero) == Real()
    pixels = model.graph.add_input("p", TensorType(DType.U8, SHAPE))
    doubled = model.graph.add("Add", [pixels, pixels]).output
    real = Domains(model.graph).of(doubled)
    assert isinstance(real, Real) and (real.low, real.high) == (0, 255)
    counts = model.graph.add_input("counts", TensorType(DType.I32, SHAPE))
    summed = model("ReduceSum", model("Clip", counts, min=0, max=2**30), axes=(2,))
    real = Domains(model.graph).of(summed)
    assert isinstance(real, Real) and real.low < 0


# ---- weights -------------------------------------------------------------------------------------


def random_signs(*shape: int) -> np.ndarray:
    return np.where(np.random.default_rng(1).random(shape) < 0.5, -1, 1).astype(np.float32)


def test_weights_of_plus_minus_alpha_split_into_two_valued() -> None:
    signs, alpha = random_signs(5, 4, 3, 3), np.array([1, 0.3, 2, 1e-3, 0.25], np.float32)
    found = two_valued(signs * alpha.reshape(-1, 1, 1, 1))
    assert found is not None
    np.testing.assert_array_equal(found.signs, signs > 0)
    np.testing.assert_array_equal(found.scale, alpha)


def test_noise_of_a_straight_through_estimator_in_weights_is_tolerated() -> None:
    latent = np.random.default_rng(2).uniform(-1.5, 1.5, (8, 4, 3, 3)).astype(np.float32)
    alpha = np.float32(0.3)
    sign = np.where(latent >= 0, alpha, -alpha)
    noisy = (sign - latent) + latent
    assert len(np.unique(np.abs(noisy))) > 1
    found = two_valued(noisy)
    assert found is not None
    np.testing.assert_array_equal(found.signs, sign > 0)
    np.testing.assert_allclose(found.scale, alpha, rtol=1e-6)


def test_noise_of_a_straight_through_estimator_scales_with_a_folded_batch_norm() -> None:
    rng = np.random.default_rng(0)
    latent = (rng.standard_t(2, (8, 16, 3, 3)) * 0.01).astype(np.float32)
    alpha = np.abs(latent).mean((1, 2, 3), keepdims=True)
    clipped = np.clip(latent, -1, 1)
    noisy = (np.sign(latent) * alpha - clipped) + clipped
    gamma = np.float32([30, -30, 3, 0.1, 7, -8, 100, 1]).reshape(8, 1, 1, 1)
    found = two_valued(noisy * gamma)
    assert found is not None
    np.testing.assert_array_equal(found.signs, latent * gamma > 0)
    np.testing.assert_allclose(found.scale, np.abs(alpha * gamma).reshape(-1), rtol=1e-5)


def test_noise_of_half_precision_is_tolerated_in_weights_stored_so() -> None:
    latent = np.random.default_rng(2).uniform(-1, 1, (8, 4, 3, 3)).astype(np.float16)
    alpha = np.float16(0.05)
    sign = np.where(latent >= 0, alpha, -alpha)
    noisy = ((sign - latent) + latent).astype(np.float32)
    assert np.ptp(np.abs(noisy)) > 1e-4
    found = two_valued(noisy)
    assert found is not None
    np.testing.assert_array_equal(found.signs, sign > 0)
    np.testing.assert_allclose(found.scale, alpha, rtol=5e-3)
    assert two_valued(noisy * np.float32(1.1)) is None  # no halves any more
    noisy[0, 0, 0, 0] = 0.06
    assert two_valued(noisy.astype(np.float16).astype(np.float32)) is None


def in_bfloat16(numbers: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


def noisy_in_bfloat16() -> tuple[np.ndarray, np.ndarray]:
    """Scales, and what a straight-through estimator leaves of signs times these."""
    alpha = in_bfloat16(np.linspace(0.05, 0.1, 8)).reshape(8, 1, 1, 1)
    latent = in_bfloat16(np.random.default_rng(2).uniform(-0.2, 0.2, (8, 4, 3, 3)))
    noisy = in_bfloat16(in_bfloat16(np.sign(latent) * alpha - latent) + latent)
    assert (np.abs(noisy) > 1.005 * alpha).any()
    return alpha, noisy


def test_noise_of_bfloat16_is_tolerated_in_weights_stored_so() -> None:
    alpha, noisy = noisy_in_bfloat16()
    found = two_valued(noisy)
    assert found is not None
    np.testing.assert_array_equal(found.signs, noisy > 0)
    np.testing.assert_allclose(found.scale, alpha.reshape(-1), rtol=0.01)
    noisy[0, 0, 0, 0] *= 1.04
    assert two_valued(in_bfloat16(noisy)) is None


def test_noise_of_bfloat16_scales_with_a_folded_batch_norm() -> None:
    alpha, noisy = noisy_in_bfloat16()
    gamma = np.random.default_rng(3).uniform(-30, 30, (8, 1, 1, 1)).astype(np.float32)
    found = two_valued(noisy * gamma)
    assert found is not None
    np.testing.assert_array_equal(found.signs, noisy * gamma > 0)
    np.testing.assert_allclose(found.scale, np.abs(alpha * gamma).reshape(-1), rtol=0.01)


@pytest.mark.parametrize(
    "magnitudes",
    [[1, 1.005], np.linspace(1, 1.006), np.linspace(1, 1.03), [125, 126, 127]],
    ids=["two", "many", "far", "integers of 8 bits"],
)
def test_noise_that_is_not_of_a_narrow_format_is_not_tolerated(magnitudes: Sequence[float]) -> None:
    """Nor where each deviation by itself could be: 0.5 % are one step of 200."""
    rng = np.random.default_rng(4)
    chosen = rng.integers(0, len(magnitudes), (8, 4, 3, 3))
    chosen[::2] = np.minimum(chosen[::2], len(magnitudes) - 2)
    weights = random_signs(8, 4, 3, 3) * np.asarray(magnitudes)[chosen]
    weights *= rng.uniform(0.1, 1, (8, 1, 1, 1))
    assert two_valued(weights.astype(np.float32)) is None


@pytest.mark.parametrize("change", [1e-4, 0.5, -1])
def test_a_weight_of_another_magnitude_is_not_noise(change: float) -> None:
    weights = random_signs(4, 4, 3, 3) * np.float32(0.1)
    weights[2, 1, 0, 0] *= 1 + change
    assert two_valued(weights) is None


def test_a_channel_of_zeros_has_scale_zero() -> None:
    weights = random_signs(3, 2, 3, 3)
    weights[1] = 0
    found = two_valued(weights)
    assert found is not None
    np.testing.assert_array_equal(found.scale, [1, 0, 1])


@st.composite
def channels_of_two_values(draw: st.DrawFn) -> np.ndarray:
    """[OC, 12]: each channel of one or two numbers, opposite or not, with or without noise."""
    ends = st.sampled_from([-2.0, -1.0, -0.3, 0.0, 0.3, 0.7, 1.0])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [rng.choice(pair, 12) for pair in draw(st.lists(st.tuples(ends, ends), min_size=1))]
    noise = draw(st.sampled_from([0, 1e-7])) * rng.standard_normal((len(rows), 12))
    return (np.array(rows) * (1 + noise)).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(weights=channels_of_two_values())
def test_channels_of_any_two_values_are_told_apart_each_by_itself(weights: np.ndarray) -> None:
    found = two_valued(weights)
    assert found is not None or not weights.any()
    if found is not None:
        np.testing.assert_allclose(found.values(), weights, atol=1e-6)


@pytest.mark.parametrize("taps", [3, 4, 7])
def test_channels_of_few_weights_count_if_they_agree_on_the_two_values(taps: int) -> None:
    weights = np.random.default_rng(0).integers(0, 2, (8, taps)).astype(np.float32)
    found = two_valued(weights)
    assert found is not None
    np.testing.assert_array_equal(found.values(), weights)


@pytest.mark.parametrize(
    "weights",
    [
        np.tile([1, 2, 1], (16, 1)),  # One filter, made for all channels.
        np.random.default_rng(0).normal(size=(16, 2)),  # Any two numbers are two values.
        np.array([[0, 1, 1], [1, 0, 0]]),
        np.random.default_rng(0).integers(0, 2, (16, 3)) * np.linspace(1, 2, 16)[:, None],
    ],
    ids=["blur", "real", "six weights", "each channel its own"],
)
def test_few_weights_of_two_values_prove_nothing_alone(weights: np.ndarray) -> None:
    assert two_valued(weights.astype(np.float32)) is None


@pytest.mark.parametrize(
    "values",
    [[3e38, 2e38, 1e38], [1e-45, 3e-39, 1], [3e38, 1e-45, 1], [np.inf, 1, 2], [np.nan, 1, 2]],
)
def test_weights_of_any_size_are_looked_at_without_a_warning(values: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = np.resize(np.array(values, np.float32), (8, 3, 3, 3))
        two_valued(weights)
        assert many_valued(weights)[0].startswith("its weights ")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[-1, 0, 1]], "its weights take 3 values"),
        ([[-1, 0, 1], [-2, 0, 2]], "its weights take 5 values"),
        ([[-1, 0, 1], [-1, 1, 1]], "its weights take 3 values"),
        ([range(-9, 10)], "its weights are real numbers"),
        ([[-1, 0, 1], range(-9, 10)], "its weights are real numbers"),
    ],
)
def test_how_many_values_weights_take_is_told(values: list[Any], reason: str) -> None:
    rows = [np.resize(np.array(row, np.float32), 96) for row in values]
    assert many_valued(np.array(rows))[0] == reason


# ---- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([1.5, np.nan, -2.25], Real(-2.25, 1.5, 0.25)),
        ([3, np.nan, -1], Real(-1, 3, 1)),
        ([np.nan], Real()),
        ([], Real()),
        ([0.5, np.inf], Real(0.5, np.inf, 0)),
        ([0.1], Real(np.float32(0.1), np.float32(0.1), 2.0**-27)),
    ],
    ids=str,
)
def test_an_interval_spans_all_numbers_and_knows_their_grid(
    numbers: list[float], found: Real
) -> None:
    array = np.array(numbers, np.float32)
    assert interval([array]) == found
    assert interval([array, array[:0]]) == found


def test_an_interval_of_more_numbers_than_are_looked_at_together_is_that_of_all() -> None:
    many = np.zeros(1 << 21, np.float32)
    many[-1] = 7
    assert interval([many]) == Real(0, 7, 1)
    many[-1] = 7.5
    assert interval([many]) == Real(0, 7.5, 0)


# ---- verdicts ------------------------------------------------------------------------------------


def verdict_of(model: Model, value: Value) -> Any:
    return verdicts(model.graph)[value.producer]


@pytest.mark.parametrize("name", TWO_VALUED)
def test_every_form_makes_a_convolution_binary(name: str) -> None:
    form, values = TWO_VALUED[name]
    model = Model()
    value = form(model)
    verdict = verdict_of(model, model("Conv", value, random_signs(3, value.shape[1], 2, 2)))
    assert verdict.binary and verdict.reason == "", verdict.reason
    for found, value in zip((verdict.packing.low, verdict.packing.high), values):
        np.testing.assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "fill", "pad"),
    [
        ((-1, 1), 0, 0),
        ((-1, 1), 1, 1),
        ((-1, 1), -1, -1),
        ((0, 1), 0, -1),
        ((0, 1), 1, 1),
        ((1, 3), 2, 0),
    ],
)
def test_a_pad_in_front_is_looked_through(
    values: tuple[float, float], fill: float, pad: int
) -> None:
    model = Model()
    x = model("Where", model("Less", model.x, 0), values[0], values[1])
    padded = model("Pad", x, pads=(0, 0, 1, 0, 0, 0, 2, 1), value=float(fill))
    packing = verdict_of(model, model("Conv", padded, random_signs(3, 4, 3, 3))).packing
    assert (packing.source, packing.pads, packing.pad) == (x, (1, 0, 2, 1), pad)


def test_a_quotient_by_the_magnitude_is_two_valued_once_zero_is_taken_care_of() -> None:
    model = Model()
    quotient = model("Div", model.x, model("Abs", model.x))
    settled = model("Where", model("Equal", model.x, 0), 1, quotient)
    domain = Domains(model.graph).of(settled)
    assert isinstance(domain, Finite)
    assert [float(state) for state in domain.states[:3]] == [-1, 1, 1]


def test_rounding_behind_a_large_shift_tells_no_channels_apart() -> None:
    model = Model()
    scaled = model("Mul", model("Sign", model.x, zero=1), 0.14036)
    shifted = model("Add", scaled, 9.1 * PER_CHANNEL + 0.3)
    verdict = verdict_of(model, model("Conv", shifted, random_signs(3, 4, 3, 3)))
    apart = verdict.packing.high - verdict.packing.low
    assert np.ptp(apart) > 1e-6 * apart.max()
    assert verdict.binary, verdict.reason


REASONS: dict[str, tuple[Callable[[Model], Value], bool, str]] = {
    "average pool": (
        lambda m: m(
            "Conv",
            m("AveragePool", m("Sign", m.x, zero=1), kernel=(2, 2), name="pool"),
            random_signs(3, 4, 1, 1),
        ),
        True,
        "its input comes from AveragePool 'pool'",
    ),
    "average pool and transpose": (
        lambda m: m(
            "MatMul",
            m(
                "Transpose",
                m("AveragePool", m("Sign", m.x, zero=1), kernel=(2, 2), name="pool"),
                perm=(0, 2, 3, 1),
            ),
            random_signs(4, 3),
        ),
        True,
        "its input comes from AveragePool 'pool'",
    ),
    "ternary weights": (
        lambda m: m(
            "Conv",
            m("Sign", m.x, zero=1),
            np.sign(np.random.default_rng(0).integers(-1, 2, (4, 4, 3, 3))),
        ),
        True,
        "its weights take 3 values",
    ),
    "zeros": (
        lambda m: m("Conv", m("Sign", m.x, zero=1), np.zeros((8, 4, 3, 3), np.float32)),
        True,
        "its weights are all 0",
    ),
    "five values": (
        lambda m: m(
            "Conv", m("Sign", m.x, zero=1), np.random.default_rng(0).integers(-2, 3, (8, 4, 3, 3))
        ),
        True,
        "its weights take 5 values",
    ),
    "ternary weights on reals": (
        lambda m: m(
            "Conv", m.x, np.sign(np.random.default_rng(0).integers(-1, 2, (4, 4, 3, 3)))
        ),
        True,
        "its input is the model's input 'x'",
    ),
    "not opposite, and too few to tell": (
        lambda m: m("Conv", m("Sign", m.x, zero=1), np.tile(UNEVEN, (16, 1, 1, 1))),
        True,
        "its weights take two values that are not opposite, and 4 in a channel are too few to tell",
    ),
    "almost opposite": (
        lambda m: m(
            "Conv",
            m("Relu", m.x),
            random_signs(4, 4, 3, 3) * np.linspace(0.99, 1, 36).reshape(4, 3, 3),
        ),
        True,
        "its input takes any value: it comes from Relu 'Relu'",
    ),
    "signs, and weights almost opposite": (
        lambda m: m(
            "Conv",
            m("Sign", m.x, zero=1),
            random_signs(4, 4, 3, 3) * np.linspace(0.99, 1, 36).reshape(4, 3, 3),
        ),
        True,
        "its weights are opposite numbers only to within 1 %",
    ),
    "scales of the input channels": (
        lambda m: m(
            "Conv",
            m("Sign", m.x, zero=1),
            random_signs(8, 4, 3, 3) * np.array([1, 2, 3, 4]).reshape(4, 1, 1) / 7,
        ),
        True,
        "its weights have another scale for each input channel",
    ),
    "real weights": (
        lambda m: m(
            "Conv", m("Sign", m.x, zero=1), np.random.default_rng(0).normal(size=(4, 4, 3, 3))
        ),
        True,
        "its weights are real numbers",
    ),
    "ONNX Sign": (
        lambda m: m("Conv", m("Sign", m.x), random_signs(3, 4, 3, 3)),
        True,
        "ONNX Sign gives 0 at 0 (--sign-zero strict)",
    ),
    "ONNX Sign, padded": (
        lambda m: m(
            "Conv",
            m("Pad", m("Sign", m.x), pads=(0, 0, 1, 1, 0, 0, 1, 1)),
            random_signs(3, 4, 3, 3),
        ),
        True,
        "ONNX Sign gives 0 at 0 (--sign-zero strict)",
    ),
    "ONNX Sign, and real weights": (
        lambda m: m("Conv", m("Sign", m.x), np.random.default_rng(0).normal(size=(3, 4, 3, 3))),
        True,
        "its weights are real numbers",
    ),
    "two-bit activations": (
        lambda m: m(
            "Conv",
            m("Round", m("Clip", m.x, min=0.0, max=3.0)),
            random_signs(3, 4, 3, 3),
        ),
        True,
        "its input takes 4 values",
    ),
    "infinite": (
        lambda m: m(
            "Conv",
            m("Where", m("Less", m.x, 0), -np.inf, 1),
            random_signs(3, 4, 3, 3),
        ),
        True,
        "its input takes any value: it comes from Where 'Where'",
    ),
    "transposed": (
        lambda m: m(
            "ConvTranspose", m("Sign", m.x, zero=1), random_signs(4, 3, 2, 2), strides=(3, 3)
        ),
        True,
        "it is a transposed convolution of 2x2 at stride 3x3, whose outputs lie apart",
    ),
    "transposed, dilated": (
        lambda m: m(
            "ConvTranspose",
            m("Sign", m.x, zero=1),
            random_signs(4, 3, 2, 2),
            strides=(2, 2),
            dilations=(3, 3),
        ),
        True,
        "it is a transposed convolution of 2x2 at stride 2x2 with dilation",
    ),
    "per channel": (
        lambda m: m(
            "Conv",
            m("Mul", m("Sign", m.x, zero=1), np.array([1, 2, 3, 4]).reshape(4, 1, 1)),
            random_signs(3, 4, 3, 3),
        ),
        True,
        "the two values of its input lie 2 apart in one channel and 8 in another",
    ),
    "a concat of signs and scaled signs": (
        lambda m: m(
            "Conv",
            m("Concat", m("Sign", m.x), m("Mul", m("Sign", m.x), 0.5), axis=1),
            random_signs(3, 8, 3, 3),
        ),
        True,
        "the two values of its input lie 1 apart in one channel and 2 in another",
    ),
    "zeros around a sign, then a scale": (
        lambda m: m(
            "Conv",
            m(
                "Add",
                m("Pad", m("Sign", m.x, zero=1), pads=(0, 0, 1, 1, 0, 0, 1, 1)),
                PER_CHANNEL,
            ),
            random_signs(3, 4, 3, 3),
        ),
        True,
        "its input takes 3 values in a channel",
    ),
    "signs on reals": (
        lambda m: m("Conv", m("Relu", m.x), random_signs(4, 4, 3, 3)),
        True,
        "its input takes any value: it comes from Relu 'Relu'",
    ),
    "weights in the run": (
        lambda m: m("Conv", m("Sign", m.x, zero=1), m("Sign", m.x, zero=1)),
        True,
        "its weights are computed during the run",
    ),
    "a product of two activations": (
        lambda m: m(
            "MatMul",
            m("Sign", m.x, zero=1),
            m("Transpose", m("Sign", m.x, zero=1), perm=(0, 1, 3, 2)),
        ),
        True,
        "both its factors are computed during the run",
    ),
    "ordinary": (
        lambda m: m("Conv", m("Relu", m.x), np.random.default_rng(0).normal(size=(4, 4, 3, 3))),
        False,
        "its input takes any value: it comes from Relu 'Relu'",
    ),
    "a blur": (
        lambda m: m("Conv", m("Relu", m.x), BLUR, group=4),
        False,
        "its input takes any value: it comes from Relu 'Relu'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_what_is_not_binary_says_why(name: str) -> None:
    form, candidate, reason = REASONS[name]
    model = Model()
    verdict = verdict_of(model, form(model))
    assert (verdict.binary, verdict.candidate, verdict.reason) == (False, candidate, reason)
