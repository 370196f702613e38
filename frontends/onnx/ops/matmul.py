"""MatMul and Gemm."""

from __future__ import annotations

import math
from itertools import zip_longest

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.shape import expand
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value


def _matmul(call: Call) -> Value:
    return matmul(call, call.input(0), call.input(1))


def matmul(call: Call, a: Value, b: Value) -> Value:
    """numpy's product; batches that broadcast each other are spread out, which code does not do."""
    batches = a.shape[:-2], b.shape[:-2]
    if batches[0] != batches[1] and min(map(math.prod, batches)) > 1:
        wide = [
            n if m == 1 else m for m, n in zip_longest(*(x[::-1] for x in batches), fillvalue=1)
        ]
        a, b = (expand(call, x, (*wide[::-1], *x.shape[-2:])) for x in (a, b))
    return call.add("MatMul", a, b)


def gemm(call: Call) -> Value:
    """alpha * A' B' + beta * C, with alpha multiplied into B and a C for each column as a bias."""
    a, b, c = call.input(0), call.input(1), call.optional(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise call.error(f"needs two matrices, but has {dims(a.shape)} and {dims(b.shape)}")
    if call.attr_flag("transA"):
        a = call.transpose(a, (1, 0))
    if call.attr_flag("transB"):
        b = call.transpose(b, (1, 0))
    b = scaled(call, b, call.attr_float("alpha", 1.0))
    beta = call.attr_float("beta", 1.0)
    if c is None or beta == 0:
        return call.add("MatMul", a, b)
    c = scaled(call, c, beta)
    columns = b.shape[1]
    if c.is_constant and c.type.elements in (1, columns) and c.shape[-1:] in ((), (1,), (columns,)):
        return call.add(
            "MatMul", a, b, expand(call, call.reshape(c, (c.type.elements,)), (columns,))
        )
    y = call.add("MatMul", a, b)
    if len(c.shape) > 2 or any(n not in (1, m) for n, m in zip(c.shape[::-1], y.shape[::-1])):
        raise call.error(f"cannot add {dims(c.shape)} to {dims(y.shape)}")
    return call.add("Add", y, c)


def scaled(call: Call, x: Value, factor: float) -> Value:
    """x * factor; itself where that is 1."""
    return x if factor == 1 else call.add("Mul", x, call.like(x, factor))


MATMUL: dict[str, Importer] = {"MatMul": _matmul, "Gemm": gemm}
"""Importers by operator."""
