"""``bnnc.compile`` from Python: what it takes, what it gives, what it promises."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bnnc
from bnnc import compiler, toolchain
from bnnc.analysis.samples import samples
from bnnc.analysis.verify import verify
from bnnc.errors import InputError, ModelError, ToolchainError

torch = pytest.importorskip("torch")

from bnnc.zoo.centernet import build  # noqa: E402
from bnnc.zoo.export import export, write  # noqa: E402
from bnnc.zoo.models import specify  # noqa: E402

ISAS = toolchain.resolve("native").supported_isas()


def _network(classes: int = 3) -> Any:
    """A binary CenterNet with an encoder scale of 70 channels, on odd sizes further down."""
    spec = specify("qn([2x32,2x70])", "tp4([16])", "h(8)", id="small", input=64)
    return build(spec, classes, seed=3).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    write(_network(), path, 64, 80, labels=["a", "b", "c"], name="small")
    return path


@pytest.fixture(scope="module")
def library(model: Path) -> Path:
    bnnc.compile(model, model.with_suffix(".so"))
    return model.with_suffix(".so")


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((1, 3, 64, 80)).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_instruction_set_and_thread_count_verifies(
    model: Path, library: Path, isa: str, threads: int
) -> None:
    session = bnnc.load(library, isa=isa, threads=threads)
    assert session.isa == isa
    graph, _ = compiler.reference_graph(model)
    feeds = samples(session.info["inputs"], session.info["metadata"], 2, 0)
    assert verify(graph, session, feeds).good


def test_a_file_its_bytes_and_its_proto_give_the_same_library(
    model: Path, tmp_path: Path, image: np.ndarray
) -> None:
    results = []
    for number, source in enumerate((model, model.read_bytes(), onnx.load(model))):
        session = bnnc.compile(source, tmp_path / f"{number}.so")
        results.append(session(image))
    for other in results[1:]:
        for first, second in zip(results[0], other):
            np.testing.assert_array_equal(first, second)


def test_a_torch_module_compiles_and_keeps_its_names(tmp_path: Path, image: np.ndarray) -> None:
    network = _network()
    example = torch.from_numpy(image)
    session = bnnc.compile(network, tmp_path / "m.so", example_inputs=(example,), threads=1)
    layers = {layer["name"] for layer in session.info["statistics"]["executed"]["layers"]}
    assert {"stem.conv", "encoder.1.block.1.conv", "decoder.0.conv"} <= layers
    with torch.no_grad():
        expected = network(example)
    for result, want in zip(session(image), expected):
        correlation = np.corrcoef(result.reshape(-1), want.numpy().reshape(-1))[0, 1]
        assert correlation > 0.99


def test_a_torch_module_without_example_inputs_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="example_inputs"):
        bnnc.compile(_network(), tmp_path / "m.so")


def test_the_same_model_gives_the_same_c_file(model: Path, tmp_path: Path) -> None:
    first = bnnc.compile(model, tmp_path / "a.c", emit="c")
    second = bnnc.compile(model, tmp_path / "b.c", emit="c")
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_the_c_file_is_clean_under_strict_warnings_and_runs(
    model: Path, library: Path, tmp_path: Path, image: np.ndarray
) -> None:
    bnnc.compile(model, tmp_path / "det.c", emit="c", prefix="det")
    flags = "-std=gnu11 -O1 -Wall -Wextra -Wconversion -Werror -shared -fPIC -pthread".split()
    subprocess.run(["cc", *flags, "det.c", "-o", "det.so", "-lm"], cwd=tmp_path, check=True)
    session = bnnc.load(tmp_path / "det.so")
    for result, want in zip(session(image), bnnc.load(library)(image)):
        np.testing.assert_allclose(result, want, atol=1e-5 * float(np.abs(want).max()))


def test_two_models_link_into_one_c_program(model: Path, tmp_path: Path) -> None:
    for prefix in ("left", "right"):
        bnnc.compile(model, tmp_path / f"{prefix}.a", emit="a", prefix=prefix)
    (tmp_path / "main.c").write_text(
        '#include "left.h"\n#include "right.h"\n#include <stdio.h>\n'
        "int main(void) {\n"
        '    printf("%zu %zu", left_arena_bytes(), right_arena_bytes());\n    return 0;\n}\n'
    )
    command = "cc main.c left.a right.a -pthread -lm -o main".split()
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    left, right = said.split()
    assert left == right and int(left) > 0


def test_an_extension_module_imports_and_runs(
    model: Path, library: Path, tmp_path: Path, image: np.ndarray
) -> None:
    bnnc.compile(model, tmp_path / "smallnet.so", emit="pyext")
    np.save(tmp_path / "x.npy", image)
    script = (
        "import numpy, smallnet\n"
        "outputs = smallnet.run(numpy.load('x.npy'))\n"
        "numpy.savez('out.npz', *[numpy.asarray(o) for o in outputs])\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    results = np.load(tmp_path / "out.npz")
    for name, want in zip(results.files, bnnc.load(library)(image)):
        np.testing.assert_array_equal(results[name].reshape(want.shape), want)


def test_a_bad_argument_of_a_calibration_gives_0_and_settles_nothing(
    library: Path, tmp_path: Path
) -> None:
    loaded = ctypes.CDLL(str(shutil.copy(library, tmp_path / "fresh.so")))
    calibrate = loaded.bnnc_calibrate
    calibrate.restype = ctypes.c_int64
    calibrate.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
    memory = np.empty(bnnc.load(library).arena_bytes + 128, np.uint8)
    arena = memory.ctypes.data + -memory.ctypes.data % 64
    for bad in ((None, None, 0, 1), (arena + 4, None, 0, 1), (arena, None, 2, 1)):
        assert calibrate(*bad) == 0
    assert loaded.bnnc_set_isa(b"portable") == 0
    assert calibrate(arena, None, 0, 1) > 0


def test_the_library_depends_on_libc_and_libm_alone(library: Path) -> None:
    said = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].split("/")[-1].split(".")[0] for line in said.splitlines()}
    assert names <= {"linux-vdso", "libc", "libm", "libpthread", "ld-linux-x86-64", "ld-linux"}


def test_the_library_exports_its_interface_and_nothing_else(library: Path) -> None:
    loaded = ctypes.CDLL(str(library))
    assert loaded.bnnc_abi_version() == 2
    for hidden in ("bnnc_active", "bnnc_parallel", "bnnc_weights", "bnnc_table_portable"):
        assert not hasattr(loaded, hidden)


def test_every_pass_can_be_watched(model: Path, tmp_path: Path) -> None:
    bnnc.compile(model, tmp_path / "m.so", dump_passes=tmp_path / "passes")
    names = sorted(path.name for path in (tmp_path / "passes").iterdir())
    assert names[0] == "00_import.onnx" and any("fuse_epilogues" in name for name in names)
    for path in (tmp_path / "passes").iterdir():
        assert onnx.load(path).graph.node


def test_8_bit_pixels_are_normalised_inside_to_the_same_bits(
    model: Path, library: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from bnnc.detect.preprocessing import Preprocessing

    pixels = rng.integers(0, 256, (1, 64, 80, 3), dtype=np.uint8)
    session = bnnc.compile(model, tmp_path / "u8.so", input_u8=True)
    assert session.get_inputs()[0].type == "tensor(uint8)"
    x = Preprocessing.of(session.info["metadata"]).normalised(pixels[0])
    for result, want in zip(session(pixels), bnnc.load(library)(x)):
        np.testing.assert_array_equal(result, want)


def test_require_binary_names_the_layer_that_is_not(tmp_path: Path) -> None:
    class Ternary(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 4, 1, bias=False)
            values = torch.tensor([-1.0, 0.0, 1.0]).repeat(6)[:16].reshape(4, 4, 1, 1)
            self.conv.weight = torch.nn.Parameter(values)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.where(x >= 0, 1.0, -1.0))

    example = (torch.zeros(1, 4, 4, 4),)
    output = tmp_path / "t.so"
    with pytest.raises(ModelError, match=r"conv: is not binary: .*weights"):
        bnnc.compile(Ternary(), output, example_inputs=example, require_binary=True)
    assert not output.exists()
    assert isinstance(
        bnnc.compile(Ternary(), output, example_inputs=example)(np.zeros((1, 4, 4, 4), np.float32)),
        list,
    )


def test_a_failing_compiler_leaves_a_good_library_alone(library: Path, model: Path) -> None:
    before = library.read_bytes()
    with pytest.raises(ToolchainError):
        bnnc.compile(model, library, cc="false")
    assert library.read_bytes() == before


def _checked(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], folder: Path) -> Any:
    """Compile a model from x [1, 16] to y; what verification says."""
    tensors = [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 16])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes, "small", [x], [y], tensors)
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = bnnc.compile(model, folder / "small.so")
    feeds = samples(session.info["inputs"], session.info["metadata"], 1, 0)
    return verify(compiler.reference_graph(model)[0], session, feeds)


def test_a_float_dense_layer_whose_result_is_read_twice_compiles(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["z"]),
        node("Sign", ["z"], ["s"]),
        node("MatMul", ["s", "signs"], ["p"]),
        node("ReduceMean", ["z"], ["mean"], axes=[1]),
        node("Mul", ["p", "mean"], ["y"]),
    ]
    w = rng.standard_normal((16, 16)).astype(np.float32)
    assert _checked(nodes, {"w": w, "signs": np.sign(w[:, :8])}, tmp_path).good


def test_sums_of_zero_of_scaled_weights_are_reported_as_near_zero(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Sign", ["x"], ["s"]),
        node("MatMul", ["s", "scaled"], ["p"]),
        node("LeakyRelu", ["p"], ["l"], alpha=0.25),
        node("Sign", ["l"], ["t"]),
        node("MatMul", ["t", "signs"], ["y"]),
    ]
    signs = np.sign(rng.standard_normal((16, 256))).astype(np.float32)
    constants = {"scaled": np.float32(0.3) * signs, "signs": signs.T[:, :8]}
    (x,) = samples([{"name": "x", "dtype": "f32", "shape": [1, 16]}], {}, 1, 0)
    zeros = np.count_nonzero(np.sign(x["x"]) @ signs == 0)
    result = _checked(nodes, constants, tmp_path)
    assert result.good and zeros and result.document()["near_zero"] == zeros


def test_numbers_without_an_axis_are_verified(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Exp", ["mean"], ["scale"]),
        node("Mul", ["x", "scale"], ["y"]),
    ]
    result = _checked(nodes, {}, tmp_path)
    assert result.good and {"mean", "y"} <= {check.name for check in result.checks}


def test_few_values_that_are_scaled_with_a_rounding_are_verified(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A sign behind BatchNormalization, which a float layer reads."""
    node = onnx.helper.make_node
    nodes = [
        node("GreaterOrEqual", ["x", "zero"], ["up"]),
        node("Where", ["up", "one", "minus"], ["s"]),
        node("BatchNormalization", ["s", "gamma", "beta", "mean", "variance"], ["scaled"]),
        node("MatMul", ["scaled", "w"], ["y"]),
    ]
    vectors = {name: rng.normal(size=16) for name in ("gamma", "beta", "mean")}
    numbers = {"zero": 0.0, "one": 1.0, "minus": -1.0}
    constants = {
        **{name: np.float32(number) for name, number in numbers.items()},
        **{name: vector.astype(np.float32) for name, vector in vectors.items()},
        "variance": rng.uniform(0.5, 2, 16).astype(np.float32),
        "w": rng.standard_normal((16, 4)).astype(np.float32),
    }
    assert _checked(nodes, constants, tmp_path).good


@pytest.mark.parametrize("model_id", ["q3", "rn50-2"])
def test_real_pictures_run_end_to_end(model_id: str, shared_data: Path, tmp_path: Path) -> None:
    from bnnc.detect.preprocessing import Preprocessing
    from bnnc.pictures import read_picture

    export(model_id, tmp_path / "m.onnx")
    session = bnnc.compile(tmp_path / "m.onnx", tmp_path / "m.so")
    (tensor,) = session.get_inputs()
    pictures = sorted((shared_data / "voc-tiny" / "JPEGImages").glob("*.jpg"))
    assert pictures
    for picture in pictures:
        prepare = Preprocessing.of(session.info["metadata"])
        x, _ = prepare(read_picture(picture), *tensor.item_shape[2:])
        heatmap, size, offset = session(x)
        assert heatmap.shape[1] == 20 and heatmap.min() >= 0 and heatmap.max() <= 1
        assert np.isfinite(size).all() and np.isfinite(offset).all()
