"""Take pictures as they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnc.errors import ModelError
from bnnc.ir.graph import Graph
from bnnc.ir.types import DType, TensorType
from bnnc.passes.report import Report

KEY = "bnnc.preprocessing"
"""Metadata key: JSON ``{"color": "bgr", "scale": 255, "mean": [...], "std": [...]}``; the model's
input is (pixel / scale - mean) / std, channels in the order of ``color``."""


def input_u8(graph: Graph, report: Report) -> int:
    """With ``--input-u8``, interleaved 8-bit pixels replace the normalised input::

        x f32 [N, C, H, W] -> y
        x u8 [N, H, W, C] -> Cast -> Transpose -> Mul -> Add -> y

    The pixels' channels stand in the order the model's own input has.

    Raises:
        ModelError: if the model has no such input, or does not say how it is normalised.
    """
    if not report.options.input_u8:
        return 0
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        shapes = ", ".join(str(value.type) for value in graph.inputs)
        raise ModelError(f"--input-u8 needs one input of shape NxCxHxW, found {shapes}")
    (old,) = graph.inputs
    batch, channels, height, width = old.shape
    factor, summand = normalisation(graph.metadata, channels)
    pixels = graph.replace_input(old, TensorType(DType.U8, (batch, height, width, channels)))
    value = graph.add("Cast", [pixels], {"to": DType.F32}).output
    value = graph.add("Transpose", [value], {"perm": (0, 3, 1, 2)}).output
    for op, vector in (("Mul", factor), ("Add", summand)):
        constant = graph.constant(
            vector.astype(np.float32).reshape(-1, 1, 1), f"{old.name}.{op.lower()}"
        )
        value = graph.add(op, [value, constant]).output
    if old.dtype is not DType.F32:
        value = graph.add("Cast", [value], {"to": old.dtype}).output
    graph.replace(old, value)
    return 1


def normalised(
    feeds: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Pixels uint8 [N, H, W, C] as the model itself takes them, float32 [N, C, H, W].

    Raises:
        ModelError: as :func:`normalisation`.
    """
    scaled = {}
    for name, pixels in feeds.items():
        factor, summand = normalisation(metadata, pixels.shape[3])
        x = pixels * factor.astype(np.float32) + summand.astype(np.float32)
        scaled[name] = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return scaled


def normalisation(metadata: Mapping[str, str], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """What 8-bit values are multiplied by, and what is added then: float64 [channels] each.

    Raises:
        ModelError: if the metadata do not say, or make no sense.
    """
    if KEY not in metadata:
        raise ModelError(
            f"--input-u8 needs to know how pixels are normalised, but the metadata have no {KEY!r}",
            hint="export it with the model, or compile without --input-u8",
        )
    try:
        given: dict[str, Any] = json.loads(metadata[KEY])
        mean, std = (
            np.broadcast_to(np.asarray(given.get(key, default), np.float64), (channels,))
            for key, default in (("mean", 0.0), ("std", 1.0))
        )
        scale = float(given.get("scale", 255))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"metadata {KEY!r} cannot be read: {error}") from None
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and std.all() and scale):
        raise ModelError(f"metadata {KEY!r} divide by zero or are not finite")
    return 1 / (scale * std), -mean / std
