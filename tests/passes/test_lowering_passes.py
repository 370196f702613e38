"""Passes that turn a model into what kernels compute: graph before, graph after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import F32, Net, apply, assert_close, drawn, run

from bnnc.ir import interpreter
from bnnc.ir.epilogue import steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.ops import OPS
from bnnc.passes.compare_earlier import compare_earlier
from bnnc.passes.fold_batchnorm import fold_batchnorm
from bnnc.passes.fold_pad import fold_pad
from bnnc.passes.fuse_epilogues import fuse_epilogues
from bnnc.passes.fuse_points import fuse_points
from bnnc.passes.fuse_pools import fuse_pools
from bnnc.passes.lower_binary import lower_binary
from bnnc.passes.merge_branches import merge_branches
from bnnc.passes.report import Pass
from bnnc.passes.thresholds import thresholds


def lowered(graph: Graph, *passes: Pass) -> list[str]:
    """The drawing after the passes, having checked that the graph computes the same."""
    before = run(graph)
    apply(graph, *passes)
    assert_close(run(graph), before)
    return drawn(graph)


def the(graph: Graph, op: str) -> Node:
    (node,) = [node for node in graph.nodes() if node.op.name == op]
    return node


# ---- lower_binary --------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("pad", [-1, 0, 1])
def test_a_binary_convolution_runs_on_bits(group: int, pad: int) -> None:
    net = Net()
    x = net("Pad", net.sign(net.x, "s"), pads=(0, 0, 1, 0, 0, 0, 2, 1), value=float(pad))
    y = net("Conv", x, net.signs(8, 8 // group, 3, 2), strides=(2, 1), group=group, name="y")
    graph = net.returns(y)
    assert lowered(graph, lower_binary) == ["Map[sign]", "BinaryConv", "Cast"]
    conv = the(graph, "BinaryConv")
    assert conv.attrs["pads"] == (1, 0, 2, 1) and conv.attrs["pad"] == pad
    assert graph.outputs[0].name == "y"


def test_bits_say_which_tensor_they_stand_for() -> None:
    net = Net()
    x = net("Where", net("Less", net.x, 0.5), 1, 0, name="x01")
    graph = net.returns(net("Conv", x, net.signs(4, 8, 3, 3)))
    apply(graph, lower_binary)
    encoding = the(graph, "Map").output.stands_for
    assert encoding is not None and encoding.name == "x01"
    assert encoding.low.shape == (8, 1, 1)
    assert (encoding.low == 1).all() and (encoding.high == 0).all()


def test_other_activations_put_arithmetic_behind_the_integers() -> None:
    net = Net()
    x = net("Cast", net("Greater", net.x, 0), to=F32)
    graph = net.returns(net("Conv", x, net.signs(4, 8, 3, 3), pads=(1, 1, 1, 1)))
    assert lowered(graph, lower_binary) == ["Map[sign]", "BinaryConv", "Cast", "Mul", "Add"]
    assert the(graph, "BinaryConv").attrs["pad"] == -1


def test_inverted_bits_turn_weights_and_padding() -> None:
    net = Net()
    x = net("Where", net("GreaterOrEqual", net.x, 0), 0, 1)
    graph = net.returns(net("Conv", x, net.signs(4, 8, 3, 3), pads=(1, 1, 1, 1)))
    lowered(graph, lower_binary)
    assert the(graph, "BinaryConv").attrs["pad"] == 1


@pytest.mark.parametrize("group", [1, 4, 8])
def test_channels_of_opposite_sign_turn_their_weights(group: int) -> None:
    net = Net()
    x = net("Mul", net.sign(net.x), net.signs(8, 1, 1))
    graph = net.returns(net("Conv", x, net.signs(8, 8 // group, 3, 3), group=group))
    assert lowered(graph, lower_binary) == ["Map[sign]", "BinaryConv", "Cast"]
    assert the(graph, "Map").operand(0).name == "x"


def test_channels_of_opposite_sign_with_a_padded_value_are_compared_themselves() -> None:
    net = Net()
    x = net("Mul", net.sign(net.x), net.signs(8, 1, 1))
    x = net("Pad", x, pads=(0, 0, 1, 1, 0, 0, 1, 1), value=1.0)
    graph = net.returns(net("Conv", x, net.signs(4, 8, 3, 3)))
    assert lowered(graph, lower_binary) == ["Sign", "Mul", "Map[sign]", "BinaryConv", "Cast"]


def test_convolutions_of_one_tensor_share_its_bits() -> None:
    net = Net()
    s = net.sign(net.x)
    graph = net.returns(*(net("Conv", s, net.signs(4, 8, k, k)) for k in (1, 3)))
    ops = lowered(graph, lower_binary)
    assert ops.count("Map[sign]") == 1 and ops.count("BinaryConv") == 2


def test_a_moved_sign_is_compared_where_it_arrives() -> None:
    net = Net()
    pooled = net("MaxPool", net.sign(net.x), kernel=(2, 2))
    graph = net.returns(net("Conv", pooled, net.signs(4, 8, 3, 3)))
    assert lowered(graph, lower_binary) == ["Sign", "MaxPool", "Map[sign]", "BinaryConv", "Cast"]


def test_a_binary_matrix_product_is_a_convolution_of_single_pixels() -> None:
    net = Net(5, 8)
    graph = net.returns(net("MatMul", net.sign(net.x), net.signs(8, 3), name="y"))
    assert lowered(graph, lower_binary) == ["Map[sign]", "BinaryConv", "Cast"]
    assert the(graph, "BinaryConv").output.shape == (5, 3)


# ---- fold_pad ------------------------------------------------------------------------------------


def test_a_pad_of_zeros_becomes_the_convolutions() -> None:
    net = Net()
    x = net("Pad", net.x, pads=(0, 0, 1, 2, 0, 0, 3, 0))
    graph = net.returns(net("Conv", x, net.normal(4, 8, 3, 3), pads=(1, 0, 0, 1)))
    assert lowered(graph, fold_pad) == ["Conv"]
    assert the(graph, "Conv").attrs["pads"] == (2, 2, 3, 1)


@pytest.mark.parametrize(
    "attrs",
    [
        {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "value": 1.0},
        {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "mode": "edge"},
        {"pads": (0, 1, 0, 0, 0, 1, 0, 0)},
        {"pads": (0, 0, -1, 0, 0, 0, 0, 0)},
    ],
    ids=["ones", "edge", "channels", "crop"],
)
def test_other_pads_stay(attrs: dict[str, object]) -> None:
    net = Net()
    x = net("Pad", net.x, **attrs)
    graph = net.returns(net("Conv", x, net.normal(4, x.shape[1], 3, 3)))
    assert lowered(graph, fold_pad) == ["Pad", "Conv"]


# ---- fold_batchnorm ------------------------------------------------------------------------------

PRODUCTS: dict[str, Callable[[Net], Value]] = {
    "Conv": lambda n: n("Conv", n.x, n.normal(6, 8, 3, 3)),
    "Conv with bias": lambda n: n("Conv", n.x, n.normal(6, 8, 3, 3), n.normal(6)),
    "grouped Conv": lambda n: n("Conv", n.x, n.normal(6, 4, 3, 3), group=2),
    "ConvTranspose": lambda n: n("ConvTranspose", n.x, n.normal(8, 6, 2, 2), strides=(2, 2)),
    "grouped ConvTranspose": lambda n: n("ConvTranspose", n.x, n.normal(8, 3, 2, 2), group=2),
    "MatMul": lambda n: n("MatMul", n("Reshape", n.x, shape=(36, 8)), n.normal(8, 6), n.normal(6)),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_batch_normalisation_folds_into_products(product: str) -> None:
    net = Net()
    graph = net.returns(net.bn(PRODUCTS[product](net), "y"))
    ops = lowered(graph, fold_batchnorm)
    assert [op for op in ops if op != "Reshape"] == [
        product.split()[0 if " with" in product else -1]
    ]
    assert graph.outputs[0].name == "y"


def test_a_run_of_factors_and_summands_folds_at_once() -> None:
    net = Net()
    y = net("Conv", net.x, net.normal(4, 8, 3, 3), name="conv")
    y = net("Sub", 1, net("Div", net("Mul", y, net.normal(4, 1, 1)), 2))
    y = net("Neg", net("Add", y, net.normal(1, 4, 1, 1)))
    assert lowered(net.returns(y), fold_batchnorm) == ["Conv"]


def test_a_matrix_product_of_three_axes_takes_factors_of_its_last() -> None:
    net = Net(2, 5, 8)
    y = net("Mul", net("MatMul", net.x, net.normal(8, 6)), net.normal(6))
    assert lowered(net.returns(y), fold_batchnorm) == ["MatMul"]


def test_a_result_that_others_read_is_not_folded_into() -> None:
    net = Net()
    y = net("Conv", net.x, net.normal(4, 8, 3, 3))
    assert lowered(net.returns(net.bn(y), y), fold_batchnorm) == ["Conv", "BatchNormalization"]


def test_factors_that_differ_between_pixels_are_not_folded() -> None:
    net = Net()
    y = net("Mul", net("Conv", net.x, net.normal(4, 8, 3, 3)), net.normal(1, 1, 4, 4))
    assert lowered(net.returns(y), fold_batchnorm) == ["Conv", "Mul"]


# ---- thresholds ----------------------------------------------------------------------------------

CHAINS: dict[str, Callable[[Net, Value], Value]] = {
    "nothing": lambda n, y: y,
    "BatchNormalization": lambda n, y: n.bn(y),
    "negative gammas": lambda n, y: n.bn(y, gamma=-np.abs(n.normal(y.shape[1]))),
    "zero gammas": lambda n, y: n.bn(y, gamma=np.zeros(y.shape[1])),
    "huge gammas": lambda n, y: n.bn(y, gamma=1e30 * n.normal(y.shape[1])),
    "Relu and BatchNormalization": lambda n, y: n.bn(n("Relu", y)),
    "PRelu of slopes of both signs, shifted": lambda n, y: n.bn(
        n("PRelu", n.bn(y), np.abs(n.normal(y.shape[1], 1, 1)))
    ),
    "a bias and a factor": lambda n, y: n("Add", n("Mul", y, n.normal(y.shape[1], 1, 1)), 0.25),
    "Clip": lambda n, y: n("Sub", n("Clip", y, min=-3.0, max=3.0), 0.5),
    "y + tanh(y)": lambda n, y: n("Sub", n("Add", y, n("Tanh", y)), n.normal(y.shape[1], 1, 1)),
}


def signs_of_chain(chain: str, *, kernel: int, pads: int, fill: float, seed: int) -> Graph:
    net = Net(1, 5, 6, 6, seed=seed)
    around = (0, 0, pads, pads, 0, 0, pads, pads)
    x = net("Pad", net.sign(net.x), pads=around, value=fill) if pads else net.sign(net.x)
    y = CHAINS[chain](net, net("Conv", x, net.signs(7, 5, kernel, kernel), name="conv"))
    z = net("Conv", net.sign(y, "bits"), net.signs(2, 7, 1, 1))
    return net.returns(z)


@pytest.mark.parametrize("chain", CHAINS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    kernel=st.sampled_from([1, 3]),
    fill=st.sampled_from([-1.0, 0.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_thresholds_decide_as_the_chain_does_at_every_integer(
    chain: str, kernel: int, fill: float, seed: int
) -> None:
    graph = signs_of_chain(chain, kernel=kernel, pads=kernel // 2, fill=fill, seed=seed)
    apply(graph, lower_binary)
    first = next(node for node in graph.nodes() if node.op.name == "BinaryConv")
    taps = 5 * kernel * kernel
    sums = np.arange(-taps, taps + 1, 1 if kernel > 1 and fill == 0 else 2, dtype=np.int32)
    wanted = chain_bits(graph, first, sums)
    apply(graph, thresholds)
    ops = drawn(graph)
    assert ops == ["Map[sign]", "BinaryConv[threshold]", "BinaryConv", "Cast"]
    conv = next(node for node in graph.nodes() if node.op.name == "BinaryConv")
    at, flip = (conv.operand(slot).data for slot in (3, 4))
    assert at is not None and flip is not None and at.dtype == np.int32
    np.testing.assert_array_equal((sums >= at[:, None]) ^ flip[:, None], wanted)
    encoding = conv.outputs[0].stands_for
    assert encoding is not None and encoding.name == "bits"


def chain_bits(graph: Graph, conv: Node, sums: np.ndarray) -> np.ndarray:
    """The next Map's bits, by the nodes between, for every channel and sum: [C, sums]."""
    channels = conv.output.shape[1]
    arrays = {conv.output: np.tile(sums.reshape(1, 1, -1, 1), (1, channels, 1, 1))}
    for node in graph.nodes():
        if any(value in arrays for value in node.inputs):
            operands = [None if v is None else arrays.get(v, v.data) for v in node.inputs]
            with np.errstate(all="ignore"):
                (arrays[node.output],) = node.op.compute(node, operands)
            if node.op.name == "Map":
                return arrays[node.output][0, :, :, 0]
    raise AssertionError("no sign follows")


