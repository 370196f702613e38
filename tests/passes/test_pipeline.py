"""The pipelines as a whole: no pass changes what a model computes, and names stay true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Net, apply, assert_close, drawn, feed, run
from random_nets import random_net

from bnnc.errors import InputError
from bnnc.ir import interpreter
from bnnc.ir.binary import PRODUCTS
from bnnc.ir.graph import Graph, Node
from bnnc.passes import LOWERING, SEMANTIC, Report, dump_files
from bnnc.passes import run as run_passes
from bnnc.passes.resolve_sign_zero import resolve_sign_zero

networks = st.integers(0, 10**6)
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)


@SETTINGS
@given(networks)
def test_no_pass_changes_what_a_network_computes(seed: int) -> None:
    """But for Sign at zero, which is settled first."""
    graph = random_net(seed)
    apply(graph, resolve_sign_zero)
    before = run(graph)
    for transform in (*SEMANTIC, *LOWERING):
        apply(graph, transform)
        after = run(graph)
        assert_close(after, before)
        before = after


@SETTINGS
@given(networks)
def test_every_layer_computes_the_reference_tensors_it_names(seed: int) -> None:
    """What verification does: each layer's inputs as they are, the reference recomputed from
    them. Bits and what they stand for agree exactly, floats closely."""
    reference = random_net(seed)
    run_passes(reference, SEMANTIC)
    lowered = reference.copy()
    run_passes(lowered, LOWERING)
    model = {value.name: value for value in reference.values()}
    seen = {model[value.name]: array for value, array in _fed(lowered).items()}

    def check(node: Node, arrays: list[np.ndarray]) -> None:
        named = {}
        for value, array in zip(node.outputs, arrays):
            if value.stands_for is not None:
                named[model[value.stands_for.name]] = value.stands_for.decode(array)
            elif value.name in model:
                named[model[value.name]] = array
        floats = {v: a for v, a in named.items() if v.name in {o.name for o in node.outputs}}
        wanted = interpreter.evaluate(reference, seen, list(floats))
        for value, array in floats.items():
            assert_close([array], [wanted[value]])
        seen.update(floats)
        bits = [value for value in named if value not in floats]
        wanted = interpreter.evaluate(reference, seen, bits)
        for value in bits:
            np.testing.assert_array_equal(named[value], wanted[value])
        seen.update(named)

    interpreter.run(lowered, feed(lowered), observe=check)
    assert all(value in seen or value.is_constant for value in reference.outputs)


def _fed(graph: Graph) -> dict[object, np.ndarray]:
    return {value: feed(graph)[value.name] for value in graph.inputs}


@SETTINGS
@given(networks)
def test_every_binary_product_runs_on_bits(seed: int) -> None:
    graph = random_net(seed)
    report = run_passes(graph, SEMANTIC)
    run_passes(graph, LOWERING)
    binary = [verdict.name for verdict in report.verdicts if verdict.binary]
    lowered = [node.name for node in graph.nodes() if node.op.name == "BinaryConv"]
    # One product may take several: a sum besides, phases.
    assert set(binary) == set(lowered)
    floats = {node.name for node in graph.nodes() if node.op.name in PRODUCTS}
    assert not floats & set(binary)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("variance", [-1, np.nan, np.inf, 1e38])
@pytest.mark.parametrize("scale", [np.nan, -np.inf, 3e38, 1e-45])
def test_numbers_no_network_should_have_are_no_news(scale: float, variance: float) -> None:
    net = Net(1, 4, 6, 6)
    bits = net("Conv", net("Sign", net.x), scale * net.signs(4, 4, 3, 3))
    four = [np.full(4, value, np.float32) for value in (scale, 1, np.inf, variance)]
    graph = net.returns(net("Sign", net("BatchNormalization", bits, *four)))
    run_passes(graph, SEMANTIC)
    run_passes(graph, LOWERING)


def test_lowering_twice_changes_nothing_more() -> None:
    graph = random_net(3)
    run_passes(graph, SEMANTIC)
    run_passes(graph, LOWERING)
    before = drawn(graph)
    run_passes(graph, LOWERING)
    assert drawn(graph) == before


def residual_block() -> Graph:
    net = Net(1, 8, 6, 6)
    padded = net("Pad", net.sign(net.x), pads=(0, 0, 1, 1, 0, 0, 1, 1), value=1.0)
    y = net("Conv", padded, net.signs(8, 8, 3, 3), name="conv")
    return net.returns(net("Add", net.x, net.bn(net("Relu", y)), name="y"))


def test_a_residual_block_is_two_layers() -> None:
    graph = residual_block()
    run_passes(graph, SEMANTIC)
    run_passes(graph, LOWERING)
    assert drawn(graph) == ["Map[sign]", "BinaryConv[relu affine add store]"]


def test_the_report_counts_what_each_pass_did() -> None:
    graph = residual_block()
    report = run_passes(graph, SEMANTIC) + run_passes(graph, LOWERING)
    assert [name for name, _ in report.changes] == [p.__name__ for p in (*SEMANTIC, *LOWERING)]
    assert dict(report.changes)["lower_binary"] == 1
    assert [(v.name, v.binary, v.candidate) for v in report.verdicts] == [("conv", True, True)]


def test_a_pass_that_breaks_the_graph_is_caught_where_it_broke() -> None:
    def breaks(graph: Graph, report: Report) -> int:
        graph.outputs[0].producer.inputs = (graph.inputs[0],)
        return 1

    with pytest.raises(AssertionError):
        run_passes(residual_block(), [breaks])


def test_dumps_are_onnx_files_numbered_in_order(tmp_path: Path) -> None:
    graph = residual_block()
    graph.name = "net"
    run_passes(graph, SEMANTIC, dump_dir=tmp_path)
    run_passes(graph, LOWERING, dump_dir=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(tmp_path.iterdir()) == dump_files(tmp_path)
    passes = [transform.__name__ for transform in (*SEMANTIC, *LOWERING)]
    assert names == [f"{i:02}_{name}.onnx" for i, name in enumerate(["import", *passes])]
    for path in tmp_path.iterdir():
        dumped = onnx.load(path).graph
        known = {value.name for value in (*dumped.input, *dumped.initializer)}
        for node in dumped.node:
            assert {name for name in node.input if name} <= known
            known.update(node.output)
        assert {value.name for value in dumped.output} <= known
    last = onnx.load(tmp_path / names[-1])
    kinds = [(node.domain, node.op_type) for node in last.graph.node]
    assert ("bnnc", "BinaryConv") in kinds and ("bnnc", "Map") in kinds
    conv = next(node for node in last.graph.node if node.op_type == "BinaryConv")
    (steps,) = [a.strings for a in conv.attribute if a.name == "steps"]
    assert [step.split()[0] for step in steps] == [b"relu", b"affine", b"add", b"store"]


def test_a_dump_that_cannot_be_written_is_told_and_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"00_import\.onnx: cannot be written: No space left"):
        run_passes(residual_block(), SEMANTIC, dump_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_dumps_leave_large_weights_out(tmp_path: Path) -> None:
    net = Net(1, 64, 8, 8)
    graph = net.returns(net("Conv", net.x, net.normal(64, 64, 3, 3)))
    run_passes(graph, [], dump_dir=tmp_path)
    assert (tmp_path / "00_import.onnx").stat().st_size < 2000
