"""Elementwise kernels: maps (per-channel programs), unary functions, broadcasting, casts."""

from __future__ import annotations

import numpy as np

from bnnc.codegen.emitter import Call, Emitter, Field, element_type, function, layout, stored
from bnnc.codegen.kernels.kernel import Kernel
from bnnc.codegen.kernels.scratch import ROW_BYTES
from bnnc.ir.graph import Node, Value
from bnnc.ir.op import Flow
from bnnc.ir.ops import OPS
from bnnc.ir.types import DType

_BINARY = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod", "PRelu"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"),
)
_ELSEWHERE = {*_BINARY, "Where", "Cast", "BatchNormalization", "Identity", "Map"}
_UNARY = tuple(
    name for name, op in OPS.items() if op.flow is Flow.ELEMENTWISE and name not in _ELSEWHERE
)


def _map(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    emitter.call("map_f32", "bnnc_map_args", node, batch=x.shape[0], x=emitter.address(x))


def _batch_norm(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    scale, bias, mean, var = (node.operand(slot).data for slot in range(1, 5))
    assert scale is not None and bias is not None and mean is not None and var is not None
    factor = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + node.attrs["epsilon"])
    shift = bias - mean * factor
    emitter.call("map_f32", "bnnc_map_args", node, batch=x.shape[0], x=emitter.address(x))
    a, b = (emitter.pack(v.astype(np.float32)) for v in (factor, shift))
    emitter.calls[-1].steps.insert(0, f"{{.kind = BNNC_STEP_AFFINE, .a = {a}, .b = {b}}}")


def _constant_statistics(node: Node) -> bool:
    return all(node.operand(slot).is_constant for slot in range(1, 5))


def _unary(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    numbers = [float(v) for v in node.attrs.values()]
    low, high = [*numbers, 0.0, 0.0][:2]
    emitter.call(
        "unary",
        "bnnc_unary_args",
        count=x.type.elements,
        function=function(node.op.name),
        type=element_type(x, node),
        low=low,
        high=high,
        x=emitter.address(x),
        out=emitter.address(node.output),
    )


def broadcast_strides(value: Value, shape: tuple[int, ...]) -> list[int]:
    """Element strides of ``value`` along the axes of ``shape``, 0 where it is repeated."""
    own = value.shape
    strides, step = [], 1
    for size in reversed(own):
        strides.append(0 if size == 1 else step)
        step *= size
    strides += [0] * (len(shape) - len(own))
    return strides[::-1]


def _broadcast(node: Node, emitter: Emitter) -> None:
    shape = node.output.shape or (1,)
    operands = [node.operand(slot) for slot in range(len(node.inputs))]
    fields: dict[str, Field] = {}
    for name, value in zip("xyz", operands):
        fields[f"{name}_strides"] = broadcast_strides(value, shape)
        fields[name] = emitter.address(value)
    where = node.op.name == "Where"
    called = "FMod" if node.attrs.get("fmod") else node.op.name
    emitter.call(
        "where" if where else "broadcast",
        "bnnc_broadcast_args",
        rank=len(shape),
        function=0 if where else function(called),
        type=element_type(operands[-1], node),
        shape=list(shape),
        **fields,
        out=emitter.address(node.output),
    )


def _rank_fits(node: Node) -> bool:
    return len(node.output.shape) <= 8


def _cast(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    emitter.call(
        "cast",
        "bnnc_cast_args",
        count=x.type.elements,
        **{"from": f"BNNC_TYPE_{x.dtype.name}"},
        to=f"BNNC_TYPE_{out.dtype.name}",
        x=emitter.address(x),
        out=emitter.address(out),
    )


_CAST_SOME = {
    **dict.fromkeys((DType.F16, DType.F64), frozenset({DType.F32})),
    **dict.fromkeys(
        (DType.I16, DType.U16, DType.U32, DType.U64), frozenset({DType.F32, DType.I32, DType.I64})
    ),
}
"""What the types that compiled code does not compute with are cast to and from."""


def _cast_fits(node: Node) -> bool:
    x, to = node.operand(0).dtype, node.output.dtype
    return to in _CAST_SOME.get(x, {to}) and x in _CAST_SOME.get(to, {x})


def _copy(node: Node, emitter: Emitter) -> None:
    x, out = node.operand(0), node.output
    if x.dtype is DType.B1 and x.layout != out.layout:
        batch, channels, *pixels = x.shape
        emitter.call(
            "bits_convert",
            "bnnc_bits_args",
            batch=batch,
            channels=channels,
            height=int(np.prod(pixels[:-1], dtype=np.int64)),
            width=pixels[-1] if pixels else 1,
            **{"from": layout(x)},
            to=layout(out),
            x=emitter.address(x),
            out=emitter.address(out),
        )
        return
    bits = x.dtype is DType.B1
    emitter.calls.append(_plain_copy(emitter, x, out, stored(x) if bits else x.type.bytes))


def _plain_copy(emitter: Emitter, x: Value, out: Value, size: int) -> Call:
    return Call(
        "copy",
        "bnnc_copy_args",
        [
            ("rank", "1"),
            ("element_bytes", "1"),
            ("shape", f"{{{size}}}"),
            ("x_strides", "{1}"),
            ("out_strides", "{1}"),
            ("x", emitter.address(x)),
            ("out", emitter.address(out)),
        ],
    )


def _unpack(node: Node, emitter: Emitter) -> None:
    x = node.operand(0)
    batch, channels, *pixels = x.shape
    low, high = (
        np.broadcast_to(np.asarray(node.attrs[key], np.float32).reshape(-1), (channels,))
        for key in ("low", "high")
    )
    emitter.call(
        "bits_unpack",
        "bnnc_bits_args",
        batch=batch,
        channels=channels,
        height=int(np.prod(pixels[:-1], dtype=np.int64)),
        width=pixels[-1] if pixels else 1,
        **{"from": layout(x)},
        low=emitter.pack(low),
        high=emitter.pack(high),
        x=emitter.address(x),
        out=emitter.address(node.output),
    )


KERNELS = (
    Kernel("Map", "map_f32", _map, scratch=ROW_BYTES),
    Kernel(
        "BatchNormalization",
        "map_f32",
        _batch_norm,
        _constant_statistics,
        otherwise="takes statistics that are computed during the run, which compiled code does not",
        scratch=ROW_BYTES,
    ),
    *(Kernel(op, "unary", _unary, scratch=0) for op in _UNARY),
    *(
        Kernel(op, "broadcast", _broadcast, _rank_fits, otherwise="works on more than 8 axes")
        for op in _BINARY
    ),
    Kernel("Where", "where", _broadcast, _rank_fits, otherwise="works on more than 8 axes"),
    Kernel(
        "Cast",
        "cast",
        _cast,
        _cast_fits,
        otherwise="between these types has no compiled form",
        scratch=0,
    ),
    Kernel("Copy", "copy", _copy, reads=""),
    Kernel("Unpack", "bits_unpack", _unpack, reads=""),
)