def test_one_accumulator_may_decide_bits_of_two_tensors() -> None:
    net = Net()
    y = net("Conv", net.sign(net.x), net.signs(8, 8, 3, 3))
    a = net("Conv", net.sign(net.bn(y)), net.signs(2, 8, 1, 1))
    b = net("Conv", net.sign(net.bn(y)), net.signs(2, 8, 3, 3))
    ops = lowered(net.returns(a, b), lower_binary, thresholds)
    assert ops[:2] == ["Map[sign]", "BinaryConv[threshold threshold]"]


def test_dense_layers_get_thresholds_too() -> None:
    net = Net(3, 16)
    y = net.bn(net("MatMul", net.sign(net.x), net.signs(16, 8)))
    graph = net.returns(net("MatMul", net.sign(y), net.signs(8, 4)))
    ops = lowered(graph, lower_binary, thresholds)
    assert ops == ["Map[sign]", "BinaryConv[threshold]", "BinaryConv", "Cast"]


@pytest.mark.parametrize(
    "chain",
    [
        lambda n, y: n("Sub", n("Abs", y), 3),
        lambda n, y: n("Add", y, n.x),
        lambda n, y: n("Mul", y, n.normal(1, 1, 6, 6)),
        lambda n, y: n("Softmax", y, axis=1),
        lambda n, y: n("MaxPool", y, kernel=(2, 2)),
    ],
    ids=["not monotone", "a residual", "differs between pixels", "mixes channels", "a pool"],
)
def test_other_chains_stay_float(chain: Callable[[Net, Value], Value]) -> None:
    net = Net()
    conv = net("Conv", net.sign(net.x), net.signs(8, 8, 3, 3), pads=(1, 1, 1, 1))
    z = net("Conv", net.sign(chain(net, conv)), net.signs(2, 8, 1, 1))
    ops = lowered(net.returns(z), lower_binary, thresholds)
    assert "BinaryConv[threshold]" not in ops and ops.count("BinaryConv") == 2


