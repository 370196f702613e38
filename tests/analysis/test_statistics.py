"""Statistics: what is counted, and how it is written down."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from bnnc import passes
from bnnc.analysis import report
from bnnc.analysis.statistics import Statistics, equivalent_flop, statistics
from bnnc.errors import InputError
from bnnc.ir.graph import Graph
from bnnc.ir.types import DType, TensorType

STEM, BLOCK = 8 * 8 * 4 * 27, 6 * 6 * 8 * 36
UP, UP_AT_OUTPUT = 6 * 6 * 4 * 8 * 2, 12 * 12 * 4 * 8 * 2


def test_executed_counts_what_is_executed(graph: Graph) -> None:
    stats = statistics(graph)
    assert [(layer.name, layer.macs) for layer in stats.layers] == [
        ("stem", STEM),
        ("block", BLOCK),
        ("up", UP),
    ]


def test_paper_counts_transposed_convolutions_at_their_output(graph: Graph) -> None:
    assert statistics(graph, "paper").layers[2].macs == UP_AT_OUTPUT


def test_totals_are_sums(graph: Graph) -> None:
    total = statistics(graph).total
    assert total.macs == STEM + BLOCK + UP
    assert total.binary_macs == BLOCK and total.float_macs == STEM + UP
    assert total.binarization_ratio == BLOCK / (STEM + BLOCK + UP)


def test_equivalent_flop_follow_equation_1(graph: Graph) -> None:
    total = statistics(graph).total
    ratio = total.binarization_ratio
    expected = total.macs * ratio / 64 + total.macs * (1 - ratio)
    assert total.equivalent_flop == pytest.approx(expected, rel=1e-12)


def test_integers_stay_integers() -> None:
    assert equivalent_flop(6400, 5) == 105 and isinstance(equivalent_flop(6400, 5), int)
    assert equivalent_flop(32, 0) == 0.5


def test_a_binary_weight_takes_a_bit(graph: Graph) -> None:
    stem, block, _ = statistics(graph).layers
    assert (block.parameters, block.bytes, block.float_bytes) == (288, 36, 1152)
    assert (stem.parameters, stem.bytes, stem.float_bytes) == (112, 448, 448)


def test_scales_and_biases_of_a_binary_layer_are_its_parameters() -> None:
    rng = np.random.default_rng(0)
    weights = rng.choice(np.array([-1, 1]), (8, 4, 3, 3)) * rng.uniform(0.1, 1, (8, 1, 1, 1))
    graph = Graph("scaled")
    x = graph.add_input("x", TensorType(DType.F32, (1, 4, 6, 6)))
    signs = graph.add("Sign", [x]).output
    inputs = [graph.constant(array.astype(np.float32)) for array in (weights, rng.normal(size=8))]
    graph.mark_outputs([graph.add("Conv", [signs, *inputs], name="conv").output])
    passes.run(graph, passes.SEMANTIC)
    (layer,) = statistics(graph).layers
    assert (layer.parameters, layer.bytes) == (288 + 8 + 8, 36 + 4 * 16)


def test_parts_of_one_product_are_one_layer() -> None:
    """At stride 2, a transposed convolution of 3x3 has phases of four sizes."""
    weights = np.random.default_rng(0).choice(np.float32([-1, 1]), (8, 4, 3, 3))
    graph = Graph("phases")
    x = graph.add_input("x", TensorType(DType.F32, (1, 8, 6, 6)))
    inputs = [graph.add("Sign", [x]).output, graph.constant(weights)]
    up = graph.add("ConvTranspose", inputs, {"strides": (2, 2)}, name="up")
    graph.mark_outputs([up.output])
    verdicts = passes.run(graph, passes.SEMANTIC).verdicts
    assert sum(node.op.name == "Conv" for node in graph.nodes()) == 4
    (layer,) = statistics(graph).layers
    assert (layer.name, layer.binary, layer.parameters) == ("up", True, weights.size)
    assert [verdict.name for verdict in verdicts] == ["up"]


def binary_layer(
    op: str, weights: np.ndarray, bias: np.ndarray | None = None, shift: float = 0, **attrs: Any
) -> Graph:
    """``op`` of sign(x) + shift, x of [1, 8, 6, 6], as the passes leave it."""
    graph = Graph(op)
    x = graph.add_input("x", TensorType(DType.F32, (1, 8, 6, 6)))
    signs = graph.add("Sign", [x], {"zero": 1}).output
    if shift:
        signs = graph.add("Add", [signs, graph.constant(np.float32(shift))]).output
    constants = [graph.constant(a.astype(np.float32)) for a in (weights, bias) if a is not None]
    product = graph.add(op, [signs, *constants], attrs, name="layer")
    graph.mark_outputs([product.output])
    passes.run(graph, passes.SEMANTIC)
    return graph


def drawn_signs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).choice(np.float32([-1, 1]), shape)


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_binary_transposed_convolution_is_shown_as_the_model_has_it(kernel: int) -> None:
    """Its phases are one convolution if they have equally many weights, else four."""
    weights, pads = drawn_signs(8, 4, kernel, kernel), (1, 1, kernel - 3, kernel - 3)
    graph = binary_layer("ConvTranspose", weights, strides=(2, 2), pads=pads)
    (layer,) = statistics(graph, "paper").layers
    assert layer.binary and layer.op == "ConvTranspose"
    assert layer.output_shape == (1, 4, 12, 12)
    assert layer.macs == 12 * 12 * weights.size
    assert layer.activation_bytes == 4 * 4 * 12 * 12


def test_executed_counts_the_phases_of_a_binary_transposed_convolution() -> None:
    """Each is a convolution of 2x2 that is padded by one on all sides: 7x7 windows."""
    graph = binary_layer("ConvTranspose", drawn_signs(8, 4, 4, 4), strides=(2, 2), pads=(1,) * 4)
    assert statistics(graph).total.macs == 7 * 7 * (4 * 4) * (2 * 2 * 8)


@pytest.mark.parametrize("kernel", [3, 4])
def test_a_bias_counts_once_for_all_phases(kernel: int) -> None:
    weights, bias = drawn_signs(8, 4, kernel, kernel), np.arange(1, 5)
    graph = binary_layer("ConvTranspose", weights, bias, strides=(2, 2))
    (layer,) = statistics(graph).layers
    assert layer.parameters == statistics(graph).total.parameters == weights.size + 4


def test_a_binary_matrix_product_is_shown_as_the_model_has_it() -> None:
    """Several matrices become a convolution in groups."""
    graph = binary_layer("MatMul", drawn_signs(8, 6, 5))
    (layer,) = statistics(graph).layers
    assert (layer.op, layer.output_shape) == ("MatMul", (1, 8, 6, 5))
    assert (layer.macs, layer.parameters) == (8 * 6 * 6 * 5, 8 * 6 * 5)


def test_the_sums_that_weights_of_zero_and_one_need_count_where_they_are_executed() -> None:
    """A convolution with one output channel more, whose weights of one are stored as bits."""
    graph = binary_layer("Conv", (drawn_signs(4, 8, 3, 3) + 1) / 2, pads=(1,) * 4)
    executed, paper = (statistics(graph, convention) for convention in ("executed", "paper"))
    assert paper.total.macs == 6 * 6 * 4 * 72
    assert executed.total.macs == 6 * 6 * (4 + 1) * 72
    for (layer,) in (executed.layers, paper.layers):
        assert layer.parameters == 4 * 72 and layer.output_shape == (1, 4, 6, 6)
        assert layer.activation_bytes == 4 * 4 * 6 * 6
    scales_and_offsets = 4 * (4 + 4 + 4)
    assert executed.total.bytes == (4 + 1) * 72 // 8 + scales_and_offsets - 4 * 4


def test_offsets_of_weights_are_parameters_where_channels_differ() -> None:
    values = np.arange(1, 5).reshape(4, 1, 1, 1)
    graph = binary_layer("Conv", drawn_signs(4, 8, 3, 3) * values / 4 + values / 8)
    assert statistics(graph).total.parameters == 4 * 72 + 4 + 4


def test_what_zero_padding_adds_to_shifted_activations_is_stored_but_no_parameter() -> None:
    """The border is a constant that differs between places; the bias is within it."""
    weights, bias = drawn_signs(4, 8, 3, 3), np.arange(1, 5)
    graph = binary_layer("Conv", weights, bias, shift=0.25, pads=(1,) * 4)
    for convention in ("executed", "paper"):
        (layer,) = statistics(graph, convention).layers
        assert layer.parameters == weights.size + 4
        assert layer.float_bytes == 4 * layer.parameters
        assert layer.bytes == weights.size // 8 + 4 * (4 * 6 * 6)


def test_a_bias_counts_behind_scales_that_are_computed_during_the_run() -> None:
    """XNOR-Net's: the product of sign(x) * mean(|x|) is scaled behind, and the bias added then."""
    graph = Graph("xnor")
    x = graph.add_input("x", TensorType(DType.F32, (1, 8, 6, 6)))
    mean = graph.add("ReduceMean", [graph.add("Abs", [x]).output], {"axes": (1, 2, 3)}).output
    scaled = graph.add("Mul", [graph.add("Sign", [x], {"zero": 1}).output, mean]).output
    constants = [graph.constant(drawn_signs(4, 8, 3, 3)), graph.constant(np.float32([1, 2, 3, 4]))]
    graph.mark_outputs([graph.add("Conv", [scaled, *constants], name="layer").output])
    passes.run(graph, passes.SEMANTIC)
    (layer,) = statistics(graph).layers
    assert layer.binary and layer.parameters == 4 * 72 + 4


