"""What users read about layers that could be binary and are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx_text import Writer  # noqa: E402

import bnnc  # noqa: E402
from bnnc import compiler  # noqa: E402
from bnnc.cli.main import main  # noqa: E402
from bnnc.errors import ModelError  # noqa: E402

REASONS = {
    "ternary": "its weights take 3 values",
    "averaged": "its input comes from AveragePool 'pool'",
    "stretched": "the two values of its input lie 0.5 apart in one channel and 4 in another",
    "per_input": "its weights have another scale for each input channel",
    "weights_only": "its input takes any value: it comes from Relu 'relu'",
    "quantised": "its input takes 4 values",
    "float_weights": "its weights are real numbers",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer for each reason, in a row, and a binary and an ordinary one."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(np.array([-1.0, 1.0]), (8, 8, 3, 3))
    reals = rng.normal(size=(8, 8, 3, 3))
    write = Writer()

    def conv(x: str, weights: np.ndarray, name: str) -> str:
        return write("Conv", x, weights, rng.normal(size=8), name=name, pads=[1, 1, 1, 1])

    def sign(x: str) -> str:
        return write("Where", write("GreaterOrEqual", x, 0.0), 1.0, -1.0)

    x = write.input("image", 1, 8, 8, 8)
    x = conv(sign(x), np.sign(reals) * (np.abs(reals) > 0.5), "ternary")
    x = conv(write("AveragePool", sign(x), name="pool", kernel_shape=[1, 2]), pairs, "averaged")
    stretches = np.geomspace(0.25, 2, 8).reshape(8, 1, 1)
    x = conv(write("Mul", sign(x), stretches), pairs, "stretched")
    x = conv(sign(x), pairs * np.geomspace(0.1, 1, 8).reshape(8, 1, 1), "per_input")
    x = conv(write("Relu", x, name="relu"), pairs, "weights_only")
    x = conv(write("Round", write("Clip", x, 0.0, 3.0)), pairs, "quantised")
    x = conv(sign(x), pairs, "binary")
    x = conv(sign(x), reals, "float_weights")
    x = conv(write("Tanh", x), reals, "ordinary")
    path = tmp_path_factory.mktemp("reasons") / "reasons.onnx"
    onnx.save(write.returns(x), path)
    return path


def test_compile_says_why(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(model), "-o", str(tmp_path / "m.so")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "  binary  1 of 9 convolutions and matrix products" in said
    assert [line for line in said if line.startswith("          not ")] == [
        f"          not {name}: {reason}" for name, reason in REASONS.items()
    ]


def test_stats_say_why(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", str(model)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("not binary")] == [
        f"not binary: {name}: {reason}" for name, reason in REASONS.items()
    ]
    assert main(["stats", str(model), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert {v["name"]: v["reason"] for v in layers if v["candidate"]} == REASONS


def test_python_says_why(model: Path) -> None:
    layers = {layer.name: layer for layer in bnnc.stats(str(model)).layers}
    assert {name: layers[name].reason for name in REASONS} == REASONS
    assert all(layers[name].candidate for name in REASONS)
    assert layers["binary"].binary and layers["binary"].reason is None
    assert not layers["ordinary"].candidate


def test_a_library_says_why(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bnnc.compile(model, tmp_path / "m.so")
    assert {v.name: v.reason for v in bnnc.stats(str(tmp_path / "m.so")).layers if v.candidate} == (
        REASONS
    )


def test_insisting_on_binary_makes_the_first_reason_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as failure:
        bnnc.compile(model, tmp_path / "m.so", require_binary=True)
    assert str(failure.value) == (
        f"{model}: ternary: is not binary: its weights take 3 values (and 6 more); "
        "compile without --require-binary to keep it float"
    )
    assert not (tmp_path / "m.so").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_weights_that_are_no_numbers_are_told_of(number: float) -> None:
    write, weights = Writer(), np.sign(np.linspace(-1, 1, 512)).reshape(8, 8, 8, 1)
    weights[3, 2] = number
    x = write("Sign", write.input("image", 1, 8, 8, 8))
    _, report = compiler.reference_graph(write.returns(write("Conv", x, weights)))
    assert [verdict.reason for verdict in report.verdicts] == ["its weights are not all finite"]


ONE_SIDED: dict[str, tuple[Callable[[Writer, str], str], str]] = {
    "Sign": (lambda w, x: w("Sign", x), "0 or 1"),
    "x >= 0": (lambda w, x: w("Where", w("GreaterOrEqual", x, 0.0), 1.0, -1.0), "1"),
    "x < 0": (lambda w, x: w("Where", w("Less", x, 0.0), 0.5, -0.5), "-0.5"),
}
"""Signs of what is never negative, and what they always give."""


def test_a_sign_that_tells_zero_from_the_rest_is_a_sign_of_its_own() -> None:
    write = Writer()
    x = write("Relu", write.input("image", 1, 8, 8, 8))
    x = write("Cast", write("Greater", x, 0.0), to=1)
    model = write.returns(write("Conv", x, np.sign(np.linspace(-1, 1, 512)).reshape(8, 8, 8, 1)))
    assert [(v.binary, v.note) for v in compiler.reference_graph(model)[1].verdicts] == [(True, "")]


@pytest.mark.parametrize("name", ONE_SIDED)
def test_a_sign_that_always_goes_one_way_is_told_of(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, values = ONE_SIDED[name]
    write, rng = Writer(), np.random.default_rng(0)
    x = write("Relu", write.input("image", 1, 8, 8, 8), name="relu")
    x = write("Conv", form(write, x), rng.choice([-1.0, 1.0], (8, 8, 3, 3)), name="conv")
    path = tmp_path / "m.onnx"
    onnx.save(write.returns(x), path)
    note = f"its input is always {values}: Relu 'relu' is never below 0"
    assert {layer.name: layer.note for layer in bnnc.stats(str(path)).layers} == {"conv": note}
    for command in (["stats", str(path)], ["compile", str(path), "-o", str(tmp_path / "m.so")]):
        assert main(command) == 0
        assert note in capsys.readouterr().out
