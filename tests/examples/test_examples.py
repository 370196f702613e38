"""The examples work as they stand, run as their users would."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import bnnc
from bnnc.zoo import checkpoint
from bnnc.zoo.shapes import LABELS, draw_scene

EXAMPLES = Path(__file__).parents[2] / "examples"
HEIGHT, WIDTH = 96, 128


def run(*command: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=environment
    )
    if check:
        assert done.returncode == 0, done.stderr[-2000:]
    return done


def python(script: str, *arguments: object, cwd: Path, check: bool = True):
    return run(sys.executable, EXAMPLES / script, *arguments, cwd=cwd, check=check)


@pytest.fixture(scope="module")
def picture() -> Path:
    return Path(str(resources.files("bnnc.data") / "shapes.png"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "shapes.so"
    bnnc.compile(Path(str(resources.files("bnnc.data") / "shapes.onnx")), path, threads=1)
    return path


def test_detecting_takes_ten_lines(library: Path, picture: Path, tmp_path: Path) -> None:
    assert len((EXAMPLES / "detect.py").read_text().splitlines()) <= 12
    lines = python("detect.py", library, picture, cwd=tmp_path).stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith(f"{picture}: ") for line in lines)


@pytest.mark.slow
def test_an_untrained_module_becomes_a_running_library(tmp_path: Path) -> None:
    printed = python("from_torch.py", cwd=tmp_path).stdout
    assert printed.count("binary\n") == 2
    difference = float(printed.rsplit(":", 1)[1])
    assert difference < 1e-4
    assert (tmp_path / "network.so").exists()


@pytest.mark.slow
def test_a_c_program_finds_what_python_finds(picture: Path, library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(EXAMPLES / "c", folder)
    run("make", f"MODEL={resources.files('bnnc.data') / 'shapes.onnx'}", cwd=folder)
    small = Image.open(picture).convert("RGB").resize((256, 192), Image.Resampling.BILINEAR)
    small.save(folder / "picture.ppm")
    printed = run("./detect", "picture.ppm", cwd=folder).stdout.splitlines()
    boxes = bnnc.Detector(library, threads=1, max_iou=0.5)(np.asarray(small))
    assert [int(line.split()[1]) for line in printed] == boxes.labels.tolist()
    for line, corners in zip(printed, boxes.corners):
        shown = json.loads(line[line.index("[") :])
        np.testing.assert_allclose(np.clip(shown, 0, [256, 192, 256, 192]), corners, atol=0.51)


@pytest.mark.slow
def test_a_c_program_refuses_a_picture_of_another_size(tmp_path: Path, picture: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(EXAMPLES / "c", folder)
    run("make", f"MODEL={resources.files('bnnc.data') / 'shapes.onnx'}", cwd=folder)
    Image.open(picture).save(folder / "picture.ppm")
    refused = run("./detect", "picture.ppm", cwd=folder, check=False)
    assert refused.returncode == 1 and "256 x 192" in refused.stderr


@pytest.mark.slow
def test_a_folder_is_searched_by_a_cluster_and_taken_up_again(
    library: Path, picture: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    pictures, results = tmp_path / "pictures", tmp_path / "results"
    pictures.mkdir()
    for index in range(3):
        shutil.copy(picture, pictures / f"{index}.png")
    (pictures / "damaged.png").write_bytes(b"no picture")
    command = ("detect_cluster.py", library, pictures, results, "--actors", 1)
    first = python(*command, cwd=tmp_path).stdout
    assert "4 pictures, 0 done before" in first
    assert "4 results, 21 detections, 1 unreadable" in first
    (results / "cut_short.parquet").write_bytes(b"PAR1")
    shutil.copy(picture, pictures / "new.png")
    again = python(*command, cwd=tmp_path).stdout
    assert "5 pictures, 4 done before" in again
    rows = parquet.read_table(results).to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == sorted(
        path.name for path in pictures.iterdir()
    )
    assert {len(row["corners"]) for row in rows if row["error"] is None} == {7}


def write_scenes(root: Path, split: str, seeds: range) -> None:
    """A Pascal VOC folder of drawn pictures."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        scene = draw_scene(seed, HEIGHT, WIDTH)
        Image.fromarray(scene.pixels).save(root / f"JPEGImages/{seed}.jpg", quality=95)
        objects = "".join(
            f"<object><name>{LABELS[label]}</name><bndbox><xmin>{x0 + 1}</xmin>"
            f"<ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for label, (x0, y0, x1, y1) in zip(scene.labels, scene.boxes)
        )
        (root / f"Annotations/{seed}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{seed}\n" for seed in seeds))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root, "train", range(16))
    write_scenes(root, "val", range(100, 104))
    return root


