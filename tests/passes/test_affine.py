"""Nodes that are a factor and a summand for each channel."""

from __future__ import annotations

import numpy as np
from nets import Net

from bnnc.passes.affine import affine_of


def test_a_negation_is_a_factor_of_minus_one() -> None:
    net = Net(1, 3, 2, 2)
    affine = affine_of(net("Neg", net.x).producer, net.x)
    assert affine is not None
    np.testing.assert_array_equal(affine, [[-1, -1, -1], [0, 0, 0]])


def test_constants_of_one_value_hold_for_every_channel() -> None:
    net = Net(1, 3, 2, 2)
    affine = affine_of(net("Sub", 2, net.x).producer, net.x)
    assert affine is not None
    np.testing.assert_array_equal(affine, [[-1, -1, -1], [2, 2, 2]])


def test_absurdly_many_channels_are_left_alone() -> None:
    net = Net(1, 2**31)
    assert affine_of(net("Neg", net.x).producer, net.x) is None
