"""Passes that settle what a model means: graph before, graph after."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import F32, Net, apply, assert_close, drawn, feed, node_named, run

from bnnc.errors import InputError, ModelError
from bnnc.ir import interpreter
from bnnc.ir.binary import verdicts
from bnnc.ir.domains import Domains, Real
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType
from bnnc.passes import SEMANTIC, PassOptions
from bnnc.passes import run as run_passes
from bnnc.passes.cancel_detach import cancel_detach
from bnnc.passes.conform_products import conform_products
from bnnc.passes.eliminate import eliminate
from bnnc.passes.expose_binary import expose_binary
from bnnc.passes.fold_constants import fold_constants
from bnnc.passes.hoist_scales import hoist_scales
from bnnc.passes.input_u8 import input_u8
from bnnc.passes.resolve_sign_zero import resolve_sign_zero
from bnnc.passes.sink_pads import sink_pads
from bnnc.passes.sink_transposes import sink_transposes

# ---- eliminate -----------------------------------------------------------------------------------

NOTHINGS: dict[str, Callable[[Net, Value], Value]] = {
    "Identity": lambda n, x: n("Identity", x),
    "Cast to the same type": lambda n, x: n("Cast", x, to=F32),
    "Reshape to the same shape": lambda n, x: n("Reshape", x, shape=x.shape),
    "Transpose in order": lambda n, x: n("Transpose", x, perm=(0, 1, 2, 3)),
    "Expand to the same shape": lambda n, x: n("Expand", x, shape=(1, 8, 6, 6)),
    "Slice of all": lambda n, x: n("Slice", x, starts=(0,), ends=(99,), axes=(2,), steps=(1,)),
    "Pad by nothing": lambda n, x: n("Pad", x, pads=(0,) * 8),
    "Concat of one": lambda n, x: n("Concat", x, axis=1),
    "Clip without bounds": lambda n, x: n("Clip", x),
    "pool of single elements": lambda n, x: n("MaxPool", x, kernel=(1, 1)),
    "x + 0": lambda n, x: n("Add", x, 0),
    "0 + x": lambda n, x: n("Add", np.zeros((8, 1, 1)), x),
    "x - 0": lambda n, x: n("Sub", x, 0),
    "x * 1": lambda n, x: n("Mul", x, 1),
    "x / 1": lambda n, x: n("Div", x, np.ones((8, 1, 1))),
    "Transposes that cancel": lambda n, x: n(
        "Transpose", n("Transpose", x, perm=(0, 2, 3, 1)), perm=(0, 3, 1, 2)
    ),
    "Reshapes that cancel": lambda n, x: n(
        "Reshape", n("Reshape", x, shape=(8, 36)), shape=x.shape
    ),
    "nearest Resize to the same size": lambda n, x: n(
        "Resize",
        x,
        out_h=6,
        out_w=6,
        iy=np.arange(6, dtype=np.int32)[:, None],
        ix=np.arange(6, dtype=np.int32)[:, None],
        wy=np.ones((6, 1), np.float32),
        wx=np.ones((6, 1), np.float32),
    ),
}


@pytest.mark.parametrize("name", NOTHINGS)
def test_what_changes_nothing_disappears(name: str) -> None:
    net = Net()
    graph = net.returns(net("Relu", NOTHINGS[name](net, net("Neg", net.x))))
    apply(graph, eliminate)
    assert drawn(graph) == ["Neg", "Relu"]


@pytest.mark.parametrize(
    "kept",
    [
        lambda n: n("Slice", n.x, starts=(5,), ends=(-99,), axes=(2,), steps=(-1,)),
        lambda n: n("Add", n.x, np.zeros((2, 8, 6, 6))),
        lambda n: n("Sub", 0, n.x),
        lambda n: n("Div", 1, n.x),
        lambda n: n("Clip", n.x, min=0.0),
        lambda n: n("Transpose", n.x, perm=(0, 1, 3, 2)),
        lambda n: n("Cast", n.x, to=DType.I32),
    ],
)
def test_what_changes_something_stays(kept: Callable[[Net], Value]) -> None:
    net = Net()
    graph = net.returns(kept(net))
    before = drawn(graph)
    assert apply(graph, eliminate).changes == [("eliminate", 0)]
    assert drawn(graph) == before


def test_a_dropped_identity_leaves_the_output_its_name() -> None:
    net = Net()
    value = net("Relu", net.x, name="relu")
    graph = net.graph
    graph.mark_outputs([net("Identity", value)], ["out"])
    apply(graph, eliminate)
    assert graph.outputs == [value] and graph.output_names == ["out"] and value.name == "relu"


def test_a_transpose_of_single_pixels_is_a_reshape() -> None:
    net = Net(2, 8, 1, 1)
    graph = net.returns(net("Transpose", net.x, perm=(0, 2, 3, 1)))
    before = run(graph)
    apply(graph, eliminate)
    assert drawn(graph) == ["Reshape"]
    assert_close(run(graph), before)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_pool_of_single_elements_takes_every_second(op: str) -> None:
    net = Net(1, 8, 5, 6)
    graph = net.returns(net(op, net.x, kernel=(1, 1), strides=(2, 3)))
    before = run(graph)
    apply(graph, eliminate)
    assert drawn(graph) == ["Slice"]
    assert_close(run(graph), before)


def test_pads_by_the_same_constant_become_one() -> None:
    net = Net()
    inner = net("Pad", net.x, pads=(0, 0, 1, 0, 0, 0, 0, 0))
    graph = net.returns(net("Pad", inner, pads=(0, 0, 1, 2, 0, 0, 0, 1)))
    before = run(graph)
    apply(graph, eliminate)
    assert drawn(graph) == ["Pad"]
    assert_close(run(graph), before)


@pytest.mark.parametrize("attrs", [{"value": 1.0}, {"mode": "edge"}])
def test_other_pads_in_a_row_stay(attrs: dict[str, object]) -> None:
    net = Net()
    inner = net("Pad", net.x, pads=(0, 0, 1, 0, 0, 0, 0, 0))
    graph = net.returns(net("Pad", inner, pads=(0, 0, 1, 2, 0, 0, 0, 1), **attrs))
    apply(graph, eliminate)
    assert drawn(graph) == ["Pad", "Pad"]


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_a_reduction_of_single_elements_is_a_reshape(op: str) -> None:
    net = Net(1, 8, 6, 6)
    graph = net.returns(net(op, net.x, axes=(0,), keepdims=False))
    before = run(graph)
    apply(graph, eliminate)
    assert drawn(graph) == ["Reshape"]
    assert_close(run(graph), before)


# ---- pads ----------------------------------------------------------------------------------------

AROUND = (0, 0, 1, 1, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (lambda n, x: n("Sign", x), 0),
        (lambda n, x: n("Sign", n("Sub", x, 0.25)), -1),
        (lambda n, x: n("Mul", n.sign(x), 0.3), 0.3),
        (lambda n, x: n("Clip", n("Neg", n("Relu", x)), min=-1.0), 0),
        (lambda n, x: n("Sub", np.ones((1, 8, 8, 8)), x), 1),
    ],
)
def test_padding_moves_behind_what_is_known_of_a_constant(
    form: Callable[[Net, Value], Value], value: float
) -> None:
    net = Net()
    graph = net.returns(form(net, net("Pad", net.x, pads=AROUND)))
    before = run(graph)
    apply(graph, sink_pads)
    (pad,) = (node for node in graph.nodes() if node.op.name == "Pad")
    assert graph.outputs[0] is pad.output and pad.attrs["value"] == pytest.approx(value)
    assert_close(run(graph), before)


@pytest.mark.parametrize(
    ("form", "pads"),
    [
        (lambda n, x: n("Transpose", x, perm=(0, 3, 1, 2)), (0, 0, 0, 1, 0, 2, 0, 0)),
        (lambda n, x: n("Reshape", x, shape=(8, 8, 8, 1)), (0, 1, 0, 0, 0, 0, 2, 0)),
        (
            lambda n, x: n("Transpose", n("Reshape", x, shape=(8, 1, 8, 8)), perm=(0, 3, 1, 2)),
            (0, 0, 0, 1, 0, 2, 0, 0),
        ),
    ],
)
def test_padding_moves_behind_a_new_order_of_the_axes(
    form: Callable[[Net, Value], Value], pads: tuple[int, ...]
) -> None:
    net = Net(1, 8, 7, 6)
    graph = net.returns(form(net, net("Pad", net.x, pads=(0, 0, 1, 0, 0, 0, 0, 2), value=1.0)))
    before = run(graph)
    apply(graph, sink_pads)
    (pad,) = (node for node in graph.nodes() if node.op.name == "Pad")
    assert graph.outputs[0] is pad.output and pad.attrs["pads"] == pads
    assert_close(run(graph), before)


@pytest.mark.parametrize(
    "form",
    [
        lambda n, x: n("Reshape", x, shape=(1, 64, 8)),
        lambda n, x: n("Reshape", x, shape=(1, 8, 4, 2, 8)),
        lambda n, x: n("Mul", x, n.normal(8, 1, 1)),
        lambda n, x: n("Mul", x, n("Pad", n("Relu", n.x), pads=AROUND)),
        lambda n, x: n("Log", x),
        lambda n, x: n("Cast", x, to=DType.I32),
    ],
)
def test_padding_stays_before_other_ops(form: Callable[[Net, Value], Value]) -> None:
    net = Net()
    padded = net("Pad", net.x, pads=AROUND)
    graph = net.returns(form(net, padded))
    before = drawn(graph)
    apply(graph, sink_pads)
    assert drawn(graph) == before


def test_zeros_around_a_tensor_whose_signs_are_taken_stay_zeros() -> None:
    net = Net()
    signs = net("Sign", net("Pad", net("Sub", net.x, 9), pads=AROUND))
    graph = net.returns(net("Conv", signs, np.ones((1, 8, 3, 3))))
    run_passes(graph, SEMANTIC)
    (result,) = run(graph)
    assert result[0, 0, 0, 0] == -4 * 8


# ---- constants -----------------------------------------------------------------------------------


def test_constants_fold_and_keep_their_name() -> None:
    net = Net()
    folded = net("Transpose", net("Sign", net.normal(8, 3)), perm=(1, 0), name="w")
    graph = net.returns(net("MatMul", net("Reshape", net.x, shape=(96, 3)), folded))
    before = run(graph)
    apply(graph, fold_constants)
    assert drawn(graph) == ["Reshape", "MatMul"]
    assert graph.outputs[0].producer.operand(1).name == "w"
    assert_close(run(graph), before)


def test_constants_too_large_to_hold_are_not_computed() -> None:
    net = Net(1)
    huge = net("Expand", net.normal(1), shape=(2**30,))
    graph = net.returns(net("Mul", net.x, net("ReduceSum", huge, axes=(0,))))
    assert apply(graph, fold_constants).changes == [("fold_constants", 0)]
    assert Domains(graph).of(huge) == Real()


# ---- detach --------------------------------------------------------------------------------------


def polynomial(net: Net, x: Value) -> Value:
    """The piecewise quadratic that Bi-Real Net and ReActNet differentiate."""
    one, zero = net.constant(1), net.constant(0)
    total = None
    for low, high, sign in ((-1, 0, 1.0), (0, 1, -1.0)):
        inside = net(
            "And", net("GreaterOrEqual", x, net.constant(low)), net("Less", x, net.constant(high))
        )
        square = net("Mul", net("Mul", x, x), net.constant(sign))
        part = net("Where", inside, net("Add", square, net("Mul", x, net.constant(2))), zero)
        total = part if total is None else net("Add", total, part)
    assert total is not None
    return net("Add", total, net("Where", net("GreaterOrEqual", x, one), one, zero))


SOFT: dict[str, Callable[[Net, Value], Value]] = {
    "clip": lambda n, x: n("Clip", x, min=-1.0, max=1.0),
    "x itself": lambda n, x: x,
    "tanh": lambda n, x: n("Tanh", x),
    "a sum with x": lambda n, x: n("Add", n("Mul", x, 2), n("Tanh", x)),
    "a polynomial": polynomial,
}
LEFTOVERS: dict[str, Callable[[Net, Value, Value], Value]] = {
    "(s - f) + f": lambda n, s, f: n("Add", n("Sub", s, f), f),
    "f + (s - f)": lambda n, s, f: n("Add", f, n("Sub", s, f)),
    "(s + f) - f": lambda n, s, f: n("Sub", n("Add", s, f), f),
    "f - (f - s)": lambda n, s, f: n("Sub", f, n("Sub", f, s)),
    "s + (-f) + f": lambda n, s, f: n("Add", n("Add", s, n("Neg", f)), f),
    "(2 s - 2 f) / 2 + f": lambda n, s, f: n(
        "Add", n("Div", n("Sub", n("Mul", s, 2), n("Mul", f, 2)), 2), f
    ),
    "s + 0 f": lambda n, s, f: n("Add", s, n("Mul", f, 0)),
}


@pytest.mark.parametrize("soft", SOFT)
@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_float_path_around_a_sign_cancels(soft: str, leftover: str) -> None:
    net = Net()
    s, f = net.sign(net.x, "s"), SOFT[soft](net, net.x)
    graph = net.returns(LEFTOVERS[leftover](net, s, f))
    before = run(graph)
    apply(graph, cancel_detach, eliminate)
    assert drawn(graph)[0] == "Sign" and set(drawn(graph)) <= {"Sign", "Mul"}
    assert_close(run(graph), before)


def test_a_float_path_computed_twice_cancels() -> None:
    net = Net()
    s = net.sign(net.x)
    once, again = polynomial(net, net.x), polynomial(net, net.x)
    graph = net.returns(net("Add", net("Sub", s, once), again))
    apply(graph, cancel_detach)
    assert drawn(graph) == ["Sign"]


def stacked(n: Net, last: Value) -> Value:
    """Sign(x) - x and another tensor, stacked along a new axis."""
    parts = [n("Sub", n.sign(n.x), n.x), last]
    return n("Concat", *(n("Reshape", part, shape=(1, *n.x.shape)) for part in parts), axis=0)


def test_a_float_path_cancels_around_a_rounding_and_then_around_what_clips_it() -> None:
    """QKeras' activation of one bit: rounded, halved, clipped, doubled."""
    net = Net()
    rounded = net("Add", net.x, net("Add", net("Neg", net.x), net("Round", net.x)))
    level = net("Mul", net("Clip", net("Mul", rounded, 0.5), min=0.0, max=0.5), 2)
    soft = net("Relu", net.x)
    graph = net.returns(net("Add", soft, net("Add", net("Neg", soft), level)))
    apply(graph, cancel_detach)
    assert drawn(graph) == ["Round", "Mul", "Clip", "Mul"]
    assert Domains(graph).distinct(graph.outputs[0]).tolist() == [0, 1]


