"""Verification: it passes what is right, and finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnnc.analysis.samples import samples
from bnnc.analysis.verify import TOLERANCE, Check, Verification, describe, verify
from bnnc.errors import InputError, ModelError
from bnnc.ir import interpreter, layout
from bnnc.ir.graph import Graph, Value
from bnnc.ir.types import DType, TensorType

Fault = Callable[[str, np.ndarray], np.ndarray]
BITS = {"name": "sign.y", "shape": [], "low": [-1.0], "high": [1.0]}


class FakeSession:
    """A compiled model whose layers are those of ``small_graph``, run by the interpreter; ``fault``
    may damage what a layer writes."""

    path = "fake.so"

    def __init__(
        self, graph: Graph, layers: list[dict[str, Any]], fault: Fault = lambda name, array: array
    ) -> None:
        self.graph = graph
        self.fault = fault
        self.info = {
            "inputs": [{"name": "x", "dtype": "f32", "shape": [1, 3, 8, 8]}],
            "outputs": [{"name": "y", "dtype": "f32", "shape": [1, 2, 12, 12]}],
            "metadata": {},
            "layers": layers,
        }

    def run_observed(
        self, feeds: Mapping[str, np.ndarray], callback: Callable[[int, list[np.ndarray]], object]
    ) -> list[np.ndarray]:
        by_name = {value.name: value for value in self.graph.values()}
        known: dict[Value, np.ndarray] = {by_name["x"]: feeds["x"]}
        for index, layer in enumerate(self.info["layers"]):
            views = []
            for output in layer["outputs"]:
                stands_for = output["stands_for"]
                value = by_name[stands_for["name"] if stands_for else output["name"]]
                array = interpreter.evaluate(self.graph, known, [value])[value]
                array = self.fault(value.name, array.copy())
                known[value] = array
                kind = TensorType(DType(output["dtype"]), tuple(output["shape"]))
                stored = array > 0 if stands_for else array
                views.append(layout.pack(stored, kind, output["layout"]))
            callback(index, views)
        outputs = [by_name[described["name"]] for described in self.info["outputs"]]
        unwritten = [value for value in outputs if value not in known]
        for value, array in interpreter.evaluate(self.graph, known, unwritten).items():
            known[value] = self.fault(value.name, array.copy())
        return [known[value] for value in outputs]


def output(name: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": "f32",
        "shape": shape,
        "layout": "dense",
        "stands_for": None,
        **more,
    }


SIGN = output("bits", [1, 4, 8, 8], dtype="b1", layout="bits_nhwc", stands_for=BITS)
STORED = [
    {"steps": ["store", "sign"], "outputs": [output("stem.y", [1, 4, 8, 8]), SIGN]},
    {"steps": [], "outputs": [output("block.y", [1, 8, 6, 6])]},
    {"steps": [], "outputs": [output("y", [1, 2, 12, 12])]},
]
FUSED = [{"steps": ["sign"], "outputs": [SIGN]}, *STORED[1:]]


def check(graph: Graph, layers: list[dict[str, Any]], fault: Fault | None = None) -> Any:
    session = FakeSession(graph, layers, fault) if fault else FakeSession(graph, layers)
    feeds = samples(session.info["inputs"], {}, 1)
    return verify(graph, session, feeds)  # type: ignore[arg-type]


def nudge(name: str, amount: float) -> Fault:
    """Add ``amount`` times the largest magnitude to one element of a tensor."""

    def fault(found: str, array: np.ndarray) -> np.ndarray:
        if found == name:
            array.flat[7] += np.float32(amount * np.abs(array).max())
        return array

    return fault


@pytest.mark.parametrize("layers", [STORED, FUSED])
def test_what_is_right_passes(graph: Graph, layers: list[dict[str, Any]]) -> None:
    result = check(graph, layers)
    assert result.good and describe(result).endswith("\nverified")
    assert {c.name for c in result.checks} >= {"sign.y", "block.y", "y"}


def test_a_large_difference_end_to_end_is_explained_where_signs_lay_near_zero() -> None:
    near = Check(0, "sign.y", "bits", 100, 0, near=3)
    apart = Verification(1, [near], end_to_end={"interpreter": 1e-6, "onnxruntime": 0.8})
    lines = describe(apart).splitlines()
    told = [i for i, line in enumerate(lines) if "more than roundings make" in line]
    assert len(told) == 1 and "8.00e-01" in lines[told[0] - 1]

    without = [
        Verification(1, [near], end_to_end={"onnxruntime": 1e-6}),
        Verification(1, [replace(near, near=0)], end_to_end={"onnxruntime": 0.8}),
        Verification(1, [replace(near, wrong=1)], end_to_end={"onnxruntime": 0.8}),
    ]
    assert not any("more than roundings" in describe(result) for result in without)


@pytest.mark.parametrize("name", ["stem.y", "y"])
def test_a_wrong_float_is_found_in_its_own_layer(graph: Graph, name: str) -> None:
    result = check(graph, STORED, nudge(name, 1e-3))
    assert [c.name for c in result.failures] == [name]
    assert result.failures[0].wrong == 1 and result.failures[0].kind == "floats"


def test_a_float_may_differ_by_the_tolerance(graph: Graph) -> None:
    assert check(graph, STORED, nudge("y", 0.5 * TOLERANCE)).good
    assert not check(graph, STORED, nudge("y", 2 * TOLERANCE)).good


def test_a_value_that_is_not_a_number_is_found(graph: Graph) -> None:
    assert not check(graph, STORED, nudge("y", np.nan)).good


def test_a_wrong_bit_is_found(graph: Graph) -> None:
    def flip(name: str, array: np.ndarray) -> np.ndarray:
        if name == "sign.y":
            array.flat[5] *= -1
        return array

    for layers in (STORED, FUSED):
        result = check(graph, layers, flip)
        assert [(c.name, c.kind, c.wrong) for c in result.failures] == [("sign.y", "bits", 1)]


def test_a_flipped_bit_does_not_spoil_the_layers_behind(graph: Graph) -> None:
    def flip(name: str, array: np.ndarray) -> np.ndarray:
        return -array if name == "sign.y" else array

    assert [c.name for c in check(graph, STORED, flip).failures] == ["sign.y"]


def _near_zero(graph: Graph) -> Graph:
    """The same graph with one stem output that is almost zero everywhere."""
    (stem,) = [node for node in graph.nodes() if node.name == "stem"]
    bias = np.array(stem.operand(2).data)
    weights = np.array(stem.operand(1).data)
    weights[0] *= 1e-9
    bias[0] = 1e-9
    graph.set_input(stem, 1, graph.constant(weights))
    graph.set_input(stem, 2, graph.constant(bias))
    return graph


def _flip_first_channel(name: str, array: np.ndarray) -> np.ndarray:
    if name == "sign.y":
        array[:, 0] *= -1
    return array


def test_a_decision_within_rounding_of_zero_may_differ_where_floats_are_not_stored(
    graph: Graph,
) -> None:
    result = check(_near_zero(graph), FUSED, _flip_first_channel)
    assert result.good
    assert result.document()["near_zero"] == 64
    assert result.document()["near_zero_flipped"] == 64


def test_a_decision_from_stored_floats_may_not_differ(graph: Graph) -> None:
    assert not check(_near_zero(graph), STORED, _flip_first_channel).good


def _with_threshold(graph: Graph, scale: float = 1) -> tuple[Graph, list[dict[str, Any]]]:
    """A second sign, decided by the integers of the block, which the model scales first."""
    (block,) = [node for node in graph.nodes() if node.name == "block"]
    sums = block.output
    if scale != 1:
        sums = graph.add("Mul", [sums, graph.constant(np.float32(scale))]).output
    second = graph.add("Sign", [sums], {"zero": 1}, name="s2", values=["second"])
    graph.mark_outputs([*graph.outputs, second.output], ["y", "second"])
    stands_for = {**BITS, "name": "second"}
    bits = output("b2", [1, 8, 6, 6], dtype="b1", layout="bits_nhwc", stands_for=stands_for)
    layers = [
        *STORED[:1],
        {"steps": ["threshold"], "outputs": [bits]},
        {"steps": [], "outputs": [output("y", [1, 2, 12, 12])]},
    ]
    return graph, layers


def _check_second(
    graph: Graph, layers: list[dict[str, Any]], *, flip_zeros: bool = False
) -> tuple[Verification, Check, int]:
    """What is found of a model with a second sign, of that sign, and at how many places the sums
    that it decides are 0."""
    (x,) = samples([{"name": "x", "dtype": "f32", "shape": [1, 3, 8, 8]}], {}, 1)
    values = {value.name: value for value in graph.values()}
    block = values["block.y"]
    zeros = interpreter.evaluate(graph, {values["x"]: x["x"]}, [block])[block] == 0

    def fault(name: str, array: np.ndarray) -> np.ndarray:
        if name == "second" and flip_zeros:
            array[zeros] *= -1
        return array

    session = FakeSession(graph, layers, fault)
    session.info["outputs"].append({"name": "second", "dtype": "f32", "shape": [1, 8, 6, 6]})
    result = verify(graph, session, [x])  # type: ignore[arg-type]
    (second,) = [check for check in result.checks if check.name == "second"]
    assert zeros.any()
    return result, second, int(zeros.sum())


@pytest.mark.parametrize("scale", [1, 0.3])
def test_a_decision_from_integers_may_not_differ(graph: Graph, scale: float) -> None:
    graph, layers = _with_threshold(graph, scale)
    assert _check_second(graph, layers)[0].good
    result, second, zeros = _check_second(graph, layers, flip_zeros=True)
    assert result.failures == [second] and second.wrong == zeros and not second.flipped


def test_sums_of_zero_are_near_zero_where_others_add_up_scaled_weights(graph: Graph) -> None:
    _, second, zeros = _check_second(*_with_threshold(graph, 0.3))
    assert second.near == zeros


@pytest.mark.parametrize("scale", [1, 0.25])
def test_sums_of_zero_that_nobody_rounds_are_not_near_zero(graph: Graph, scale: float) -> None:
    _, second, _ = _check_second(*_with_threshold(graph, scale))
    assert not second.near


def test_integers_that_are_stored_as_floats_are_not_near_zero(graph: Graph) -> None:
    graph, (stem, threshold, up) = _with_threshold(graph)
    block = {"steps": [], "outputs": [output("block.y", [1, 8, 6, 6])]}
    _, second, _ = _check_second(graph, [stem, block, {**threshold, "steps": ["sign"]}, up])
    assert not second.near


def test_a_decision_stored_half_way_is_not_traced_back_beyond(graph: Graph) -> None:
    (stem,) = [node for node in graph.nodes() if node.name == "stem"]
    zero = graph.constant(np.zeros((), np.float32))
    above = graph.add("Greater", [stem.output, zero], values=["above"])
    cast = graph.add("Cast", [above.output], {"to": DType.F32}, values=["cast"])
    graph.mark_outputs([*graph.outputs, cast.output], ["y", "cast"])
    layers = [
        *STORED,
        {"steps": [], "outputs": [output("above", [1, 4, 8, 8], dtype="bool")]},
        {"steps": [], "outputs": [output("cast", [1, 4, 8, 8])]},
    ]
    session = FakeSession(graph, layers)
    session.info["outputs"].append({"name": "cast", "dtype": "f32", "shape": [1, 4, 8, 8]})
    feeds = samples(session.info["inputs"], {}, 1)
    result = verify(graph, session, feeds)  # type: ignore[arg-type]
    assert result.good and len(result.checks) == 6


def _scaled_sign() -> tuple[Graph, list[dict[str, Any]]]:
    """x -> Sign -> Mul -> y, two values that are stored as floats."""
    graph = Graph()
    sign = graph.add(
        "Sign", [graph.add_input("x", TensorType(DType.F32, (1, 3, 8, 8)))], {"zero": 1}
    )
    scale = graph.constant(np.float32(0.3), "scale")
    graph.mark_outputs([graph.add("Mul", [sign.output, scale], values=["y"]).output])
    return graph, [{"steps": [], "outputs": [output("y", [1, 3, 8, 8])]}]


@pytest.mark.parametrize(("amount", "good"), [(TOLERANCE / 10, True), (-2, False)])
def test_few_values_stored_as_floats_may_be_rounded_but_not_mistaken(
    amount: float, good: bool
) -> None:
    graph, layers = _scaled_sign()
    session = FakeSession(graph, layers, nudge("y", amount))
    session.info["outputs"] = [output("y", [1, 3, 8, 8])]
    result = verify(graph, session, samples(session.info["inputs"], {}, 1))  # type: ignore[arg-type]
    assert result.good is good
    assert {found.kind for found in result.checks} == {"bits"}


def test_an_output_that_no_layer_wrote_is_checked_too(graph: Graph) -> None:
    assert check(graph, STORED[:2]).checks[-1].name == "y"
    result = check(graph, STORED[:2], nudge("y", 1e-3))
    assert [c.name for c in result.failures] == ["y"]


def test_a_tensor_without_counterpart_is_reported_and_passed_over(graph: Graph) -> None:
    layers = [{"steps": [], "outputs": [output("merged", [1, 4, 8, 8])]}, *STORED]

    class Merging(FakeSession):
        def run_observed(self, feeds: Any, callback: Any) -> list[np.ndarray]:
            callback(0, [np.zeros(4 * 64 * 4, np.uint8)])
            self.info["layers"] = STORED
            return super().run_observed(feeds, lambda index, views: callback(index + 1, views))

    session = Merging(graph, layers)
    result = verify(graph, session, samples(session.info["inputs"], {}, 1))  # type: ignore[arg-type]
    assert result.good and result.unchecked == {"merged"}


def test_a_library_of_another_model_is_told(graph: Graph) -> None:
    session = FakeSession(graph, STORED)
    session.info["inputs"][0]["shape"] = [1, 3, 16, 16]
    with pytest.raises(ModelError, match="was not compiled from this model"):
        verify(graph, session, [])  # type: ignore[arg-type]


def test_rivals_give_the_end_to_end_difference(graph: Graph) -> None:
    session = FakeSession(graph, STORED, nudge("y", 0.25))
    feeds = samples(session.info["inputs"], {}, 1)
    rivals = {"interpreter": lambda x: interpreter.run(graph, x)}
    result = verify(graph, session, feeds, rivals=rivals)  # type: ignore[arg-type]
    assert result.end_to_end["interpreter"] == pytest.approx(0.25, rel=0.3)


def test_a_rival_that_refuses_the_model_is_left_out_with_its_reason(graph: Graph) -> None:
    def refuse(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        asked.append(feeds)
        raise InputError("knows no such thing", hint="ask another")

    asked: list[Mapping[str, np.ndarray]] = []
    session = FakeSession(graph, STORED)
    feeds = samples(session.info["inputs"], {}, 2)
    rivals = {"elsewhere": refuse, "the interpreter": lambda x: interpreter.run(graph, x)}
    result = verify(graph, session, feeds, rivals=rivals)  # type: ignore[arg-type]
    assert result.good and list(result.end_to_end) == ["the interpreter"] and len(asked) == 1
    told = "end to end, elsewhere was left out: knows no such thing; ask another"
    assert told in describe(result).splitlines()
    assert result.document()["left_out"] == {"elsewhere": "knows no such thing; ask another"}


# ---- samples ----------------------------------------------------------------------------------


def test_samples_repeat_with_their_seed() -> None:
    inputs = [{"name": "x", "dtype": "f32", "shape": [1, 3, 16, 16]}]
    first, second = samples(inputs, {}, 2, seed=3), samples(inputs, {}, 2, seed=3)
    np.testing.assert_array_equal(first[1]["x"], second[1]["x"])
    assert not np.array_equal(first[0]["x"], first[1]["x"])


def test_samples_follow_the_models_preprocessing() -> None:
    inputs = [{"name": "x", "dtype": "f32", "shape": [1, 3, 64, 64]}]
    said = '{"mean": [0, 0, 0.5], "std": [0.1, 1, 1]}'
    ((x,),) = [tuple(s.values()) for s in samples(inputs, {"bnnc.preprocessing": said}, 1)]
    assert x[0, 0].min() >= 0 and 5 < x[0, 0].max() <= 10
    assert -0.5 <= x[0, 2].min() < 0 < x[0, 2].max() <= 0.5


@pytest.mark.parametrize(
    ("dtype", "numpy_dtype"),
    [("u8", "uint8"), ("i64", "int64"), ("bool", "bool"), ("f16", "float16"), ("f64", "float64")],
)
def test_samples_have_the_inputs_type(dtype: str, numpy_dtype: str) -> None:
    for shape in ([2, 8, 8, 3], [5]):
        (sample,) = samples([{"name": "x", "dtype": dtype, "shape": shape}], {}, 1)
        assert sample["x"].dtype == numpy_dtype and list(sample["x"].shape) == shape
