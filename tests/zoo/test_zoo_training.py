"""Targets, losses, decoding and the training run."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.detect.boxes import iou
from bnnc.detect.centernet import decode
from bnnc.zoo.centernet import CenterNet, build
from bnnc.zoo.layers import BinaryConv2d
from bnnc.zoo.losses import centernet_loss, centre_l1, focal_loss
from bnnc.zoo.metadata import PREPROCESSING
from bnnc.zoo.models import specify
from bnnc.zoo.notation import NONE_BINARY
from bnnc.zoo.recipes import PAPER, Recipe
from bnnc.zoo.shapes import LABELS, draw_scene
from bnnc.zoo.targets import MIN_IOU, draw_targets, gaussian_radius
from bnnc.zoo.training import Batch, Trainer, collate, fit, to_input

HEIGHT, WIDTH = 96, 128
sides = st.floats(1, 100)


@given(width=sides, height=sides)
def test_the_radius_follows_from_an_overlap(width: float, height: float) -> None:
    growth = gaussian_radius(width, height) / (4 * MIN_IOU)
    box = np.array([[0, 0, width, height]])
    overlap = iou(box, box + growth * np.array([-1, -1, 1, 1]))
    assert overlap[0, 0] == pytest.approx(MIN_IOU)


def test_a_target_has_its_peak_size_and_offset_at_the_centres_cell() -> None:
    targets = draw_targets(np.array([[10, 20, 40, 44]]), np.array([1]), 3, HEIGHT, WIDTH)
    assert targets.heatmap.shape == (3, 24, 32)
    assert np.argwhere(targets.heatmap == 1).tolist() == [[1, 8, 6]]
    assert np.argwhere(targets.centres).tolist() == [[8, 6]]
    assert targets.size[:, 8, 6].tolist() == [7.5, 6.0]
    assert targets.offset[:, 8, 6].tolist() == [0.25, 0.0]
    neighbours = targets.heatmap[1, 8, [5, 7]]
    assert neighbours[0] == neighbours[1] and 0 < neighbours[0] < 1


def test_boxes_without_area_or_outside_leave_no_target() -> None:
    boxes = np.array([[10, 10, 10, 30], [200, 200, 240, 240], [-30, -30, -10, -10]])
    targets = draw_targets(boxes, np.zeros(3, int), 1, HEIGHT, WIDTH)
    assert not targets.heatmap.any() and not targets.centres.any()


def test_of_two_boxes_in_a_cell_the_larger_counts() -> None:
    boxes = np.array([[0, 0, 40, 40], [16, 16, 24, 24]])
    targets = draw_targets(boxes, np.array([0, 0]), 1, HEIGHT, WIDTH)
    assert targets.size[:, 5, 5].tolist() == [10.0, 10.0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_targets_decode_to_the_boxes_they_were_drawn_from(seed: int) -> None:
    scene = draw_scene(seed, HEIGHT, WIDTH)
    drawn = draw_targets(scene.boxes, scene.labels, 3, HEIGHT, WIDTH)
    boxes = decode(drawn.heatmap, drawn.size, drawn.offset, 4, score=1.0)
    partner = iou(boxes.corners, scene.boxes).argmax(1)
    assert sorted(partner) == list(range(len(scene.labels)))
    np.testing.assert_array_equal(boxes.labels, scene.labels[partner])
    np.testing.assert_allclose(boxes.corners, scene.boxes[partner], atol=1e-3)


def test_focal_loss_follows_its_formula() -> None:
    logits = torch.tensor([[[[0.4, -1.0, 2.0]]]])
    target = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    p = [1 / (1 + math.exp(-x)) for x in (0.4, -1.0, 2.0)]
    expected = -(
        (1 - p[0]) ** 2 * math.log(p[0])
        + 0.5**4 * p[1] ** 2 * math.log(1 - p[1])
        + p[2] ** 2 * math.log(1 - p[2])
    )
    assert focal_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)
    assert focal_loss(logits.repeat(2, 1, 1, 1), target.repeat(2, 1, 1, 1)).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_losses_stay_finite_for_extreme_answers_and_empty_pictures() -> None:
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    maps = torch.zeros(1, 2, 1, 2)
    nothing = torch.zeros(1, 1, 2, dtype=torch.bool)
    loss = centernet_loss((logits, maps, maps), torch.zeros(1, 1, 1, 2), maps, maps, nothing)
    loss.total.backward()
    assert torch.isfinite(loss.total) and torch.isfinite(logits.grad).all()


def test_l1_counts_only_at_centres() -> None:
    answer = torch.tensor([[[[1.0, 100.0]], [[3.0, 100.0]]]])
    centres = torch.tensor([[[True, False]]])
    assert centre_l1(answer, torch.zeros_like(answer), centres).item() == 2.0


def test_the_total_weighs_size_a_tenth() -> None:
    answers = torch.randn(1, 1, 2, 2), torch.randn(1, 2, 2, 2), torch.randn(1, 2, 2, 2)
    zeros, centres = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    loss = centernet_loss(answers, torch.zeros(1, 1, 2, 2), zeros, zeros, centres)
    torch.testing.assert_close(loss.total, loss.heatmap + 0.1 * loss.size + loss.offset)


def test_pixels_become_normalised_bgr() -> None:
    x = to_input(np.array([[[[255, 0, 51]]]], np.uint8))
    mean, std = PREPROCESSING["mean"], PREPROCESSING["std"]
    expected = [(value - m) / s for value, m, s in zip((0.2, 0.0, 1.0), mean, std)]
    assert x.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_a_balanced_loss_counts_a_rare_class_more() -> None:
    logits = torch.zeros(1, 2, 1, 8)
    target = torch.zeros(1, 2, 1, 8)
    target[0, 0, 0, :4] = 1
    target[0, 1, 0, 0] = 1
    plain = [focal_loss(logits[:, [k]], target[:, [k]]).item() for k in (0, 1)]
    both = focal_loss(logits, target).item()
    assert both == pytest.approx((4 * plain[0] + plain[1]) / 5)
    balanced = focal_loss(logits, target, balanced=True).item()
    assert balanced == pytest.approx((4 * plain[0] / 20**0.5) + plain[1] / 5**0.5)


def network() -> CenterNet:
    return build(specify("qn([1x8,1x16])", "tp2([8])", "h(8)"), len(LABELS), seed=0, clip=1.25)


def trainer(recipe: Recipe, steps: int) -> Trainer:
    return Trainer(network(), recipe, steps)


def batch() -> Batch:
    scenes = [draw_scene(seed, HEIGHT, WIDTH) for seed in range(4)]
    targets = [draw_targets(s.boxes, s.labels, len(LABELS), HEIGHT, WIDTH) for s in scenes]
    return collate(np.stack([scene.pixels for scene in scenes]), targets)


def test_a_cosine_learning_rate_rises_then_falls_to_zero() -> None:
    training = trainer(Recipe(epochs=10, batch=4, learning_rate=0.01, warm_up=50), steps=100)
    rates = []
    for step in range(1000):
        training.done = step
        rates.append(training.rate)
    assert rates[0] < 0.0003
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates.index(max(rates)) in range(45, 51)
    assert rates[-1] < 1e-5


def test_the_papers_learning_rate_falls_on_a_plateau_and_is_set_halfway() -> None:
    training = trainer(PAPER, steps=1)
    rates = []
    for epoch in range(103):
        training.done = epoch + 1
        training.end_epoch(max(1.0, 5.0 - epoch))
        rates.append(training.rate)
    assert rates[14] == PAPER.learning_rate
    assert rates[15] == pytest.approx(PAPER.learning_rate / 10)
    assert rates[98] < 1e-8
    assert rates[99] == 1e-4


def test_a_few_steps_lower_the_loss_and_keep_latent_weights_clipped() -> None:
    training = trainer(Recipe(1, 4, learning_rate=3e-3, warm_up=5, averaging=0.9), steps=25)
    losses: list[float] = []
    epochs = fit(
        training,
        range(1),
        lambda epoch: [batch()] * 25,
        report=lambda loss: losses.append(loss.total.item()),
    )
    assert list(epochs) == [0]
    assert len(losses) == 25
    assert losses[-1] < 0.7 * losses[0]
    modules = training.model.modules()
    latent = [m.weight.abs().max() for m in modules if isinstance(m, BinaryConv2d)]
    assert max(latent) <= 1.25


def test_a_restored_run_goes_on_as_if_it_had_not_stopped() -> None:
    recipe, data = Recipe(1, 4, learning_rate=3e-3, warm_up=2, averaging=0.9), batch()
    whole = trainer(recipe, steps=6)
    for step in range(6):
        whole.step(data)
        if step == 2:
            state = copy.deepcopy(whole.state())
    resumed = trainer(recipe, steps=6)
    resumed.restore(state)
    for _ in range(3):
        resumed.step(data)
    for ours, theirs in zip(
        whole.averaged([data]).parameters(), resumed.averaged([data]).parameters()
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_averaged_network_is_a_copy_with_norms_of_its_own() -> None:
    training = trainer(Recipe(1, 4, learning_rate=3e-3, averaging=0.5), steps=2)
    training.step(batch())
    before = copy.deepcopy(training.model.state_dict())
    averaged = training.averaged([batch()])
    assert not averaged.training
    for name, tensor in training.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    mine, theirs = averaged.stem.norm.running_mean, training.model.stem.norm.running_mean
    assert not torch.equal(mine, theirs)


def test_float_and_binary_twins_hold_the_same_weights() -> None:
    spec = specify("qn([1x8,1x16])", "tp2([8])", "h(8)")
    twin = build(dataclasses.replace(spec, binary=NONE_BINARY), len(LABELS), seed=0)
    network().load_state_dict(twin.state_dict())