def test_a_float_path_cancels_in_the_sum_of_a_stack() -> None:
    net = Net()
    graph = net.returns(net("ReduceSum", stacked(net, net.x), axes=(-5,), keepdims=False))
    apply(graph, cancel_detach)
    assert drawn(graph) == ["Sign"]


@pytest.mark.parametrize(
    "form",
    [
        lambda n: n("Add", n("Sub", n("Tanh", n.x), n.x), n.x),
        lambda n: n("Add", n("Sub", n.sign(n.x), n("Tanh", n.x)), n("Sigmoid", n.x)),
        lambda n: n("Add", n("Sub", n.sign(n.x), n.x), n("Mul", n.x, 2)),
        lambda n: n("Add", n.sign(n.x), n.x),
        lambda n: n("ReduceSum", stacked(n, n("Tanh", n.x)), axes=(0,), keepdims=False),
        lambda n: n("ReduceSum", stacked(n, n.x), axes=(1,), keepdims=False),
    ],
)
def test_other_sums_stay(form: Callable[[Net], Value]) -> None:
    net = Net()
    graph = net.returns(form(net))
    assert apply(graph, cancel_detach).changes == [("cancel_detach", 0)]


# ---- transposes ----------------------------------------------------------------------------------


def test_transposes_of_an_nhwc_graph_cancel() -> None:
    net = Net(2, 8, 6, 6)
    nhwc = net("Transpose", net.x, perm=(0, 2, 3, 1))
    y = net("Add", net("Mul", nhwc, net.normal(8)), net.normal(1, 1, 1, 8))
    y = net("PRelu", y, net.normal(8))
    y = net("Pad", y, pads=(0, 1, 2, 0, 0, 3, 4, 0), value=1.0)
    y = net("Concat", y, net("Neg", y), axis=-1)
    y = net("Slice", y, starts=(1,), ends=(7,), axes=(1,), steps=(1,))
    y = net("ReduceMax", y, axes=(1,), keepdims=True)
    graph = net.returns(net("Transpose", y, perm=(0, 3, 1, 2)))
    before = run(graph)
    apply(graph, sink_transposes)
    assert "Transpose" not in drawn(graph)
    assert_close(run(graph), before)


