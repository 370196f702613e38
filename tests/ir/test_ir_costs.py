"""Multiply-adds and parameters are counted as both conventions say."""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.ir import costs
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType


def tensor(graph: Graph, *shape: int) -> Value:
    return graph.add_input("t", TensorType(DType.F32, shape))


def conv(graph: Graph, x: Value, channels: int, kernel: int, stride: int = 1) -> Value:
    """A "same" convolution."""
    w = tensor(graph, channels, x.shape[1], kernel, kernel)
    before = (kernel - 1) // 2
    pads = (before, before, kernel - 1 - before, kernel - 1 - before)
    return graph.add("Conv", [x, w], {"strides": (stride, stride), "pads": pads}).output


def depthwise(graph: Graph, x: Value) -> Value:
    """3x3, stride 2, "same"."""
    w = tensor(graph, x.shape[1], 1, 3, 3)
    attrs = {"strides": (2, 2), "pads": (1, 1, 1, 1), "group": x.shape[1]}
    return graph.add("Conv", [x, w], attrs).output


def up(graph: Graph, x: Value, channels: int, kernel: int) -> Value:
    """Transposed convolution to twice the size."""
    crop = (kernel - 2) // 2
    w = tensor(graph, x.shape[1], channels, kernel, kernel)
    attrs = {"strides": (2, 2), "pads": (crop,) * 4}
    return graph.add("ConvTranspose", [x, w], attrs).output


