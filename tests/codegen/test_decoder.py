"""Which outputs are a CenterNet's, by what the model says and by what they look like."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from bnnc.codegen.decoder import Decoder, find_decoder
from bnnc.errors import InputError, ModelError
from bnnc.ir.graph import Graph
from bnnc.ir.types import DType, TensorType

Output = tuple[str, int, Sequence[str]]
"""Name, channels, and what comes behind the convolution."""

HEAT: Output = ("heatmap", 3, ("Sigmoid",))
SIZE: Output = ("size", 2, ())
OFFSET: Output = ("offset", 2, ())
ATTRS = {"Clip": {"min": 1e-4, "max": 1.0}, "Sigmoid": {}, "Relu": {}}


def graph_of(*outputs: Output, stride: int = 4, pixels: int = 16) -> Graph:
    """A network of one convolution an output, input 1 x 3 x pixels x 2 pixels."""
    graph = Graph("net")
    x = graph.add_input("x", TensorType(DType.F32, (1, 3, pixels, 2 * pixels)))
    values = []
    for _, channels, behind in outputs:
        w = graph.constant(np.zeros((channels, 3, stride, stride), np.float32))
        value = graph.add("Conv", [x, w], {"strides": (stride, stride)}).output
        for op in behind:
            value = graph.add(op, [value], ATTRS[op]).output
        values.append(value)
    graph.mark_outputs(values, [name for name, *_ in outputs])
    return graph


def roles(graph: Graph) -> tuple[str, str, str]:
    decoder = find_decoder(graph, "centernet")
    assert decoder is not None
    return decoder.heatmap, decoder.size, decoder.offset


def test_none_is_looked_for_unless_asked() -> None:
    assert find_decoder(graph_of(HEAT, SIZE, OFFSET), "none") is None


def test_the_outputs_are_told_by_their_names_and_shapes() -> None:
    found = find_decoder(graph_of(OFFSET, SIZE, HEAT), "centernet")
    assert found == Decoder("heatmap", "size", "offset", 3, 4, 8, 4.0, 100)


@pytest.mark.parametrize(
    ("heatmap", "size", "offset"),
    [("hm", "wh", "reg"), ("y0", "wh", "y1"), ("y0", "y1", "off"), ("1", "box_size", "reg_2")],
)
def test_usual_names_are_known(heatmap: str, size: str, offset: str) -> None:
    graph = graph_of((size, 2, ()), (heatmap, 2, ("Sigmoid", "Clip")), (offset, 2, ("Relu",)))
    assert roles(graph) == (heatmap, size, offset)


def test_other_outputs_are_passed_over() -> None:
    more: list[Output] = [("depth", 1, ()), ("rotation", 8, ()), ("velocity", 2, ())]
    assert roles(graph_of(*more, HEAT, SIZE, OFFSET)) == ("heatmap", "size", "offset")


@pytest.mark.parametrize("form", ["mask by scores", "scores by mask", "scores or zero"])
def test_a_search_for_peaks_may_follow_the_sigmoid(form: str) -> None:
    graph = graph_of(HEAT, SIZE, OFFSET)
    scores, *others = graph.outputs
    window = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    peaks = graph.add("Equal", [graph.add("MaxPool", [scores], window).output, scores]).output
    mask = graph.add("Cast", [peaks], {"to": DType.F32}).output
    zero = graph.constant(np.zeros((), np.float32))
    kept = {
        "mask by scores": lambda: graph.add("Mul", [mask, scores]),
        "scores by mask": lambda: graph.add("Mul", [scores, mask]),
        "scores or zero": lambda: graph.add("Where", [peaks, scores, zero]),
    }[form]()
    graph.mark_outputs([kept.output, *others], graph.output_names)
    assert roles(graph) == ("heatmap", "size", "offset")


def test_a_product_of_other_things_is_no_heatmap() -> None:
    graph = graph_of(HEAT, SIZE, OFFSET)
    scores, *others = graph.outputs
    graph.mark_outputs([graph.add("Mul", [scores, scores]).output, *others], graph.output_names)
    with pytest.raises(ModelError, match="no heatmap"):
        find_decoder(graph, "centernet")


def test_what_the_model_says_comes_first() -> None:
    graph = graph_of(("a", 3, ()), ("size", 2, ()), ("offset", 2, ()))
    said = {"type": "centernet", "heatmap": "a", "size": "offset", "offset": "size"}
    graph.metadata["bnnc.decoder"] = json.dumps({**said, "stride": 2, "top": 7})
    found = find_decoder(graph, "centernet")
    assert found == Decoder("a", "offset", "size", 3, 4, 8, 2.0, 7)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("heatmap", 3, ()), SIZE, OFFSET], "no heatmap: none is a 1xCxHxW float map that ends"),
        ([HEAT, SIZE], "no offset: none is a 1x2x4x8 map so named"),
        ([HEAT, ("a", 2, ()), ("b", 2, ())], "no size: none is a 1x2x4x8 map so named"),
        ([HEAT, ("hm2", 1, ("Sigmoid",)), SIZE, OFFSET], "'heatmap', 'hm2' may each be the heat"),
        ([HEAT, SIZE, ("wh", 2, ()), OFFSET], "'size', 'wh' may each be the size"),
        ([HEAT, ("reg_wh", 2, ())], "'reg_wh' may be size or offset"),
        ([HEAT, ("size", 4, ()), OFFSET], "no size: none is a 1x2x4x8 map so named"),
    ],
)
def test_outputs_that_cannot_be_told_apart_are_named(outputs: list[Output], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_decoder(graph_of(*outputs), "centernet")
    assert message in str(caught.value) and "set the metadata 'bnnc.decoder'" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ({"type": "yolo"}, "it is no CenterNet but 'yolo'"),
        ({"type": "centernet", "heatmap": "y"}, "call the heatmap 'y'"),
        ({"size": "heatmap"}, "'heatmap' is 1x3x4x8; expected 1x2x4x8"),
        ({"stride": 0}, "say stride 0"),
        ({"stride": "4"}, "say stride '4'"),
        ({"top": 0}, "top 0"),
        ({"top": 1 << 18}, "top 262144"),
    ],
)
def test_metadata_that_make_no_sense_are_told(said: str | dict, message: str) -> None:
    graph = graph_of(HEAT, SIZE, OFFSET)
    if isinstance(said, dict):
        names = {name: name for name in ("heatmap", "size", "offset")}
        said = json.dumps({"type": "centernet", **names, **said})
    graph.metadata["bnnc.decoder"] = said
    with pytest.raises(ModelError, match=message):
        find_decoder(graph, "centernet")


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(InputError, match="cannot decode 'yolo'"):
        find_decoder(graph_of(HEAT, SIZE, OFFSET), "yolo")


def test_an_input_that_fits_no_stride_is_told() -> None:
    graph = Graph("net")
    heads = {"heatmap": (1, 3, 4, 8), "size": (1, 2, 4, 8), "offset": (1, 2, 4, 8)}
    x = graph.add_input("x", TensorType(DType.F32, (1, 7, 4, 8)))
    values = []
    for at, (_, channels, *_rest) in zip((0, 3, 5), heads.values()):
        attrs = {"starts": (at,), "ends": (at + channels,), "axes": (1,), "steps": (1,)}
        values.append(graph.add("Slice", [x], attrs).output)
    values[0] = graph.add("Sigmoid", [values[0]]).output
    graph.mark_outputs(values, list(heads))
    found = find_decoder(graph, "centernet")
    assert found is not None and found.stride == 1
    y = graph.add_input("y", TensorType(DType.F32, (1, 3)))
    graph.mark_outputs([*values, graph.add("Relu", [y]).output], [*heads, "more"])
    with pytest.raises(ModelError, match=r"the input \(none or several\) is no multiple"):
        find_decoder(graph, "centernet")
