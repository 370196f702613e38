"""What each command does, on a small model."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

X = np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def x_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


# ---- compile ----------------------------------------------------------------------------------


def test_compile_ends_with_a_summary(bnnc, model: Path, tmp_path: Path) -> None:
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so")
    assert ran.code == 0 and not ran.err
    for pattern in (
        r"^tiny: 4 nodes in 2 layers$",
        r"input +x f32 1x3x8x8$",
        r"output +y f32 1x8x6x6$",
        r"binary +1 of 2 convolutions",
        r"arena .*, weights ",
        r"x86_64-linux: portable, avx2, avx512|aarch64-linux: portable",
        r"1 Sign node of ONNX's give 0 at 0; compiled to give \+1",
        r"^wrote .*tiny\.so, .* in [\d.]+ s$",
    ):
        assert re.search(pattern, ran.out, re.MULTILINE), (pattern, ran.out)


def test_compile_names_what_could_be_binary_and_is_not(bnnc, model: Path, tmp_path: Path) -> None:
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so", "--sign-zero", "strict")
    assert ran.code == 0
    assert re.search(r"binary +0 of 2", ran.out)
    assert re.search(r"not block: .*Sign gives 0 at 0", ran.out)


def test_compile_can_insist_on_binary(bnnc, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny.so"
    options = ("--sign-zero", "strict", "--require-binary")
    ran = bnnc("compile", model, "-o", output, *options)
    assert ran.code == 1 and "block: is not binary" in ran.err and not output.exists()


def test_compile_speaks_json(bnnc, model: Path, tmp_path: Path) -> None:
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so", "--json")
    document = json.loads(ran.out)
    assert document["binary"] == 1 and document["files"][0]["bytes"] > 0
    assert [layer["name"] for layer in document["float"]] == ["stem"]


def test_compile_emits_c(bnnc, model: Path, tmp_path: Path) -> None:
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.c", "--emit", "c")
    assert ran.code == 0, ran.err
    assert (tmp_path / "tiny.h").exists() and "layer_0" in (tmp_path / "tiny.c").read_text()


@pytest.mark.parametrize(("size", "told"), [("?", "batch"), ("1", "1")])
def test_compile_keeps_an_open_batch_where_the_shape_leaves_it_to_the_model(
    bnnc, model: Path, tmp_path: Path, size: str, told: str
) -> None:
    onnx = pytest.importorskip("onnx")
    changed = onnx.load(model)
    for value, height in ((changed.graph.input[0], "h"), (changed.graph.output[0], "h - 2")):
        for axis, symbol in ((0, "n"), (2, height), (3, height)):
            value.type.tensor_type.shape.dim[axis].dim_param = symbol
    onnx.save(changed, tmp_path / "open.onnx")
    options = ("-o", tmp_path / "open.so", "--shape", f"x={size}x3x8x8")
    ran = bnnc("compile", tmp_path / "open.onnx", *options)
    assert ran.code == 0 and f"x f32 {told}x3x8x8" in ran.out


def test_compile_dumps_passes(bnnc, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "passes"
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so", "--dump-passes", folder)
    assert ran.code == 0 and list(folder.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cc", "no-such-cc"), "--cc names 'no-such-cc', which is not there"),
        (("--target", "vax"), "there is no target 'vax'"),
        (("--prefix", "a b"), "'a b' is no prefix for C symbols"),
        (("--shape", "z=1x3x8x8"), "there is no input"),
        (("--shape", "x=1x3x9x9"), "cannot have shape 1x3x9x9"),
    ],
)
def test_compile_tells_a_bad_option(
    bnnc, model: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so", *options)
    assert ran.code == 1 and message in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "tiny.so").exists()


def test_a_failing_compiler_is_one_line(bnnc, model: Path, tmp_path: Path) -> None:
    cc = tmp_path / "cc"
    cc.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo gcc 1;; -dumpmachine) uname -m;;'
        ' *) echo "model.c:1:2: error: it broke" >&2; echo more >&2; exit 1;; esac\n'
    )
    cc.chmod(0o755)
    ran = bnnc("compile", model, "-o", tmp_path / "tiny.so", "--cc", cc)
    assert ran.code == 1 and ran.err.count("\n") == 1
    assert "model.c:1:2: error: it broke" in ran.err
    debugged = bnnc("compile", model, "-o", tmp_path / "tiny.so", "--cc", cc, "--debug")
    assert "more\n" in debugged.err


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello", b"\x7fELF"])
def test_a_file_that_is_no_model_is_told(bnnc, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    ran = bnnc("compile", path, "-o", tmp_path / "bad.so")
    assert ran.code == 1 and "bad.onnx" in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "bad.so").exists()


# ---- stats ------------------------------------------------------------------------------------


def test_stats_of_a_model_and_of_its_library_agree(bnnc, model: Path, library: Path) -> None:
    for convention in ("executed", "paper"):
        options = ("--convention", convention, "--json")
        ours, theirs = (json.loads(bnnc("stats", f, *options).out) for f in (model, library))
        assert ours == theirs and ours["convention"] == convention


def test_stats_of_a_library_take_no_shape(bnnc, library: Path) -> None:
    ran = bnnc("stats", library, "--shape", "x=1x3x8x8")
    assert ran.code == 1 and "a compiled library's are settled" in ran.err


def test_a_shape_given_twice_is_told(bnnc, model: Path) -> None:
    ran = bnnc("stats", model, "--shape", "x=1x3x8x8", "--shape", "x=1x3x9x9")
    assert ran.code == 1 and "--shape x is given twice" in ran.err


@pytest.mark.parametrize("overlap", ["0", "1.5", "nan", "some"])
def test_an_overlap_out_of_range_is_wrong_usage(bnnc, library: Path, overlap: str) -> None:
    ran = bnnc("detect", library, "x.png", "--nms", overlap)
    assert ran.code == 2 and "argument --nms" in ran.err


def test_stats_count(bnnc, model: Path) -> None:
    total = json.loads(bnnc("stats", model, "--json").out)["total"]
    assert total["binary_macs"] == 8 * 36 * 36 and total["float_macs"] == 64 * 4 * 27


def test_stats_prints_layers(bnnc, model: Path) -> None:
    assert "block" not in bnnc("stats", model).out
    assert re.search(r"block +Conv +binary", bnnc("stats", model, "--layers").out)


def test_stats_writes_a_picture(bnnc, model: Path, tmp_path: Path) -> None:
    bnnc("stats", model, "--html", tmp_path / "x.html")
    assert "<svg" in (tmp_path / "x.html").read_text()


def test_a_picture_that_cannot_be_written_is_told(bnnc, model: Path, tmp_path: Path) -> None:
    ran = bnnc("stats", model, "--html", tmp_path / "none" / "x.html")
    assert ran.code == 1 and "cannot be written" in ran.err


# ---- run --------------------------------------------------------------------------------------


def test_run_writes_its_outputs(bnnc, library: Path, x_file: Path, tmp_path: Path) -> None:
    ran = bnnc("run", library, "--input", f"x={x_file}", "-o", tmp_path / "y.npz")
    assert ran.code == 0 and "y float32 1x8x6x6" in ran.out
    with np.load(tmp_path / "y.npz") as outputs:
        assert outputs.files == ["y"] and outputs["y"].min() >= 0


def test_run_speaks_json(bnnc, library: Path, x_file: Path) -> None:
    document = json.loads(bnnc("run", library, "--input", f"x={x_file}", "--json").out)
    assert document["outputs"][0]["shape"] == [1, 8, 6, 6]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X.astype(np.float64), "input 'x' holds float64; expected float32"),
        (X[:, :2], "input 'x' has shape 1x2x8x8; expected 1x3x8x8"),
    ],
)
def test_run_tells_a_wrong_input(
    bnnc, library: Path, tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "bad.npy", array)
    ran = bnnc("run", library, "--input", f"x={tmp_path / 'bad.npy'}")
    assert ran.code == 1 and message in ran.err and ran.err.count("\n") == 1


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\x93NUMPY\x01\x00v\x00{'descr'",
        b"PK\x03\x04 a zip archive cut short",
        npy(b"(" * 9000 + b"\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9999)}\n"),
    ],
)
def test_run_tells_a_damaged_array(bnnc, library: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npy").write_bytes(content)
    ran = bnnc("run", library, "--input", f"x={tmp_path / 'bad.npy'}")
    assert ran.code == 1 and "bad.npy" in ran.err and ran.err.count("\n") == 1


def test_a_pipe_is_no_array_and_no_library(bnnc, library: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for ran in (
        bnnc("run", library, "--input", f"x={pipe}"),
        bnnc("run", pipe),
        bnnc("stats", pipe),
    ):
        assert ran.code == 1 and "not an ordinary file" in ran.err and ran.err.count("\n") == 1


def test_what_is_no_file_is_not_replaced(bnnc, library: Path, x_file: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for ran in (
        bnnc("run", library, "--input", f"x={x_file}", "-o", pipe),
        bnnc("stats", library, "--html", pipe),
    ):
        assert ran.code == 1 and "is not an ordinary file" in ran.err
    assert pipe.is_fifo() and set(tmp_path.iterdir()) == {pipe, x_file}


@pytest.mark.parametrize("place", [".", "/", ""])
def test_a_folder_is_no_place_for_outputs(bnnc, library: Path, x_file: Path, place: str) -> None:
    ran = bnnc("run", library, "--input", f"x={x_file}", "-o", place)
    assert ran.code == 1 and "is a folder; name a file to write" in ran.err


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_a_seed_that_no_generator_takes_is_wrong_usage(
    bnnc, model: Path, library: Path, seed: str
) -> None:
    assert bnnc("verify", model, library, "--seed", seed).code == 2


def test_bench_tells_that_onnxruntime_refuses_the_input(
    bnnc, model: Path, library: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    other = onnx.load(model)
    for value in (*other.graph.input, *other.graph.output):
        value.type.tensor_type.shape.dim[2].dim_value += 1
    onnx.save(other, tmp_path / "other.onnx")
    ran = bnnc("bench", library, "--against", tmp_path / "other.onnx", "--rounds", "1")
    assert ran.code == 1 and "is it the model that was compiled?" in ran.err
    assert ran.err.count("\n") == 1


def test_run_never_unpickles(bnnc, library: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{}]), allow_pickle=True)
    ran = bnnc("run", library, "--input", f"x={tmp_path / 'bad.npy'}")
    assert ran.code == 1 and "is no array" in ran.err


def test_run_tells_a_library_cut_short(bnnc, library: Path, x_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.so"
    short.write_bytes(library.read_bytes()[:-3000])
    ran = bnnc("run", short, "--input", f"x={x_file}")
    assert ran.code == 1 and "short.so: is damaged or cut short" in ran.err


def test_outputs_of_any_name_are_written(tmp_path: Path) -> None:
    from bnnc.cli.files import write_arrays

    arrays = {"file": np.ones(2), "a/b": np.zeros(1), "../up": np.zeros(3)}
    write_arrays(tmp_path / "y.npz", arrays)
    with np.load(tmp_path / "y.npz") as found:
        assert set(found.files) == set(arrays)


# ---- verify -----------------------------------------------------------------------------------


def test_verify_passes_what_compile_made(bnnc, model: Path, library: Path) -> None:
    ran = bnnc("verify", model, library, "--samples", 2)
    assert ran.code == 0, ran.out
    assert ran.out.endswith("\nverified\n") and "the interpreter" in ran.out


def test_verify_takes_given_inputs(bnnc, model: Path, library: Path, x_file: Path) -> None:
    ran = bnnc("verify", model, library, "--input", f"x={x_file}", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0 and document["good"] and document["bits"]["wrong"] == 0


def test_verify_finds_a_library_of_other_weights(
    bnnc, model: Path, library: Path, tmp_path: Path
) -> None:
    import onnx

    changed = onnx.load(model)
    weights = np.array(onnx.numpy_helper.to_array(changed.graph.initializer[0]))
    weights[0] += 0.1
    changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(changed, tmp_path / "changed.onnx")
    ran = bnnc("verify", tmp_path / "changed.onnx", library, "--samples", 4)
    assert ran.code == 1 and "NOT verified" in ran.out and "WRONG: layer" in ran.out


def test_verify_compares_with_onnxruntime(bnnc, model: Path, library: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran = bnnc("verify", model, library)
    assert "difference from onnxruntime" in ran.out and "left out" not in ran.out


def test_verify_compares_with_what_a_quantised_model_says(bnnc, tmp_path: Path) -> None:
    """To be faster, onnxruntime would multiply its integers, with roundings of its own."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 13]>
        quantised (float[4,16] x) => (float[4,8] y) <
            float scale = {0.02}, uint8 middle = {128}, float step = {0.01}, int8 zero = {0}
        > {
            xq = QuantizeLinear(x, scale, middle)
            xd = DequantizeLinear(xq, scale, middle)
            wd = DequantizeLinear(w, step, zero)
            product = MatMul(xd, wd)
            yq = QuantizeLinear(product, step, middle)
            y = DequantizeLinear(yq, step, middle)
        }""")
    weights = np.random.default_rng(0).integers(-127, 127, (16, 8)).astype(np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "q.onnx")
    assert bnnc("compile", tmp_path / "q.onnx", "-o", tmp_path / "q.so").code == 0
    ran = bnnc("verify", tmp_path / "q.onnx", tmp_path / "q.so", "--json")
    assert ran.code == 0 and json.loads(ran.out)["end_to_end"]["onnxruntime"] < 1e-6


def test_verify_tells_why_onnxruntime_is_left_out(bnnc, model: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    double = onnx.load(model)
    for value in (*double.graph.input, *double.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in double.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(double, tmp_path / "double.onnx")
    assert bnnc("compile", tmp_path / "double.onnx", "-o", tmp_path / "double.so").code == 0
    ran = bnnc("verify", tmp_path / "double.onnx", tmp_path / "double.so")
    assert ran.code == 0 and "the interpreter is" in ran.out
    assert re.search(r"^end to end, onnxruntime was left out: .*does not take", ran.out, re.M)


def test_verify_tells_a_library_of_another_model(
    bnnc, model: Path, toy: Path, tmp_path: Path
) -> None:
    ran = bnnc("verify", model, toy)
    assert ran.code == 1 and ran.err.count("\n") == 1
    assert f"{toy}: was not compiled from {model}: their inputs differ" in ran.err


def test_verify_tells_a_library_whose_inputs_have_other_names(
    bnnc, library: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["picture"], ["y"])
    picture, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8])
        for name in ("picture", "y")
    )
    graph = onnx.helper.make_graph([node], "other", [picture], [y])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    ran = bnnc("verify", tmp_path / "other.onnx", library)
    assert ran.code == 1 and "shape" not in ran.err
    assert "other.onnx: their inputs differ; name the model it was compiled from" in ran.err


# ---- bench and profile ------------------------------------------------------------------------


def test_bench_measures(bnnc, library: Path) -> None:
    ran = bnnc("bench", library, "--rounds", 2, "--threads", 1)
    assert ran.code == 0 and "median ms" in ran.out and "machine" in ran.out


def test_bench_alternates_with_onnxruntime(bnnc, model: Path, library: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran = bnnc("bench", library, "--against", model, "--rounds", 2, "--json", "--threads", 1)
    document = json.loads(ran.out)
    assert [t["runs"] for t in document["timings"]] == [2, 2] and document["ratio"] > 0


def test_bench_gives_onnxruntime_the_pixels_as_the_model_takes_them(
    bnnc, model: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    telling = onnx.load(model)
    onnx.helper.set_model_props(telling, {"bnnc.preprocessing": '{"mean": 0.5, "std": 0.25}'})
    onnx.save(telling, tmp_path / "m.onnx")
    assert bnnc("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--input-u8").code == 0
    ran = bnnc("bench", tmp_path / "m.so", "--against", tmp_path / "m.onnx", "--rounds", 1)
    assert ran.code == 0 and "ratio" in ran.out, ran.err


def test_bench_tells_how_many_items_a_run_has(bnnc, open_toy: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 2, 3), np.float32))
    options = ("--rounds", 1, "--input", f"x={tmp_path / 'x.npy'}")
    assert "batch 5," in bnnc("bench", open_toy, *options).out
    assert json.loads(bnnc("bench", open_toy, *options, "--json").out)["batch"] == 5


def test_bench_has_nothing_to_measure_without_items(bnnc, open_toy: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((0, 2, 3), np.float32))
    ran = bnnc("bench", open_toy, "--input", f"x={tmp_path / 'x.npy'}")
    assert ran.code == 1 and "nothing to measure" in ran.err


def test_bench_tells_a_rival_that_is_no_model(bnnc, library: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    ran = bnnc("bench", library, "--against", tmp_path / "bad.onnx")
    assert ran.code == 1 and "onnxruntime does not take the model" in ran.err


def test_profile_times_every_layer(bnnc, library: Path, tmp_path: Path) -> None:
    html = tmp_path / "p.html"
    options = ("--rounds", 2, "--threads", 1, "--json", "--html", html)
    ran = bnnc("profile", library, *options)
    layers = json.loads(ran.out)["layers"]
    assert ran.code == 0 and sum(layer["share"] for layer in layers) == pytest.approx(1)
    assert "<svg" in html.read_text()
    assert "GMAC/s" in bnnc("profile", library, "--rounds", 1, "--threads", 1).out


# ---- zoo, targets, demo -----------------------------------------------------------------------


def test_zoo_lists_the_papers_networks(bnnc) -> None:
    names = [row["id"] for row in json.loads(bnnc("zoo", "list", "--json").out)]
    expected = "rn50 rn50-2 q0 q1 q2 q2b q2c q2d q2e q3 q4 q5 rtb"
    assert names == expected.split()
    assert bnnc("zoo", "list").out.count("\n") == len(names) + 1


def test_zoo_tells_an_unknown_network(bnnc, tmp_path: Path) -> None:
    ran = bnnc("zoo", "export", "q99", "-o", tmp_path / "x.onnx")
    assert ran.code == 1 and "there is no model 'q99'" in ran.err


def test_targets_lists_compilers_and_instruction_sets(bnnc) -> None:
    rows = json.loads(bnnc("targets", "--json").out)
    (native,) = [row for row in rows if row["native"]]
    assert "portable" in native["supported"]
    assert native["compiler"] or native["problem"]


def test_demo_draws_the_shapes_it_finds(bnnc, tmp_path: Path) -> None:
    from PIL import Image

    ran = bnnc("demo", "--json", "-o", tmp_path / "found.png")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["binary"] > 0 and document["detections"]
    assert {found["label"] for found in document["detections"]} <= {"circle", "square", "triangle"}
    assert document["weight_bytes"]["compiled"] < document["weight_bytes"]["as float32"]
    assert document["drawn"] == str(tmp_path / "found.png")
    assert Image.open(tmp_path / "found.png").size == (512, 384)
    text = bnnc("demo", "-o", tmp_path / "found.jpg").out
    assert "binary layers" in text and "a run with bnnc" in text


def test_demo_tells_a_name_that_is_no_pictures(bnnc, tmp_path: Path) -> None:
    ran = bnnc("demo", "-o", tmp_path / "found.txt")
    assert ran.code == 1 and "is no name for a picture" in ran.err