def test_a_global_pool_swallows_a_transpose() -> None:
    net = Net(2, 8, 6, 6)
    nhwc = net("Transpose", net.x, perm=(0, 2, 3, 1))
    graph = net.returns(net("ReduceMean", nhwc, axes=(1, 2), keepdims=False))
    before = run(graph)
    apply(graph, sink_transposes)
    assert drawn(graph) == ["ReduceMean"]
    assert_close(run(graph), before)


def test_a_residual_and_a_gate_in_nhwc_lose_their_transposes() -> None:
    net = Net(1, 8, 6, 6)
    a = net("Transpose", net("Relu", net.x), perm=(0, 2, 3, 1))
    b = net("Transpose", net("Neg", net.x), perm=(0, 2, 3, 1))
    gate = net("Sigmoid", net("ReduceMean", a, axes=(1, 2), keepdims=True))
    total = net("Mul", net("Add", a, b), gate)
    graph = net.returns(net("Transpose", total, perm=(0, 3, 1, 2)))
    before = run(graph)
    apply(graph, sink_transposes, eliminate)
    assert "Transpose" not in drawn(graph)
    assert_close(run(graph), before)


def test_a_transpose_that_cannot_pass_everywhere_stays() -> None:
    net = Net()
    nhwc = net("Transpose", net.x, perm=(0, 2, 3, 1))
    graph = net.returns(net("Relu", nhwc), net("Reshape", nhwc, shape=(36, 8)))
    assert apply(graph, sink_transposes).changes == [("sink_transposes", 0)]