TRAIN = (
    *("--recipe", "small", "--size", f"{HEIGHT}x{WIDTH}", "--encoder", "qn([1x16,1x32])"),
    *("--decoder", "tp2([16])", "--head", "h(16)", "--threads", 1, "--every", 1),
)


def train(scenes: Path, out: Path, epochs: int, *more: object) -> tuple[object, ...]:
    """The command of a training run."""
    data = ("--train", f"{scenes}:train", "--val", f"{scenes}:val")
    return (EXAMPLES / "train.py", *data, *TRAIN, "--epochs", epochs, "--out", out, *more)


@pytest.mark.slow
def test_a_training_run_that_was_killed_ends_as_if_it_had_not_been(
    scenes: Path, tmp_path: Path
) -> None:
    run(sys.executable, *train(scenes, tmp_path / "whole" / "run", 3), cwd=tmp_path)
    command = [str(part) for part in (sys.executable, *train(scenes, tmp_path / "cut" / "run", 3))]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = tmp_path / "cut" / "run" / "last.pt"
    while not last.exists() and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    run(sys.executable, *command[1:], cwd=tmp_path)
    whole, cut = (
        (tmp_path / name / "run" / "model.onnx").read_bytes() for name in ("whole", "cut")
    )
    assert whole == cut


@pytest.mark.slow
def test_a_training_run_leaves_a_model_a_log_pictures_and_checkpoints(
    scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(sys.executable, *train(scenes, out, 2), cwd=tmp_path)
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"last.pt", "best.pt", "log.jsonl", "model.onnx"} <= names
    assert {"pictures/epoch-0001.png", "pictures/epoch-0002.png"} <= names
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert log[1]["loss"] < log[0]["loss"]
    session = bnnc.compile(out / "model.onnx", tmp_path / "model.so", threads=1)
    assert session.get_inputs()[0].shape[2:] == [HEIGHT, WIDTH]
    other = run(sys.executable, *train(scenes, out, 2, "--seed", 1), cwd=tmp_path, check=False)
    assert other.returncode == 1
    assert "other settings" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.slow
