"""Multiply-adds of every network, counted on the modules, against the paper's figures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from bnnc.zoo.centernet import build
from bnnc.zoo.layers import BinaryConv2d
from bnnc.zoo.models import MODELS


@dataclass
class Macs:
    paper: int = 0
    executed: int = 0
    binary: int = 0

    def equivalent_flop(self) -> float:
        return (self.paper - self.binary * 63 / 64) / 1e9


# id: (paper convention, executed convention, binary)
TOTALS = {
    "rn50": (32_887_537_664, 24_029_167_616, 0),
    "rn50-2": (8_221_884_416, 6_007_291_904, 0),
    "q0": (10_273_095_680, 10_034_020_352, 9_663_676_416),
    "q1": (26_812_113_920, 26_560_455_680, 25_613_107_200),
    "q2": (31_030_076_416, 29_620_790_272, 28_274_982_912),
    "q2e": (31_030_076_416, 29_620_790_272, 0),
    "q3": (7_115_633_152, 6_763_311_616, 6_403_276_800),
    "q4": (7_841_247_744, 7_539_257_856, 6_403_276_800),
    "q5": (14_244_524_544, 13_942_534_656, 12_806_553_600),
    "rtb": (9_932_406_272, 9_693_330_944, 8_757_706_752),
}

# r_b of Table 1, FLOP of Table 2
RATIOS = {"q0": 0.9407, "q1": 0.9553, "q2": 0.9112, "q3": 0.8999, "q4": 0.8166, "q5": 0.8991}
FLOPS = {"q2b": 16.74, "q2c": 17.44, "q2d": 13.77, "q2e": 31.0, "q0": 0.76, "q1": 1.60, "rtb": 1.31}


def count(model_id: str) -> Macs:
    spec, macs = MODELS[model_id], Macs()

    def add(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if isinstance(module, nn.ConvTranspose2d):
            a_cell = module.weight.numel()
            macs.paper += a_cell * output[0, 0].numel()
            macs.executed += a_cell * inputs[0][0, 0].numel()
        else:
            performed = module.weight[0].numel() * output.numel()
            macs.paper += performed
            macs.executed += performed
            macs.binary += performed * isinstance(module, BinaryConv2d)

    with torch.device("meta"):
        model = build(spec, 20)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(add)
        model(torch.empty(1, 3, spec.input, spec.input))
    return macs


@pytest.mark.parametrize("model_id", TOTALS)
def test_macs_are_those_of_the_paper(model_id: str) -> None:
    macs = count(model_id)
    assert (macs.paper, macs.executed, macs.binary) == TOTALS[model_id]


@pytest.mark.parametrize("model_id", RATIOS)
def test_binarization_ratio_is_that_of_table_1(model_id: str) -> None:
    macs = count(model_id)
    assert round(macs.binary / macs.paper, 4) == RATIOS[model_id]


@pytest.mark.parametrize("model_id", FLOPS)
def test_equivalent_flop_is_that_of_table_2(model_id: str) -> None:
    # The paper takes q2's MACs as 31.0 G, a thousandth below the exact figure.
    assert count(model_id).equivalent_flop() == pytest.approx(FLOPS[model_id], abs=0.031)
