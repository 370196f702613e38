"""look_up."""

from __future__ import annotations

import numpy as np
from harness import Arguments, Guarded, Isa
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = st.one_of(st.integers(1, 9), st.sampled_from([63, 64, 65]))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2), st.sampled_from([1, 2, 3, 4, 7]), SIZE, SIZE, st.integers(0, 2**31))
def test_every_pixel_goes_through_its_channels_table(
    isa: Isa, batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (batch, height, width, channels)).astype(np.uint8)
    table = rng.standard_normal((channels, 256)).astype(np.float32)
    out = Guarded((batch, channels, height, width))
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    args = Arguments("bnnc_look_up_args", **sizes, x=x, table=table, out=out.array)
    isa.run("look_up", args, rng.random(2))
    wanted = table[np.arange(channels)[:, None, None], np.moveaxis(x, 3, 1)]
    np.testing.assert_array_equal(out.check(), wanted)
