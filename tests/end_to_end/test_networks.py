"""The main job on the paper's networks: exported, counted, compiled and verified through the
command line, as a user does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnnc
from bnnc.cli.main import main

pytest.importorskip("torch")

# id: paper convention (MACs, r_b, equivalent GFLOP), executed convention (MACs), binary MACs.
# None stands where the paper gives no figure.
PAPER: dict[str, tuple[int | None, float, float, int | None, int | None]] = {
    "rn50": (32_887_537_664, 0.0, 32.888, 24_029_167_616, 0),
    "rn50-2": (8_221_884_416, 0.0, 8.222, 6_007_291_904, 0),
    "q0": (10_273_095_680, 0.9407, 0.760, 10_034_020_352, 9_663_676_416),
    "q1": (26_812_113_920, 0.9553, 1.599, 26_560_455_680, 25_613_107_200),
    "q2": (31_030_076_416, 0.9112, 3.197, 29_620_790_272, 28_274_982_912),
    "q2b": (31_030_076_416, 0.4671, 16.762, 29_620_790_272, 14_495_514_624),
    "q2c": (31_030_076_416, 0.4441, 17.465, 29_620_790_272, 13_779_468_288),
    "q2d": (31_030_076_416, -1.0, -1.0, 29_620_790_272, None),
    "q2e": (31_030_076_416, 0.0, 31.030, 29_620_790_272, 0),
    "q3": (7_115_633_152, 0.8999, 0.812, 6_763_311_616, 6_403_276_800),
    "q4": (7_841_247_744, 0.8166, 1.538, 7_539_257_856, 6_403_276_800),
    "q5": (14_244_524_544, 0.8991, 1.638, 13_942_534_656, 12_806_553_600),
    "rtb": (9_932_406_272, 0.8817, 1.312, 9_693_330_944, 8_757_706_752),
}
TABLE_2 = {"q2b": 16.74, "q2c": 17.44}
"""Equivalent GFLOP as the paper prints them."""


@pytest.fixture(scope="module", params=list(PAPER))
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """(id, ONNX file, compiled library) at the network's own input size."""
    folder = tmp_path_factory.mktemp(request.param)
    model, library = folder / "model.onnx", folder / "model.so"
    assert main(["zoo", "export", request.param, "-o", str(model)]) == 0
    assert main(["compile", str(model), "-o", str(library)]) == 0
    return request.param, model, library


def _totals(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["stats", *arguments, "--json"]) == 0
    total: dict[str, Any] = json.loads(capsys.readouterr().out)["total"]
    return total


@pytest.mark.slow
def test_statistics_are_the_paper_s(
    network: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model_id, model, library = network
    macs, ratio, flop, executed, binary = PAPER[model_id]
    for source in (str(model), str(library)):
        paper = _totals(capsys, source, "--convention", "paper")
        done = _totals(capsys, source)
        if model_id == "rtb":
            assert paper["macs"] == pytest.approx(macs, rel=1e-3)
            assert done["macs"] == pytest.approx(executed, rel=1e-3)
        else:
            assert (paper["macs"], done["macs"]) == (macs, executed)
        if binary is not None:
            assert paper["binary_macs"] == done["binary_macs"] == binary
            assert paper["binarization_ratio"] == pytest.approx(ratio, abs=1e-4)
            assert paper["equivalent_flop"] / 1e9 == pytest.approx(flop, rel=1e-3)
        if model_id in TABLE_2:
            assert paper["equivalent_flop"] / 1e9 == pytest.approx(TABLE_2[model_id], rel=2e-3)


@pytest.mark.slow
def test_every_layer_verifies(
    network: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, model, library = network
    assert main(["verify", str(model), str(library), "--no-end-to-end"]) == 0, capsys.readouterr()


@pytest.mark.slow
def test_results_do_not_depend_on_threads(network: tuple[str, Path, Path]) -> None:
    _, _, library = network
    runs = []
    for threads in (1, 2, 3):
        session = bnnc.load(library, threads=threads)
        (tensor,) = session.get_inputs()
        x = np.random.default_rng(0).standard_normal(tensor.item_shape).astype(np.float32)
        runs.append(session(x))
    for other in runs[1:]:
        for first, second in zip(runs[0], other):
            np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_arena_is_close_to_what_must_be_alive(network: tuple[str, Path, Path]) -> None:
    compiled = bnnc.load(network[2]).info["compiled"]
    assert compiled["arena_bytes"] <= 1.1 * compiled["arena_live_bytes"]