def test_a_chain_whose_floats_are_read_stays() -> None:
    net = Net()
    y = net.bn(net("Conv", net.sign(net.x), net.signs(8, 8, 3, 3)))
    graph = net.returns(net("Conv", net.sign(y), net.signs(2, 8, 1, 1)), y)
    assert "BinaryConv[threshold]" not in lowered(graph, lower_binary, thresholds)


# ---- compare_earlier -----------------------------------------------------------------------------

RISING: dict[str, Callable[[Net, Value], Value]] = {
    "x + c": lambda n, x: n("Add", x, n.normal(8, 1, 1)),
    "x - c": lambda n, x: n("Sub", x, n.normal(8, 1, 1)),
    "a x + c": lambda n, x: n("Add", n("Mul", x, n.rng.uniform(0.1, 3, (8, 1, 1))), 0.3),
    "BatchNormalization": lambda n, x: n.bn(x, gamma=n.rng.uniform(1e-3, 2, 8)),
    "Clip": lambda n, x: n("Clip", x, min=-1.0, max=1.0),
    "Round and Clip": lambda n, x: n("Sub", n("LeakyRelu", n("Round", x), alpha=0.25), 0.5),
    "a sign, shifted": lambda n, x: n("Sub", n("LeakyRelu", n.sign(x), alpha=0.25), 0.5),
    "PRelu and a shift": lambda n, x: n("Add", n("PRelu", x, n.rng.random((8, 1, 1))), 0.1),
    "Relu and a shift": lambda n, x: n("Sub", n("Relu", x), n.normal(8, 1, 1)),
    "Min and Max": lambda n, x: n(
        "Add", n("Max", n("Min", x, 0.5), -2.0), n.rng.uniform(-0.4, 1.9, (8, 1, 1))
    ),
    "never set": lambda n, x: n("Sub", n("LeakyRelu", n("Clip", x, max=1.0), alpha=0.5), 1.5),
    "always set": lambda n, x: n("Add", n("LeakyRelu", n("Relu", x), alpha=0.5), 1.5),
    "overflow": lambda n, x: n("Add", n("Mul", n("Mul", x, 1e30), 1e30), 1.0),
    "underflow": lambda n, x: n("Mul", n("Mul", x, 1e-30), 1e-30),
}


