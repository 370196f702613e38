"""ONNX's own tests of backends: each is passed, or refused for a reason that is listed here."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import pytest
from onnx_cases import Case, cases, difference, first_variant, interpreted, shapes_of

import bnnc
from bnnc.errors import BnncError

REFUSED = (
    r"uses version [1-6] of ONNX's operators; versions 7 to",
    r"over 3 axes is not supported; one or two are",
    r"(BatchNormalization|Dropout) is in training mode",
    r"'(RNN|GRU|LSTM)' .*; recurrent layers are not compiled",
    r"'(Loop|Scan|SequenceMap|Optional\w+)' ",
    r"'(RandomUniformLike|ai\.onnx\.preview\.training\.\w+)' .*; export the model for inference",
    r"'(GridSample|RoiAlign|DeformConv|MaxUnpool|Unique|Det|DFT|STFT|Col2Im|MelWeightMatrix)' ",
    r"'(NonMaxSuppression|ReverseSequence|TensorScatter)' .*; end the model before it",
    r"'(ImageDecoder|BitCast|ai\.onnx\.ml\.\w+|ai\.onnx\.preview\.\w+)' ",
    r"'(RegexFullMatch|StringConcat|StringNormalizer|StringSplit|TfIdfVectorizer)' ",
    r"elements of type (FLOAT[468]\w+|STRING|U?INT[24])",
    r"(Scatter\w+|Slice) has (indices|starts) that depend on the input",
    r"Mod on floating-point numbers needs fmod = 1",
    r"Einsum along a diagonal is not supported",
    r"the output 'z' of MaxPool is not supported",
    r"input 'data' cannot have shape (2x0x4|0x3x4)",
)

AS_ONNXRUNTIME = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
"""Where onnxruntime does not give what the case says, bnnc follows onnxruntime."""


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(cases())


def test_every_case_is_passed_or_refused_for_a_known_reason(all_cases: list[Case]) -> None:
    faults: list[str] = []
    outcome: Counter[str] = Counter()
    for case in all_cases:
        try:
            graph, _, feeds = first_variant(case)
        except BnncError as error:
            known = [reason for reason in REFUSED if re.search(reason, str(error))]
            outcome.update(known[:1] or ["refused"])
            if not known or not str(error).isprintable():
                faults.append(f"{case.name} is refused: {error}")
            continue
        wrong = difference(case, interpreted(graph, feeds))
        outcome.update(["wrong" if wrong else "passed"])
        if bool(wrong) != (case.name in AS_ONNXRUNTIME):
            faults.append(f"{case.name}: {wrong or 'passes'}")
    assert not faults, "\n".join(faults)
    assert outcome["passed"] > 0.7 * len(all_cases), outcome
    assert not [reason for reason in REFUSED if not outcome[reason]]


@pytest.mark.slow
def test_compiled_code_passes_a_sample(all_cases: list[Case], tmp_path: Path) -> None:
    checked = 0
    for case in all_cases[::40]:
        try:
            _, model, feeds = first_variant(case)
        except BnncError:
            continue
        if feeds:
            checked += 1
            path = tmp_path / f"{checked}.so"
            session = bnnc.compile(model, path, shapes=shapes_of(feeds), threads=1)
            assert not difference(case, session.run(None, feeds)), case.name
    assert checked > 10
