"""What QONNX's transformations make of convolutions and pools on the way to hardware: channels in
the last axis, windows as rows of a matrix, products that count equal bits."""

from __future__ import annotations

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.convolution import CONVOLUTION
from bnnc.frontends.onnx.ops.matmul import matmul, scaled
from bnnc.frontends.onnx.ops.normalization import NORMALIZATION
from bnnc.frontends.onnx.ops.pooling import POOLING
from bnnc.frontends.onnx.ops.windows import LARGEST, LARGEST_KERNEL
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

# ---- channels last ----------------------------------------------------------------------------


def _to_front(call: Call, x: Value) -> Value:
    rank = len(x.shape)
    return call.transpose(x, (0, rank - 1, *range(1, rank - 1)))


def _to_back(call: Call, x: Value) -> Value:
    return call.transpose(x, (0, *range(2, len(x.shape)), 1))


def _channels_last(importer: Importer, count: int = 1) -> Importer:
    """The standard operator, with the channels of its first ``count`` operands, and of its result,
    in the last axis."""

    def imported(call: Call) -> Value:
        first = [_to_front(call, call.input(slot)) for slot in range(count)]
        call.inputs = (*first, *call.inputs[count:])
        results = importer(call)
        y = results if isinstance(results, Value) else next(iter(results))
        assert isinstance(y, Value), call.op
        return _to_back(call, y)

    return imported


CHANNELS_LAST: dict[str, Importer] = {
    "Conv": _channels_last(CONVOLUTION["Conv"], 2),
    "MaxPool": _channels_last(POOLING["MaxPool"]),
    "BatchNormalization": _channels_last(NORMALIZATION["BatchNormalization"]),
}
"""Importers by operator."""

# ---- for matrix products ----------------------------------------------------------------------

_MOST_TAPS = 1024


def _windows_as_rows(call: Call) -> Value:
    """(N, H, W, C) to (N, OH, OW, KH * KW * C): what every window sees, pixel by pixel."""
    x = call.input(0)
    kernel, strides = call.attr_ints("kernel_size"), call.attr_ints("stride")
    dilations, pads = call.attr_ints("dilations", (1, 1)), call.attr_ints("pad_amount", (0,) * 4)
    lengths = [len(numbers) for numbers in (x.shape, kernel, strides, dilations, pads)]
    if lengths != [4, 2, 2, 2, 4] or min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise call.error(f"has kernel_size {list(kernel)[:8]} and an input of {dims(x.shape)}")
    if max(*strides, *dilations, *pads) > LARGEST or kernel[0] * kernel[1] > _MOST_TAPS:
        raise call.unsupported(f"of {dims(kernel)} is not supported")
    if any(pads):
        around = (0, *pads[:2], 0, 0, *pads[2:], 0)
        x = call.add("Pad", x, pads=around, value=call.attr_int("pad_value", 0))
    last = [d * (k - 1) for k, d in zip(kernel, dilations)]
    if any(size <= reach for size, reach in zip(x.shape[1:], last)):
        raise call.error(f"has windows larger than its padded input {dims(x.shape[1:3])}")
    taps = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            starts = (row * dilations[0], column * dilations[1])
            ends = tuple(n - reach + start for n, reach, start in zip(x.shape[1:], last, starts))
            tap = call.add("Slice", x, starts=starts, ends=ends, axes=(1, 2), steps=strides)
            taps.append(tap)
    return taps[0] if len(taps) == 1 else call.add("Concat", *taps, axis=3)


def _xnor_popcount(call: Call) -> Value:
    """How many bits of a row of A and a column of B are equal, where 0 and 1 stand for bits."""
    a, b = (
        call.add("Sub", scaled(call, x, 2.0), call.like(x, 1))
        for x in (call.input(0), call.input(1))
    )
    depth = a.shape[-1] if a.shape else 1
    y = matmul(call, a, b)
    return scaled(call, call.add("Add", y, call.like(y, depth)), 0.5)


# ---- pools ------------------------------------------------------------------------------------


def _average_of_integers(call: Call) -> Value:
    """The sum of each window, without its lowest bits."""
    size, stride = call.attr_int("kernel"), call.attr_int("stride")
    x, layout = call.input(0), call.attr_string("data_layout", "NCHW")
    if layout not in ("NCHW", "NHWC") or len(x.shape) != 4:
        raise call.error(f"has layout {layout[:20]!r} and an input of {dims(x.shape)}")
    if not (1 <= size <= LARGEST_KERNEL and 1 <= stride <= LARGEST):
        raise call.error(f"has kernel {size} and stride {stride}")
    given, kept = call.attr_int("ibits"), call.attr_int("obits")
    if not (1 <= given <= 32 and 1 <= kept <= 32):
        raise call.error(f"makes {kept} bits of {given}")
    dropped = max(((2**given - 1) * size * size).bit_length() - kept, 0)
    plane = x if layout == "NCHW" else _to_front(call, x)
    mean = call.add("AveragePool", plane, kernel=(size, size), strides=(stride, stride))
    total = call.add("Round", scaled(call, mean, float(size * size)))
    y = call.add("Floor", scaled(call, total, 2.0**-dropped))
    return y if layout == "NCHW" else _to_back(call, y)


QONNX_LAYERS: dict[str, Importer] = {
    "Im2Col": _windows_as_rows,
    "XnorPopcountMatMul": _xnor_popcount,
    "MaxPoolNHWC": _channels_last(POOLING["MaxPool"]),
    "QuantAvgPool2d": _average_of_integers,
}
"""Importers by operator."""