# ---- sign at zero --------------------------------------------------------------------------------


def binary_layer(net: Net, x: Value, name: str = "conv") -> Value:
    return net("Conv", x, net.signs(4, x.shape[1], 3, 3), name=name)


@pytest.mark.parametrize(("policy", "zero"), [("positive", 1), ("negative", -1)])
def test_a_sign_that_feeds_a_binary_layer_takes_the_policys_value_at_zero(
    policy: str, zero: int
) -> None:
    net = Net()
    graph = net.returns(binary_layer(net, net("MaxPool", net("Sign", net.x), kernel=(2, 2))))
    report = apply(graph, resolve_sign_zero, sign_zero=policy)
    assert report.sign_zero_nodes == 1
    assert [n.attrs["zero"] for n in graph.nodes() if n.op.name == "Sign"] == [zero]


def difference(net: Net, x: Value, at: Any = 0) -> Value:
    above, below = (net("Cast", net(op, x, at), to=F32) for op in ("Greater", "Less"))
    return net("Sub", above, below)


@pytest.mark.parametrize("policy", ["positive", "negative", "strict"])
@pytest.mark.parametrize(
    "form",
    [
        lambda n: difference(n, n.x),
        lambda n: n("Where", n("Greater", n.x, 0), 1, n("Where", n("Less", n.x, 0), -1, 0)),
        lambda n: difference(n, n.x, n.normal(8, 1, 1)),
        lambda n: n("Mul", difference(n, n.x), 0.25),
        lambda n: n("Add", n("Mul", difference(n, n.x), -0.5), 0.5),
        lambda n: n("Div", n.x, n("Abs", n.x)),
        lambda n: n(
            "Transpose", difference(n, n("Transpose", n.x, perm=(0, 1, 3, 2))), perm=(0, 1, 3, 2)
        ),
    ],
    ids=["difference", "Where", "thresholds", "scaled", "shifted", "quotient", "moved"],
)
def test_what_is_zero_at_a_single_point_is_a_sign_that_the_policy_settles(
    form: Callable[[Net], Value], policy: str
) -> None:
    net = Net()
    graph = net.returns(binary_layer(net, form(net)))
    before = run(graph, seed=1)
    report = run_passes(graph, SEMANTIC, options=PassOptions(sign_zero=policy))
    assert report.sign_zero_nodes == (policy != "strict")
    assert report.verdicts[0].binary == (policy != "strict")
    assert_close(run(graph, seed=1), before)