def test_a_float_run_can_be_binarised_part_by_part(scenes: Path, tmp_path: Path) -> None:
    start = tmp_path / "float"
    run(sys.executable, *train(scenes, start, 1, "--float"), cwd=tmp_path)
    out = tmp_path / "part"
    more = ("--start", start / "last.pt", "--binary-scales", "2")
    run(sys.executable, *train(scenes, out, 1, *more), cwd=tmp_path)
    statistics = bnnc.stats(out / "model.onnx")
    binary = [layer.name for layer in statistics.layers if layer.binary]
    assert binary == ["encoder.1.block.0.conv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "nowhere:train"], "nowhere"),
        (["--train", "nowhere"], "names no split"),
        (["--train", "x:y", "--size", "big"], "no size"),
        (["--train", "x:y", "--epochs", "0"], "above zero"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    refused = python("train.py", *arguments, "--out", "run", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert message in refused.stderr and refused.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The training script as a module."""
    spec = importlib.util.spec_from_file_location("train", EXAMPLES / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def started(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the training script here, without the export at its end: its status, and what it says
    on either stream."""
    monkeypatch.setattr(script.Run, "finish", lambda run: 0)

    def start(*arguments: object) -> tuple[int, str, str]:
        status = script.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return start


@pytest.fixture(scope="module")
def last(script: ModuleType, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``last.pt`` of a run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script.Run, "finish", lambda run: 0)
        assert script.main([str(part) for part in train(scenes, out, 1)[1:]]) == 0
    return out / "last.pt"


@pytest.fixture
def out(last: Path, tmp_path: Path) -> Path:
    """A folder of that run that may be changed."""
    (tmp_path / "run").mkdir()
    shutil.copy(last, tmp_path / "run" / "last.pt")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("more", "other"),
    [
        (["--labels", ",".join(sorted(LABELS, reverse=True))], "labels"),
        (["--labels", LABELS[0]], "labels"),
        (["--size", "64x64"], "size"),
        (["--head", "h(32)"], "network"),
        (["--seed", 1, "--lr", 1], "seed, learning_rate"),
    ],
)
def test_a_run_goes_on_only_with_the_settings_it_has(
    started, scenes: Path, out: Path, more: list[object], other: str
) -> None:
    before = (out / "last.pt").read_bytes()
    status, _, told = started(*train(scenes, out, 1, *more)[1:])
    expected = f"is of a run with other settings: {other}; choose another --out"
    assert status == 1 and told == f"train: {out / 'last.pt'}: {expected}\n"
    assert (out / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("training", {}),
        ("training epoch", "last"),
        ("training state", {}),
        ("training state averages 0", torch.zeros(7)),
        ("training state optimiser state 0 exp_avg", torch.zeros(7)),
    ],
)
def test_a_training_state_that_does_not_fit_is_told(
    started, scenes: Path, out: Path, place: str, value: object
) -> None:
    content = part = torch.load(out / "last.pt", weights_only=True)
    *above, key = (int(step) if step.isdecimal() else step for step in place.split())
    for step in above:
        part = part[step]
    part[key] = value
    torch.save(content, out / "last.pt")
    status, _, told = started(*train(scenes, out, 1)[1:])
    assert status == 1 and told.startswith(f"train: {out / 'last.pt'}: holds ")
    assert told.endswith("; choose another --out\n") and told.count("\n") == 1


def test_a_finished_run_says_so(started, scenes: Path, out: Path) -> None:
    status, said, _ = started(*train(scenes, out, 1)[1:])
    assert status == 0
    assert f"{out}: is finished, epoch 1 was the last" in said and "--start" in said


@pytest.fixture
def own_scenes(scenes: Path, tmp_path: Path) -> Path:
    """Pictures that may be changed."""
    return Path(shutil.copytree(scenes, tmp_path / "own"))


def test_what_was_trained_before_a_damaged_picture_is_kept(
    started, script: ModuleType, own_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = own_scenes / "JPEGImages" / "3.jpg"
    save = script.Run.save

    def damage(*arguments: object) -> None:
        save(*arguments)
        picture.write_bytes(picture.read_bytes()[:1000])

    monkeypatch.setattr(script.Run, "save", damage)
    out = tmp_path / "run"
    status, _, told = started(*train(own_scenes, out, 2)[1:])
    assert status == 1
    assert told.splitlines()[-1] == f"train: {picture}: cannot be read: is damaged"
    assert checkpoint.load(out / "last.pt").training["epoch"] == 0


@pytest.mark.parametrize("name", ["3.jpg", "100.jpg"])
def test_a_file_that_is_no_picture_is_told_before_the_training(
    started, own_scenes: Path, tmp_path: Path, name: str
) -> None:
    picture = own_scenes / "JPEGImages" / name
    picture.write_bytes(b"")
    status, said, told = started(*train(own_scenes, tmp_path / "run", 1)[1:])
    assert (status, said) == (1, "")
    assert told == f"train: {picture}: is no picture that can be read\n"


def test_pictures_without_boxes_are_told(started, own_scenes: Path, tmp_path: Path) -> None:
    for path in (own_scenes / "Annotations").iterdir():
        path.write_text("<annotation/>")
    status, _, told = started(*train(own_scenes, tmp_path / "run", 1)[1:])
    expected = "no picture has a box to learn from; train on some that have"
    assert (status, told) == (1, f"train: {own_scenes}:train: {expected}\n")


def test_a_class_that_no_box_is_of_is_noted(started, scenes: Path, tmp_path: Path) -> None:
    labels = ("--labels", ",".join((*LABELS, "unicorn")))
    status, _, told = started(*train(scenes, tmp_path / "run", 1, *labels)[1:])
    found = f"the classes found are {', '.join(sorted(LABELS))}"
    noted = f"{scenes}:train: no picture has a box to learn unicorn from; {found}"
    assert status == 0 and f"train: note: {noted}\n" in told


def test_classes_none_of_which_has_a_box_are_refused(started, scenes: Path, tmp_path: Path) -> None:
    status, _, told = started(*train(scenes, tmp_path / "run", 1, "--labels", "unicorn")[1:])
    assert status == 1 and told.count("\n") == 1
    assert f"train: {scenes}:train: no picture has a box to learn unicorn from; " in told
