"""Matrix products, reductions, normalisations, softmax and top-k, in every version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import assert_node_agrees, few, load, normal, one_node, ops_of, seeds, told

from bnnc.errors import ModelError, UnsupportedError
from bnnc.ir.binary import PRODUCTS

# ---- matrix products --------------------------------------------------------------------------


@few
@given(
    flip_a=st.booleans(),
    flip_b=st.booleans(),
    bias=st.sampled_from([None, (), (1,), (4,), (1, 4), (3, 1), (3, 4)]),
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 0.0, -2.0]),
    constant=st.booleans(),
    seed=seeds,
)
def test_gemm(
    flip_a: bool,
    flip_b: bool,
    bias: tuple[int, ...] | None,
    alpha: float,
    beta: float,
    constant: bool,
    seed: int,
) -> None:
    a, b = (
        normal(seed, *((5, 3) if flip_a else (3, 5))),
        normal(seed + 1, *((4, 5) if flip_b else (5, 4))),
    )
    attrs = {"transA": int(flip_a), "transB": int(flip_b), "alpha": alpha, "beta": beta}
    fixed = {1: b} if constant else {}
    if bias is not None:
        fixed[2] = normal(seed + 2, *bias)
    arrays = [a] if constant else [a, b]
    graph = assert_node_agrees("Gemm", arrays, attrs, fixed=fixed)
    if constant and not flip_a:
        rows = bias in ((3, 1), (3, 4)) and beta != 0
        assert ops_of(graph) == (["MatMul", "Add"] if rows else ["MatMul"])


def test_gemm_of_a_summand_that_does_not_fit_is_refused() -> None:
    model, _ = one_node("Gemm", [normal(1, 3, 5), normal(2, 5, 4), normal(3, 2, 4)])
    with pytest.raises(ModelError, match="y0: Gemm cannot add 2x4 to 3x4"):
        load(model)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((2, 1, 3, 4), (2, 5, 4, 2)),
    ],
)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert_node_agrees("MatMul", [normal(1, *left), normal(2, *right)])


def test_matrices_that_do_not_fit_are_refused() -> None:
    model, _ = one_node("MatMul", [normal(1, 3, 4), normal(2, 5, 6)])
    with pytest.raises(ModelError, match="y0: MatMul cannot multiply 3x4 by 5x6"):
        load(model)


def test_gemm_of_more_axes_is_refused() -> None:
    model, _ = one_node("Gemm", [normal(1, 1, 3, 4), normal(2, 4, 6)])
    with pytest.raises(ModelError, match="y0: Gemm needs two matrices, but has 1x3x4 and 4x6"):
        load(model)


# ---- reductions -------------------------------------------------------------------------------

REDUCTIONS = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
]


@few
@given(
    op=st.sampled_from(REDUCTIONS),
    opset=st.sampled_from([9, 11, 13, 18, 20]),
    axes=st.one_of(
        st.none(), st.lists(st.integers(-3, 2), min_size=1, max_size=3, unique_by=lambda a: a % 3)
    ),
    keepdims=st.sampled_from([None, 0, 1]),
    seed=seeds,
)
def test_reductions_in_every_version(
    op: str, opset: int, axes: list[int] | None, keepdims: int | None, seed: int
) -> None:
    if opset < 11 and axes:
        axes = [axis % 3 for axis in axes]
    attrs: dict[str, Any] = {} if keepdims is None else {"keepdims": keepdims}
    fixed = {}
    since = 13 if op == "ReduceSum" else 18
    if axes is not None and opset < since:
        attrs["axes"] = axes
    elif axes is not None:
        fixed[1] = np.array(axes, np.int64)
    x = np.abs(normal(seed, 3, 4, 5)) + np.float32(0.1)
    assert_node_agrees(op, [x], attrs, fixed=fixed, opset=opset, tolerance=1e-4)


@pytest.mark.parametrize("op", REDUCTIONS)
def test_no_axes_can_mean_no_reduction(op: str) -> None:
    x = np.abs(normal(1, 3, 4)) + np.float32(0.5)
    fixed = {1: np.zeros(0, np.int64)}
    assert_node_agrees(op, [x], {"noop_with_empty_axes": 1}, fixed=fixed, opset=18)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceMin"])
def test_reductions_of_integers(op: str) -> None:
    assert_node_agrees(op, [np.arange(-6, 6).reshape(3, 4)], fixed={1: np.array([1])})


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_reductions_of_bools(op: str) -> None:
    x = normal(1, 4, 3) > 0
    assert_node_agrees(op, [x], fixed={1: np.array([1])}, opset=20)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_max_and_min(op: str, last: int, keepdims: int) -> None:
    x = np.round(normal(1, 3, 6, 2))
    attrs = {"axis": -2, "keepdims": keepdims, "select_last_index": last}
    assert_node_agrees(op, [x], attrs)


@pytest.mark.parametrize("opset", [9, 10, 11])
@pytest.mark.parametrize("axis", [0, -1])
def test_top_k_in_every_version(opset: int, axis: int) -> None:
    x = normal(1, 4, 5)
    if opset < 10:
        assert_node_agrees("TopK", [x], {"axis": axis, "k": 3}, outputs=2, opset=opset)
    else:
        fixed = {1: np.array([3])}
        assert_node_agrees("TopK", [x], {"axis": axis}, fixed=fixed, outputs=2, opset=opset)


def test_top_k_of_the_smallest() -> None:
    fixed = {1: np.array([3])}
    assert_node_agrees("TopK", [normal(1, 4, 9)], {"largest": 0}, fixed=fixed, outputs=2)


@pytest.mark.parametrize("k", [0, -1, 10])
def test_top_k_of_too_many_is_refused(k: int) -> None:
    model, _ = one_node("TopK", [normal(1, 4, 9)], fixed={1: np.array([k])}, outputs=2)
    with pytest.raises(ModelError, match=f"y0: TopK wants {k} elements along axis 1 of 4x9"):
        load(model)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [9, 11, 12, 13, 21])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_softmax_in_every_version(op: str, opset: int, axis: int | None) -> None:
    attrs = {} if axis is None else {"axis": axis}
    if opset < 11 and axis == -1:
        attrs = {"axis": 3}
    assert_node_agrees(op, [normal(1, 2, 3, 4, 2)], attrs, opset=opset)


def test_softmax_over_channels_of_a_vector_needs_no_reshape() -> None:
    graph = assert_node_agrees("Softmax", [normal(1, 2, 5, 1, 1)], {"axis": 1}, opset=11)
    assert ops_of(graph) == ["Softmax"]


# ---- normalisations ---------------------------------------------------------------------------


def vectors(count: int, channels: int) -> dict[int, np.ndarray]:
    return {slot: np.abs(normal(slot, channels)) + np.float32(0.1) for slot in range(1, count + 1)}


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    attrs = {"epsilon": 1e-3}
    assert_node_agrees(
        "BatchNormalization", [normal(9, *shape)], attrs, fixed=vectors(4, 3), opset=opset
    )


def test_batch_normalization_in_training_is_refused() -> None:
    model, _ = one_node(
        "BatchNormalization", [normal(9, 2, 3)], {"training_mode": 1}, fixed=vectors(4, 3), opset=15
    )
    with pytest.raises(UnsupportedError, match="y0: BatchNormalization is in training mode"):
        load(model)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    assert_node_agrees("InstanceNormalization", [normal(9, *shape)], fixed=vectors(2, 3))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(axis: int, bias: bool) -> None:
    x = normal(9, 2, 3, 4)
    shape = x.shape[axis:]
    fixed = {1: normal(1, *shape)} | ({2: normal(2, *shape)} if bias else {})
    assert_node_agrees("LayerNormalization", [x], {"axis": axis}, fixed=fixed, tolerance=1e-4)


def test_layer_normalization_gives_mean_and_deviation() -> None:
    fixed = {1: normal(1, 6)}
    assert_node_agrees("LayerNormalization", [normal(9, 2, 6)], fixed=fixed, outputs=3)


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(opset: int) -> None:
    fixed = vectors(2, 2 if opset < 21 else 6)
    attrs = {"num_groups": 2}
    x = normal(9, 2, 6, 3, 4)
    assert_node_agrees("GroupNormalization", [x], attrs, fixed=fixed, opset=opset, tolerance=1e-4)


def test_rms_normalization() -> None:
    fixed = {1: normal(1, 4)}
    assert_node_agrees("RMSNormalization", [normal(9, 2, 3, 4)], fixed=fixed, opset=23)


@pytest.mark.parametrize("order", [1, 2])
def test_lp_normalization(order: int) -> None:
    x = normal(1, 2, 5, 3)
    x[0, :, 1] = 0
    assert_node_agrees("LpNormalization", [x], {"axis": 1, "p": order})


def test_mean_variance_normalization() -> None:
    assert_node_agrees("MeanVarianceNormalization", [normal(1, 2, 3, 4, 5)], tolerance=1e-4)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int) -> None:
    attrs = {"size": size, "alpha": 0.5, "beta": 0.6, "bias": 1.5}
    assert_node_agrees("LRN", [normal(1, 2, 6, 3, 4)], attrs)


def test_batch_normalisation_with_statistics_of_the_run() -> None:
    x, *statistics = normal(1, 2, 3, 4, 4), *(np.abs(normal(i, 3)) for i in range(4))
    assert_node_agrees("BatchNormalization", [x, *statistics])


# ---- Einsum -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)]),
        ("bchw,oc->bohw", [(1, 3, 4, 4), (5, 3)]),
        ("nchw,nchw->nc", [(2, 3, 4, 4), (2, 3, 4, 4)]),
        ("i,j->ij", [(3,), (4,)]),
        ("i,i->", [(3,), (3,)]),
        ("i,i", [(3,), (3,)]),
        ("ij->ji", [(3, 4)]),
        ("ij->i", [(3, 4)]),
        ("ij", [(3, 4)]),
        ("ba", [(3, 4)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 5, 4, 6)]),
        ("...ij->...ji", [(2, 3, 4)]),
        ("bij, bjk ,bk-> bi", [(2, 3, 4), (2, 4, 5), (2, 5)]),
        ("ab,cd->dabc", [(2, 3), (4, 5)]),
        ("ab,ab->ab", [(1, 3), (2, 3)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [normal(seed, *shape) for seed, shape in enumerate(shapes)]
    assert_node_agrees("Einsum", arrays, {"equation": equation})


def test_einsum_of_two_matrices_is_a_matmul() -> None:
    graph = assert_node_agrees(
        "Einsum", [normal(1, 3, 4), normal(2, 4, 5)], {"equation": "ij,jk->ik"}
    )
    assert ops_of(graph) == ["MatMul"]


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("ij,jk", "has the equation 'ij,jk' for 1 operands"),
        ("i1->i", "has the equation 'i1->i' for 1 operands"),
        ("ijk->i", "reads 3x3 as 'ijk'"),
        ("ii->i", "along a diagonal is not supported"),
        ("ij->ijk", "has the equation 'ij->ijk'"),
        ("i...j...->", "has the equation 'i...j...->' for 1 operands"),
    ],
)
def test_equations_that_are_refused(equation: str, message: str) -> None:
    model, _ = one_node("Einsum", [normal(1, 3, 3)], {"equation": equation})
    with pytest.raises(ModelError) as caught:
        load(model)
    assert told(caught.value) == f"y0: Einsum {message}"


# ---- sums along an axis, hard maxima ----------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("constant", [False, True])
def test_cumulative_sums(axis: int, exclusive: int, reverse: int, constant: bool) -> None:
    attrs = {"exclusive": exclusive, "reverse": reverse}
    fixed = {1: np.array(axis)}
    x = normal(1, 3, 4, 5)
    if constant:
        fixed[0] = x
    assert_node_agrees("CumSum", [] if constant else [x], attrs, fixed=fixed)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_cumulative_sums_of_integers(dtype: type) -> None:
    x = np.random.default_rng(1).integers(-99, 99, (3, 5)).astype(dtype)
    assert_node_agrees("CumSum", [x], fixed={1: np.array(1)})


@pytest.mark.parametrize("size", [1, 2, 8, 9])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_sums_of_any_length(size: int, exclusive: int) -> None:
    x = normal(1, 2, size)
    assert_node_agrees("CumSum", [x], {"exclusive": exclusive}, fixed={1: np.array(1)})


def test_a_cumulative_sum_is_infinite_from_its_infinite_element_on() -> None:
    x = np.array([1, np.inf, 2], np.float32)
    assert_node_agrees("CumSum", [x], fixed={1: np.array(0)})


@pytest.mark.parametrize(("opset", "axis"), [(13, -1), (13, 1), (11, 1), (11, 2)])
def test_hardmax(opset: int, axis: int) -> None:
    x = np.round(normal(1, 2, 3, 4))
    assert_node_agrees("Hardmax", [x], {"axis": axis}, opset=opset)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_pools_of_any_order(order: int) -> None:
    x = normal(1, 2, 3, 6, 6)
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2], "p": order}
    assert_node_agrees("LpPool", [x], attrs, opset=18)
    assert_node_agrees("GlobalLpPool", [x], {"p": order})


@pytest.mark.parametrize(
    ("op", "attrs", "fixed"),
    [
        ("CumSum", {}, {1: np.array(2)}),
        ("LpPool", {"kernel_shape": [2, 2]}, {}),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, {}),
    ],
)
def test_sums_that_a_model_does_not_have_as_a_product_become_none(
    op: str, attrs: dict[str, Any], fixed: dict[int, np.ndarray]
) -> None:
    """A product would be a layer in statistics, and could be missed as a binary one."""
    graph = assert_node_agrees(op, [normal(1, 1, 2, 6, 6)], attrs, fixed=fixed)
    assert not {*ops_of(graph)} & {*PRODUCTS}


def test_the_best_of_small_integers_are_found_as_floats() -> None:
    x = np.array([[3, 200, 7, 200, 1]], np.uint8)
    graph = assert_node_agrees("TopK", [x], fixed={1: np.array([3])}, outputs=2)
    assert ops_of(graph) == ["Cast", "TopK", "Cast"]
