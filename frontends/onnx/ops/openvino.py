"""OpenVINO's quantiser, which NNCF writes; binary activations and weights have two levels
(https://docs.openvino.ai, operation FakeQuantize-1)."""

from __future__ import annotations

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.ir.graph import Value

_MOST_LEVELS = 2**24


def _fake_quantize(call: Call) -> Value:
    """x, clipped to the range of the input, rounded to one of its levels, and put in its place in
    the range of the output; a range of nothing is a threshold, which x must exceed."""
    x, low, high, out_low, out_high = (call.input(slot) for slot in range(5))
    levels = call.attr_int("levels")
    if not 2 <= levels <= _MOST_LEVELS:
        raise call.error(f"has {levels} levels")
    if low.data is None or high.data is None:
        raise call.unsupported("has a range that depends on the input", hint="bnnc needs it fixed")
    empty = low.data == high.data
    if empty.all():
        return call.add("Where", call.add("Greater", x, high), out_high, out_low)
    if empty.any():
        raise call.unsupported("mixes thresholds and ranges")
    place = call.add("Div", call.add("Sub", x, low), call.add("Sub", high, low))
    steps = call.like(x, levels - 1)
    level = call.add("Round", call.add("Mul", call.add("Clip", place, min=0.0, max=1.0), steps))
    spread = call.add("Div", call.add("Sub", out_high, out_low), steps)
    return call.add("Add", call.add("Mul", level, spread), out_low)


OPENVINO: dict[str, Importer] = {"FakeQuantize": _fake_quantize}
"""Importers by operator."""
