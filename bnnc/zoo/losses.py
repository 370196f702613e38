"""CenterNet's loss, after Zhou et al., *Objects as Points*."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE_WEIGHT = 0.1
OFFSET_WEIGHT = 1.0


@dataclass(frozen=True)
class Loss:
    """The loss and its parts, each a scalar; ``total`` is their weighted sum."""

    total: Tensor
    heatmap: Tensor
    size: Tensor
    offset: Tensor


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    balanced: bool = False,
) -> Tensor:
    """Pixelwise focal loss, its penalty reduced around centres, over the number of centres.

    Args:
        logits: [N, classes, H, W], the heatmap before its sigmoid.
        target: [N, classes, H, W], 1 at centres and Gaussians around them.
        alpha: how much easy cells count less.
        beta: how much cells near a centre count less.
        balanced: divide each class's part by the geometric mean of its own number of centres and
            of all, instead of all, so that rare classes count more.
    """
    p = torch.sigmoid(logits)
    at_centre = -((1 - p) ** alpha) * F.logsigmoid(logits)
    elsewhere = -((1 - target) ** beta) * p**alpha * F.logsigmoid(-logits)
    is_centre = target == 1
    loss = torch.where(is_centre, at_centre, elsewhere)
    centres = is_centre.sum().clamp(min=1)
    if not balanced:
        return loss.sum() / centres
    of_class = is_centre.sum((0, 2, 3)).clamp(min=1)
    return (loss.sum((0, 2, 3)) / torch.sqrt(of_class * centres)).sum()


def centre_l1(answer: Tensor, target: Tensor, centres: Tensor) -> Tensor:
    """Mean absolute difference of [N, 2, H, W] tensors at ``centres``, bool [N, H, W]."""
    mask = centres.unsqueeze(1)
    return ((answer - target).abs() * mask).sum() / (2 * mask.sum()).clamp(min=1)


def centernet_loss(
    answers: tuple[Tensor, Tensor, Tensor],
    heatmap: Tensor,
    size: Tensor,
    offset: Tensor,
    centres: Tensor,
    *,
    balanced: bool = False,
) -> Loss:
    """The whole loss of ``CenterNet.logits``' answers against batched ``targets.Targets``;
    ``balanced`` as in :func:`focal_loss`."""
    on_heatmap = focal_loss(answers[0], heatmap, balanced=balanced)
    on_size = centre_l1(answers[1], size, centres)
    on_offset = centre_l1(answers[2], offset, centres)
    total = on_heatmap + SIZE_WEIGHT * on_size + OFFSET_WEIGHT * on_offset
    return Loss(total, on_heatmap, on_size, on_offset)