def test_a_ternary_tensor_is_no_sign() -> None:
    net = Net()
    above, below = net("Greater", net.x, 0.3), net("Less", net.x, -0.3)
    ternary = net("Sub", net("Cast", above, to=F32), net("Cast", below, to=F32))
    graph = net.returns(binary_layer(net, ternary))
    report = run_passes(graph, SEMANTIC)
    assert report.sign_zero_nodes == 0 and not report.verdicts[0].binary


def test_strict_leaves_sign_as_onnx_has_it() -> None:
    net = Net()
    graph = net.returns(binary_layer(net, net("Sign", net.x)))
    report = run_passes(graph, SEMANTIC, options=PassOptions(sign_zero="strict"))
    assert report.sign_zero_nodes == 0
    (verdict,) = report.verdicts
    assert not verdict.binary and "strict" in verdict.reason and verdict.name == "conv"


@pytest.mark.parametrize(
    "form",
    [
        lambda n: n("Sign", n.x),
        lambda n: n("Conv", n("Sign", n.x), n.normal(4, 8, 3, 3)),
        lambda n: binary_layer(n, n("Sign", n("Add", n("Sign", n.x), 0.1))),
        lambda n: binary_layer(n, n("Sign", n("Relu", n.x))),
    ],
    ids=["no layer", "float weights", "Sign(Sign(x) + 0.1)", "Sign(Relu(x))"],
)
def test_a_sign_that_decides_nothing_stays(form: Callable[[Net], Value]) -> None:
    net = Net()
    graph = net.returns(form(net))
    assert apply(graph, resolve_sign_zero).sign_zero_nodes == 0


def test_a_sign_on_latent_weights_counts_only_if_one_is_zero() -> None:
    for zeros, count in ((0, 0), (3, 1)):
        net = Net()
        latent = net.normal(4, 8, 3, 3)
        latent.reshape(-1)[:zeros] = 0
        graph = net.returns(net("Conv", net.sign(net.x), net("Sign", latent), name="conv"))
        report = run_passes(graph, SEMANTIC)
        assert report.sign_zero_nodes == count
        assert report.verdicts[0].binary
        weights = node_named(graph, "conv").operand(1).data
        assert weights is not None
        np.testing.assert_array_equal(weights, np.where(latent >= 0, 1, -1))


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InputError, match="sign-zero is 'up'"):
        PassOptions(sign_zero="up")


# ---- exposing binary products --------------------------------------------------------------------


def exposed(graph: Graph, seed: int = 0) -> list[str]:
    """The drawing after the pass, having checked that it means the same."""
    before = run(graph, seed)
    apply(graph, expose_binary)
    assert_close(run(graph, seed), before)
    for node in graph.nodes():
        if node.op.name in ("Conv", "MatMul"):
            weights = node.operand(1).data
            assert weights is not None and set(np.unique(weights)) <= {-1, 1}
            assert node.optional(2) is None
    return drawn(graph)


def test_bipolar_products_of_plus_minus_one_stay() -> None:
    net = Net()
    graph = net.returns(net("Conv", net.sign(net.x), net.signs(4, 8, 3, 3), pads=(1, 1, 1, 1)))
    assert exposed(graph) == ["Sign", "Conv"]


def test_scales_and_bias_move_behind_the_convolution() -> None:
    net = Net()
    alpha = net.rng.uniform(0.1, 2, (4, 1, 1, 1))
    weights = net.signs(4, 8, 3, 3) * alpha
    graph = net.returns(net("Conv", net.sign(net.x), weights, net.normal(4), name="y"))
    assert exposed(graph) == ["Sign", "Conv", "Mul", "Add"]
    assert graph.outputs[0].name == "y"


@pytest.mark.parametrize("values", [(0, 1), (-0.5, 0.5), (0, 2), (1, 3)])
def test_activations_that_add_up_exactly_stay(values: tuple[float, float]) -> None:
    net = Net()
    x = net("Where", net("GreaterOrEqual", net.x, 0), values[1], values[0])
    assert exposed(net.returns(binary_layer(net, x))) == ["GreaterOrEqual", "Where", "Conv"]


def test_activations_that_round_become_signs() -> None:
    net = Net()
    x = net("Where", net("GreaterOrEqual", net.x, 0), 0.3, -0.3)
    conv = net("Conv", x, net.signs(4, 8, 3, 3), pads=(1, 1, 1, 1))
    assert exposed(net.returns(conv)) == ["GreaterOrEqual", "Where", "Sign", "Conv", "Mul"]


def test_activations_off_centre_become_signs_with_their_padding() -> None:
    net = Net()
    x = net("Where", net("GreaterOrEqual", net.x, 0), 0.7, 0)
    conv = net("Conv", x, net.signs(4, 8, 3, 3), net.normal(4), pads=(1, 0, 1, 2))
    assert exposed(net.returns(conv)) == [
        *("GreaterOrEqual", "Where", "Sub", "Sign", "Pad", "Conv", "Mul", "Add"),
    ]


