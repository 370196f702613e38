"""MatMul and Gemm."""

from __future__ import annotations

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value


def _matmul(call: Call) -> Value:
    return call.add("MatMul", call.input(0), call.input(1))


def _gemm(call: Call) -> Value:
    """alpha * A' B' + beta * C as a MatMul with a bias; alpha is multiplied into B."""
    a, b, c = call.input(0), call.input(1), call.optional(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise call.error(f"needs two matrices, but has {dims(a.shape)} and {dims(b.shape)}")
    if call.attr_flag("transA"):
        a = call.transpose(a, (1, 0))
    if call.attr_flag("transB"):
        b = call.transpose(b, (1, 0))
    b = _scaled(call, b, call.attr_float("alpha", 1.0))
    beta = call.attr_float("beta", 1.0)
    if c is None or beta == 0:
        return call.add("MatMul", a, b)
    return call.add("MatMul", a, b, _scaled(call, c, beta))


def _scaled(call: Call, x: Value, factor: float) -> Value:
    return x if factor == 1 else call.add("Mul", x, call.like(x, factor))


MATMUL: dict[str, Importer] = {"MatMul": _matmul, "Gemm": _gemm}
"""Importers by operator."""
