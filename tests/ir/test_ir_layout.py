"""Layouts say where each element lies; packing and unpacking are inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.ir.layout import (
    BITS_NHWC,
    BITS_PLANAR,
    DENSE,
    PLANAR_GUARD,
    PLANAR_TAIL,
    pack,
    planar_first_row,
    planar_plane_bytes,
    planar_row_bytes,
    stored_bytes,
    unpack,
)
from bnnc.ir.types import DType, TensorType

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 130), st.integers(1, 6), st.integers(1, 20))


def bits(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).random(shape) < 0.5)


@pytest.mark.parametrize("layout", [DENSE, BITS_NHWC, BITS_PLANAR])
def test_unpacking_what_was_packed_gives_the_bits_back(layout: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(SHAPES, st.integers(0, 2**32 - 1))
    def check(shape: tuple[int, ...], seed: int) -> None:
        type = TensorType(DType.B1, shape)
        array = bits(seed, shape)
        raw = pack(array, type, layout)
        assert (raw.dtype, raw.shape) == (np.uint8, (stored_bytes(type, layout),))
        back = unpack(raw, type, layout)
        assert back.dtype == np.bool_
        np.testing.assert_array_equal(back, array)

    check()


@pytest.mark.parametrize("dtype", [DType.F32, DType.I64, DType.U8, DType.BOOL])
def test_dense_tensors_are_their_bytes(dtype: DType) -> None:
    type = TensorType(dtype, (2, 3))
    array = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    raw = pack(array, type, DENSE)
    assert raw.tobytes() == array.tobytes()
    assert stored_bytes(type, DENSE) == type.bytes == raw.size
    np.testing.assert_array_equal(unpack(raw, type, DENSE), array)


def test_nhwc_bits_work_for_any_number_of_pixel_axes() -> None:
    for shape in ((3, 70), (1, 70, 5), (2, 3, 2, 2, 2)):
        type = TensorType(DType.B1, shape)
        array = bits(0, shape)
        np.testing.assert_array_equal(unpack(pack(array, type, BITS_NHWC), type, BITS_NHWC), array)


def test_nhwc_channel_c_is_bit_c_of_its_pixel_s_words_and_padding_is_zero() -> None:
    type = TensorType(DType.B1, (1, 70, 1, 2))
    array = np.zeros(type.shape, bool)
    array[0, 3, 0, 0] = array[0, 65, 0, 1] = True
    words = pack(array, type, BITS_NHWC).view("<u8").reshape(2, 2)
    assert words.tolist() == [[1 << 3, 0], [0, 1 << 1]]
    everything = pack(np.ones(type.shape, bool), type, BITS_NHWC).view("<u8").reshape(2, 2)
    assert everything[0].tolist() == [2**64 - 1, (1 << 6) - 1]


def test_planar_pixel_x_is_bit_x_of_its_row_and_ones_surround_the_plane() -> None:
    height, width = 3, 10
    type = TensorType(DType.B1, (1, 2, height, width))
    array = np.zeros(type.shape, bool)
    array[0, 1, 2, 9] = True
    planes = pack(array, type, BITS_PLANAR).reshape(2, planar_plane_bytes(height, width))
    row = planar_row_bytes(width)
    first = planar_first_row(width)
    assert row == 2
    assert (planes[:, :first] == 0xFF).all()
    assert (planes[:, first + height * row :] == 0xFF).all()
    assert planes[1, first + 2 * row + 1] & 0b11 == 0b10
    assert not planes[0, first : first + height * row : row].any()


@given(st.integers(1, 300), st.integers(1, 300))
def test_planes_are_whole_cache_lines_with_guard_and_tail(height: int, width: int) -> None:
    size = planar_plane_bytes(height, width)
    first, row = planar_first_row(width), planar_row_bytes(width)
    assert first % 64 == size % 64 == 0
    assert first >= PLANAR_GUARD + row
    assert size >= first + (height + 1) * row + PLANAR_TAIL


def test_a_type_counts_bits_an_eighth_of_a_byte() -> None:
    assert TensorType(DType.B1, (3, 3)).bytes == 2
    assert TensorType(DType.F32, (3, 3)).bytes == 36
    assert TensorType(DType.F32, ()).elements == 1


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.B1])
def test_every_element_type_has_its_numpy_counterpart(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype
