"""``--decode centernet``: a library that finds boxes by itself, from Python and from C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import bnnc
from bnnc.detect.centernet import Decoder
from bnnc.detect.preprocessing import Preprocessing
from bnnc.detect.voc import Voc
from bnnc.errors import LibraryError
from bnnc.pictures import read_picture


@pytest.fixture(scope="module")
def decoding(shapes_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoding") / "shapes.so"
    bnnc.compile(shapes_model, path, decode="centernet", threads=1)
    return path


def x_of(session: bnnc.InferenceSession, picture: Path) -> np.ndarray:
    prepare = Preprocessing.of(session.info["metadata"])
    return prepare(read_picture(picture), *session.get_inputs()[0].item_shape[2:])[0]


@pytest.mark.parametrize("max_iou", [None, 0.1])
def test_boxes_are_those_of_the_reference_on_every_isa(
    decoding: Path, shapes_voc: Path, max_iou: float | None
) -> None:
    isas = bnnc.load(decoding, threads=1).info["compiled"]["isas"]
    for isa in isas:
        try:
            session = bnnc.load(decoding, threads=1, isa=isa)
        except LibraryError:
            continue  # this machine does not support it
        decoder = Decoder.of(session.info["metadata"])
        for truth in Voc(shapes_voc, "test"):
            x = x_of(session, truth.picture)
            outputs = dict(zip((t.name for t in session.get_outputs()), session(x)))
            expected = decoder(outputs, 0.05, max_iou)
            found = session.detect({"input": x}, score=0.05, max_iou=max_iou)
            assert len(found) and found["label"].tolist() == expected.labels.tolist()
            np.testing.assert_array_equal(found["corners"], expected.corners)
            np.testing.assert_array_equal(found["score"], expected.scores)


def test_a_detector_finds_the_same_either_way(
    decoding: Path, shapes_library: Path, shapes_voc: Path
) -> None:
    for max_iou in (None, 0.3):
        in_c, in_numpy = (
            bnnc.Detector(path, threads=1, score=0.01, max_iou=max_iou)
            for path in (decoding, shapes_library)
        )
        for truth in Voc(shapes_voc, "test"):
            ours, theirs = in_c(truth.picture), in_numpy(truth.picture)
            assert ours.names == theirs.names
            np.testing.assert_array_equal(ours.corners, theirs.corners)


def test_pixels_in_and_boxes_out(shapes_model: Path, shapes_voc: Path, tmp_path: Path) -> None:
    session = bnnc.compile(
        shapes_model, tmp_path / "m.so", input_u8=True, decode="centernet", threads=1
    )
    assert session.info["compiled"]["decoder"]["stride"] == 4
    truth = Voc(shapes_voc, "test")[0]
    assert set(bnnc.Detector(session)(truth.picture, 0.5).names) == set(truth.names)


def test_a_library_that_takes_pixels_is_verified(bnnc, shapes_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.so"
    assert bnnc("compile", shapes_model, "-o", path, "--input-u8").code == 0
    ran = bnnc("verify", shapes_model, path, "--samples", 1, "--threads", 1)
    assert ran.code == 0 and "verified" in ran.out, ran.err


def test_outputs_stay_what_they_are(decoding: Path, shapes_library: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 192, 256)).astype(np.float32)
    for ours, theirs in zip(*(bnnc.load(p, threads=1)(x) for p in (decoding, shapes_library))):
        np.testing.assert_array_equal(ours, theirs)


def test_a_library_without_a_decoder_says_so(shapes_library: Path) -> None:
    session = bnnc.load(shapes_library, threads=1)
    with pytest.raises(LibraryError, match="compiled without --decode"):
        session.detect({"input": np.zeros((1, 3, 192, 256), np.float32)})


MAIN = """
#include "shapes.h"
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    float *x = malloc(3 * 192 * 256 * sizeof(float));
    if (fread(x, sizeof(float), 3 * 192 * 256, stdin) != 3 * 192 * 256)
        return 1;
    const void *inputs[] = {x};
    void *arena = aligned_alloc(64, shapes_arena_bytes());
    bnnc_box boxes[8];
    const bnnc_detect_options options = {.score = 0.5f, .max_iou = 0.5f};
    const int count = shapes_detect(arena, NULL, inputs, boxes, 8, &options);
    for (int i = 0; i < count; i++)
        printf("%d %.9g %.9g\\n", boxes[i].label, boxes[i].score, boxes[i].x0);
    free(x);
    free(arena);
    return count < 0 || shapes_detect(NULL, NULL, inputs, boxes, 8, NULL) != -BNNC_E_NULL;
}
"""


@pytest.mark.slow
def test_a_c_program_finds_the_same(
    decoding: Path, shapes_model: Path, shapes_voc: Path, tmp_path: Path
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    bnnc.compile(shapes_model, tmp_path / "shapes.a", emit="a", prefix="shapes", decode="centernet")
    (tmp_path / "main.c").write_text(MAIN)
    flags = "-Wall -Wextra -Werror -o main main.c shapes.a -lm -pthread".split()
    subprocess.run(["cc", *flags], cwd=tmp_path, check=True)
    session = bnnc.load(decoding, threads=1)
    x = x_of(session, Voc(shapes_voc, "test")[0].picture)
    done = subprocess.run([tmp_path / "main"], input=x.tobytes(), capture_output=True, check=True)
    found = session.detect({"input": x}, score=0.5, max_iou=0.5)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert len(lines) == len(found) > 0
    for (label, score, x0), box in zip(lines, found):
        assert int(label) == box["label"]
        assert np.float32(score) == box["score"] and np.float32(x0) == box["corners"][0]


def test_the_command_line_tells_where_boxes_come_from(
    bnnc, shapes_model: Path, tmp_path: Path
) -> None:
    ran = bnnc("compile", shapes_model, "-o", tmp_path / "m.so", "--decode", "centernet")
    assert ran.code == 0, ran.err
    assert "boxes   from heatmap, size and offset, 4 pixels to a cell" in ran.out
