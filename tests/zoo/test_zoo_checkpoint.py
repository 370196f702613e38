"""Training runs on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bnnc.errors import InputError
from bnnc.zoo import checkpoint
from bnnc.zoo.centernet import build
from bnnc.zoo.checkpoint import Checkpoint
from bnnc.zoo.models import specify
from bnnc.zoo.notation import BinaryBlocks

SPEC = specify("qn([1x8,1x16])", "tp2([8])", "h(8)", id="tiny", binary=BinaryBlocks(scales=(2,)))


def held(seed: int = 0) -> Checkpoint:
    network = build(SPEC, 2, seed=seed)
    return Checkpoint(SPEC, ("a", "b"), 64, 96, network.state_dict(), {"epoch": 3})


def test_a_checkpoint_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    checkpoint.save(held(), tmp_path / "x.pt")
    found = checkpoint.load(tmp_path / "x.pt")
    assert (found.model, list(found.labels)) == (SPEC, ["a", "b"])
    assert (found.height, found.width, found.training) == (64, 96, {"epoch": 3})
    x = torch.zeros(1, 3, 64, 96)
    for ours, theirs in zip(found.network()(x), build(SPEC, 2, seed=0).eval()(x)):
        torch.testing.assert_close(ours, theirs)


def test_a_checkpoint_runs_no_code_of_its_author(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"format": checkpoint.FORMAT, "model": Attack()}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.load(tmp_path / "x.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pt: is no checkpoint"):
        checkpoint.load(tmp_path / "x.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.pt: cannot be read"):
        checkpoint.load(tmp_path / "x.pt")


def test_another_programs_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="bnnc's training"):
        checkpoint.load(tmp_path / "x.pt")


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt: is not an ordinary file"):
        checkpoint.load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", 5),
        ("labels", []),
        ("labels", [1, 2]),
        ("labels", ["a"]),
        ("height", -3),
        ("width", 10**9),
        ("width", "wide"),
        ("weights", None),
        ("weights", {}),
        ("weights", {5: torch.zeros(1)}),
        ("training", 5),
        ("model", None),
        ("model.encoder", 5),
        ("model.encoder", "xx([1x8])"),
        ("model.decoder", "tp2([8,8,8,8,8,8])"),
        ("model.scales", 5),
        ("model.scales", ["one"]),
        ("model.probability", "likely"),
        ("model.seed", [1]),
        ("model.input", float("inf")),
    ],
)
def test_a_damaged_part_is_told_by_the_files_name(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(held(), path)
    content = torch.load(path, weights_only=True)
    part = content["model"] if key.startswith("model.") else content
    part[key.removeprefix("model.")] = value
    torch.save(content, path)
    with pytest.raises(InputError, match=r"x\.pt: .*") as told:
        checkpoint.load(path).network()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("change", ["missing", "of another shape", "no tensor"])
def test_weights_that_do_not_fit_are_told(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.pt"
    saved = held()
    name = next(iter(saved.weights))
    saved.weights[name] = {"of another shape": torch.zeros(7), "no tensor": 5}.get(change)
    if change == "missing":
        del saved.weights[name]
    checkpoint.save(saved, path)
    with pytest.raises(InputError, match=r"x\.pt: holds weights that do not fit its network"):
        checkpoint.load(path).network()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(held(), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        checkpoint.save(held(1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
