"""What a sign gives at zeros, infinities and NaN, by policy and by form, in compiled libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx_text import Writer  # noqa: E402

import bnnc  # noqa: E402
from bnnc import compiler, toolchain  # noqa: E402
from bnnc.runtime import InferenceSession  # noqa: E402

ISAS = toolchain.resolve("native").supported_isas()
TINY = float(np.float32(1e-45))
POINTS = np.array(
    [0.0, -0.0, TINY, -TINY, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.0, -0.0, 2.0], np.float32
)
CHANNELS = 8
Form = Callable[[Writer, str], str]


def row(zero: float, nan: float) -> list[float]:
    """The sign of each of ``POINTS``."""
    return [zero, zero, 1, -1, 1, -1, 1, -1, nan, zero, zero, 1]


def picture() -> np.ndarray:
    """float32 [1, CHANNELS, 3, 4], each channel ``POINTS``."""
    return np.tile(POINTS.reshape(1, 1, 3, 4), (1, CHANNELS, 1, 1))


def compiled(form: Form, folder: Path, policy: str) -> tuple[InferenceSession, int]:
    """sign -> convolution that adds up the channels' signs; and how many Signs it changed."""
    write = Writer()
    signs = form(write, write.input("x", 1, CHANNELS, 3, 4))
    pairs = np.tile(np.repeat([1.0, -1.0], [6, 2]), (CHANNELS, 1)).reshape(CHANNELS, CHANNELS, 1, 1)
    model = write.returns(write("Conv", signs, pairs, name="conv"))
    path = folder / "model.so"
    compilation = compiler.build(model, path, sign_zero=policy)
    return bnnc.load(path, threads=1), compilation.info["compiled"]["sign_zero_nodes"]


POLICIES = {"positive": (1, 1, True), "negative": (-1, 1, True), "strict": (0, 0, False)}
"""What Sign gives at zero, how many nodes are changed for it, and whether the layer is binary."""


def positive_then_negative(write: Writer, x: str) -> str:
    """As torch has it: x[x > 0] = 1; x[x < 0] = -1."""
    x = write("Where", write("Greater", x, 0.0), 1.0, x)
    return write("Where", write("Less", x, 0.0), -1.0, x)


