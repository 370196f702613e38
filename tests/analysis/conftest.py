"""A small binary network, built by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bnnc.ir.graph import Graph
from bnnc.ir.types import DType, TensorType


def small_graph() -> Graph:
    """stem (float 3x3) -> sign -> block (binary 3x3) -> up (transposed 2x2, stride 2)."""
    rng = np.random.default_rng(1)
    graph = Graph("small")
    x = graph.add_input("x", TensorType(DType.F32, (1, 3, 8, 8)))
    stem_w = graph.constant(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "stem.w")
    stem_b = graph.constant(rng.standard_normal(4).astype(np.float32), "stem.b")
    stem = graph.add(
        "Conv", [x, stem_w, stem_b], {"pads": (1, 1, 1, 1)}, name="stem", values=["stem.y"]
    )
    sign = graph.add("Sign", [stem.output], {"zero": 1}, name="sign", values=["sign.y"])
    signs = np.where(rng.standard_normal((8, 4, 3, 3)) < 0, -1, 1).astype(np.float32)
    block_w = graph.constant(signs, "block.w")
    block = graph.add("Conv", [sign.output, block_w], name="block", values=["block.y"])
    up_w = graph.constant(rng.standard_normal((8, 2, 2, 2)).astype(np.float32), "up.w")
    up = graph.add(
        "ConvTranspose", [block.output, up_w], {"strides": (2, 2)}, name="up", values=["y"]
    )
    graph.mark_outputs([up.output], ["y"])
    graph.check()
    return graph


@pytest.fixture
def graph() -> Graph:
    return small_graph()
