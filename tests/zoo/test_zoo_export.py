"""Exported files: sound, equal to torch, small, and telling how to use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from side_by_side import run_onnx

from bnnc.errors import InputError
from bnnc.zoo.centernet import CenterNet, build
from bnnc.zoo.checkpoint import Checkpoint, save
from bnnc.zoo.export import export, export_checkpoint, to_onnx, write
from bnnc.zoo.layers import BinaryConv2d
from bnnc.zoo.models import MODELS, specify
from bnnc.zoo.settle import settle, smooth_noise

SPEC = specify("qn([1x8,2x12,1x16])", "tp4([8,6])", "h(8)")
SIZE = 64


@pytest.fixture(scope="module", params=["q3", "rtb"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, onnx.ModelProto]:
    """A network's id, and its file at a small input size."""
    path = tmp_path_factory.mktemp("zoo") / "model.onnx"
    return request.param, onnx.load(export(request.param, path, input_size=SIZE))


def picture(size: int) -> np.ndarray:
    return smooth_noise(1, size, size, torch.Generator().manual_seed(7)).numpy()


class Failing(CenterNet):
    def __deepcopy__(self, memo: dict) -> CenterNet:
        raise ZeroDivisionError


def small(seed: int = 0) -> CenterNet:
    model = build(SPEC, 2, seed=seed)
    settle(model, 48, 48, seed=seed)
    return model.eval()


def test_an_exported_file_is_sound(exported) -> None:
    onnx.checker.check_model(exported[1], full_check=True)


