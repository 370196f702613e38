"""What to do about operators that bnnc does not compile."""

from __future__ import annotations

import onnx

_CUT = "end the model before it, at the tensors it reads, and do the rest outside"
_STATIC = "export the model with fixed shapes, or run a simplifier that unrolls it"
_STRINGS = "bnnc works on numbers only; do this outside the model"

_ADVICE: dict[str, str] = {
    op: hint
    for hint, ops in {
        f"{_CUT} (bnnc's detectors drop overlapping boxes themselves)": (
            "NonMaxSuppression EfficientNMS_TRT BatchedNMS_TRT"
        ),
        _STATIC: ("Loop Scan SequenceMap Optional OptionalGetElement OptionalHasElement"),
        "recurrent layers are not compiled; bnnc is for convolutional networks": "RNN LSTM GRU",
        _STRINGS: (
            "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer LabelEncoder "
            "CategoryMapper DictVectorizer"
        ),
        "decode pictures outside the model": "ImageDecoder",
        "export the model for inference": (
            "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike "
            "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss Gradient Adam Adagrad Momentum"
        ),
        _CUT: (
            "RoiAlign MaxRoiPool GridSample DeformConv MaxUnpool Unique Det DFT STFT Col2Im "
            "MelWeightMatrix ReverseSequence TensorScatter BitCast"
        ),
    }.items()
    for op in ops.split()
}


def advice(domain: str, op: str) -> str:
    """What to do about a model that uses an operator bnnc does not know."""
    if op in _ADVICE:
        return _ADVICE[op]
    if domain == "":
        unknown = "" if onnx.defs.has(op) else "its exporter seems to have left it as it was: "
        return f"{unknown}export the model with an older opset, or without it"
    if domain == "ai.onnx.ml":
        return "bnnc compiles neural networks; do this outside the model"
    if domain == "com.microsoft.nchwc":
        return (
            "its layout is one processor's own: give bnnc the model as exported, or as onnxruntime "
            "optimises it at ORT_ENABLE_EXTENDED"
        )
    if domain == "com.microsoft" or domain.startswith("com.microsoft."):
        return "give bnnc the model as exported, before onnxruntime optimised it"
    if domain == "org.pytorch.aten":
        return "export without ONNX_ATEN fallback"
    return "export with standard operators, or with a local function that says what it does"
