"""What tf2onnx writes of Keras' and Larq's layers, node by node: found binary, and exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_text import Writer

import bnnc
from bnnc import compiler
from bnnc.frontends.onnx import load
from bnnc.ir import interpreter

RANDOM = np.random.default_rng(0)


def signs(*shape: int) -> np.ndarray:
    return RANDOM.choice([-1.0, 1.0], shape)


def ste_sign(w: Writer, x: str) -> str:
    return w("Sign", w("Add", w("Sign", x), 0.1))


def causal(w: Writer) -> str:
    """Conv1D pads in front, on (N, W, C), before it gets the axis that a convolution needs."""
    x = ste_sign(w, w.input("x", 1, 20, 8))
    x = w("Pad", x, np.int64([0, 2, 0, 0, 0, 0]))
    x = w("Transpose", w("Unsqueeze", x, np.int64([-3])), perm=[0, 3, 1, 2])
    y = w("Squeeze", w("Conv", x, signs(12, 8, 1, 3)), np.int64([2]))
    return w("Transpose", y, perm=[0, 2, 1])


def one_padded(w: Writer) -> str:
    """A convolution at stride 2 gets its ones as "same" pads: more behind than in front."""
    x = ste_sign(w, w.input("x", 1, 8, 8, 8))
    x = w("Pad", x, np.int64([0, 0, 0, 0, 0, 1, 1, 0]), 1.0)
    y = w("Conv", w("Transpose", x, perm=[0, 3, 1, 2]), signs(12, 8, 3, 3), strides=[2, 2])
    return w("Transpose", y, perm=[0, 2, 3, 1])


def locally_connected(w: Writer) -> str:
    """Every window of 2x2 is cut out and meets weights of its own."""
    x = ste_sign(w, w.input("x", 1, 4, 4, 5))
    windows = []
    for row in range(3):
        for column in range(3):
            starts, ends = np.int64([row, column]), np.int64([row + 2, column + 2])
            window = w("Slice", x, starts, ends, np.int64([1, 2]))
            windows.append(w("Reshape", window, np.int64([1, -1, 20])))
    y = w("MatMul", w("Concat", *windows, axis=0), signs(9, 20, 6))
    y = w("Reshape", y, np.int64([3, 3, -1, 6]))
    return w("Transpose", y, perm=[2, 0, 1, 3])


def framed(w: Writer) -> str:
    """Concat puts the ones around: on the border the input takes one value, inside it takes two."""
    x = ste_sign(w, w.input("x", 1, 8, 6, 5))
    x = w("Concat", np.ones((1, 8, 1, 5)), x, np.ones((1, 8, 1, 5)), axis=2)
    x = w("Concat", np.ones((1, 8, 8, 1)), x, np.ones((1, 8, 8, 1)), axis=3)
    return w("Conv", x, signs(12, 8, 3, 3))


def turned_by_place(w: Writer) -> str:
    """Signs that are turned at some places, which differ between the channels."""
    x = w("Mul", ste_sign(w, w.input("x", 1, 8, 6, 5)), signs(8, 6, 5))
    return w("Conv", x, signs(12, 8, 3, 3), pads=[1, 1, 1, 1])


FORMS: tuple[Callable[[Writer], str], ...] = (
    causal,
    one_padded,
    locally_connected,
    framed,
    turned_by_place,
)


@pytest.mark.parametrize("form", FORMS)
def test_the_layer_is_binary_and_exact(form: Callable[[Writer], str], tmp_path: Path) -> None:
    write = Writer(opset=13)
    model = write.returns(form(write))
    graph = load(model)
    x = RANDOM.standard_normal(graph.inputs[0].shape).astype(np.float32)
    _, report = compiler.reference_graph(model)
    assert [(verdict.binary, verdict.reason) for verdict in report.verdicts] == [(True, "")]
    session = bnnc.compile(model, tmp_path / "m.so", threads=1)
    np.testing.assert_array_equal(session(x)[0], interpreter.run(graph, {"x": x})[0])
