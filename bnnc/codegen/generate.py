"""The way from a lowered graph to C, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bnnc.codegen import layouts, storage
from bnnc.codegen.decoder import Decoder
from bnnc.codegen.emitter import Emitter
from bnnc.codegen.kernels import Kernel, choose
from bnnc.codegen.kernels.scratch import SCRATCH_BYTES
from bnnc.codegen.legalize import legalize
from bnnc.codegen.model import Generated, Layer
from bnnc.codegen.weights import Weights
from bnnc.ir.epilogue import steps_of
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.layout import DENSE
from bnnc.ir.op import Flow

CALIBRATION_BYTES = 512
"""What of the arena ``bnnc_calibrate`` works in."""


def generate(graph: Graph, info: Mapping[str, Any], decoder: Decoder | None = None) -> Generated:
    """Turn a lowered graph into C.

    Args:
        graph: after ``passes.LOWERING``; not modified.
        info: the document for ``bnnc_model_json`` without ``inputs``, ``outputs`` and ``layers``.
        decoder: how to read the outputs as boxes, if ``bnnc_detect`` shall.

    Raises:
        UnsupportedError: naming the node no kernel can compute.
    """
    graph = graph.copy()
    legalize(graph)
    chosen = {node: choose(node) for node in graph.nodes() if not _is_view(node)}
    layouts.assign(graph, chosen)
    chosen.update((node, choose(node)) for node in graph.nodes() if node.op.name == "Copy")
    graph.check()
    nodes = graph.nodes()
    memory = storage.plan(graph, nodes, lambda node: _scratch(node, chosen), overwrites)
    least = CALIBRATION_BYTES if decoder is None else SCRATCH_BYTES
    memory.arena_bytes = max(memory.arena_bytes, least)
    if decoder is not None:
        storage.keep_outputs(memory, graph)
    weights = Weights()
    layers = tuple(_layers(graph, nodes, chosen, memory, weights))
    block = weights.block()
    document = {
        **info,
        "inputs": [_tensor(v.name, v) for v in graph.inputs],
        "outputs": [_tensor(n, v) for n, v in zip(graph.output_names, graph.outputs)],
        "open_batch": graph.open_batch,
        "metadata": graph.metadata,
        "compiled": {
            **info.get("compiled", {}),
            "decoder": None if decoder is None else decoder.document(),
            "arena_bytes": memory.arena_bytes,
            "arena_live_bytes": memory.live_bytes,
            "weight_bytes": len(block),
        },
        "layers": [_layer_info(layer) for layer in layers],
    }
    return Generated(layers, memory, block, document, decoder)


def overwrites(node: Node) -> Iterator[tuple[Value, Value]]:
    """(operand, result) pairs where ``node`` may write the result over the operand: each element
    of the operand is read once, just before the same element of the result is written."""
    steps = steps_of(node)
    if steps:
        uses = [slot for step in steps for slot in step.operands]
        pending = [0] if node.op.name == "Map" else []
        for step in steps:
            if step.kind in ("add", "mul"):
                pending += [slot for slot in step.operands if uses.count(slot) == 1]
            if step.kind == "store" and pending and step.result is not None:
                result = node.outputs[step.result]
                operand = node.operand(pending[-1])
                once = node.inputs.count(operand) == 1 and not operand.is_constant
                if once and operand.type == result.type:
                    yield operand, result
                pending = []
    elif node.op.flow is Flow.ELEMENTWISE and len(node.outputs) == 1:
        for value in node.inputs:
            if value is not None and not value.is_constant and value.type == node.output.type:
                yield value, node.output


def _scratch(node: Node, chosen: Mapping[Node, Kernel]) -> int:
    return chosen[node].scratch_of(node) if node in chosen else 0


def _layers(
    graph: Graph,
    nodes: list[Node],
    chosen: Mapping[Node, Kernel],
    memory: storage.Storage,
    weights: Weights,
) -> Iterator[Layer]:
    for node in nodes:
        if node not in chosen:
            continue
        emitter = Emitter(memory, weights)
        chosen[node].emit(node, emitter)
        if emitter.calls:
            outputs = (*node.outputs, *_views(graph, node))
            yield Layer(node, chosen[node].name, tuple(emitter.calls), outputs)


def _views(graph: Graph, node: Node) -> list[Value]:
    """Views of a node's outputs, and views of those."""
    found: list[Value] = []
    pending = list(node.outputs)
    while pending:
        for reader, _ in graph.consumers(pending.pop()):
            if _is_view(reader):
                found.append(reader.output)
                pending.append(reader.output)
    return found


def _is_view(node: Node) -> bool:
    return storage.view_offset(node) is not None


def _tensor(name: str, value: Value) -> dict[str, Any]:
    return {"name": name, "dtype": value.dtype.value, "shape": list(value.shape)}


def _layer_info(layer: Layer) -> dict[str, Any]:
    node = layer.node
    return {
        "name": node.title,
        "op": node.op.name,
        "kernel": layer.kernel,
        "origin": list(node.origin),
        "binary": node.op.name == "BinaryConv",
        "macs": node.op.macs(node) if node.op.macs else 0,
        "steps": [step.kind for step in steps_of(node)],
        "inputs": [v.name for v in node.inputs if v is not None and not v.is_constant],
        "outputs": [_output_info(value) for value in layer.outputs],
    }


def _output_info(value: Value) -> dict[str, Any]:
    encoding = value.stands_for
    stands_for = None
    if encoding is not None:
        stands_for = {
            "name": encoding.name,
            "shape": list(encoding.low.shape),
            "low": encoding.low.reshape(-1).tolist(),
            "high": encoding.high.reshape(-1).tolist(),
        }
    return {
        **_tensor(value.name, value),
        "layout": value.layout or DENSE,
        "stands_for": stands_for,
    }
