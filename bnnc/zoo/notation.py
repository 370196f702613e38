"""The paper's notation for an architecture, read and written.

``qn([4x64,4x128])``  an encoder: its kind, then for each scale the number of blocks and features.
                      Kinds: ``qn`` QuickNet, ``rtb`` Real-to-Binary ResNet, ``rn`` ResNet with
                      bottleneck blocks (features are those of the 3x3 convolution).
``tp4([32,16,4])``    a decoder: transposed convolutions, their kernel size and features.
``h(64)``             the heads: features of their hidden layer.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from bnnc.errors import InputError

ENCODER_KINDS = ("qn", "rtb", "rn")
_LARGEST = 65536


@dataclass(frozen=True)
class Encoder:
    """An encoder: ``kind`` and, for each scale, (number of blocks, features).

    Scales of ``qn`` may have no blocks at all: what is left then shows what the blocks are worth.
    """

    kind: str
    scales: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Encoder:
        """Read ``qn([4x64,4x128])``. Raises InputError."""
        match = re.fullmatch(r"([a-z]+)\(\[(\d+x\d+(?:,\d+x\d+)*)\]\)", _bare(text))
        if match is None or match[1] not in ENCODER_KINDS:
            raise _unreadable("encoder", text, "qn([4x64,4x128,4x256,4x512])")
        pairs = (scale.split("x") for scale in match[2].split(","))
        least = 0 if match[1] == "qn" else 1
        scales = tuple(
            (_size(blocks, text, least), _size(features, text)) for blocks, features in pairs
        )
        if match[1] == "qn" and scales[0][1] % 4:
            raise InputError(
                f"{text}: the stem of qn has a quarter of the first scale's features",
                hint="use a multiple of 4",
            )
        return cls(match[1], scales)

    def __str__(self) -> str:
        scales = ",".join(f"{blocks}x{features}" for blocks, features in self.scales)
        return f"{self.kind}([{scales}])"


@dataclass(frozen=True)
class Decoder:
    """Transposed convolutions: kernel size, and the features of each."""

    kernel: int
    features: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Decoder:
        """Read ``tp4([32,16,4])``. Raises InputError."""
        match = re.fullmatch(r"tp(\d+)\(\[(\d+(?:,\d+)*)\]\)", _bare(text))
        if match is None:
            raise _unreadable("decoder", text, "tp4([32,16,4])")
        kernel = _size(match[1], text)
        if kernel < 2:
            raise InputError(f"{text}: a kernel of 1 leaves gaps at stride 2", hint="use tp2 or up")
        return cls(kernel, tuple(_size(item, text) for item in match[2].split(",")))

    def __str__(self) -> str:
        return f"tp{self.kernel}([{','.join(map(str, self.features))}])"


@dataclass(frozen=True)
class Head:
    """The heads: features of the hidden layer of each."""

    features: int

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read ``h(64)``. Raises InputError."""
        match = re.fullmatch(r"h\((\d+)\)", _bare(text))
        if match is None:
            raise _unreadable("head", text, "h(64)")
        return cls(_size(match[1], text))

    def __str__(self) -> str:
        return f"h({self.features})"


@dataclass(frozen=True)
class BinaryBlocks:
    """Which of an encoder's blocks are binary.

    Attributes:
        scales: scales (from 1, as the paper counts) that may be binary; None for all.
        probability: the chance of each block there.
        seed: of that draw.
    """

    scales: tuple[int, ...] | None = None
    probability: float = 1.0
    seed: int = 0

    def mask(self, encoder: Encoder) -> tuple[tuple[bool, ...], ...]:
        """For each scale, for each block: is it binary?"""
        draw = random.Random(self.seed)
        return tuple(
            tuple(
                (self.scales is None or scale in self.scales) & (draw.random() < self.probability)
                for _ in range(blocks)
            )
            for scale, (blocks, _) in enumerate(encoder.scales, start=1)
        )


ALL_BINARY = BinaryBlocks()
NONE_BINARY = BinaryBlocks(scales=())


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _size(text: str, whole: str, least: int = 1) -> int:
    value = int(text) if len(text) <= len(str(_LARGEST)) else _LARGEST + 1
    if not least <= value <= _LARGEST:
        raise InputError(f"{whole}: {text} is not a size", hint=f"use {least} to {_LARGEST}")
    return value


def _unreadable(what: str, text: str, example: str) -> InputError:
    return InputError(f"{text!r} is no {what}", hint=f"write it as in {example}")
