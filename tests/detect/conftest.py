"""The bundled detector, compiled, and pictures it was made for."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from PIL import Image
from voc_folders import write_voc

import bnnc
from bnnc.zoo.shapes import LABELS, draw_scene

SCENES = 6


@pytest.fixture(scope="session")
def shapes_model() -> Path:
    """The bundled detector as an ONNX file."""
    return Path(str(resources.files("bnnc.data") / "shapes.onnx"))


@pytest.fixture(scope="session")
def shapes_library(shapes_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, compiled."""
    path = tmp_path_factory.mktemp("shapes") / "shapes.so"
    bnnc.compile(shapes_model, path, threads=1)
    return path


@pytest.fixture(scope="session")
def shapes_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Pascal VOC folder of scenes the detector has not seen."""
    scenes = {f"scene{seed}": draw_scene(10_000 + seed, 192, 256) for seed in range(SCENES)}
    boxes = {
        name: [
            (LABELS[label], (x0 + 1, y0 + 1, x1, y1), 0)
            for label, (x0, y0, x1, y1) in zip(scene.labels, scene.boxes)
        ]
        for name, scene in scenes.items()
    }
    root = write_voc(tmp_path_factory.mktemp("voc"), boxes)
    for name, scene in scenes.items():
        Image.fromarray(scene.pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    return root