def detector(
    encoder: list[tuple[int, int]], decoder: list[int], kernel: int, head: int
) -> tuple[Graph, list[Value]]:
    """The paper's modular network at 512x512 and 20 classes; also its binary convolutions."""
    graph = Graph()
    width = encoder[0][1]
    x = conv(graph, tensor(graph, 1, 3, 512, 512), width // 4, 3, 2)
    x = conv(graph, depthwise(graph, x), width, 1)
    binary = []
    for scale, (blocks, channels) in enumerate(encoder):
        if scale:
            x = graph.add("MaxPool", [x], {"kernel": (2, 2)}).output
            x = conv(graph, depthwise(graph, x), channels, 1)
        for _ in range(blocks):
            x = conv(graph, x, channels, 3)
            binary.append(x)
    for channels in decoder:
        x = up(graph, x, channels, kernel)
    for channels in (20, 2, 2):
        conv(graph, conv(graph, x, head, 3), channels, 1)
    return graph, binary


@pytest.mark.parametrize(
    ("encoder", "decoder", "kernel", "head", "paper", "executed", "binary"),
    [
        pytest.param(
            [(4, 64), (4, 128), (4, 256), (4, 512)], [32, 16, 4], 4, 64,
            10_273_095_680, 10_034_020_352, 9_663_676_416, id="q0",
        ),
        pytest.param(
            [(4, 128), (4, 256), (4, 324), (4, 512)], [64, 64, 32], 2, 32,
            26_812_113_920, 26_560_455_680, 25_613_107_200, id="q1",
        ),
        pytest.param(
            [(2, 128), (4, 256), (8, 324), (10, 512)], [128, 64, 16], 4, 64,
            31_030_076_416, 29_620_790_272, 28_274_982_912, id="q2",
        ),
        pytest.param(
            [(8, 64), (8, 128), (8, 162), (8, 256)], [64, 64, 64], 2, 32,
            14_244_524_544, 13_942_534_656, 12_806_553_600, id="q5",
        ),
    ],
)  # fmt: skip
def test_totals_are_the_paper_s_and_the_executed_ones(
    encoder: list[tuple[int, int]],
    decoder: list[int],
    kernel: int,
    head: int,
    paper: int,
    executed: int,
    binary: int,
) -> None:
    graph, blocks = detector(encoder, decoder, kernel, head)
    assert sum(costs.macs(node, "paper") for node in graph.nodes()) == paper
    assert sum(costs.macs(node) for node in graph.nodes()) == executed
    assert sum(costs.macs(value.producer) for value in blocks) == binary


def test_conventions_differ_for_transposed_convolutions_alone() -> None:
    graph = Graph()
    x = tensor(graph, 1, 8, 5, 5)
    plain, transposed = conv(graph, x, 4, 3).producer, up(graph, x, 4, 4).producer
    assert costs.macs(plain, "paper") == costs.macs(plain) == 25 * 9 * 8 * 4
    assert costs.macs(transposed) == 25 * 16 * 8 * 4
    assert costs.macs(transposed, "paper") == 4 * costs.macs(transposed)


def test_a_group_sees_its_own_channels_only() -> None:
    graph = Graph()
    x = tensor(graph, 2, 8, 5, 5)
    node = graph.add("Conv", [x, tensor(graph, 4, 2, 3, 3)], {"group": 4})
    assert costs.macs(node) == 2 * 4 * 3 * 3 * 9 * 2
    node = graph.add("ConvTranspose", [x, tensor(graph, 8, 3, 2, 2)], {"group": 4})
    assert costs.macs(node) == 2 * 25 * 4 * 8 * 3


def test_a_matrix_product_counts_its_inner_length() -> None:
    graph = Graph()
    node = graph.add("MatMul", [tensor(graph, 6, 3, 4), tensor(graph, 4, 5)])
    assert costs.macs(node) == 6 * 3 * 5 * 4


def test_a_binary_convolution_counts_like_the_float_one() -> None:
    graph = Graph()
    x = graph.constant(np.ones((1, 8, 5, 5), bool), b1=True)
    w = graph.constant(np.ones((4, 8, 3, 3), bool), b1=True)
    node = graph.add("BinaryConv", [x, w], {"pads": (1, 1, 1, 1), "pad": 1})
    assert costs.macs(node) == costs.macs(node, "paper") == 25 * 9 * 8 * 4
    assert costs.parameters(node) == 4 * 8 * 9


def test_other_ops_cost_nothing() -> None:
    graph = Graph()
    x = tensor(graph, 1, 8, 4, 4)
    for op, attrs in (("Relu", {}), ("MaxPool", {"kernel": (2, 2)}), ("Softmax", {})):
        node = graph.add(op, [x], attrs)
        assert costs.macs(node) == costs.parameters(node) == 0


def test_parameters_are_the_constant_weights_and_biases() -> None:
    graph = Graph()
    x = tensor(graph, 1, 8, 4, 4)
    w = graph.constant(np.zeros((4, 8, 3, 3), np.float32))
    b = graph.constant(np.zeros(4, np.float32))
    node = graph.add("Conv", [x, w, b])
    assert costs.parameter_values(node) == [w, b]
    assert costs.parameters(node) == 4 * 8 * 9 + 4
    assert costs.parameters(graph.add("Conv", [x, w])) == 4 * 8 * 9
    assert costs.parameters(graph.add("Conv", [x, tensor(graph, 4, 8, 3, 3), b])) == 4


def test_a_batch_norm_learns_scale_and_bias_and_a_prelu_its_slope() -> None:
    graph = Graph()
    x = tensor(graph, 1, 8, 4, 4)
    vectors = [graph.constant(np.ones(8, np.float32)) for _ in range(4)]
    assert costs.parameters(graph.add("BatchNormalization", [x, *vectors])) == 16
    slope = graph.constant(np.ones((8, 1, 1), np.float32))
    assert costs.parameters(graph.add("PRelu", [x, slope])) == 8


def test_a_matrix_product_may_have_its_weights_on_either_side() -> None:
    graph = Graph()
    w = graph.constant(np.zeros((4, 4), np.float32))
    x = tensor(graph, 4, 4)
    assert costs.parameters(graph.add("MatMul", [x, w])) == 16
    assert costs.parameters(graph.add("MatMul", [w, x])) == 16
    assert costs.parameters(graph.add("MatMul", [x, x])) == 0
