"""Convolutions and pools: padding in all its spellings, one axis and two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    few,
    info,
    load,
    model_of,
    normal,
    one_node,
    ops_of,
    seeds,
)

from bnnc.analysis.statistics import statistics
from bnnc.errors import ModelError, UnsupportedError
from bnnc.ir.binary import part_of, verdicts
from bnnc.passes import SEMANTIC
from bnnc.passes import run as run_passes

AUTO_PADS = ["SAME_UPPER", "SAME_LOWER", "VALID"]


@st.composite
def windows(draw: st.DrawFn, axes: int, dilated: bool = True) -> dict[str, Any]:
    """``size`` of an input, and attributes of windows that fit it.

    For "same" pads, onnxruntime knows no dilation and no stride larger than the kernel.
    """
    auto_pad = draw(st.sampled_from(["", *AUTO_PADS]))
    same = auto_pad.startswith("SAME")
    kernel = draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes))
    dilations = [draw(st.integers(1, 2)) if dilated and not same else 1 for _ in kernel]
    attrs: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, min(k, 3) if same else 3)) for k in kernel],
    }
    if dilated:
        attrs["dilations"] = dilations
    if auto_pad:
        attrs["auto_pad"] = auto_pad
    else:
        attrs["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
    return {"size": [draw(st.integers(n, n + 7)) for n in extents], "attrs": attrs}


@few
@given(axes=st.integers(1, 2), data=st.data(), group=st.integers(1, 2), seed=seeds)
def test_conv(axes: int, data: st.DataObject, group: int, seed: int) -> None:
    case = data.draw(windows(axes))
    x = normal(seed, 2, 2 * group, *case["size"])
    w = normal(seed + 1, 3 * group, 2, *case["attrs"]["kernel_shape"])
    bias = {2: normal(seed + 2, 3 * group)} if data.draw(st.booleans()) else {}
    graph = assert_node_agrees(
        "Conv", [x], case["attrs"] | {"group": group}, fixed={1: w, **bias}, tolerance=1e-4
    )
    assert ops_of(graph) == (["Conv"] if axes == 2 else ["Reshape", "Conv", "Reshape"])


@few
@given(axes=st.integers(1, 2), data=st.data(), group=st.integers(1, 2), seed=seeds)
def test_conv_transpose(axes: int, data: st.DataObject, group: int, seed: int) -> None:
    case = data.draw(windows(axes))
    attrs = case["attrs"] | {"group": group}
    attrs["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in attrs["strides"]]
    x = normal(seed, 1, 2 * group, *case["size"])
    w = normal(seed + 1, 2 * group, 3, *attrs["kernel_shape"])
    fulls = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(
            case["size"], attrs["strides"], attrs["dilations"], attrs["kernel_shape"]
        )
    ]
    pads = attrs.get("pads", [0] * 2 * axes)
    assume(all(full > pads[i] + pads[i + axes] for i, full in enumerate(fulls)))
    assert_node_agrees(
        "ConvTranspose", [x], attrs, fixed={1: w, 2: normal(seed, 3 * group)}, tolerance=1e-4
    )


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("sizes", [[9, 8], [10, 10], [7, 11]])
def test_conv_transpose_to_a_given_output_shape(auto_pad: str, sizes: list[int]) -> None:
    attrs = {"strides": [2, 2], "output_shape": sizes, "auto_pad": auto_pad}
    x, w = normal(1, 1, 2, 4, 4), normal(2, 2, 3, 4, 4)
    assert_node_agrees("ConvTranspose", [x], attrs, fixed={1: w}, tolerance=1e-4)


def test_weights_may_be_computed_from_the_input() -> None:
    assert_node_agrees("Conv", [normal(1, 1, 2, 6, 6), normal(2, 3, 2, 3, 3)], tolerance=1e-4)


@few
@given(axes=st.integers(1, 2), data=st.data(), ceil=st.booleans(), seed=seeds)
def test_max_pool(axes: int, data: st.DataObject, ceil: bool, seed: int) -> None:
    case = data.draw(windows(axes))
    x = normal(seed, 1, 2, *case["size"])
    assert_node_agrees("MaxPool", [x], case["attrs"] | {"ceil_mode": int(ceil)})


@few
@given(
    axes=st.integers(1, 2), data=st.data(), ceil=st.booleans(), include=st.booleans(), seed=seeds
)
def test_average_pool(axes: int, data: st.DataObject, ceil: bool, include: bool, seed: int) -> None:
    case = data.draw(windows(axes, dilated=data.draw(st.booleans())))
    attrs = case["attrs"] | {"ceil_mode": int(ceil), "count_include_pad": int(include)}
    assert_node_agrees("AveragePool", [normal(seed, 1, 2, *case["size"])], attrs)


@pytest.mark.parametrize("order", [1, 2])
def test_lp_pool(order: int) -> None:
    attrs = {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 0, 0, 1], "p": order}
    assert_node_agrees("LpPool", [normal(1, 1, 3, 6, 7)], attrs)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_small_integers_are_pooled_as_floats(dtype: type) -> None:
    x = (normal(1, 1, 2, 6, 6) * 40).astype(np.int8).astype(dtype)
    graph = assert_node_agrees("MaxPool", [x], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
    assert ops_of(graph) == ["Cast", "MaxPool", "Cast"]


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5)])
def test_global_pools(op: str, shape: tuple[int, ...]) -> None:
    assert_node_agrees(op, [normal(1, *shape)])


def test_max_pool_of_bytes() -> None:
    x = np.random.default_rng(1).integers(0, 256, (1, 2, 6, 6)).astype(np.uint8)
    assert_node_agrees("MaxPool", [x], {"kernel_shape": [2, 2]})


def test_max_pool_indices_are_refused() -> None:
    model, _ = one_node("MaxPool", [normal(1, 1, 1, 4, 4)], {"kernel_shape": [2, 2]}, outputs=2)
    with pytest.raises(UnsupportedError, match="y0: the output 'y1' of MaxPool is not supported"):
        load(model)


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((3, 1, 1), (1, 1, 1), (1, 0, 0, 1, 0, 0)),
        ((5, 1, 1), (2, 1, 1), (2, 0, 0, 1, 0, 0)),
        ((1, 2, 3), (1, 2, 1), (0, 1, 1, 0, 0, 1)),
        ((2, 1, 3), (1, 1, 2), (1, 0, 0, 0, 0, 1)),
        ((3, 2, 1), (1, 2, 1), (0, 0, 0, 0, 1, 0)),
    ],
)
def test_pools_over_three_axes_that_reach_along_two(
    op: str,
    include: int,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
) -> None:
    attrs = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if op == "AveragePool":
        attrs["count_include_pad"] = include
    assert_node_agrees(op, [normal(1, 2, 3, 5, 6, 7)], attrs)


@few
@given(data=st.data(), group=st.integers(1, 2), seed=seeds)
def test_conv_over_three_axes(data: st.DataObject, group: int, seed: int) -> None:
    case = data.draw(windows(3))
    x = normal(seed, 2, 2 * group, *case["size"])
    w = normal(seed + 1, 3 * group, 2, *case["attrs"]["kernel_shape"])
    bias = {2: normal(seed + 2, 3 * group)} if data.draw(st.booleans()) else {}
    attrs = case["attrs"] | {"group": group}
    assert_node_agrees("Conv", [x], attrs, fixed={1: w, **bias}, tolerance=1e-4)


@few
@given(op=st.sampled_from(["AveragePool", "MaxPool"]), data=st.data(), seed=seeds)
def test_pools_over_three_axes(op: str, data: st.DataObject, seed: int) -> None:
    case = data.draw(windows(3, dilated=False))
    attrs = case["attrs"]
    if op == "AveragePool":
        attrs["count_include_pad"] = data.draw(st.integers(0, 1))
    assert_node_agrees(op, [normal(seed, 1, 2, *case["size"])], attrs, tolerance=1e-5)


@pytest.mark.parametrize(
    ("depth", "attrs", "message"),
    [
        (2, {}, "has a kernel of 3x1x1 that meets but padding, or is too large"),
        (1, {"pads": [4, 0, 0, 4, 0, 0], "strides": [5, 1, 1]}, "that meets but padding"),
    ],
)
def test_conv_over_three_axes_that_reads_nothing_is_refused(
    depth: int, attrs: dict[str, Any], message: str
) -> None:
    fixed = {1: normal(2, 1, 1, 3, 1, 1)}
    model, _ = one_node("Conv", [normal(1, 1, 1, depth, 4, 4)], attrs, fixed=fixed)
    with pytest.raises(ModelError, match=message):
        load(model)


def test_a_kernel_of_many_slices_is_refused() -> None:
    fixed = {1: normal(2, 1, 1, 65, 1, 1)}
    model, _ = one_node("Conv", [normal(1, 1, 1, 65, 4, 4)], {}, fixed=fixed)
    with pytest.raises(UnsupportedError, match="y0: Conv of 65 slices is not supported; 64 at"):
        load(model)


def test_transposed_convolutions_over_three_axes_are_refused() -> None:
    fixed = {1: normal(2, 1, 1, 2, 2, 2)}
    model, _ = one_node("ConvTranspose", [normal(1, 1, 1, 4, 4, 4)], {}, fixed=fixed)
    with pytest.raises(UnsupportedError, match="y0: ConvTranspose over 3 axes is not supported"):
        load(model)


def test_a_binary_convolution_over_three_axes_stays_binary() -> None:
    nodes = [
        helper.make_node("Sign", ["x"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["y"], "conv", pads=[1] * 6, strides=[2, 1, 1]),
    ]
    x, w = normal(1, 1, 4, 5, 6, 7), np.sign(normal(2, 8, 4, 3, 3, 3))
    graph = load(model_of(nodes, [info("x", shape=x.shape)], ["y"], {"w": w}))
    passes = verdicts(graph, sign_zero=1)
    assert len(passes) == 3
    assert len({part_of(node, verdict) for node, verdict in passes.items()}) == 1
    assert all(verdict.binary for verdict in passes.values())


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("depth", [1, 6])
def test_a_convolution_over_three_axes_counts_as_one_layer(signs: bool, depth: int) -> None:
    """The paper's way counts planes of padding like rows of padding; they are not executed."""
    nodes = [
        helper.make_node("Sign" if signs else "Relu", ["x"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["y"], "conv", pads=[1] * 6),
    ]
    x, w = normal(1, 1, 4, depth, 5, 5), np.sign(normal(2, 8, 4, 3, 3, 3))
    graph = load(model_of(nodes, [info("x", shape=x.shape)], ["y"], {"w": w}))
    run_passes(graph, SEMANTIC)
    (layer,) = statistics(graph, "paper").layers
    assert (layer.name, layer.op, layer.binary) == ("conv", "Conv", signs)
    assert layer.output_shape == (1, 8, depth, 5, 5)
    assert layer.activation_bytes == 4 * 8 * depth * 5 * 5
    each_plane = 5 * 5 * 8 * 4 * 3 * 3
    assert layer.macs == 3 * depth * each_plane
    assert statistics(graph).total.macs == (3 * depth - 2) * each_plane


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"strides": [0, 1]}, "Conv has strides [0, 1]; needs 2 numbers of at least 1"),
        ({"strides": [1]}, "Conv has strides [1]; needs 2 numbers of at least 1"),
        ({"dilations": [1, -2]}, "Conv has dilations [1, -2]; needs 2 numbers of at least 1"),
        ({"pads": [0, -1, 0, 0]}, "Conv has pads [0, -1, 0, 0]; needs 4 numbers of at least 0"),
        ({"pads": [1, 1]}, "Conv has pads [1, 1]; needs 4 numbers of at least 0"),
        ({"dilations": [2**40, 1]}, f"dilations [{2**40}, 1]; none may be larger than {2**31 - 1}"),
        ({"dilations": [2**20, 1]}, "larger than its padded input 8x8"),
        ({"auto_pad": "SOME"}, "Conv has auto_pad 'SOME'"),
        ({"kernel_shape": [5, 5]}, "Conv says its kernel is 5x5, but its weights have shape"),
        ({"group": 3}, "Conv has group 3, which does not divide its 4 channels"),
        ({"group": 0}, "Conv has group 0"),
        ({"group": -4}, "Conv has group -4"),
        ({"group": 2}, "weights of shape 2x4x3x3 in 2 group(s) take 8"),
    ],
)
def test_contradictory_windows_are_refused(attrs: dict[str, Any], message: str) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stem.conv", **attrs)
    model = model_of([node], [info("x", shape=[1, 4, 8, 8])], ["y"], {"w": normal(1, 2, 4, 3, 3)})
    with pytest.raises(ModelError) as caught:
        load(model)
    assert str(caught.value).startswith("stem.conv: Conv ")
    assert message in str(caught.value)


def test_auto_pad_leaves_no_pad_node() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2])
    model = model_of([node], [info("x", shape=[1, 1, 7, 8])], ["y"], {"w": normal(1, 1, 1, 3, 3)})
    graph = assert_agrees(model, {"x": normal(2, 1, 1, 7, 8)}, 1e-4)
    assert graph.nodes()[0].attrs["pads"] == (1, 1, 1, 0)
