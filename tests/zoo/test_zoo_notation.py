"""The paper's notation, and the table written in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnc.errors import InputError
from bnnc.zoo.models import MODELS, find, specify
from bnnc.zoo.notation import BinaryBlocks, Decoder, Encoder, Head

IDS = ["rn50", "rn50-2", "q0", "q1", "q2", "q2b", "q2c", "q2d", "q2e", "q3", "q4", "q5", "rtb"]
sizes = st.integers(1, 1000)


@given(st.lists(st.tuples(sizes, sizes.map(lambda n: 4 * n)), min_size=1, max_size=6))
def test_an_encoder_reads_back_as_written(scales: list[tuple[int, int]]) -> None:
    encoder = Encoder("qn", tuple(scales))
    assert Encoder.parse(str(encoder)) == encoder


@given(st.integers(2, 9), st.lists(sizes, min_size=1, max_size=5))
def test_a_decoder_reads_back_as_written(kernel: int, features: list[int]) -> None:
    decoder = Decoder(kernel, tuple(features))
    assert Decoder.parse(str(decoder)) == decoder


def test_scales_of_quicknet_may_have_no_blocks() -> None:
    assert Encoder.parse("qn([0x32,2x64])").scales == ((0, 32), (2, 64))


def test_spaces_do_not_matter() -> None:
    assert str(Encoder.parse("qn( [ 4 x 64, 2x128 ] )")) == "qn([4x64,2x128])"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (Encoder.parse, ""),
        (Encoder.parse, "xx([4x64])"),
        (Encoder.parse, "qn([])"),
        (Encoder.parse, "qn([4x64]"),
        (Encoder.parse, "rn([0x64])"),
        (Encoder.parse, "qn([4x66])"),
        (Encoder.parse, "qn([4x99999999999])"),
        (Decoder.parse, "tp([32])"),
        (Decoder.parse, "tp1([32])"),
        (Decoder.parse, "tp4([32,])"),
        (Head.parse, "h()"),
        (Head.parse, "h(0)"),
    ],
)
def test_what_is_not_in_the_notation_is_refused_in_one_line(parse, text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse(text)
    assert "\n" not in str(refusal.value)


def test_every_network_of_the_paper_is_in_the_table() -> None:
    assert list(MODELS) == IDS


def test_an_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'q9'.*q0, q1"):
        find("q9")


@pytest.mark.parametrize(
    ("model_id", "flags"), [("q2b", "1100"), ("q2c", "0011"), ("q2", "1111"), ("q2e", "0000")]
)
def test_scales_are_binary_as_the_table_says(model_id: str, flags: str) -> None:
    model = MODELS[model_id]
    for mask, flag in zip(model.binary.mask(model.encoder), flags):
        assert set(mask) == {flag == "1"}


def test_a_drawn_choice_of_blocks_depends_on_the_seed_alone() -> None:
    encoder = MODELS["q2"].encoder
    draws = [BinaryBlocks(probability=0.5, seed=seed).mask(encoder) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_a_resnet_with_binary_blocks_is_refused() -> None:
    with pytest.raises(InputError):
        specify("rn([1x8])", "tp2([4])", "h(4)", binary=BinaryBlocks())