def test_convolutions_of_one_tensor_share_its_signs() -> None:
    net = Net()
    x = net("Mul", net.sign(net.x), 0.3)
    graph = net.returns(binary_layer(net, x, "a"), binary_layer(net, x, "b"))
    assert exposed(graph).count("Sign") == 2


def test_weights_that_are_not_opposite_take_the_sum_of_the_signs_along() -> None:
    net = Net()
    weights = np.where(net.signs(4, 8, 3, 3) > 0, net.rng.random((4, 1, 1, 1)), -0.3)
    conv = net("Conv", net.sign(net.x), weights, net.normal(4), name="y", pads=(1, 1, 1, 1))
    graph = net.returns(conv)
    assert exposed(graph) == ["Sign", "Sign", "Conv", "Conv", "Mul", "Mul", "Add", "Add"]
    assert graph.outputs[0].name == "y"


@pytest.mark.parametrize("group", [2, 8])
def test_groups_have_sums_of_their_own(group: int) -> None:
    net = Net()
    zeros_and_ones = (net.signs(8, 8 // group, 3, 3) + 1) / 2
    graph = net.returns(net("Conv", net.sign(net.x), zeros_and_ones, pads=(1,) * 4, group=group))
    assert exposed(graph).count("Conv") == 2


def test_dense_weights_that_are_not_opposite_take_the_sum_along() -> None:
    net = Net(5, 16)
    zeros_and_ones = (net.signs(16, 6) + 1) / 2
    graph = net.returns(net("MatMul", net("Cast", net("Less", net.x, 0), to=F32), zeros_and_ones))
    assert exposed(graph).count("MatMul") == 2


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("fill", [0, 5])
def test_padding_that_is_a_third_value_leaves_a_constant_near_the_border(
    fill: float, batch: int
) -> None:
    net = Net(batch, 8, 6, 6)
    x = net("Where", net("GreaterOrEqual", net.x, 0), 0.7, 0.1)
    around = net("Pad", x, pads=(0, 0, 1, 0, 0, 0, 2, 1), value=float(fill))
    conv = net("Conv", around, net.signs(4, 4, 3, 3), strides=(2, 1), group=2)
    graph = net.returns(conv)
    assert exposed(graph)[-3:] == ["Conv", "Mul", "Add"]
    assert graph.outputs[0].producer.operand(1).shape == (1, 4, 4, 5)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_shifts_of_the_channels_move_behind_the_convolution(pads: tuple[int, ...]) -> None:
    net = Net()
    x = net("Add", net.sign(net.x), net.normal(8, 1, 1))
    graph = net.returns(net("Conv", x, net.signs(4, 4, 3, 3), pads=pads, group=2))
    assert exposed(graph)[-3:] == ["Sign", "Conv", "Add"]


def test_scales_of_the_channels_move_behind_a_depthwise_convolution() -> None:
    net = Net()
    x = net("Mul", net.sign(net.x), net.rng.random((8, 1, 1)) + 0.5)
    graph = net.returns(net("Conv", x, net.signs(16, 1, 3, 3), pads=(1,) * 4, group=8))
    assert exposed(graph)[-3:] == ["Sign", "Conv", "Mul"]


def test_noise_in_the_weights_disappears() -> None:
    net = Net()
    noisy = net.signs(4, 8, 3, 3) * (1 + 2e-7 * net.normal(4, 8, 3, 3))
    assert len(np.unique(noisy)) > 2
    assert exposed(net.returns(net("Conv", net.sign(net.x), noisy))) == ["Sign", "Conv"]


# ---- scales of activations -----------------------------------------------------------------------


def hoisted(graph: Graph) -> list[str]:
    """The drawing after the pass, having checked that it means the same."""
    before = run(graph)
    apply(graph, hoist_scales)
    assert_close(run(graph), before)
    return drawn(graph)


SCALES: dict[str, tuple[tuple[int, ...], Callable[[Net], Value]]] = {
    "of an item": (
        (2, 8, 6, 6),
        lambda n: n("Conv", _scaled(n, (1, 2, 3)), n.signs(4, 8, 3, 3), n.normal(4), pads=(1,) * 4),
    ),
    "of a pixel": ((2, 8, 6, 6), lambda n: n("Conv", _scaled(n, (1,)), n.signs(4, 8, 1, 1))),
    "of a row": (
        (5, 16),
        lambda n: n("MatMul", _scaled(n, (1,)), n.signs(16, 6) * 0.5, n.normal(6)),
    ),
    "of a channel, before a depthwise convolution": (
        (2, 8, 6, 6),
        lambda n: n("Conv", _scaled(n, (2, 3)), n.signs(8, 1, 3, 3), n.normal(8), group=8),
    ),
    "of the weights": (
        (1, 8, 6, 6),
        lambda n: n("Conv", n.sign(n.x), _scaled_weights(n, 8, (8, 8, 3, 3)), n.normal(8)),
    ),
    "of the weights of a dense layer": (
        (1, 8),
        lambda n: n("MatMul", n.sign(n.x), _scaled_weights(n, 8, (8, 8)), n.normal(8)),
    ),
    "of both": (
        (1, 8, 6, 6),
        lambda n: n("Conv", _scaled(n, (1, 2, 3)), _scaled_weights(n, 8, (8, 8, 3, 3))),
    ),
    "divided by, and a constant": (
        (2, 8, 6, 6),
        lambda n: n(
            "Conv",
            n("Mul", n("Div", n.sign(n.x), n("Exp", _mean(n, (1, 2, 3)))), 0.5),
            n.signs(4, 8, 3, 3),
        ),
    ),
}


def _mean(net: Net, axes: tuple[int, ...]) -> Value:
    return net("ReduceMean", net("Abs", net.x), axes=axes, keepdims=True)


def _scaled(net: Net, axes: tuple[int, ...]) -> Value:
    return net("Mul", net.sign(net.x), _mean(net, axes))


def _scaled_weights(net: Net, outputs: int, shape: tuple[int, ...]) -> Value:
    """Signs times a gate of each output channel, the last axis of two, else the first."""
    axes = tuple(axis for axis in range(len(net.x.shape)) if axis != 1)
    gate = net("Sigmoid", net("ReduceMean", net.x, axes=axes, keepdims=False))
    sides = (1, outputs) if len(shape) == 2 else (outputs, 1, 1, 1)
    return net("Mul", net.signs(*shape), net("Reshape", gate, shape=sides))


@pytest.mark.parametrize("name", SCALES)
def test_a_scale_of_all_that_is_added_up_moves_behind_the_product(name: str) -> None:
    shape, form = SCALES[name]
    net = Net(*shape)
    graph = net.returns(form(net))
    ops = hoisted(graph)
    product = next(op for op in ops if op in ("Conv", "MatMul"))
    assert ops.index(product) < ops.index("Mul" if "Mul" in ops else "Div")
    assert all(verdict.binary for verdict in verdicts(graph).values())


@pytest.mark.parametrize(
    "form",
    [
        lambda n: n("Conv", _scaled(n, (1,)), n.signs(4, 8, 3, 3)),
        lambda n: n("Conv", _scaled(n, (2, 3)), n.signs(4, 8, 1, 1)),
        lambda n: n("Conv", _scaled(n, (1, 2, 3)), n.normal(4, 8, 1, 1)),
        lambda n: n("Conv", n("Mul", n("Relu", n.x), _mean(n, (1, 2, 3))), n.signs(4, 8, 1, 1)),
        lambda n: n("Conv", _scaled(n, (2, 3)), n.signs(16, 1, 3, 3), group=8),
    ],
)
def test_other_scales_stay(form: Callable[[Net], Value]) -> None:
    net = Net()
    graph = net.returns(form(net))
    before = drawn(graph)
    assert hoisted(graph) == before


# ---- products in other forms ---------------------------------------------------------------------


def conformed(graph: Graph) -> list[str]:
    """The drawing after the pass, having checked that it means the same and all is binary."""
    before = run(graph)
    report = apply(graph, conform_products)
    assert_close(run(graph), before)
    assert [verdict.binary for verdict in report.verdicts] == [True]
    assert all(verdict.binary for verdict in verdicts(graph).values())
    return drawn(graph)


@pytest.mark.parametrize("shape", [(2, 3, 8), (8,)])
def test_matrix_products_get_two_axes(shape: tuple[int, ...]) -> None:
    net = Net(*shape)
    weights = (net.signs(6, 8) * net.rng.uniform(0.5, 1, (6, 1))).T
    graph = net.returns(net("MatMul", net.sign(net.x), weights, net.normal(6), name="y"))
    assert conformed(graph) == ["Sign", "Reshape", "MatMul", "Reshape", "Add"]
    assert graph.outputs[0].name == "y"


def test_weights_with_an_axis_of_one_lose_it() -> None:
    net = Net(3, 5, 8)
    graph = net.returns(net("MatMul", net.sign(net.x), net.signs(1, 8, 6), name="y"))
    assert conformed(graph) == ["Sign", "Reshape", "MatMul", "Reshape"]


@pytest.mark.parametrize(("shape", "several"), [((4, 3, 8), (4,)), ((2, 3, 2, 1, 8), (3, 2))])
def test_several_matrices_are_the_groups_of_a_convolution(
    shape: tuple[int, ...], several: tuple[int, ...]
) -> None:
    net = Net(*shape)
    weights = net.signs(*several, 8, 5) * net.rng.uniform(0.5, 1, (*several, 1, 5))
    graph = net.returns(net("MatMul", net.sign(net.x), weights, net.normal(5), name="y"))
    assert "Conv" in conformed(graph)
    assert graph.outputs[0].name == "y"


@pytest.mark.parametrize("shape", [(4, 8, 3), (2, 4, 8, 1)])
def test_several_matrices_on_the_left_are_groups_too(shape: tuple[int, ...]) -> None:
    net = Net(*shape)
    weights = net.signs(4, 5, 8) * net.rng.uniform(0.5, 1, (4, 5, 1))
    graph = net.returns(net("MatMul", weights, net.sign(net.x), name="y"))
    assert "Conv" in conformed(graph)
    assert graph.outputs[0].name == "y"


def test_matrices_that_meet_the_same_rows_are_told_of() -> None:
    net = Net(1, 3, 8)
    graph = net.returns(net("MatMul", net.sign(net.x), net.signs(4, 8, 5), name="y"))
    (verdict,) = verdicts(graph).values()
    assert verdict.reason == "its weights have 3 axes" and verdict.candidate


@pytest.mark.parametrize("several", [(), (1,)])
@pytest.mark.parametrize("shape", [(8,), (8, 5), (2, 3, 8, 5)])
def test_weights_on_the_left_go_to_the_right(
    shape: tuple[int, ...], several: tuple[int, ...]
) -> None:
    net = Net(*shape)
    graph = net.returns(net("MatMul", net.signs(*several, 6, 8), net.sign(net.x), name="y"))
    assert "MatMul" in conformed(graph)
    (product,) = (node for node in graph.nodes() if node.op.name == "MatMul")
    assert product.operand(1).shape == (8, 6)


def test_weights_on_the_left_with_an_axis_of_one_lose_it() -> None:
    net = Net(2, 3, 8, 5)
    graph = net.returns(net("MatMul", net.signs(1, 1, 6, 8), net.sign(net.x), name="y"))
    assert "MatMul" in conformed(graph)


@pytest.mark.parametrize(("shape", "several"), [((4, 8, 3), (4,)), ((2, 3, 2, 8, 1), (3, 2))])
def test_several_matrices_on_the_left_are_the_groups_of_a_convolution(
    shape: tuple[int, ...], several: tuple[int, ...]
) -> None:
    net = Net(*shape)
    weights = net.signs(*several, 5, 8) * net.rng.uniform(0.5, 1, (*several, 5, 1))
    graph = net.returns(net("MatMul", weights, net.sign(net.x), name="y"))
    assert conformed(graph)[:3] == ["Sign", "Reshape", "Conv"]
    assert graph.outputs[0].name == "y"


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "attrs", "convolutions"),
    [
        ((2, 2), {"strides": (2, 2)}, 1),
        ((4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1)}, 1),
        ((4, 4), {"strides": (2, 2), "pads": (1, 0, 2, 1), "output_padding": (1, 1)}, 1),
        ((3, 3), {"dilations": (2, 1), "pads": (1, 1, 1, 1)}, 1),
        ((2, 2), {"strides": (2, 2), "output_padding": (1, 1)}, 1),
        ((3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)}, 4),
        ((3, 2), {"strides": (2, 1)}, 2),
    ],
)
def test_transposed_convolutions_become_convolutions_of_each_phase(
    kernel: tuple[int, int], attrs: dict[str, tuple[int, ...]], convolutions: int, group: int
) -> None:
    net = Net(1, 8, 5, 4)
    weights = np.where(net.signs(8, 6 // group, *kernel) > 0, 0.5, -0.5)
    y = net(
        "ConvTranspose", net.sign(net.x), weights, net.normal(6), name="y", group=group, **attrs
    )
    graph = net.returns(y)
    assert conformed(graph).count("Conv") == convolutions
    assert graph.outputs[0].name == "y"


def test_other_transposed_convolutions_stay() -> None:
    net = Net()
    graph = net.returns(net("ConvTranspose", net.x, net.signs(8, 4, 2, 2), strides=(2, 2)))
    apply(graph, conform_products)
    assert drawn(graph) == ["ConvTranspose"]


# ---- pictures ------------------------------------------------------------------------------------

PREPROCESSING = {"color": "bgr", "scale": 255, "mean": [0.4, 0.45, 0.5], "std": [0.2, 0.3, 0.4]}


def test_8_bit_pixels_are_normalised_in_the_graph() -> None:
    net = Net(1, 3, 4, 5)
    graph = net.returns(net("Relu", net.x))
    graph.metadata["bnnc.preprocessing"] = json.dumps(PREPROCESSING)
    twin = graph.copy()
    apply(graph, input_u8, input_u8=True)
    (pixels,) = graph.inputs
    assert (pixels.name, str(pixels.type)) == ("x", "u8[1x4x5x3]")
    picture = feed(graph)["x"]
    mean, std = (np.array(PREPROCESSING[key], np.float32) for key in ("mean", "std"))
    normal = ((picture / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    assert_close(interpreter.run(graph, {"x": picture}), interpreter.run(twin, {"x": normal}))


def test_pixels_are_left_alone_unless_asked_for() -> None:
    net = Net(1, 3, 4, 5)
    graph = net.returns(net("Relu", net.x))
    assert apply(graph, input_u8).changes == [("input_u8", 0)]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "have no 'bnnc.preprocessing'"),
        ({"bnnc.preprocessing": "{"}, "cannot be read"),
        ({"bnnc.preprocessing": "[]"}, "cannot be read"),
        ({"bnnc.preprocessing": '{"mean": "red"}'}, "cannot be read"),
        ({"bnnc.preprocessing": '{"mean": [1, 2]}'}, "cannot be read"),
        ({"bnnc.preprocessing": '{"std": [1, 0, 1]}'}, "divide by zero"),
    ],
)
def test_pixels_need_metadata_that_make_sense(metadata: dict[str, str], message: str) -> None:
    net = Net(1, 3, 4, 5)
    graph = net.returns(net("Relu", net.x))
    graph.metadata |= metadata
    with pytest.raises(ModelError, match=message):
        apply(graph, input_u8, input_u8=True)