def special_numbers(at: np.ndarray) -> np.ndarray:
    """Values [1, C, H, W] around each channel's threshold, and the odd ones."""
    around = [np.nextafter(at, np.float32(way)) for way in (-np.inf, np.inf)]
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, 1, -1, np.inf, -np.inf, np.nan], np.float32)
    rows = np.concatenate([np.stack([at, *around]), np.tile(odd[:, None], len(at))])
    return np.ascontiguousarray(rows.T.reshape(1, len(at), 12, 1), np.float32)


@pytest.mark.parametrize("chain", RISING)
@pytest.mark.parametrize("sign", ["Sign", "Greater", "Less"])
def test_a_function_that_never_falls_moves_into_the_threshold(chain: str, sign: str) -> None:
    net = Net(1, 8, 12, 1)
    value = RISING[chain](net, net.x)
    if sign == "Sign":
        s = net.sign(value)
    else:
        s = net("Where", net(sign, value, 0), *((1, -1) if sign == "Greater" else (-1, 1)))
    graph = net.returns(net("Conv", s, net.signs(4, 8, 1, 1)))
    apply(graph, lower_binary)
    reference = graph.copy()
    apply(graph, compare_earlier)
    moved = the(graph, "Map")
    if chain == "never set" and sign == "Less":
        assert moved.operand(0).name != "x"
        return
    assert drawn(graph) == ["Map[sign]", "BinaryConv", "Cast"] and moved.operand(0).name == "x"
    at = moved.operand(1).data
    assert at is not None
    known = special_numbers(at)
    (found,) = interpreter.evaluate(graph, {graph.inputs[0]: known}, [moved.output]).values()
    old = the(reference, "Map").output
    (wanted,) = interpreter.evaluate(reference, {reference.inputs[0]: known}, [old]).values()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "chain",
    [
        lambda n, x: n("Neg", x),
        lambda n, x: n.bn(x, gamma=np.array([1, 1, 1, -1, 1, 1, 1, 1])),
        lambda n, x: n("PRelu", x, np.full((8, 1, 1), -0.5)),
        lambda n, x: n("Add", x, n.normal(1, 1, 6, 6)),
        lambda n, x: n("Add", x, n("Abs", x)),
        lambda n, x: n("Tanh", x),
    ],
    ids=["falls", "falls in a channel", "turns", "differs between pixels", "two paths", "Tanh"],
)
def test_other_functions_stay_before_the_comparison(chain: Callable[[Net, Value], Value]) -> None:
    net = Net()
    graph = net.returns(net("Conv", net.sign(chain(net, net.x)), net.signs(4, 8, 3, 3)))
    apply(graph, lower_binary)
    assert apply(graph, compare_earlier).changes == [("compare_earlier", 0)]


