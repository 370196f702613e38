"""Constants: every form the model can keep them in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import assert_agrees, info, load, model_of, normal, ops_of

from bnnc.errors import ModelError, UnsupportedError
from bnnc.ir.graph import Graph


def constant_of(tensor: TensorProto | np.ndarray) -> np.ndarray:
    """What a graph that returns one initializer holds for it."""
    return data_of(load(model_of([], [], ["w"], {"w": tensor})))


def data_of(graph: Graph) -> np.ndarray:
    (value,) = graph.outputs
    assert value.data is not None
    return value.data


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (TensorProto.FLOAT, np.float32),
        (TensorProto.FLOAT16, np.float32),
        (TensorProto.BFLOAT16, np.float32),
        (TensorProto.DOUBLE, np.float32),
        (TensorProto.INT8, np.int8),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT16, np.int16),
        (TensorProto.UINT16, np.uint16),
        (TensorProto.INT32, np.int32),
        (TensorProto.UINT32, np.uint32),
        (TensorProto.INT64, np.int64),
        (TensorProto.UINT64, np.uint64),
        (TensorProto.BOOL, np.bool_),
        (TensorProto.INT4, np.int8),
        (TensorProto.UINT4, np.uint8),
    ],
)
def test_every_element_type(kind: int, stored: type, raw: bool) -> None:
    signed = kind not in (
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
        TensorProto.UINT4,
    )
    numbers = [0, 1, 7, -3 if signed else 3, 5]
    if kind == TensorProto.BOOL:
        numbers = [0, 1, 1, 0, 1]
    typed = helper.make_tensor("w", kind, [5], numbers)
    tensor = typed
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(typed), "w")
        assert tensor.HasField("raw_data")
    array = constant_of(tensor)
    assert array.dtype == stored
    assert array.tolist() == numbers


def test_half_floats_keep_their_values() -> None:
    x = np.array([6e-8, 1 / 3, -65504, np.inf], np.float16)
    assert np.array_equal(constant_of(x), x.astype(np.float32))
    x = x.astype(ml_dtypes.bfloat16)
    assert np.array_equal(constant_of(x), x.astype(np.float32))


def test_subnormal_numbers_and_not_a_number_survive() -> None:
    x = np.array([1e-45, -1e-40, np.nan, -0.0, 3e38], np.float32)
    assert constant_of(x).tobytes() == x.tobytes()


def test_doubles_too_large_become_infinite() -> None:
    assert constant_of(np.array([1e300, -1e300, 1e-300])).tolist() == [np.inf, -np.inf, 0]


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"value": numpy_helper.from_array(normal(1, 2, 3))}, normal(1, 2, 3)),
        ({"value_float": 1.5}, np.array(1.5, np.float32)),
        ({"value_floats": [1.5, 2.5]}, np.array([1.5, 2.5], np.float32)),
        ({"value_int": -7}, np.array(-7)),
        ({"value_ints": [1, -7]}, np.array([1, -7])),
    ],
)
def test_constant_nodes(attrs: dict[str, Any], expected: np.ndarray) -> None:
    node = helper.make_node("Constant", [], ["c"], **attrs)
    array = data_of(load(model_of([node], [], ["c"])))
    assert array.dtype == expected.dtype
    assert np.array_equal(array, expected)


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_constants_become_dense(linear: bool) -> None:
    indices = np.array([1, 5]) if linear else np.array([[0, 1], [1, 2]])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([2, 3], np.float32), "v"),
        numpy_helper.from_array(indices, "i"),
        [2, 3],
    )
    node = helper.make_node("Constant", [], ["c"], sparse_value=sparse)
    assert data_of(load(model_of([node], [], ["c"]))).tolist() == [[0, 2, 0], [0, 0, 3]]


def test_sparse_initializers_become_dense() -> None:
    model = model_of([], [], ["v"])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(np.array([2], np.float32), "v"),
            numpy_helper.from_array(np.array([2]), "i"),
            [4],
        )
    )
    assert data_of(load(model)).tolist() == [0, 0, 2, 0]


@pytest.mark.parametrize(
    ("dims", "indices", "message"),
    [
        ([4], [4], "has an index outside 4"),
        ([4], [-1], "has an index outside 4"),
        ([2**20, 2**20], [1], "elements, more than 2.31"),
        ([2**14, 2**14], [1], "is too large"),
        ([-4], [1], "has the shape -4"),
        ([4], [1, 2], "has indices that do not fit its values"),
    ],
)
def test_malformed_sparse_tensors_are_refused(
    dims: list[int], indices: list[int], message: str
) -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([2], np.float32), "v"),
        numpy_helper.from_array(np.array(indices), "i"),
        dims,
    )
    node = helper.make_node("Constant", [], ["c"], sparse_value=sparse)
    with pytest.raises(ModelError, match=rf"^c: (sparse )?tensor 'v' .*{message}"):
        load(model_of([node], [], ["c"]))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(data_type=1, dims=[3], raw_data=b"12345678"), "needs 12 bytes, but has 8"),
        (TensorProto(data_type=1, dims=[3], float_data=[1, 2]), "of shape 3 has 2 elements"),
        (TensorProto(data_type=1, dims=[1] * 9, float_data=[1]), "has 9 axes; at most 8 work"),
        (TensorProto(data_type=1, dims=[0, 2**62]), "elements, more than 2.31"),
        (TensorProto(data_type=1, dims=[2**40, 2**40]), "elements, more than 2.31"),
        (TensorProto(data_type=1, dims=[-3], float_data=[1]), "has the shape -3"),
        (TensorProto(data_type=0, dims=[1], float_data=[1]), "has elements of type UNDEFINED"),
        (TensorProto(data_type=99, dims=[1]), "has elements of type number 99"),
        (TensorProto(data_type=8, dims=[1], string_data=[b"a"]), "elements of type STRING"),
        (TensorProto(data_type=14, dims=[1], float_data=[1, 2]), "elements of type COMPLEX64"),
        (TensorProto(data_type=17, dims=[1], int32_data=[1]), "elements of type FLOAT8E4M3FN"),
    ],
)
def test_malformed_tensors_are_refused(tensor: TensorProto, message: str) -> None:
    with pytest.raises(ModelError, match=rf"^tensor 'w' .*{message}"):
        constant_of(tensor)


def test_tensors_of_strings_are_refused_at_the_node_that_reads_them() -> None:
    strings = TensorProto(data_type=8, dims=[1], string_data=[b"a"])
    node = helper.make_node("Add", ["x", "w"], ["y"], name="greet")
    model = model_of([node], [info("x", shape=[1])], ["y"], {"w": strings})
    with pytest.raises(UnsupportedError, match=r"^greet: tensor 'w' has elements of type STRING"):
        load(model)


def test_weights_are_not_copied() -> None:
    weights = normal(1, 64, 64)
    model = model_of([], [], ["w"], {"w": weights})
    array = data_of(load(model))
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert isinstance(owner.base, bytes)
    assert sys.getsizeof(owner.base) < weights.nbytes + 100
    assert not array.flags.writeable


# ---- folding ----------------------------------------------------------------------------------


def test_a_constant_that_would_be_huge_is_refused() -> None:
    shape = np.array([2**15, 2**15])
    node = helper.make_node("Expand", ["w", "shape"], ["y"], name="blow up")
    model = model_of([node], [], ["y"], {"w": np.ones((1, 1), np.float32), "shape": shape})
    with pytest.raises(
        ModelError, match=r"^blow up: would compute a constant of 4096 MiB; at most"
    ):
        load(model)


@pytest.mark.parametrize("sizes", [[2**50], [2**31, 2**31, 2**31], [2**28]])
def test_a_shape_that_would_be_filled_to_petabytes_is_refused(sizes: list[int]) -> None:
    node = helper.make_node("ConstantOfShape", ["s"], ["y"])
    model = model_of([node], [], ["y"], {"s": np.array(sizes)})
    with pytest.raises(ModelError, match=r"^y: would compute a constant of"):
        load(model)


def test_a_range_that_would_be_huge_is_refused() -> None:
    bounds = {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)}
    node = helper.make_node("Range", ["a", "b", "c"], ["y"])
    with pytest.raises(ModelError, match=r"^y: would compute a constant of"):
        load(model_of([node], [], ["y"], bounds))


def test_repeated_growth_is_refused_before_it_fills_the_memory() -> None:
    nodes = [helper.make_node("Expand", ["w", "shape"], ["v0"])]
    nodes += [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(200)]
    constants = {"w": np.ones((1, 1), np.int8), "shape": np.array([2**13, 2**14])}
    with pytest.raises(ModelError, match="computing the model's constants takes too much memory"):
        load(model_of(nodes, [], ["v200"], constants))


def test_a_long_product_of_constants_is_left_to_the_run() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    a = np.ones((1100, 1100), np.float32)
    graph = load(model_of([node], [], ["y"], {"a": a, "b": a}))
    assert ops_of(graph) == ["MatMul"]


# ---- external data ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "models"
    place.mkdir()
    normal(1, 8).tofile(place / "w.bin")
    normal(2, 8).tofile(tmp_path / "secret.bin")
    return place


def external(folder: Path, location: str, **entries: str) -> Path:
    """A model whose only tensor, of 4 floats, is said to lie in ``location``."""
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    path = folder / "model.onnx"
    onnx.save(model_of([node], [info("x", shape=[4])], ["y"], {"w": tensor}), path)
    return path


def weights_of(path: Path) -> list[float]:
    (array,) = [value.data for value in load(path).values() if value.data is not None]
    return array.tolist()


def test_external_data_beside_the_model(folder: Path) -> None:
    assert weights_of(external(folder, "w.bin")) == normal(1, 8)[:4].tolist()


def test_external_data_at_an_offset(folder: Path) -> None:
    path = external(folder, "w.bin", offset="16", length="16")
    assert weights_of(path) == normal(1, 8)[4:].tolist()


def test_external_data_in_a_folder_below(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "w.bin").rename(folder / "sub" / "w.bin")
    assert weights_of(external(folder, "sub/w.bin")) == normal(1, 8)[:4].tolist()


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "link.bin").symlink_to("w.bin")
    assert weights_of(external(folder, "link.bin")) == normal(1, 8)[:4].tolist()


def test_a_model_reached_through_a_link_has_its_data_beside_the_link(folder: Path) -> None:
    external(folder, "w.bin")
    (folder.parent / "door").symlink_to(folder)
    assert weights_of(folder.parent / "door" / "model.onnx") == normal(1, 8)[:4].tolist()


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "sub/../../secret.bin",
        "..\\secret.bin",
        "/etc/hostname",
        "\\\\host\\x",
        "C:x",
    ],
)
def test_a_place_outside_the_folder_is_refused(folder: Path, location: str) -> None:
    (folder / "sub").mkdir()
    with pytest.raises(ModelError, match=r"model\.onnx: y: tensor 'w' is in .*, outside the model"):
        load(external(folder, location))


def test_links_that_lead_outside_are_refused(folder: Path) -> None:
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "up").symlink_to("..")
    for location in ("link.bin", "up/secret.bin"):
        with pytest.raises(ModelError, match="outside the model's folder; put the file beside"):
            load(external(folder, location))


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("no.bin", {}, "external data 'no.bin' is missing"),
        ("", {}, "does not say which file its data is in"),
        ("w.bin\0x", {}, "does not say which file its data is in"),
        (".", {}, "external data '.' is not a file"),
        ("w.bin", {"offset": "20"}, "external data 'w.bin' ends before tensor 'w' does"),
        ("w.bin", {"offset": "-4"}, "has an external offset of '-4'"),
        ("w.bin", {"offset": "1e3"}, "has an external offset of '1e3'"),
        ("w.bin", {"offset": "9" * 40}, "has an external offset of"),
        ("w.bin", {"length": "12"}, "takes 16 bytes, but its external data is said to have 12"),
    ],
)
def test_external_data_that_does_not_fit_is_refused(
    folder: Path, location: str, entries: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load(external(folder, location, **entries))
    assert message in str(caught.value)


def test_a_pipe_in_place_of_external_data_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ModelError, match="external data 'pipe' is not a file"):
        load(external(folder, "pipe"))


def test_a_huge_external_tensor_that_is_not_there_takes_no_memory(folder: Path) -> None:
    path = external(folder, "w.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [2**31]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"external data 'w.bin' ends before tensor 'w' does"):
        load(path)


def test_external_data_needs_the_model_as_a_file(folder: Path) -> None:
    data = external(folder, "w.bin").read_bytes()
    with pytest.raises(ModelError, match="was given without its folder; give the model as a path"):
        load(data)


def test_a_model_with_its_external_data_loaded_needs_no_folder(folder: Path) -> None:
    model = onnx.load(external(folder, "w.bin", length="16"))
    assert_agrees(model, {"x": normal(3, 4)})
