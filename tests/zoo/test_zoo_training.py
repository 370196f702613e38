"""Targets, losses, decoding and the training run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnc.zoo.centernet import build
from bnnc.zoo.decode import Boxes, count_found, decode, iou
from bnnc.zoo.layers import BinaryConv2d
from bnnc.zoo.losses import centernet_loss, centre_l1, focal_loss
from bnnc.zoo.metadata import PREPROCESSING
from bnnc.zoo.models import specify
from bnnc.zoo.shapes import LABELS, draw_scene
from bnnc.zoo.targets import MIN_IOU, draw_targets, gaussian_radius
from bnnc.zoo.training import Recipe, collate, fit, to_input

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
    tensors = [torch.from_numpy(x)[None] for x in (drawn.heatmap, drawn.size, drawn.offset)]
    (boxes,) = decode(*tensors, score=1.0)
    assert len(boxes.labels) == len(scene.labels)
    assert count_found(boxes, scene.boxes, scene.labels, min_iou=0.999) == len(scene.labels)


def test_decoding_orders_by_score_and_keeps_the_top() -> None:
    heatmap = torch.zeros(1, 2, 4, 4)
    heatmap[0, 0, 0, 0], heatmap[0, 1, 3, 3], heatmap[0, 1, 3, 2] = 0.5, 0.9, 0.8
    maps = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    (boxes,) = decode(heatmap, *maps, top=2)
    assert boxes.labels.tolist() == [1, 0]
    assert boxes.scores.tolist() == pytest.approx([0.9, 0.5])
    assert boxes.corners.tolist() == [[10, 10, 14, 14], [-2, -2, 2, 2]]


def test_a_true_box_is_found_once() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    twice = Boxes(np.repeat(box, 2, 0), np.array([0, 0]), np.array([0.9, 0.8], np.float32))
    assert count_found(twice, box, np.array([0])) == 1
    assert count_found(twice, box, np.array([1])) == 0
    assert count_found(twice, box + 6, np.array([0])) == 0


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


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe(steps=1000, learning_rate=0.01, warm_up=50)
    rates = [recipe.rate(step) for step in range(1000)]
    assert rates[0] < 0.0003
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates.index(max(rates)) in range(45, 51)
    assert rates[-1] < 1e-5


def test_a_few_steps_lower_the_loss_and_keep_latent_weights_clipped() -> None:
    spec = specify("qn([1x8,1x16])", "tp2([8])", "h(8)")
    model = build(spec, len(LABELS), seed=0, clip=1.25)
    scenes = [draw_scene(seed, HEIGHT, WIDTH) for seed in range(4)]
    targets = [draw_targets(s.boxes, s.labels, len(LABELS), HEIGHT, WIDTH) for s in scenes]
    batch = collate(np.stack([scene.pixels for scene in scenes]), targets)
    losses: list[float] = []
    recipe = Recipe(25, warm_up=5)
    fit(model, [batch] * 30, recipe, report=lambda step, loss: losses.append(loss.total.item()))
    assert len(losses) == 25
    assert losses[-1] < 0.7 * losses[0]
    latent = [m.weight.abs().max() for m in model.modules() if isinstance(m, BinaryConv2d)]
    assert max(latent) <= 1.25
