"""Decoding in C gives the reference's boxes, to the last bit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnnc.detect.boxes import Boxes
from bnnc.detect.centernet import decode, suppressed
from bnnc.runtime.session import BOX

RUNTIME_C = Path(__file__).parents[2] / "runtime_c"
CDEF = """
typedef struct { float x0, y0, x1, y1, score; int32_t label; } bnnc_box;
typedef struct { float score, max_iou; int32_t top; } bnnc_detect_options;
typedef struct {
    const float *heatmap, *size, *offset;
    int32_t classes, rows, columns;
    float stride;
    int32_t top;
} bnnc_centernet;
int bnnc_centernet_boxes(const bnnc_centernet *net, bnnc_box *boxes, int capacity,
                         const bnnc_detect_options *options, void *scratch);
"""
FLAGS = ("-O3 -march=native -ffp-contract=fast", "-O0")
"""A processor that can fuse products into sums is where the results could part."""

Decode = Callable[..., Boxes]


@pytest.fixture(scope="module", params=FLAGS)
def in_c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decode:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("centernet") / "centernet.so"
    visible = '-DBNNC_INTERNAL=__attribute__((visibility("default")))'
    flags = [*request.param.split(), "-std=gnu11", "-fPIC", "-shared", visible]
    source = str(RUNTIME_C / "centernet.c")
    subprocess.run([compiler, *flags, "-o", str(path), source], check=True)
    ffi = cffi.FFI()
    ffi.cdef(CDEF)
    library = ffi.dlopen(str(path))
    scratch = np.empty(1 << 17, np.float64)

    def run(
        heatmap: np.ndarray,
        size: np.ndarray,
        offset: np.ndarray,
        *,
        stride: float = 4,
        top: int = 100,
        score: float = 0.0,
        max_iou: float = 0.0,
        capacity: int | None = None,
    ) -> Boxes:
        def pointer(array: np.ndarray, kind: str = "float *") -> Any:
            return ffi.cast(kind, array.ctypes.data)

        maps = [np.ascontiguousarray(x, np.float32) for x in (heatmap, size, offset)]
        net = ffi.new("bnnc_centernet *", (*map(pointer, maps), *heatmap.shape, stride, 1))
        found = np.empty(max(top, 1) if capacity is None else capacity, BOX)
        options = ffi.new("bnnc_detect_options *", (score, max_iou, top))
        boxes = pointer(found, "bnnc_box *")
        count = library.bnnc_centernet_boxes(
            net, boxes, len(found), options, pointer(scratch, "void *")
        )
        assert 0 <= count <= len(found)
        kept = found[:count]
        return Boxes(kept["corners"], kept["label"].astype(np.int64), kept["score"])

    return run


def reference(
    heatmap: np.ndarray, size: np.ndarray, offset: np.ndarray, max_iou: float = 0, **options: Any
) -> Boxes:
    boxes = decode(heatmap, size, offset, options.pop("stride", 4), **options)
    return suppressed(boxes, max_iou) if max_iou else boxes


def assert_same(ours: Boxes, expected: Boxes) -> None:
    assert ours.labels.tolist() == expected.labels.tolist()
    for a, b in ((ours.scores, expected.scores), (ours.corners, expected.corners)):
        np.testing.assert_array_equal(
            np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32)
        )


LEVELS = np.array([0, 0.25, 0.5, 0.5, 1, -1, np.nan, np.inf, 1e-42], np.float32)


@st.composite
def maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A heatmap full of ties, plateaus and what is no number, or one of plain numbers."""
    classes, rows, columns = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, 9)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    shape = (classes, rows, columns)
    tied = draw(st.sampled_from((2, 4, 5, 6, 7, 9, None)))
    heatmap = rng.random(shape, np.float32) if tied is None else rng.choice(LEVELS[:tied], shape)
    size = rng.uniform(-1, 6, (2, rows, columns)).astype(np.float32)
    offset = rng.uniform(-0.5, 1.5, (2, rows, columns)).astype(np.float32)
    if draw(st.booleans()):
        size[rng.random(size.shape) < 0.1] = np.nan
        offset[rng.random(offset.shape) < 0.05] = np.inf
    return heatmap.astype(np.float32), size, offset


