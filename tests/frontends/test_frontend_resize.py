"""Resize and Upsample: every mode, against onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import (
    assert_agrees,
    assert_node_agrees,
    info,
    load,
    model_of,
    normal,
    one_node,
    ops_of,
    seeds,
)

from bnnc.errors import ModelError
from bnnc.frontends.onnx.ops.resize import COORDINATES as COORDINATE_RULES
from bnnc.frontends.onnx.ops.resize import NEAREST as NEAREST_RULES
from bnnc.frontends.onnx.ops.resize import Axis

many = settings(max_examples=80, deadline=None)

COORDINATES = [
    "half_pixel",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "align_corners",
    "asymmetric",
]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def is_clear(coordinates: str, nearest: str, size: int, scale: float) -> bool:
    """Whether rounding in float32 cannot decide which element is nearest.

    Powers of two are exact; otherwise no coordinate may lie close to where the choice changes.
    """
    if scale == 1 or math.log2(scale) % 1 == 0:
        return True
    axis = Axis(size, int(size * scale), np.float32(scale), (np.float32(0), np.float32(1)))
    c = COORDINATE_RULES[coordinates](np.arange(axis.out, dtype=np.float32), axis)
    below, above = (NEAREST_RULES[nearest](c + shift, axis) for shift in (-1e-4, 1e-4))
    return np.array_equal(below, above)


def targets(sizes: bool, height: float, width: float) -> dict[int, np.ndarray]:
    """The inputs that say how large the result is."""
    if sizes:
        return {3: np.array([1, 2, height, width], np.int64)}
    return {2: np.array([1, 1, height, width], np.float32)}


@many
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    nearest=st.sampled_from(NEAREST),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    out=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    exclude=st.booleans(),
    seed=seeds,
)
def test_resize_to_sizes(
    mode: str,
    coordinates: str,
    nearest: str,
    size: tuple[int, int],
    out: tuple[int, int],
    exclude: bool,
    seed: int,
) -> None:
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attrs["nearest_mode"] = nearest
        pairs = zip(size, out)
        assume(all(is_clear(coordinates, nearest, old, new / old) for old, new in pairs))
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": -0.6, "exclude_outside": int(exclude)}
    x = normal(seed, 1, 2, *size)
    assert_node_agrees("Resize", [x], attrs, fixed=targets(True, *out), tolerance=1e-4)


@many
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    scale=st.tuples(*[st.sampled_from([0.5, 0.6, 0.75, 1.0, 1.3, 1.5, 2.0, 3.0])] * 2),
    seed=seeds,
)
def test_resize_by_scales(
    mode: str,
    coordinates: str,
    size: tuple[int, int],
    scale: tuple[float, float],
    seed: int,
) -> None:
    assume(all(n * s >= 1 for n, s in zip(size, scale)))
    if mode == "nearest":
        pairs = zip(size, scale)
        assume(all(is_clear(coordinates, "round_prefer_floor", n, s) for n, s in pairs))
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    x = normal(seed, 1, 2, *size)
    assert_node_agrees("Resize", [x], attrs, fixed=targets(False, *scale), tolerance=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 8, 9, 10])
@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.5, 3.0), (2.6, 1.0)])
def test_upsample_and_the_first_resize(mode: str, opset: int, scales: tuple[float, ...]) -> None:
    x, four = normal(1, 1, 2, 4, 5), np.array([1, 1, *scales], np.float32)
    if opset < 9:
        assert_node_agrees("Upsample", [x], {"mode": mode, "scales": four.tolist()}, opset=opset)
    else:
        op = "Upsample" if opset == 9 else "Resize"
        assert_node_agrees(op, [x], {"mode": mode}, fixed={1: four}, opset=opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_the_first_resize_downwards(mode: str) -> None:
    x, scales = normal(1, 1, 2, 8, 9), np.array([1, 1, 0.5, 0.4], np.float32)
    assert_node_agrees("Resize", [x], {"mode": mode}, fixed={1: scales}, opset=10)


@pytest.mark.parametrize("opset", [11, 12, 13, 18, 19])
def test_resize_in_every_version(opset: int) -> None:
    fixed = {2: np.array([1, 1, 2, 1.5], np.float32)}
    if opset < 13:
        fixed[1] = np.zeros(0, np.float32)
    attrs = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    assert_node_agrees("Resize", [normal(1, 1, 2, 5, 6)], attrs, fixed=fixed, opset=opset)


def test_half_pixel_for_tensorflow() -> None:
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    attrs["nearest_mode"] = "floor"
    fixed = {1: np.zeros(0, np.float32), 2: np.array([1, 1, 2.5, 3], np.float32)}
    assert_node_agrees("Resize", [normal(1, 1, 2, 5, 6)], attrs, fixed=fixed, opset=11)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("outside", [0.0, 3.5])
def test_crop_and_resize(mode: str, outside: float) -> None:
    attrs = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": outside,
    }
    roi = np.array([0, 0, 0.25, -0.2, 1, 1, 0.8, 1.1], np.float32)
    fixed = {1: roi, 3: np.array([1, 2, 9, 7], np.int64)}
    assert_node_agrees("Resize", [normal(1, 1, 2, 6, 5)], attrs, fixed=fixed, tolerance=1e-4)


@pytest.mark.parametrize("out", [(3, 4), (5, 11), (12, 3), (8, 16)])
@pytest.mark.parametrize(("mode", "exclude"), [("linear", 0), ("cubic", 0), ("cubic", 1)])
def test_antialiasing(mode: str, exclude: int, out: tuple[int, int]) -> None:
    attrs = {"mode": mode, "antialias": 1, "exclude_outside": exclude}
    x = normal(1, 1, 2, 10, 11)
    assert_node_agrees("Resize", [x], attrs, fixed=targets(True, *out), tolerance=1e-4)


@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0, 4.0])
def test_ties_between_two_neighbours(nearest: str, scale: float) -> None:
    for coordinates in ("half_pixel", "asymmetric"):
        attrs = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
        x = normal(1, 1, 1, 8, 12)
        assert_node_agrees("Resize", [x], attrs, fixed=targets(False, scale, scale))


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_keeping_the_aspect_ratio(policy: str) -> None:
    attrs = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    fixed = {3: np.array([9, 8], np.int64)}
    assert_node_agrees("Resize", [normal(1, 1, 2, 6, 4)], attrs, fixed=fixed, tolerance=1e-4)


@pytest.mark.parametrize(
    ("shape", "scales"),
    [
        ((6,), (2,)),
        ((3, 4), (1, 2)),
        ((3, 4), (2, 3)),
        ((2, 3, 4), (1, 1, 2)),
        ((2, 3, 4), (1, 2, 2)),
        ((1, 5, 4, 2), (1, 2, 3, 1)),
        ((2, 3, 4, 5), (2, 1, 1, 2)),
        ((1, 2, 3, 4, 5), (1, 1, 2, 2, 3)),
    ],
)
def test_any_axes_can_be_resized(shape: tuple[int, ...], scales: tuple[int, ...]) -> None:
    fixed = {2: np.array(scales, np.float32)}
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    assert_node_agrees(
        "Resize", [normal(1, *shape)], attrs | {"nearest_mode": "floor"}, fixed=fixed
    )


def test_a_plain_resize_is_one_node() -> None:
    graph = assert_node_agrees("Resize", [normal(1, 1, 2, 3, 3)], fixed=targets(False, 2, 2))
    assert ops_of(graph) == ["Resize"]


def test_a_resize_to_the_same_size_is_dropped() -> None:
    graph = assert_node_agrees("Resize", [normal(1, 1, 2, 3, 3)], fixed=targets(True, 3, 3))
    assert ops_of(graph) == []


def test_sizes_computed_from_the_shape_are_folded() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["hw"]),
        helper.make_node("Mul", ["hw", "factor"], ["twice"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["nc"]),
        helper.make_node("Concat", ["nc", "twice"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"),
    ]
    constants = {
        "zero": np.array([0]),
        "two": np.array([2]),
        "four": np.array([4]),
        "factor": np.array([2, 3]),
    }
    model = model_of(nodes, [info("x", shape=[1, 2, 3, 4])], ["y"], constants)
    graph = assert_agrees(model, {"x": normal(1, 1, 2, 3, 4)})
    assert ops_of(graph) == ["Resize"]


@pytest.mark.parametrize(
    ("attrs", "fixed", "message"),
    [
        ({"mode": "area"}, targets(False, 2, 2), "Resize has mode 'area'"),
        ({}, {2: np.array([1, 1, 0, 2], np.float32)}, "Resize has scales"),
        ({}, {2: np.array([1, 1, np.nan, 2], np.float32)}, "Resize has scales"),
        ({}, {2: np.array([2, 2], np.float32)}, "Resize has scales of shape 2 for 4 axes"),
        (
            {},
            {2: np.array([1, 1, 1e8, 1], np.float32)},
            "Resize cannot make 400000000 of axis 2, which is 4 long",
        ),
        ({}, {2: np.array([1, 1, 1e30, 1], np.float32)}, "Resize scales axis 2 of 4 by 1"),
        ({}, {3: np.array([1, 1, 2**40, 1])}, "Resize has sizes"),
        ({}, {3: np.array([1, 1, -2, 1])}, "Resize has sizes"),
        ({}, {}, "Resize lacks its input number 3"),
    ],
)
def test_contradictory_resizes_are_refused(
    attrs: dict[str, Any], fixed: dict[int, np.ndarray], message: str
) -> None:
    model, _ = one_node("Resize", [normal(1, 1, 1, 4, 4)], attrs, fixed=fixed)
    with pytest.raises(ModelError, match=f"y0: {message}"):
        load(model)