def test_binary_layers_that_share_weights_count_them_once() -> None:
    graph = Graph("shared")
    x = graph.add_input("x", TensorType(DType.F32, (1, 4, 6, 6)))
    scales = np.arange(1, 5).reshape(4, 1, 1, 1)
    w = graph.constant((drawn_signs(4, 4, 3, 3) * scales).astype(np.float32))
    for name in ("first", "second"):
        signs = graph.add("Sign", [x], {"zero": 1}).output
        x = graph.add("Conv", [signs, w], {"pads": (1,) * 4}, name=name).output
    graph.mark_outputs([x])
    passes.run(graph, passes.SEMANTIC)
    assert statistics(graph).total.parameters == 4 * 36 + 2 * 4


def test_what_is_not_binary_says_why(graph: Graph) -> None:
    stem, block, up = statistics(graph).layers
    assert block.binary and block.reason is None
    assert not stem.binary and "input" in (stem.reason or "")
    assert not up.binary and up.reason


def test_a_shared_constant_counts_once_in_the_total() -> None:
    graph = Graph("shared")
    x = graph.add_input("x", TensorType(DType.F32, (1, 2, 4, 4)))
    w = graph.constant(np.ones((2, 2, 1, 1), np.float32))
    first = graph.add("Conv", [x, w], name="first").output
    second = graph.add("Conv", [first, w], name="second").output
    graph.mark_outputs([second])
    stats = statistics(graph)
    assert [layer.parameters for layer in stats.layers] == [4, 4]
    assert stats.total.parameters == 4 and stats.total.bytes == 16


