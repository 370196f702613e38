"""Latent weights keep their Sign until the policy for zero is known."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnnc import passes
from bnnc.frontends.onnx import load


@pytest.mark.parametrize(("policy", "at_zero"), [("positive", 1), ("negative", -1), ("strict", 0)])
def test_a_latent_weight_of_zero_follows_the_policy(policy: str, at_zero: int) -> None:
    latent = np.random.default_rng(0).normal(size=(4, 8, 3, 3)).astype(np.float32)
    latent[1, 2, 0, 0] = -0.0
    graph = helper.make_graph(
        [
            helper.make_node("Sign", ["x"], ["s"]),
            helper.make_node("Sign", ["latent"], ["w"]),
            helper.make_node("Conv", ["s", "w"], ["y"], name="conv"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(latent, "latent")],
    )
    found = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    options = passes.PassOptions(sign_zero=policy)
    report = passes.run(found, passes.SEMANTIC, options=options)
    (conv,) = [node for node in found.nodes() if node.op.name == "Conv"]
    weights = conv.operand(1).data
    assert weights is not None and weights[1, 2, 0, 0] == at_zero
    assert report.sign_zero_nodes == (0 if policy == "strict" else 2)
    assert report.verdicts[0].binary == (policy != "strict")
