"""What QONNX's transformations write of convolutions and pools, against what it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper
from onnx_models import by_bnnc, info, load, model_of, normal, ops_of

from bnnc import compiler
from bnnc.errors import ModelError

GENERAL, LAST = "qonnx.custom_op.general", "qonnx.custom_op.channels_last"


def model(
    op: str, domain: str, shape: tuple[int, ...], constants: dict[str, np.ndarray], **attrs: Any
) -> ModelProto:
    """One node that reads ``x`` of this shape, and constants."""
    node = helper.make_node(op, ["x", *constants], ["y"], domain=domain, **attrs)
    versions = {} if domain == "" else {domain: 1}
    return model_of([node], [info("x", shape=shape)], ["y"], constants, domains=versions)


def first(x: np.ndarray) -> np.ndarray:
    """With the channels in front."""
    return np.moveaxis(x, -1, 1)


def run(made: ModelProto, x: np.ndarray) -> np.ndarray:
    return by_bnnc(made, {"x": x})[0]


WINDOWS = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1], "dilations": [1, 2]}


@pytest.mark.parametrize("axes", [1, 2])
def test_convolution_with_channels_last(axes: int) -> None:
    size = (7, 6)[-axes:]
    attrs = {key: numbers[-axes:] for key, numbers in WINDOWS.items() if key != "pads"}
    x, w, bias = normal(1, 1, *size, 4), normal(2, 6, *(3, 2)[-axes:], 4), normal(3, 6)
    last = model("Conv", LAST, x.shape, {"w": w, "b": bias}, **attrs)
    plain = model("Conv", "", first(x).shape, {"w": first(w), "b": bias}, **attrs)
    np.testing.assert_array_equal(first(run(last, x)), run(plain, first(x)))


@pytest.mark.parametrize(("op", "domain"), [("MaxPool", LAST), ("MaxPoolNHWC", GENERAL)])
def test_max_pool_with_channels_last(op: str, domain: str) -> None:
    x = normal(1, 2, 7, 6, 4)
    attrs = {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1], "ceil_mode": 1}
    last, plain = (
        model(op, domain, x.shape, {}, **attrs),
        model("MaxPool", "", first(x).shape, {}, **attrs),
    )
    np.testing.assert_array_equal(first(run(last, x)), run(plain, first(x)))


def test_normalisation_with_channels_last() -> None:
    x, vectors = normal(1, 1, 5, 6, 4), {name: np.abs(normal(2, 4)) for name in "sbmv"}
    last = model("BatchNormalization", LAST, x.shape, vectors)
    plain = model("BatchNormalization", "", first(x).shape, vectors)
    np.testing.assert_array_equal(first(run(last, x)), run(plain, first(x)))


LOWERED = {"kernel_size": [3, 2], "stride": [2, 1], "dilations": [1, 2], "input_shape": "(1,7,6,4)"}


@pytest.mark.parametrize(("pads", "value"), [([0] * 4, 0), ([1, 0, 0, 1], 0), ([1, 1, 1, 1], -1)])
def test_windows_as_rows_times_a_matrix_are_a_convolution(pads: list[int], value: int) -> None:
    x, w = normal(1, 1, 7, 6, 4), normal(2, 5, 4, 3, 2)
    rows = model("Im2Col", GENERAL, x.shape, {}, pad_amount=pads, pad_value=value, **LOWERED)
    around = [(0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)]
    padded = first(np.pad(x, around, constant_values=value))
    plain = model("Conv", "", padded.shape, {"w": w}, strides=[2, 1], dilations=[1, 2])
    found = run(rows, x) @ w.transpose(2, 3, 1, 0).reshape(-1, 5)
    np.testing.assert_allclose(first(found), run(plain, padded), rtol=1e-5, atol=1e-5)


def test_a_product_that_counts_equal_bits_is_binary() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (2, 64, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["g"]),
        helper.make_node("Cast", ["g"], ["a"], to=1),
        helper.make_node("XnorPopcountMatMul", ["a", "w"], ["y"], domain=GENERAL),
    ]
    constants = {"zero": np.zeros((), np.float32), "w": bits[0]}
    made = model_of(nodes, [info("x", shape=[5, 64])], ["y"], constants, domains={GENERAL: 1})
    equal = (bits[1].T[:, :, None] == bits[0]).sum(1)
    np.testing.assert_array_equal(run(made, bits[1].T - 0.5), equal)
    assert [v.binary for v in compiler.reference_graph(made)[1].verdicts] == [True]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_average_of_integers_loses_its_lowest_bits(layout: str) -> None:
    x = np.random.default_rng(0).integers(0, 16, (1, 4, 6, 6)).astype(np.float32)
    attrs = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 4, "data_layout": layout}
    made = model("QuantAvgPool2d", GENERAL, x.shape, {}, **attrs)
    planes = x if layout == "NCHW" else first(x)
    sums = planes[..., ::2, :][..., ::2] + planes[..., ::2, :][..., 1::2]
    sums += planes[..., 1::2, :][..., ::2] + planes[..., 1::2, :][..., 1::2]
    found = run(made, x)
    np.testing.assert_array_equal(found if layout == "NCHW" else first(found), sums // 4)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"kernel_size": [8, 2]}, "has windows larger than its padded input 7x6"),
        ({"kernel_size": [3]}, r"has kernel_size \[3\]"),
        ({"stride": [0, 1]}, "has kernel_size"),
        ({"pad_amount": [1, 1]}, "has kernel_size"),
        ({"kernel_size": [2**15, 2**15]}, "of 32768x32768 is not supported"),
    ],
)
def test_contradictory_windows_are_refused(attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"Im2Col {message}"):
        load(model("Im2Col", GENERAL, (1, 7, 6, 4), {}, **{**LOWERED, **attrs}))


def test_one_tap_is_the_picture_itself() -> None:
    attrs = {"kernel_size": [1, 1], "stride": [1, 1], "input_shape": "(1,7,6,4)"}
    assert "Concat" not in ops_of(load(model("Im2Col", GENERAL, (1, 7, 6, 4), {}, **attrs)))
