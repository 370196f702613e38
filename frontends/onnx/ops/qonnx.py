"""Brevitas' and QONNX's quantisers (https://github.com/fastmachinelearning/qonnx), which keep
float tensors and round their values to a grid."""

from __future__ import annotations

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.ir.graph import Value

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


QONNX: dict[str, Importer] = {
    "BipolarQuant": _bipolar_quant,
    "Quant": _quant,
    "IntQuant": _quant,
}
"""Importers by operator."""
