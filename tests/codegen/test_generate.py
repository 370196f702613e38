"""Compiled layers compute what the interpreter says, op by op, and the C is fit to be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bnnc import codegen
from bnnc.codegen.emitter import comment, string_literal
from bnnc.errors import UnsupportedError
from bnnc.ir import interpreter
from bnnc.ir.epilogue import Step
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType
from bnnc.runtime import InferenceSession

Compile = Callable[..., InferenceSession]
F32 = DType.F32


def _graph(*shapes: tuple[int, ...], dtype: DType = F32) -> tuple[Graph, list[Value]]:
    graph = Graph("test")
    values = [graph.add_input(f"x{i}", TensorType(dtype, s)) for i, s in enumerate(shapes)]
    return graph, values


def _feeds(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    feeds = {}
    for value in graph.inputs:
        noise = rng.standard_normal(value.shape) * 3
        feeds[value.name] = noise.astype(value.dtype.numpy)
    return feeds


def _agree(graph: Graph, compile_graph: Compile, rng: np.random.Generator) -> None:
    feeds = _feeds(graph, rng)
    expected = interpreter.run(graph, feeds)
    results = compile_graph(graph).run(None, feeds)
    for name, result, want in zip(graph.output_names, results, expected):
        assert result.dtype == want.dtype and result.shape == want.shape, name
        if want.dtype.kind == "f":
            scale = np.abs(want[np.isfinite(want)]).max(initial=1e-30)
            np.testing.assert_allclose(result, want, rtol=0, atol=1e-5 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(result, want, err_msg=name)


UNARY: dict[str, dict[str, Any]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.1},
    "Clip": {"min": -1.0, "max": 2.0},
    "Sigmoid": {},
    "Tanh": {},
    "HardSwish": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Exp": {},
    "Neg": {},
    "Abs": {},
    "Floor": {},
    "Ceil": {},
    "Round": {},
    "Reciprocal": {},
    "Erf": {},
    "Softplus": {},
    "Elu": {"alpha": 1.5},
    "Selu": {},
    "Softsign": {},
    "Sign": {},
    "Sin": {},
    "Cos": {},
    "Asin": {},
    "Acos": {},
    "Atan": {},
    "Asinh": {},
    "Acosh": {},
    "Atanh": {},
}


def test_unary_functions(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x,) = _graph((2, 3, 5, 7))
    graph.mark_outputs([graph.add(op, [x], attrs).output for op, attrs in UNARY.items()])
    _agree(graph, compile_graph, rng)


@pytest.mark.parametrize(
    ("op", "attrs"), [("TopK", {"k": 2}), ("MatMul", {}), ("MaxPool", {"kernel": (2, 2)})]
)
def test_kernels_of_floats_read_nothing_else(
    compile_graph: Compile, op: str, attrs: dict[str, Any]
) -> None:
    graph, (x,) = _graph((1, 1, 4, 4), dtype=DType.I64)
    graph.mark_outputs(graph.add(op, [x, x] if op == "MatMul" else [x], attrs).outputs)
    with pytest.raises(UnsupportedError, match=f"{op} works on i64 elements.* cast to float32 in"):
        compile_graph(graph)


def test_inputs_and_outputs_of_every_type(compile_graph: Compile) -> None:
    """Those that code does not compute with are cast on the way in and out."""
    graph = Graph()
    kinds = [kind for kind in DType if kind is not DType.B1]
    outputs, feeds = [], {}
    for kind in kinds:
        x = graph.add_input(kind.value, TensorType(kind, (3, 5)))
        y = graph.add("Add", [graph.add("Cast", [x], {"to": F32}).output] * 2).output
        outputs.append(graph.add("Cast", [y], {"to": kind}).output)
        feeds[kind.value] = np.arange(15).reshape(3, 5).astype(kind.numpy)
    graph.mark_outputs(outputs)
    expected = interpreter.run(graph, feeds)
    for kind, mine, wanted in zip(kinds, compile_graph(graph).run(None, feeds), expected):
        assert mine.dtype == kind.numpy
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("zero", [-1, 0, 1])
def test_sign_gives_what_its_policy_says(compile_graph: Compile, zero: int) -> None:
    graph, (x,) = _graph((1, 1, 1, 6))
    graph.mark_outputs([graph.add("Sign", [x], {"zero": zero}).output])
    data = np.array([-2.0, -0.0, 0.0, 3.0, np.inf, np.nan], np.float32).reshape(1, 1, 1, 6)
    (expected,) = interpreter.run(graph, {"x0": data})
    (result,) = compile_graph(graph).run(None, {"x0": data})
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [DType.F32, DType.I64, DType.I32])
def test_broadcasting_arithmetic(
    compile_graph: Compile, rng: np.random.Generator, dtype: DType
) -> None:
    graph, (x, y, z) = _graph((2, 3, 4, 5), (3, 1, 5), (1,), dtype=dtype)
    ops = ["Add", "Sub", "Mul", "Max", "Min", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
    values = [graph.add(op, [x, y]).output for op in [*ops, "Equal"]]
    values += [graph.add("Add", [z, x]).output, graph.add("Sub", [y, y]).output]
    values.append(graph.add("Where", [values[5], x, y]).output)
    divisor = graph.constant(np.array([3], dtype.numpy), "three")
    values += [
        graph.add("Mod", [x, divisor], {"fmod": int(fmod)}).output for fmod in (dtype is F32, 1)
    ]
    values.append(graph.add("And", [values[5], values[7]]).output)
    values.append(graph.add("Not", [values[5]]).output)
    graph.mark_outputs(values)
    _agree(graph, compile_graph, rng)


def test_division_power_and_prelu(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x, y) = _graph((1, 3, 4, 4), (1, 3, 4, 4))
    positive = graph.add("Abs", [x]).output
    slope = graph.constant(np.array([0.1, 0.2, -0.3], np.float32).reshape(3, 1, 1))
    graph.mark_outputs(
        [
            graph.add("Div", [x, y]).output,
            graph.add("Pow", [positive, y]).output,
            graph.add("PRelu", [x, slope]).output,
            graph.add("Sqrt", [positive]).output,
            graph.add("Log", [positive]).output,
        ]
    )
    _agree(graph, compile_graph, rng)


@pytest.mark.parametrize("to", [DType.I32, DType.I64, DType.U8, DType.BOOL, DType.F32])
def test_casts(compile_graph: Compile, to: DType) -> None:
    graph, (x,) = _graph((1, 8))
    graph.mark_outputs([graph.add("Cast", [x], {"to": to}).output])
    data = np.array([[0.0, 1.0, 2.7, 100.2, 0.4, 3.0, 7.0, 250.0]], np.float32)
    (result,) = compile_graph(graph).run(None, {"x0": data})
    np.testing.assert_array_equal(result, data.astype(to.numpy))


def test_movement(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x, y) = _graph((2, 3, 4, 5), (2, 2, 4, 5))

    def add(op: str, values: list[Value], **attrs: Any) -> Value:
        return graph.add(op, values, attrs).output

    pads = (0, 1, 2, 0, 0, 0, 1, 3)
    graph.mark_outputs(
        [
            add("Transpose", [x], perm=(0, 2, 3, 1)),
            add("Transpose", [x], perm=(3, 1, 2, 0)),
            add("Reshape", [x], shape=(6, 20)),
            add("Concat", [x, y], axis=1),
            add("Concat", [x, x], axis=3),
            add("Slice", [x], starts=(1, 4), ends=(3, -6), axes=(1, 3), steps=(1, -2)),
            add("Pad", [x], pads=pads, mode="constant", value=-1.5),
            add("Pad", [x], pads=(0, 0, 1, 2, 0, 0, 2, 1), mode="reflect"),
            add("Pad", [x], pads=(0, 0, 1, 0, 0, 0, 0, 4), mode="edge"),
            add(
                "Expand",
                [add("Slice", [x], starts=(0,), ends=(1,), axes=(1,), steps=(1,))],
                shape=(2, 6, 4, 5),
            ),
            add("Gather", [x, graph.constant(np.array([2, 0, -1]))], axis=1),
            x,
        ]
    )
    _agree(graph, compile_graph, rng)


def test_reductions(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x,) = _graph((2, 3, 6, 5))
    values = []
    for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare"):
        for axes, keep in (((2, 3), 1), ((1,), 0), ((0, 2), 0), ((0, 1, 2, 3), 0)):
            node = graph.add(f"Reduce{kind}", [x], {"axes": axes, "keepdims": keep})
            values.append(node.output)
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            attrs = {"axis": 1, "keepdims": 1, "select_last_index": last}
            values.append(graph.add(op, [x], attrs).output)
    for op in ("Softmax", "LogSoftmax"):
        values += [graph.add(op, [x], {"axis": axis}).output for axis in (1, 3)]
    values += graph.add("TopK", [x], {"axis": 2, "k": 4, "largest": 1}).outputs
    graph.mark_outputs(values)
    _agree(graph, compile_graph, rng)


def test_convolutions(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x,) = _graph((2, 6, 9, 11))

    def weights(*shape: int) -> Value:
        return graph.constant(rng.standard_normal(shape).astype(np.float32), "w")

    def conv(op: str, w: Value, bias: int = 0, **attrs: Any) -> Value:
        return graph.add(op, [x, w, weights(bias) if bias else None], attrs).output

    graph.mark_outputs(
        [
            conv("Conv", weights(10, 6, 3, 3), 10, pads=(1, 1, 1, 1)),
            conv("Conv", weights(4, 6, 1, 1)),
            conv("Conv", weights(8, 3, 3, 2), 8, group=2, strides=(2, 1), pads=(0, 1, 2, 0)),
            conv("Conv", weights(6, 1, 3, 3), 6, group=6, strides=(2, 2), pads=(1, 1, 1, 1)),
            conv("Conv", weights(5, 6, 3, 3), dilations=(2, 3), pads=(2, 3, 2, 3)),
            conv("ConvTranspose", weights(6, 4, 4, 4), 4, strides=(2, 2), pads=(1, 1, 1, 1)),
            conv("ConvTranspose", weights(6, 2, 2, 2), strides=(2, 2), group=2),
            conv("ConvTranspose", weights(6, 3, 3, 3), strides=(3, 2), output_padding=(1, 1)),
        ]
    )
    _agree(graph, compile_graph, rng)


@pytest.mark.parametrize(
    ("channels", "size", "taps_kept"),
    [((256, 16), 16, 1), ((32, 16), 16, 100 / 16), ((256, 16), 32, 36 / 16)],
    ids=["many weights of a small map", "few weights", "many weights of a large map"],
)
def test_transposed_convolutions_keep_large_weights_as_they_are_where_each_serves_few_pixels(
    compile_graph: Compile,
    rng: np.random.Generator,
    channels: tuple[int, int],
    size: int,
    taps_kept: float,
) -> None:
    graph, (x,) = _graph((1, channels[0], size, size))
    w = graph.constant(rng.standard_normal((*channels, 4, 4)).astype(np.float32), "w")
    attrs = {"strides": (2, 2), "pads": (1, 1, 1, 1)}
    graph.mark_outputs([graph.add("ConvTranspose", [x, w], attrs).output])
    weights = codegen.generate(graph, {"abi": 1, "bnnc": "test", "name": "m"}).weights
    assert len(weights) == pytest.approx(taps_kept * w.type.bytes, abs=64)
    _agree(graph, compile_graph, rng)


def test_pools_and_resize(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (x,) = _graph((2, 3, 8, 7))
    window = {"kernel": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1)}
    dilated = {**window, "dilations": (2, 3), "pads": (2, 1, 1, 2)}
    indices, weights = np.arange(8)[:, None] // 2, np.ones((8, 1))
    tables = {
        "out_h": 16,
        "out_w": 7,
        "iy": np.repeat(np.arange(8), 2)[:, None].astype(np.int32),
        "wy": np.ones((16, 1), np.float32),
        "ix": np.stack([np.arange(7), np.minimum(np.arange(7) + 1, 6)], 1).astype(np.int32),
        "wx": np.full((7, 2), 0.5, np.float32),
    }
    assert indices.shape == weights.shape
    graph.mark_outputs(
        [
            graph.add("MaxPool", [x], window).output,
            graph.add("AveragePool", [x], {**window, "count_include_pad": 1}).output,
            graph.add("AveragePool", [x], {**window, "count_include_pad": 0}).output,
            graph.add("AveragePool", [x], {**dilated, "count_include_pad": 0}).output,
            graph.add("Resize", [x], tables).output,
        ]
    )
    _agree(graph, compile_graph, rng)


def test_matrix_products(compile_graph: Compile, rng: np.random.Generator) -> None:
    graph, (a, b, c) = _graph((4, 5, 6), (4, 6, 3), (5, 6))
    w = graph.constant(rng.standard_normal((6, 10)).astype(np.float32), "w")
    bias = graph.constant(rng.standard_normal(10).astype(np.float32), "bias")
    relu = Step("relu"), Step("store", result=0)
    graph.mark_outputs(
        [
            graph.add("MatMul", [a, b, None]).output,
            graph.add("MatMul", [a, w, None]).output,
            graph.add("MatMul", [c, w, bias], {"steps": relu}).output,
            graph.add("MatMul", [c, b, None]).output,
        ]
    )
    _agree(graph, compile_graph, rng)


@pytest.mark.parametrize("size", [4, 12, 32])
@pytest.mark.parametrize("pad", [-1, 0, 1])
def test_binary_convolutions_with_an_epilogue(
    compile_graph: Compile, rng: np.random.Generator, size: int, pad: int
) -> None:
    graph, (x,) = _graph((1, 70, size, size))
    zero = graph.constant(np.zeros(70, np.float32), "zero")
    w = graph.constant(rng.random((70, 70, 3, 3)) < 0.5, "w", b1=True)
    scale = graph.constant(rng.standard_normal(70).astype(np.float32), "scale")
    shift = graph.constant(rng.standard_normal(70).astype(np.float32), "shift")
    bits = graph.add("Map", [x, zero], {"steps": (Step("sign", (1,), 0, ("ge",)),)}).output
    program = (
        Step("relu"),
        Step("affine", (3, 4)),
        Step("add", (5,)),
        Step("store", result=0),
        Step("sign", (6,), 1, ("ge",)),
    )
    attrs = {"pads": (1, 1, 1, 1), "pad": pad}
    block = graph.add(
        "BinaryConv", [bits, w, None, scale, shift, x, zero], {**attrs, "steps": program}
    )
    after = graph.add("BinaryConv", [block.outputs[1], w, None], attrs)
    strided = graph.add("BinaryConv", [block.outputs[1], w, None], {**attrs, "strides": (2, 2)})
    graph.mark_outputs([block.outputs[0], after.output, strided.output])
    _agree(graph, compile_graph, rng)


def test_bits_unpack_to_their_two_constants(
    compile_graph: Compile, rng: np.random.Generator
) -> None:
    graph, (x,) = _graph((1, 5, 4, 4))
    zero = graph.constant(np.zeros(5, np.float32), "zero")
    bits = graph.add("Map", [x, zero], {"steps": (Step("sign", (1,), 0, ("ge",)),)}).output
    low, high = np.full(5, -2.0, np.float32), np.arange(5, dtype=np.float32)
    graph.mark_outputs([graph.add("Unpack", [bits], {"low": low, "high": high}).output])
    _agree(graph, compile_graph, rng)


def test_inputs_and_constants_can_be_outputs(
    compile_graph: Compile, rng: np.random.Generator
) -> None:
    graph, (x,) = _graph((1, 3))
    constant = graph.constant(np.arange(4, dtype=np.float32))
    double = graph.add("Add", [x, x]).output
    graph.mark_outputs([x, constant, double, double], ["a", "b", "c", "d"])
    _agree(graph, compile_graph, rng)


def _text() -> str:
    graph, (x,) = _graph((1, 3, 4, 4))
    graph.mark_outputs([graph.add("Relu", [graph.add("Neg", [x]).output]).output])
    info = {"abi": 1, "bnnc": "test", "name": "m"}
    return codegen.source(codegen.generate(graph, info), embed_weights=True)


def test_the_same_model_gives_the_same_text() -> None:
    assert _text() == _text()


def test_no_run_passes_through_a_symbol_that_another_model_may_have() -> None:
    text = _text()
    for name in ("bnnc_run", "bnnc_run_observed", "bnnc_detect"):
        assert len(re.findall(rf"\b{name}\(", text)) == 1  # its definition


HOSTILE = 'x*/ int evil; /* "; system("rm") // \n ??/ \\ \0 %s \N{SNOWMAN}'


def test_names_cannot_leave_a_comment() -> None:
    safe = comment(HOSTILE)
    assert not set(safe) & set('*/\\?"\n\0')
    assert safe.isascii()


def test_names_survive_a_string_literal(compile_graph: Compile) -> None:
    graph = Graph(HOSTILE)
    x = graph.add_input(HOSTILE, TensorType(F32, (1, 2)))
    graph.mark_outputs([graph.add("Relu", [x], name=HOSTILE).output], ["out " + HOSTILE])
    session = compile_graph(graph)
    assert session.get_inputs()[0].name == HOSTILE
    assert session.get_outputs()[0].name == "out " + HOSTILE
    assert "??" not in string_literal(HOSTILE)


def test_a_node_without_a_kernel_is_named() -> None:
    graph, (x,) = _graph((1, 2, 4, 4))
    w = graph.add("Reshape", [x], {"shape": (2, 1, 4, 4)}).output
    node = graph.add("Conv", [x, w], {"group": 2}, name="head.dynamic")
    graph.mark_outputs([node.output])
    with pytest.raises(
        UnsupportedError, match=r"head\.dynamic: Conv takes weights that are computed"
    ):
        codegen.generate(graph, {"abi": 1, "bnnc": "test", "name": "m"})
