"""Brevitas' and QONNX's quantisers (https://github.com/fastmachinelearning/qonnx), which keep
float tensors and round their values to a grid."""

from __future__ import annotations

from functools import reduce

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

_MOST_THRESHOLDS = 255
_ROUNDING = {"ROUND": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}


def _bipolar(call: Call, x: Value) -> Value:
    """1 where x >= 0, else -1."""
    positive = call.add("GreaterOrEqual", x, call.like(x, 0))
    return call.add("Where", positive, call.like(x, 1), call.like(x, -1))


def _scaled(call: Call, x: Value, scale: Value) -> Value:
    """x * scale; nothing to do where the scale is 1."""
    if scale.data is not None and (scale.data == 1).all() and len(scale.shape) <= len(x.shape):
        return x
    return call.add("Mul", x, scale)


def _bipolar_quant(call: Call) -> Value:
    """scale where x >= 0, else -scale."""
    return _scaled(call, _bipolar(call, call.input(0)), call.input(1))


def _quant(call: Call) -> Value:
    """(round(clip(x / scale + zero point)) - zero point) * scale."""
    x, scale, zero = call.input(0), call.input(1), call.input(2)
    bits = float(call.number(3, "a bit width"))
    signed, narrow = call.attr_flag("signed", True), call.attr_flag("narrow", True)
    rounding = call.attr_string("rounding_mode", "ROUND").upper()
    if not 1 <= bits <= 32 or bits != int(bits):
        raise call.unsupported(f"has a bit width of {bits}; 1 to 32 are supported")
    if rounding not in _ROUNDING:
        raise call.unsupported(f"has rounding mode {rounding[:30]!r}")
    shifted = zero.data is None or bool(zero.data.any())
    y = call.add("Div", x, scale)
    if shifted:
        y = call.add("Add", y, zero)
    if signed and bits == 1:
        y = _bipolar(call, y)
    else:
        high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - (2 if narrow else 1)
        low = -high - (0 if narrow else 1) if signed else 0.0
        y = call.add(_ROUNDING[rounding], call.add("Clip", y, min=low, max=high))
    if shifted:
        y = call.add("Sub", y, zero)
    return call.add("Mul", y, scale)


def _trunc(call: Call) -> Value:
    """The first version's: the integers x / scale + zero point without their lowest bits."""
    if len(call.inputs) != 5:
        raise call.unsupported(f"of {len(call.inputs)} inputs is not supported; of 5 it is")
    x, scale, zero = call.input(0), call.input(1), call.input(2)
    dropped = float(call.number(3, "a bit width")) - float(call.number(4, "a bit width"))
    rounding = call.attr_string("rounding_mode", "FLOOR").upper()
    if rounding not in _ROUNDING or not 0 <= dropped <= 32:
        raise call.error(f"has rounding mode {rounding[:30]!r} and drops {dropped} bits")
    y = call.add("Round", call.add("Add", call.add("Div", x, scale), zero))
    y = call.add(_ROUNDING[rounding], call.add("Mul", y, call.like(x, 2.0**-dropped)))
    return call.add("Mul", call.add("Sub", y, zero), scale)


def _multi_threshold(call: Call) -> Value:
    """scale * (how many of its channel's thresholds x reaches) + bias."""
    x, thresholds = call.input(0), call.array(1, "thresholds")
    scale, bias = call.attr_float("out_scale", 1.0), call.attr_float("out_bias", 0.0)
    layout = call.attr_string("data_layout", "NCHW")
    rank = len(x.shape)
    axis = rank - 1 if layout in ("NHWC", "NWC", "NC") else 1
    if rank < 2 or thresholds.ndim != 2 or thresholds.shape[0] not in (1, x.shape[axis]):
        raise call.error(
            f"has an input of {dims(x.shape)} and thresholds of {dims(thresholds.shape)}"
        )
    if not 1 <= thresholds.shape[1] <= _MOST_THRESHOLDS:
        raise call.unsupported(f"has {thresholds.shape[1]} thresholds per channel")
    sides: list[Value] = []
    for step in thresholds.astype(np.float32).T:
        bound = step.reshape(-1, *(1 for _ in range(rank - axis - 1)))
        reached = call.add("GreaterOrEqual", x, call.constant(bound))
        low, high = (bias, bias + scale) if not sides else (0.0, scale)
        sides.append(call.add("Where", reached, call.like(x, high), call.like(x, low)))
    return reduce(lambda a, b: call.add("Add", a, b), sides)


QONNX: dict[str, Importer] = {
    "BipolarQuant": _bipolar_quant,
    "Quant": _quant,
    "IntQuant": _quant,
    "Trunc": _trunc,
    "MultiThreshold": _multi_threshold,
}
"""Importers by operator."""
