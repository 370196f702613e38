"""The networks of the paper's Tables 1 and 2, as one table.

>>> str(MODELS["q0"].encoder)
'qn([4x64,4x128,4x256,4x512])'
"""

from __future__ import annotations

from dataclasses import dataclass

from bnnc.errors import InputError
from bnnc.zoo.notation import ALL_BINARY, NONE_BINARY, BinaryBlocks, Decoder, Encoder, Head

LARGEST_INPUT = 8192
"""Pixels of a side, at most."""


@dataclass(frozen=True)
class Model:
    """A network's specification.

    Attributes:
        id: what users call it.
        input: height and width of its input, in pixels.
        encoder, decoder, head: its parts; ``str`` of each gives the paper's notation.
        binary: which of the encoder's blocks are binary.
        note: what sets it apart.
    """

    id: str
    input: int
    encoder: Encoder
    decoder: Decoder
    head: Head
    binary: BinaryBlocks = ALL_BINARY
    note: str = ""


def specify(
    encoder: str,
    decoder: str,
    head: str,
    *,
    id: str = "custom",
    input: int = 512,
    binary: BinaryBlocks | None = None,
    note: str = "",
) -> Model:
    """A specification from the paper's notation, for example
    ``specify("qn([2x32,2x64,2x128])", "tp4([64,32])", "h(32)")``.

    Raises InputError where a part cannot be read.
    """
    parsed = Encoder.parse(encoder)
    if binary is None:
        binary = NONE_BINARY if parsed.kind == "rn" else ALL_BINARY
    if parsed.kind == "rn" and any(map(any, binary.mask(parsed))):
        raise InputError(f"{encoder} has no binary blocks", hint="use qn or rtb")
    return Model(id, input, parsed, Decoder.parse(decoder), Head.parse(head), binary, note)


_RN50 = "rn([3x64,4x128,6x256,3x512])"
_Q0 = "qn([4x64,4x128,4x256,4x512])"
_Q2 = "qn([2x128,4x256,8x324,10x512])"
_Q3 = "qn([4x64,4x128,4x162,4x256])"

# q2d's draw is one whose blocks give the FLOP of Table 2.
_TABLE = (
    specify(_RN50, "tp4([256,128,32])", "h(64)", id="rn50", note="ResNet-50"),
    specify(_RN50, "tp4([256,128,32])", "h(64)", id="rn50-2", input=256, note="ResNet-50, 256"),
    specify(_Q0, "tp4([32,16,4])", "h(64)", id="q0", note="QuickNet"),
    specify(
        "qn([4x128,4x256,4x324,4x512])",
        "tp2([64,64,32])",
        "h(32)",
        id="q1",
        note="fewer features in decoder and head",
    ),
    specify(_Q2, "tp4([128,64,16])", "h(64)", id="q2", note="deeper (the paper's q2a)"),
    specify(
        _Q2,
        "tp4([128,64,16])",
        "h(64)",
        id="q2b",
        binary=BinaryBlocks(scales=(1, 2)),
        note="q2, scales 1 and 2 binary",
    ),
    specify(
        _Q2,
        "tp4([128,64,16])",
        "h(64)",
        id="q2c",
        binary=BinaryBlocks(scales=(3, 4)),
        note="q2, scales 3 and 4 binary",
    ),
    specify(
        _Q2,
        "tp4([128,64,16])",
        "h(64)",
        id="q2d",
        binary=BinaryBlocks(probability=0.5, seed=98),
        note="q2, each block binary with p = 0.5",
    ),
    specify(
        _Q2,
        "tp4([128,64,16])",
        "h(64)",
        id="q2e",
        binary=NONE_BINARY,
        note="q2, nothing binary",
    ),
    specify(_Q3, "tp4([64,32,8])", "h(32)", id="q3", note="lighter"),
    specify(_Q3, "tp2([64,64,64])", "h(32)", id="q4", note="fewer encoder parameters"),
    specify("qn([8x64,8x128,8x162,8x256])", "tp2([64,64,64])", "h(32)", id="q5", note="q4, deeper"),
    specify(
        "rtb([4x64,4x128,4x256,4x512])",
        "tp4([32,16,4])",
        "h(64)",
        id="rtb",
        note="Real-to-Binary ResNet-18",
    ),
)

MODELS: dict[str, Model] = {model.id: model for model in _TABLE}
"""Every network of the paper by id, in the order of its tables."""


def find(model_id: str) -> Model:
    """The model of that id. Raises InputError for an unknown one."""
    if model_id not in MODELS:
        raise InputError(f"there is no model {model_id!r}", hint=f"choose of {', '.join(MODELS)}")
    return MODELS[model_id]