@settings(max_examples=400, deadline=None)
@given(
    maps(),
    st.sampled_from((1, 2, 5, 100, 5000)),
    st.sampled_from((0.0, 0.25, 0.3, 1.0, 2.0, float("nan"))),
    st.sampled_from((0.0, 0.3, 0.5, 0.7)),
    st.sampled_from((4.0, 1.0, 3.7)),
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_boxes_are_the_references(
    in_c: Decode,
    given_maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    top: int,
    score: float,
    max_iou: float,
    stride: float,
) -> None:
    options = {"top": top, "score": score, "max_iou": max_iou, "stride": stride}
    with np.errstate(invalid="ignore"):
        expected = reference(*given_maps, **options)
    ours = in_c(*given_maps, **options)
    assert_same(ours, expected)


def flat(value: float, shape: tuple[int, int, int] = (2, 3, 4)) -> tuple[np.ndarray, ...]:
    rows, columns = shape[1:]
    sizes = np.ones((2, rows, columns), np.float32)
    return np.full(shape, value, np.float32), sizes, np.zeros_like(sizes)


def test_a_plateau_is_all_peaks_in_reading_order(in_c: Decode) -> None:
    found = in_c(*flat(0.5))
    assert found.labels.tolist() == [0] * 12 + [1] * 12
    centres = (found.corners[:12, :2] / 4 + 0.5).tolist()
    assert centres == [[x, y] for y in range(3) for x in range(4)]


def test_of_a_plateau_the_first_are_kept(in_c: Decode) -> None:
    assert in_c(*flat(0.5), top=5).corners.tolist() == in_c(*flat(0.5)).corners[:5].tolist()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_nothing_above_zero_is_nothing_found(in_c: Decode, value: float) -> None:
    assert not len(in_c(*flat(value)))


def test_no_more_boxes_are_written_than_fit(in_c: Decode) -> None:
    assert len(in_c(*flat(0.5), capacity=0)) == 0
    assert_same(in_c(*flat(0.5), capacity=3), in_c(*flat(0.5), top=3))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 300))
@example(0, 131072)
def test_the_best_of_many_peaks_are_found(in_c: Decode, seed: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(1, 400, (4, 40, 50)).astype(np.float32) / 400
    size = rng.uniform(0, 9, (2, 40, 50)).astype(np.float32)
    offset = rng.uniform(0, 1, (2, 40, 50)).astype(np.float32)
    assert_same(in_c(heatmap, size, offset, top=top), reference(heatmap, size, offset, top=top))


def test_an_overlap_at_the_limit_is_decided_as_by_the_reference(in_c: Decode) -> None:
    """Where two products fused into their sum would round another way."""
    rng = np.random.default_rng(0)
    heatmap = np.array([[[0.9, 0.1, 0.8]]], np.float32)
    kept = []
    for _ in range(800):
        size = rng.uniform(3, 9, (2, 1, 3)).astype(np.float32)
        offset = rng.uniform(0, 1, (2, 1, 3)).astype(np.float32)
        first, second = reference(heatmap, size, offset, top=2).corners
        width, height = np.minimum(first, second)[2:] - np.maximum(first, second)[:2]
        areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (first, second)]
        limit = width * height / (areas[0] + areas[1] - width * height)
        limit = float(np.nextafter(limit, np.float32(rng.choice((0, 1)))))
        expected = reference(heatmap, size, offset, top=2, max_iou=limit)
        assert_same(in_c(heatmap, size, offset, top=2, max_iou=limit), expected)
        kept.append(len(expected))
    assert 200 < kept.count(1) < 600