def test_a_model_without_multiply_adds_has_a_ratio_of_zero() -> None:
    graph = Graph("relu")
    x = graph.add_input("x", TensorType(DType.F32, (1, 2)))
    graph.mark_outputs([graph.add("Relu", [x]).output])
    assert statistics(graph).total.binarization_ratio == 0


def test_the_document_has_the_promised_keys(graph: Graph) -> None:
    document = json.loads(json.dumps(statistics(graph, "paper").document()))
    assert document["model"] == "small" and document["convention"] == "paper"
    assert document["total"].keys() >= {
        "macs",
        "binary_macs",
        "float_macs",
        "binarization_ratio",
        "equivalent_flop",
        "parameters",
        "bytes",
        "float_bytes",
    }
    for layer in document["layers"]:
        assert layer.keys() >= {"name", "op", "binary", "macs", "output_shape", "reason"}
        assert isinstance(layer["macs"], int) and isinstance(layer["output_shape"], list)


def test_a_document_reads_back(graph: Graph) -> None:
    stats = statistics(graph)
    assert Statistics.of_document(json.loads(json.dumps(stats.document()))) == stats


@pytest.mark.parametrize("document", [{}, {"model": "x"}, {"total": {}, "layers": [1]}])
def test_a_document_of_another_kind_is_told(document: dict) -> None:
    with pytest.raises(InputError, match="holds no statistics"):
        Statistics.of_document(document)


def test_an_unknown_convention_is_told(graph: Graph) -> None:
    with pytest.raises(InputError, match="no convention 'guess'; choose one of executed, paper"):
        statistics(graph, "guess")


# ---- reports ----------------------------------------------------------------------------------


def test_the_summary_gives_the_totals(graph: Graph) -> None:
    text = report.summary(statistics(graph))
    assert f"{STEM + BLOCK + UP:,}" in text and "r_b" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (10_273_095_680, "10.273 G"),
        (812_408_000, "0.812 G"),
        (99_999_999, "100.000 M"),
        (40_250_000, "40.250 M"),
        (18_432, "18.432 K"),
        (99, "99"),
        (0.5, "0.5"),
        (0, "0"),
    ],
)
def test_equivalent_flop_are_told_in_a_unit_that_shows_digits(count: float, text: str) -> None:
    assert report.flop_text(count) == text


def test_the_table_has_a_row_for_each_layer(graph: Graph) -> None:
    rows = report.layer_table(statistics(graph)).splitlines()
    assert [row.split()[0] for row in rows] == ["layer", "stem", "block", "up"]
    assert "binary" in rows[2] and "float" in rows[1]


def test_the_picture_is_complete_in_itself(graph: Graph) -> None:
    page = report.picture(statistics(graph))
    assert page.count("<rect") == 3
    assert not re.search(r"(src|href)=|@import|url\(", page)
    assert report.BINARY_COLOUR in page and report.FLOAT_COLOUR in page


def test_names_cannot_become_markup_or_break_the_terminal() -> None:
    graph = Graph("<script>alert(1)</script>")
    x = graph.add_input("x", TensorType(DType.F32, (1, 2, 4, 4)))
    w = graph.constant(np.ones((2, 2, 1, 1), np.float32))
    conv = graph.add("Conv", [x, w], name='"/><script>\x1b[31m\n')
    graph.mark_outputs([conv.output])
    stats = statistics(graph)
    assert "<script" not in report.picture(stats)
    table = report.layer_table(stats)
    assert "\x1b" not in table and len(table.splitlines()) == 2
