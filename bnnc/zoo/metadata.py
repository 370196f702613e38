"""What an exported model says of itself, so that pictures can be fed to it and boxes read from it.

Kept in the ONNX file's ``metadata_props``, one JSON text for each key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

VOC_LABELS = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Pascal VOC's twenty classes, in its order."""

PREPROCESSING: dict[str, Any] = {
    "color": "bgr",
    "scale": 255,
    "mean": [0.408, 0.447, 0.470],
    "std": [0.289, 0.274, 0.278],
    "resize": "letterbox",
}
"""From 8-bit pixels to the input: (pixel / scale - mean) / std, channels in the order of color."""


def labels_for(classes: int) -> tuple[str, ...]:
    """Pascal VOC's labels for twenty classes, else numbered ones."""
    if classes == len(VOC_LABELS):
        return VOC_LABELS
    return tuple(f"class {index}" for index in range(classes))


def describe(name: str, labels: Sequence[str], stride: int) -> dict[str, str]:
    """The metadata of a CenterNet.

    Args:
        name: the network's id.
        labels: one for each channel of the heatmap.
        stride: input pixels to a cell of the output grid.
    """
    decoder = {
        "type": "centernet",
        "stride": stride,
        "heatmap": "heatmap",
        "size": "size",
        "offset": "offset",
        "top": 100,
    }
    return {
        "bnnc.model": name,
        "bnnc.labels": json.dumps(list(labels)),
        "bnnc.preprocessing": json.dumps(PREPROCESSING),
        "bnnc.decoder": json.dumps(decoder),
    }
