"""Importers of ONNX's operators, grouped by kind; each file ends in its table."""

from __future__ import annotations

from collections.abc import Mapping

from bnnc.frontends.onnx.call import Importer
from bnnc.frontends.onnx.masks import ASSIGN, DOMAIN
from bnnc.frontends.onnx.ops.constant import CONSTANT
from bnnc.frontends.onnx.ops.control import CONTROL
from bnnc.frontends.onnx.ops.convolution import CONVOLUTION
from bnnc.frontends.onnx.ops.einsum import EINSUM
from bnnc.frontends.onnx.ops.elementwise import ELEMENTWISE
from bnnc.frontends.onnx.ops.gather import GATHER
from bnnc.frontends.onnx.ops.integer import INTEGER
from bnnc.frontends.onnx.ops.matmul import MATMUL
from bnnc.frontends.onnx.ops.microsoft import MICROSOFT
from bnnc.frontends.onnx.ops.movement import MOVEMENT
from bnnc.frontends.onnx.ops.normalization import NORMALIZATION
from bnnc.frontends.onnx.ops.openvino import OPENVINO
from bnnc.frontends.onnx.ops.pooling import POOLING
from bnnc.frontends.onnx.ops.qonnx import QONNX
from bnnc.frontends.onnx.ops.qonnx_layers import CHANNELS_LAST, QONNX_LAYERS
from bnnc.frontends.onnx.ops.quantization import QUANTIZATION
from bnnc.frontends.onnx.ops.reduction import REDUCTION
from bnnc.frontends.onnx.ops.resize import RESIZE
from bnnc.frontends.onnx.ops.scatter import SCATTER, assign_masked
from bnnc.frontends.onnx.ops.sequence import SEQUENCE
from bnnc.frontends.onnx.ops.shape import SHAPE

STANDARD: Mapping[str, Importer] = {
    **ELEMENTWISE,
    **CONVOLUTION,
    **MATMUL,
    **POOLING,
    **RESIZE,
    **NORMALIZATION,
    **REDUCTION,
    **MOVEMENT,
    **GATHER,
    **SHAPE,
    **CONSTANT,
    **QUANTIZATION,
    **CONTROL,
    **EINSUM,
    **INTEGER,
    **SCATTER,
    **SEQUENCE,
}
"""Importers of the standard operators by name."""

DOMAINS: Mapping[str, Mapping[str, Importer]] = {
    "": STANDARD,
    "qonnx.custom_op.general": {**QONNX, **QONNX_LAYERS},
    "qonnx.custom_op.channels_last": CHANNELS_LAST,
    "finn.custom_op.general": {**QONNX, **QONNX_LAYERS},
    "onnx.brevitas": QONNX,
    "com.microsoft": MICROSOFT,
    "org.openvinotoolkit": OPENVINO,
    DOMAIN: {ASSIGN: assign_masked},
}
"""The tables by domain."""


def importer_of(domain: str, op: str) -> Importer | None:
    """The importer of an operator, None if bnnc does not know it."""
    return DOMAINS.get(domain, {}).get(op)
