"""bits_convert and bits_unpack."""

from __future__ import annotations

import numpy as np
from harness import Arguments, Epilogue, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.ir.layout import LAYOUTS, pack, planar_first_row, stored_bytes, unpack
from bnnc.ir.types import DType, TensorType

BITS = LAYOUTS[1:]
Shape = tuple[int, int, int, int]
SHAPES = st.tuples(
    st.integers(1, 2),
    st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65, 130])),
    st.integers(1, 7),
    st.one_of(st.integers(1, 70), st.sampled_from([128, 520, 530])),
)


def arguments(
    x: np.ndarray, shape: Shape, source: str, target: str, **fields: np.ndarray
) -> Arguments:
    batch, channels, height, width = shape
    codes = {"from": Epilogue.LAYOUTS.index(source), "to": Epilogue.LAYOUTS.index(target)}
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    return Arguments("bnnc_bits_args", x=x, **sizes, **codes, **fields)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(BITS), st.sampled_from(BITS), st.integers(0, 2**31))
def test_converting_layouts_keeps_every_bit(
    isa: Isa, shape: Shape, source: str, target: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    b1 = TensorType(DType.B1, shape)
    array = rng.random(shape) < 0.5
    out = Guarded(stored_bytes(b1, target), np.uint8)
    args = arguments(pack(array, b1, source), shape, source, target, out=out.array)
    isa.run("bits_convert", args, rng.random(2))
    np.testing.assert_array_equal(unpack(out.check(), b1, target), array)
    if target == "bits_nhwc":
        np.testing.assert_array_equal(out.array, pack(array, b1, target))
    else:
        row = -(-shape[3] // 8)
        planes = out.array.reshape(shape[0] * shape[1], -1)
        first = planar_first_row(shape[3])
        assert (planes[:, :first] == 0xFF).all()
        assert (planes[:, first + shape[2] * row :] == 0xFF).all()


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(BITS), st.integers(0, 2**31))
def test_unpacking_chooses_each_channels_constants(
    isa: Isa, shape: Shape, source: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    b1 = TensorType(DType.B1, shape)
    array = rng.random(shape) < 0.5
    low, high = rng.standard_normal((2, shape[1])).astype(np.float32)
    out = Guarded(shape)
    packed = pack(array, b1, source)
    args = arguments(packed, shape, source, source, out=out.array, low=low, high=high)
    isa.run("bits_unpack", args, rng.random(2))
    wanted = np.where(array, high[:, None, None], low[:, None, None])
    np.testing.assert_array_equal(out.check(), wanted)