SIGNS: dict[str, Form] = {
    "Sign": lambda write, x: write("Sign", x),
    "1 where x > 0, then -1 where x < 0": positive_then_negative,
    "Where(x > 0, 1, Where(x < 0, -1, x))": lambda write, x: write(
        "Where",
        write("Greater", x, 0.0),
        1.0,
        write("Where", write("Less", x, 0.0), -1.0, x),
    ),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", SIGNS)
def test_sign_gives_at_zero_what_the_policy_says(name: str, policy: str, tmp_path: Path) -> None:
    zero, changed, binary = POLICIES[policy]
    session, count = compiled(SIGNS[name], tmp_path, policy)
    assert count == changed
    assert [layer["binary"] for layer in session.info["layers"][-1:]] == [binary]
    nan = -1 if binary else np.nan
    for isa in ISAS:
        (found,) = bnnc.load(session.path, threads=1, isa=isa)(picture())
        np.testing.assert_array_equal(found[0, 0].reshape(-1), 4 * np.array(row(zero, nan)))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_holds_for_integers(policy: str, tmp_path: Path) -> None:
    zero, changed, binary = POLICIES[policy]
    integers, floats = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    session, count = compiled(
        lambda w, x: w("Cast", w("Sign", w("Cast", x, to=integers)), to=floats), tmp_path, policy
    )
    assert count == changed
    assert [layer["binary"] for layer in session.info["layers"][-1:]] == [binary]
    numbers = np.resize(np.array([0, 1, -1, 5, -7], np.float32), (1, CHANNELS, 3, 4))
    signs = np.where(numbers == 0, zero, np.sign(numbers))
    expected = signs[0, :6].sum(0) - signs[0, 6:].sum(0)
    np.testing.assert_array_equal(session(numbers)[0][0, 0], expected)


FORMS: dict[str, tuple[Form, float, float]] = {
    "x >= 0": (lambda w, x: w("Where", w("GreaterOrEqual", x, 0.0), 1.0, -1.0), 1, -1),
    "x > 0": (lambda w, x: w("Where", w("Greater", x, 0.0), 1.0, -1.0), -1, -1),
    "x < 0": (lambda w, x: w("Where", w("Less", x, 0.0), -1.0, 1.0), 1, 1),
    "x <= 0": (lambda w, x: w("Where", w("LessOrEqual", x, 0.0), -1.0, 1.0), -1, 1),
    "Sign(Sign(x) + 0.1)": (lambda w, x: w("Sign", w("Add", w("Sign", x), 0.1)), 1, -1),
    "Sign(Sign(x) - 0.1)": (lambda w, x: w("Sign", w("Sub", w("Sign", x), 0.1)), -1, -1),
    "Cast(x > 0) * 2 - 1": (
        lambda w, x: w("Sub", w("Mul", w("Cast", w("Greater", x, 0.0), to=1), 2.0), 1.0),
        -1,
        -1,
    ),
    "1 where x >= 0, then -1 where x < 0": (
        lambda w, x: w(
            "Where",
            w("Less", x, 0.0),
            -1.0,
            w("Where", w("GreaterOrEqual", x, 0.0), 1.0, x),
        ),
        1,
        -1,
    ),
    "x >= 0, and 0 where it is not a number": (
        lambda w, x: w(
            "Where", w("IsNaN", x), 0.0, w("Where", w("GreaterOrEqual", x, 0.0), 1.0, -1.0)
        ),
        1,
        -1,
    ),
    "Sign(x) where it is not 0": (
        lambda w, x: w("Where", w("Equal", w("Sign", x), 0.0), 1.0, w("Sign", x)),
        1,
        -1,
    ),
}
"""Forms that say themselves what zero gives; then that, and what NaN gives."""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", FORMS)
def test_forms_that_say_what_zero_gives_are_followed(
    name: str, policy: str, tmp_path: Path
) -> None:
    form, zero, nan = FORMS[name]
    session, count = compiled(form, tmp_path, policy)
    assert count == 0 and session.info["layers"][-1]["binary"]
    for isa in ISAS:
        (found,) = bnnc.load(session.path, threads=1, isa=isa)(picture())
        np.testing.assert_array_equal(found[0, 0].reshape(-1), 4 * np.array(row(zero, nan)))


@pytest.mark.parametrize("policy", ["positive", "negative"])
def test_a_sum_of_zero_is_decided_by_the_policy_too(policy: str, tmp_path: Path) -> None:
    """The second sign is decided from the first convolution's integers, half of which are 0."""
    pairs = np.repeat([1.0, -1.0], 4).reshape(1, 8, 1, 1)
    write = Writer()
    x = write("Sign", write.input("x", 1, CHANNELS, 3, 4))
    x = write("Conv", x, np.tile(pairs, (CHANNELS, 1, 1, 1)))
    x = write("Conv", write("Sign", x), np.ones((4, CHANNELS, 1, 1)))
    session = bnnc.compile(write.returns(x), tmp_path / "m.so", sign_zero=policy, threads=1)
    assert "threshold" in session.info["layers"][1]["steps"]
    zero = POLICIES[policy][0]
    (found,) = session(np.ones((1, CHANNELS, 3, 4), np.float32))
    np.testing.assert_array_equal(found, zero * CHANNELS)


def test_latent_weights_of_exactly_zero_follow_the_policy(tmp_path: Path) -> None:
    latent = np.zeros((4, CHANNELS, 1, 1))
    latent[:, 0], latent[:, 1:3] = -0.5, 0.5
    for policy, (zero, changed, binary) in POLICIES.items():
        write = Writer()
        x = write(
            "Where", write("GreaterOrEqual", write.input("x", 1, CHANNELS, 3, 4), 0.0), 1.0, -1.0
        )
        model = write.returns(write("Conv", x, write("Sign", latent), name="conv"))
        compilation = compiler.build(model, tmp_path / f"{policy}.so", sign_zero=policy)
        assert compilation.info["compiled"]["sign_zero_nodes"] == changed
        assert [v.binary for v in compilation.report.verdicts] == [binary]
        (found,) = bnnc.load(tmp_path / f"{policy}.so")(np.ones((1, CHANNELS, 3, 4), np.float32))
        np.testing.assert_array_equal(found, zero * (CHANNELS - 3) + 1)


def ternary(w: Writer, x: str) -> str:
    """As Larq has it: 0 between the thresholds."""
    return w("Sign", w("Add", w("Sign", w("Add", x, 0.7)), w("Sign", w("Sub", x, 0.7))))


TERNARY: dict[str, Form] = {
    "Sign(Sign(x + t) + Sign(x - t))": ternary,
    "Sign(Round(Clip(x)))": lambda w, x: w("Sign", w("Round", w("Clip", x, -1.0, 1.0))),
    "Sign(Where(|x| > t, x > 0, 0))": lambda w, x: w(
        "Sign",
        w(
            "Where",
            w("Greater", w("Abs", x), 0.7),
            w("Where", w("Greater", x, 0.0), 1.0, -1.0),
            0.0,
        ),
    ),
}
"""Signs of few values: their zeros are what the model means."""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", TERNARY)
def test_a_zero_among_few_values_stays(name: str, policy: str, tmp_path: Path) -> None:
    session, count = compiled(TERNARY[name], tmp_path, policy)
    assert count == 0 and not session.info["layers"][-1]["binary"]
    x = np.tile(np.float32([-2, -0.5, 0.2, 3]), (1, CHANNELS, 3, 1))
    np.testing.assert_array_equal(session(x)[0][0, 0, 0], [-4, 0, 0, 4])


def test_ternary_weights_stay_so(tmp_path: Path) -> None:
    write = Writer()
    x = write("Sign", write.input("x", 1, CHANNELS, 3, 4))
    latent = np.random.default_rng(0).standard_normal((4, CHANNELS, 3, 3))
    model = write.returns(write("Conv", x, ternary(write, write.constant(latent))))
    compilation = compiler.build(model, tmp_path / "m.so")
    assert [v.reason for v in compilation.report.verdicts] == ["its weights take 3 values"]