def test_a_function_that_others_read_stays_before_the_comparison() -> None:
    net = Net()
    y = net("Add", net.x, 0.5)
    graph = net.returns(net("Conv", net.sign(y), net.signs(4, 8, 3, 3)), net("Relu", y))
    apply(graph, lower_binary)
    assert apply(graph, compare_earlier).changes == [("compare_earlier", 0)]


# ---- fuse_epilogues ------------------------------------------------------------------------------


def conv(net: Net, x: Value | None = None, channels: int = 8, name: str = "conv") -> Value:
    x = net.x if x is None else x
    return net("Conv", x, net.normal(channels, x.shape[1], 3, 3), name=name, pads=(1, 1, 1, 1))


STEPS: dict[str, tuple[Callable[[Net, Value], Value], str]] = {
    "Relu": (lambda n, y: n("Relu", y), "relu"),
    "LeakyRelu": (lambda n, y: n("LeakyRelu", y, alpha=0.2), "prelu"),
    "PRelu": (lambda n, y: n("PRelu", y, n.normal(8, 1, 1)), "prelu"),
    "Clip": (lambda n, y: n("Clip", y, min=-1.0, max=2.0), "clip"),
    "Max": (lambda n, y: n("Max", 0.5, y), "clip"),
    "Min": (lambda n, y: n("Min", y, 0.5), "clip"),
    "BatchNormalization": (lambda n, y: n.bn(y), "affine"),
    "several factors and summands": (
        lambda n, y: n("Sub", 1, n("Div", n("Add", n.bn(y), n.normal(8, 1, 1)), 3)),
        "affine",
    ),
    "Sigmoid": (lambda n, y: n("Sigmoid", y), "unary"),
    "HardSigmoid": (lambda n, y: n("HardSigmoid", y, alpha=0.3, beta=0.4), "unary"),
    "2 / y": (lambda n, y: n("Div", 2, n("Add", y, 1)), "affine unary affine"),
    "a residual": (lambda n, y: n("Add", n.x, y), "add"),
    "minus a residual": (lambda n, y: n("Sub", y, n.x), "affine add affine"),
    "from a residual": (lambda n, y: n("Sub", n.x, y), "affine add"),
    "times a tensor": (lambda n, y: n("Mul", y, n.x), "mul"),
    "a gate": (
        lambda n, y: n("Mul", y, n("ReduceMean", n.x, axes=(2, 3), keepdims=True)),
        "scale",
    ),
    "a constant picture": (lambda n, y: n("Add", y, n.normal(1, 8, 6, 6)), "add"),
    "nothing that remains": (lambda n, y: n("Div", n("Mul", y, 2), 2), ""),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("product", ["Conv", "BinaryConv"])
def test_what_follows_a_product_becomes_steps(product: str, name: str) -> None:
    form, steps = STEPS[name]
    net = Net()
    if product == "Conv":
        y = conv(net)
    else:
        y = net("Conv", net.sign(net.x), net.signs(8, 8, 3, 3), pads=(1, 1, 1, 1))
    graph = net.returns(form(net, net("Relu", y)))
    wanted = f"{product}[{' '.join(['relu', *steps.split(), 'store'])}]"
    assert wanted in lowered(graph, lower_binary, fuse_epilogues)
    assert len([op for op in drawn(graph) if op.startswith(("Relu", "Map[relu"))]) == 0


def test_a_matrix_product_of_two_axes_takes_steps() -> None:
    net = Net(5, 8)
    y = net("Relu", net.bn(net("MatMul", net.x, net.normal(8, 6))))
    assert lowered(net.returns(y), fuse_epilogues) == ["MatMul[affine relu store]"]


@pytest.mark.parametrize("shape", [(2, 5, 8), (1, 2, 5, 8)])
def test_a_matrix_product_of_more_axes_takes_none(shape: tuple[int, ...]) -> None:
    """Axis 1, an epilogue's channels, is none of its columns."""
    net = Net(*shape)
    y = net("Relu", net("MatMul", net.x, net.normal(8, 6)))
    assert lowered(net.returns(y), fuse_epilogues) == ["MatMul", "Relu"]


def test_a_transposed_convolution_takes_steps() -> None:
    net = Net()
    y = net("Relu", net("ConvTranspose", net.x, net.normal(8, 4, 2, 2), strides=(2, 2)))
    assert lowered(net.returns(y), fuse_epilogues) == ["ConvTranspose[relu store]"]


def test_a_value_that_others_read_is_stored_on_the_way() -> None:
    net = Net()
    y = net("Relu", conv(net), name="y")
    graph = net.returns(net("Sigmoid", y, name="z"), net("MaxPool", y, kernel=(2, 2)))
    assert lowered(graph, fuse_epilogues) == ["Conv[relu store unary store]", "MaxPool"]
    assert [value.name for value in graph.nodes()[0].outputs] == ["y", "z"]


def test_the_next_layers_sign_is_written_with_the_residual() -> None:
    net = Net()
    y = net("Conv", net.sign(net.x), net.signs(8, 8, 3, 3), pads=(1, 1, 1, 1))
    y = net("Add", net.bn(net("Relu", y)), net.x, name="y")
    z = net("Conv", net.sign(y, "s"), net.signs(8, 8, 3, 3), pads=(1, 1, 1, 1))
    graph = net.returns(net("Add", y, z))
    assert lowered(graph, lower_binary, fuse_epilogues) == [
        "Map[sign]",
        "BinaryConv[relu affine add store sign]",
        "BinaryConv[add store]",
    ]
    stored, bits = graph.nodes()[1].outputs
    assert stored.name == "y" and bits.stands_for is not None and bits.stands_for.name == "s"


def test_two_products_that_meet_in_a_sum_make_no_cycle() -> None:
    net = Net()
    graph = net.returns(net("Relu", net("Add", conv(net, name="a"), conv(net, name="b"))))
    assert lowered(graph, fuse_epilogues) == ["Conv", "Conv[add relu store]"]


def test_a_residual_that_is_computed_from_the_result_makes_no_cycle() -> None:
    net = Net()
    y = conv(net, name="a")
    later = conv(net, net("MaxPool", y, kernel=(3, 3), pads=(1, 1, 1, 1)), name="b")
    graph = net.returns(net("Add", y, net("Relu", later)))
    assert lowered(graph, fuse_epilogues) == ["Conv", "MaxPool", "Conv[relu add store]"]


def test_crossed_sums_make_no_cycle() -> None:
    net = Net()
    a, b = conv(net, name="a"), conv(net, name="b")
    pooled = [net("MaxPool", v, kernel=(3, 3), pads=(1, 1, 1, 1)) for v in (a, b)]
    graph = net.returns(net("Add", a, pooled[1]), net("Add", b, pooled[0]))
    ops = lowered(graph, fuse_epilogues)
    assert len([op for op in ops if "add" in op]) <= 1


def test_a_gate_that_is_listed_behind_its_convolution_is_computed_before_it() -> None:
    net = Net()
    y = conv(net)
    pooled = net("ReduceMean", net.x, axes=(2, 3), keepdims=False)
    gate = net("Sigmoid", net("MatMul", pooled, net.normal(8, 8)))
    y = net("Mul", y, net("Reshape", gate, shape=(1, 8, 1, 1)))
    ops = lowered(net.returns(y), fuse_epilogues)
    assert ops == ["ReduceMean", "MatMul[unary store]", "Reshape", "Conv[scale store]"]


def test_x_times_a_function_of_x_is_one_map() -> None:
    net = Net()
    y = conv(net)
    graph = net.returns(net("Mul", y, net("Sigmoid", y)))
    assert lowered(graph, fuse_epilogues) == ["Conv", "Map[unary mul store]"]


def test_chains_without_a_product_become_maps() -> None:
    net = Net()
    y = net("MaxPool", net.x, kernel=(2, 2))
    z = net("Relu", net.bn(y))
    assert lowered(net.returns(z), fuse_epilogues) == ["MaxPool", "Map[affine relu store]"]


def test_a_map_writes_the_sign_and_goes_on() -> None:
    net = Net()
    pooled = net("MaxPool", net.x, kernel=(2, 2))
    a = net("Conv", net.sign(pooled), net.signs(4, 8, 1, 1))
    graph = net.returns(a, net.bn(pooled))
    ops = lowered(graph, lower_binary, fuse_epilogues)
    assert ops == ["MaxPool", "Map[sign affine store]", "BinaryConv[store]"]


@pytest.mark.parametrize("op", ["Relu", "Sigmoid"])
def test_a_single_function_keeps_its_own_kernel(op: str) -> None:
    net = Net()
    graph = net.returns(net(op, net("MaxPool", net.x, kernel=(2, 2))))
    assert lowered(graph, fuse_epilogues) == ["MaxPool", op]


def test_steps_act_on_channels_only_where_these_are_axis_one() -> None:
    net = Net(2, 8, 6)
    graph = net.returns(net("Relu", net("Mul", net.x, net.normal(8, 1))))
    assert lowered(graph, fuse_epilogues) == ["Mul", "Relu"]


def test_fused_nodes_remember_where_they_come_from() -> None:
    net = Net()
    graph = net.returns(net("Relu", net.bn(conv(net), "bn"), name="relu"))
    apply(graph, fuse_epilogues)
    assert graph.nodes()[0].name == "conv" and graph.nodes()[0].origin == ("conv", "bn", "relu")


def test_unary_steps_carry_attributes_in_the_ops_order() -> None:
    net = Net()
    graph = net.returns(net("HardSigmoid", conv(net), beta=0.4, alpha=0.3))
    apply(graph, fuse_epilogues)
    (unary, _) = steps_of(graph.nodes()[0])
    assert unary.params == ("HardSigmoid", ("alpha", 0.3), ("beta", 0.4))
    assert [name for name, _ in unary.params[1:]] == list(OPS["HardSigmoid"].attrs)


# ---- fuse_points ---------------------------------------------------------------------------------


def head(
    net: Net, hidden: int, out: int, *, relu: bool = True, name: str = "", **attrs: object
) -> Value:
    """A 3x3 convolution of x with ``attrs``, a relu, and a 1x1 convolution."""
    first = net.normal(hidden, net.x.shape[1], 3, 3), net.normal(hidden)
    wide = net("Conv", net.x, *first, name=f"{name}.wide", **{"pads": (1, 1, 1, 1), **attrs})
    points = net.normal(out, hidden, 1, 1), net.normal(out)
    return net("Conv", net("Relu", wide) if relu else wide, *points, name=f"{name}.point")


def test_heads_become_one_node_with_a_branch_for_each() -> None:
    net = Net(1, 8, 20, 20)
    heatmap = net("Sigmoid", head(net, 16, 3, name="heatmap"), name="boxes")
    graph = net.returns(heatmap, head(net, 12, 2, name="size"))
    assert lowered(graph, fuse_epilogues, fuse_points) == ["BranchedConv"]
    fused = the(graph, "BranchedConv")
    assert [[s.kind for s in b.steps] for b in fused.attrs["branches"]] == [["unary", "store"], []]
    assert [value.name for value in fused.outputs] == ["boxes", "size.point"]
    assert fused.name == "heatmap.point+size.point"
    assert {"heatmap.wide", "heatmap.point", "size.wide", "size.point"} < set(fused.origin)


def test_branches_keep_constants_of_their_steps() -> None:
    net = Net(1, 8, 20, 20)
    graph = net.returns(*(net("PRelu", head(net, 8, c), net.normal(c, 1, 1)) for c in (3, 4)))
    assert lowered(graph, fuse_epilogues, fuse_points) == ["BranchedConv"]


def test_heads_without_a_relu_become_branches_of_another_node() -> None:
    net = Net(1, 8, 20, 20)
    graph = net.returns(head(net, 8, 2), head(net, 8, 2, relu=False))
    assert lowered(graph, fuse_epilogues, fuse_points) == ["BranchedConv"] * 2


@pytest.mark.parametrize(
    "build",
    [
        lambda n: head(n, 8, 2, strides=(2, 2)),
        lambda n: head(n, 8, 2, dilations=(2, 2), pads=(2, 2, 2, 2)),
        lambda n: head(n, 4, 2),
        lambda n: head(n, 130, 2),
        lambda n: n("Add", head(n, 8, 8), n.x),
    ],
    ids=["strided", "dilated", "narrow", "wide", "adds a tensor"],
)
def test_other_pairs_of_convolutions_stay_apart(build: Callable[[Net], Value]) -> None:
    net = Net(1, 8, 40, 40)
    graph = net.returns(build(net))
    apply(graph, fuse_epilogues)
    assert apply(graph, fuse_points).changes == [("fuse_points", 0)]


def test_a_convolution_that_others_read_or_return_stays() -> None:
    net = Net(1, 8, 20, 20)
    wide = net("Conv", net.x, net.normal(8, 8, 3, 3), pads=(1, 1, 1, 1))
    points = net("Conv", wide, net.normal(2, 8, 1, 1))
    graph = net.returns(wide, points)
    assert lowered(graph, fuse_points) == ["Conv", "Conv"]


# ---- merge_branches ------------------------------------------------------------------------------


def heads(net: Net, *channels: int) -> list[Value]:
    return [net("Relu", net.bn(conv(net, None, c, f"h{c}")), name=f"r{c}") for c in channels]


def test_narrow_convolutions_of_one_tensor_run_as_one() -> None:
    net = Net()
    found = [net("Conv", h, net.normal(2, h.shape[1], 1, 1)) for h in heads(net, 3, 4, 5)]
    ops = lowered(net.returns(*found), fold_batchnorm, fuse_epilogues, merge_branches)
    assert ops == ["Conv[relu store]", *["Slice"] * 3, *["Conv"] * 3]
    merged, *slices = net.graph.nodes()[:4]
    assert merged.outputs[0].shape == (1, 12, 6, 6)
    assert [node.output.name for node in slices] == ["r3", "r4", "r5"]
    assert merged.origin == ("h3", "r3", "h4", "r4", "h5", "r5")


def test_vectors_of_steps_are_joined() -> None:
    net = Net()
    slopes = [net("PRelu", conv(net, None, c), net.normal(c, 1, 1)) for c in (3, 4)]
    graph = net.returns(*(net("MaxPool", v, kernel=(2, 2)) for v in slopes))
    ops = lowered(graph, fuse_epilogues, merge_branches)
    assert ops.count("Conv[prelu store]") == 1


@pytest.mark.parametrize(
    "pair",
    [
        lambda n: (conv(n), n("Conv", n.x, n.normal(4, 8, 3, 3))),
        lambda n: (conv(n), n("Relu", conv(n))),
        lambda n: (conv(n, None, 200), conv(n, None, 200)),
        lambda n: (conv(n), conv(n, n("Neg", n.x))),
        lambda n: (n("Add", conv(n), n.x), n("Add", conv(n), n.x)),
    ],
    ids=["other pads", "other steps", "wide", "other inputs", "residuals"],
)
def test_other_convolutions_stay_apart(pair: Callable[[Net], tuple[Value, Value]]) -> None:
    net = Net()
    graph = net.returns(*(net("MaxPool", v, kernel=(2, 2)) for v in pair(net)))
    apply(graph, fuse_epilogues)
    assert apply(graph, merge_branches).changes == [("merge_branches", 0)]


def test_results_of_the_model_are_not_merged() -> None:
    net = Net()
    graph = net.returns(conv(net, name="a"), conv(net, name="b"))
    assert lowered(graph, merge_branches) == ["Conv", "Conv"]


# ---- fuse_pools ----------------------------------------------------------------------------------


def blurred(net: Net, x: Value, **attrs: object) -> Value:
    given = {"strides": (2, 2), "pads": (1, 1, 1, 1), "group": 8, **attrs}
    return net("Conv", x, net.normal(8, 8 // given["group"], 3, 3), name="blur", **given)


def test_a_pool_is_computed_inside_the_blur_that_reads_it() -> None:
    net = Net()
    pooled = net("MaxPool", net("Relu", net.x), kernel=(2, 2), name="pool")
    graph = net.returns(blurred(net, pooled))
    assert lowered(graph, fuse_pools) == ["Relu", "PooledConv"]
    fused = the(graph, "PooledConv")
    assert fused.attrs["pool"] == (2, 2) and fused.attrs["strides"] == (2, 2)
    assert fused.origin == ("pool", "blur") and graph.outputs[0].name == "blur"


def test_a_blur_keeps_its_epilogue_when_a_pool_joins_it() -> None:
    net = Net()
    blur = blurred(net, net("MaxPool", net.x, kernel=(3, 2)), strides=(1, 1))
    graph = net.returns(net("Relu", net.bn(blur)))
    assert lowered(graph, fuse_epilogues, fuse_pools) == ["PooledConv[affine relu store]"]


@pytest.mark.parametrize(
    "build",
    [
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(2, 2), strides=(2, 2))),
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(2, 2), pads=(0, 0, 1, 1))),
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(4, 4))),
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(2, 2)), group=4),
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(2, 2)), pads=(0, 0, 0, 0)),
        lambda n: blurred(n, n("MaxPool", n.x, kernel=(2, 2)), strides=(2, 1)),
    ],
    ids=["strided", "padded", "large", "grouped", "starts inside", "uneven"],
)
def test_other_pools_stay_apart(build: Callable[[Net], Value]) -> None:
    net = Net()
    assert apply(net.returns(build(net)), fuse_pools).changes == [("fuse_pools", 0)]


def test_a_pool_that_others_read_stays() -> None:
    net = Net()
    pooled = net("MaxPool", net.x, kernel=(2, 2))
    graph = net.returns(blurred(net, pooled), net("Exp", pooled))
    assert lowered(graph, fuse_pools) == ["MaxPool", "Conv", "Exp"]