def test_an_exported_network_is_the_torch_module(exported) -> None:
    model_id, proto = exported
    model = build(MODELS[model_id], 20, seed=0).eval()
    settle(model, SIZE, SIZE, seed=0)
    x = picture(SIZE)
    for expected, result in zip(model(torch.from_numpy(x)), run_onnx(proto, x)):
        np.testing.assert_allclose(result, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model_id", ["q1", "q2d", "rtb", "rn50-2"])
def test_networks_export_at_their_own_size(model_id: str, tmp_path: Path) -> None:
    model = onnx.load(export(model_id, tmp_path / "model.onnx"))
    onnx.checker.check_model(model)
    size = MODELS[model_id].input
    outputs = run_onnx(model, picture(size))
    assert [output.shape for output in outputs] == [
        (1, channels, size // 4, size // 4) for channels in (20, 2, 2)
    ]
    assert all(np.isfinite(output).all() and output.std() > 1e-3 for output in outputs)


def test_binary_weights_are_stored_in_a_byte_each(exported) -> None:
    model_id, proto = exported
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    modules = build(MODELS[model_id]).named_modules()
    binary = [f"{name}.weight" for name, module in modules if isinstance(module, BinaryConv2d)]
    assert len(binary) == 16
    for name in binary:
        assert tensors[name].data_type == onnx.TensorProto.INT8
        assert set(np.unique(numpy_helper.to_array(tensors[name]))) == {-1, 1}


def test_nodes_are_named_after_modules(exported) -> None:
    model_id, proto = exported
    names = {node.name: node.op_type for node in proto.graph.node}
    expected = {
        "stem.conv": "Conv",
        "encoder.2.block.1.conv": "Conv",
        "encoder.2.block.1.conv.Where": "Where",
        "encoder.2.block.1.norm": "BatchNormalization",
        "encoder.2.block.1.Add": "Add",
        "decoder.0.conv": "ConvTranspose",
        "heads.heatmap.0": "Conv",
        "heads.offset.3": "Conv",
    }
    if model_id == "q3":
        expected["encoder.0.transition.blur"] = "Conv"
    else:
        expected["encoder.1.block.0.gate.excite"] = "Conv"
    assert {name: names.get(name) for name in expected} == expected
    assert len(names) == len(proto.graph.node)


def test_a_file_says_how_to_use_it(exported) -> None:
    model_id, proto = exported
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    labels = json.loads(entries["bnnc.labels"])
    assert (len(labels), labels[0], labels[-1]) == (20, "aeroplane", "tvmonitor")
    assert json.loads(entries["bnnc.preprocessing"]) == {
        "color": "bgr",
        "scale": 255,
        "mean": [0.408, 0.447, 0.470],
        "std": [0.289, 0.274, 0.278],
        "resize": "letterbox",
    }
    decoder = json.loads(entries["bnnc.decoder"])
    assert (decoder["type"], decoder["stride"]) == ("centernet", 4)
    assert (proto.graph.name, entries["bnnc.model"]) == (model_id, model_id)


def test_input_and_outputs_have_names_and_shapes(exported) -> None:
    def shapes(entries) -> dict[str, list[int]]:
        return {e.name: [d.dim_value for d in e.type.tensor_type.shape.dim] for e in entries}

    _, proto = exported
    assert shapes(proto.graph.input) == {"input": [1, 3, SIZE, SIZE]}
    assert shapes(proto.graph.output) == {
        "heatmap": [1, 20, 16, 16],
        "size": [1, 2, 16, 16],
        "offset": [1, 2, 16, 16],
    }


def test_a_file_tells_nothing_of_the_machine_it_was_made_on(exported) -> None:
    content = exported[1].SerializeToString()
    assert str(Path(torch.__file__).parent.parent).encode() not in content
    assert str(Path(__file__).parent.parent.parent).encode() not in content


def test_the_same_seed_gives_the_same_file() -> None:
    first, second = (
        to_onnx(small(seed=1), 32, 32, labels=("a", "b"), name="small").SerializeToString()
        for _ in range(2)
    )
    assert first == second


def test_any_input_size_can_be_exported() -> None:
    model = small()
    proto = to_onnx(model, 45, 70, labels=("a", "b"), name="small")
    x = torch.randn(1, 3, 45, 70)
    for expected, result in zip(model(x), run_onnx(proto, x.numpy())):
        np.testing.assert_allclose(result, expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_exporting_leaves_the_module_as_it_was() -> None:
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    to_onnx(model, 32, 32, labels=("a", "b"), name="small")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{"input_size": 0}, {"input_size": 10**6}, {"classes": 0}])
def test_impossible_wishes_are_refused(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        export("q3", tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["nowhere/model.onnx", "occupied"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").mkdir()
    with pytest.raises(InputError, match=place):
        write(small(), tmp_path / place, 32, 32, labels=("a", "b"), name="small")
    assert list(tmp_path.iterdir()) == [tmp_path / "occupied"]


def test_a_failed_export_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write(Failing(SPEC, 2), path, 32, 32, labels=("a", "b"), name="small")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_compact_storage_takes_a_bit_for_a_sign_and_changes_no_number() -> None:
    model = small()
    sizes = {"labels": ["a", "b"], "name": "small"}
    plain, compact = (to_onnx(model, SIZE, SIZE, compact=flag, **sizes) for flag in (False, True))
    onnx.checker.check_model(compact, full_check=True)
    signs = [t for t in plain.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    bits = {t.name: t for t in compact.graph.initializer}
    for tensor in signs:
        count = int(np.prod(tensor.dims))
        assert len(bits[tensor.name].raw_data) == (count // 8 if count % 8 == 0 else count)
    x = picture(SIZE)
    for ours, theirs in zip(run_onnx(plain, x), run_onnx(compact, x)):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_becomes_the_file_of_its_network(tmp_path: Path) -> None:
    model = small()
    held = Checkpoint(SPEC, ("a", "b"), 32, SIZE, model.state_dict())
    save(held, tmp_path / "run.pt")
    path = export_checkpoint(tmp_path / "run.pt", tmp_path / "run.onnx")
    written = to_onnx(model, 32, SIZE, labels=("a", "b"), name=SPEC.id)
    assert onnx.load(path) == written


def test_a_checkpoint_is_not_replaced_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save(Checkpoint(SPEC, ("a", "b"), 32, SIZE, small().state_dict()), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"run\.pt: is the checkpoint itself"):
        export_checkpoint(path, path)
    assert path.read_bytes() == before
