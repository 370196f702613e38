"""Statistics: what is counted, and how it is written down."""

from __future__ import annotations

import json
import re

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
