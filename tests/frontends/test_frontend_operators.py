"""Every operator there is: imported, expanded, or refused with advice."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import defs, helper
from onnx_models import info, load, model_of

from bnnc.errors import UnsupportedError
from bnnc.frontends.onnx.expansion import is_function
from bnnc.frontends.onnx.nodes import OnnxNode
from bnnc.frontends.onnx.ops import importer_of
from bnnc.frontends.onnx.schema import NEWEST

REFUSED = {
    "control": "Loop Optional OptionalGetElement OptionalHasElement Scan",
    "recurrent": "GRU LSTM RNN",
    "random": "Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    "text and files": (
        "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer"
    ),
    "what detectors do last": "MaxRoiPool NonMaxSuppression RoiAlign",
    "sampling and shuffling": (
        "Col2Im DeformConv GridSample MaxUnpool ReverseSequence TensorScatter Unique"
    ),
    "signals and algebra": "BitCast DFT Det MelWeightMatrix STFT",
}
"""The operators of ONNX that bnnc does not compile."""


def standard() -> list[str]:
    return sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})


def refused() -> list[str]:
    return [op for ops in REFUSED.values() for op in ops.split()]


def test_each_operator_of_the_standard_is_known_or_listed_here() -> None:
    unknown = []
    for op in standard():
        node = OnnxNode(helper.make_node(op, [], []), "", NEWEST, [], [], {})
        if importer_of("", op) is None and not is_function(node):
            unknown.append(op)
    assert sorted(unknown) == sorted(refused())


def message_of(op: str, domain: str = "") -> str:
    node = helper.make_node(op, ["x"], ["y"], name="the node", domain=domain)
    imports = {domain: 1} if domain else {}
    model = model_of([node], [info("x", np.float32, [1, 2])], ["y"], opset=NEWEST, domains=imports)
    with pytest.raises(UnsupportedError) as caught:
        load(model)
    return str(caught.value)


@pytest.mark.parametrize("op", refused())
def test_operators_that_are_refused_come_with_advice(op: str) -> None:
    message = message_of(op)
    start = f"uses operator that bnnc does not know: '{op}' (node 'the node'); "
    assert message.startswith(start) and len(message) > len(start) + 10
    assert "older opset" not in message


@pytest.mark.parametrize(
    ("domain", "op", "advice"),
    [
        ("ai.onnx.ml", "TreeEnsemble", "do this outside the model"),
        ("ai.onnx.preview.training", "Adam", "export the model for inference"),
        ("com.microsoft", "Attention", "give bnnc the model as exported"),
        ("org.pytorch.aten", "ATen", "export without ONNX_ATEN fallback"),
        ("com.acme", "Frobnicate", "export with standard operators, or with a local function"),
        ("", "PartitionedCall", "its exporter seems to have left it as it was: export the model"),
    ],
)
def test_operators_of_other_domains_are_refused_with_advice(
    domain: str, op: str, advice: str
) -> None:
    message = message_of(op, domain)
    assert f"'{domain}.{op}'" in message if domain else f"'{op}'" in message
    assert advice in message
