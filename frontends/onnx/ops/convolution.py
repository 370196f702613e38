"""Conv and ConvTranspose."""

from __future__ import annotations

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.windows import LARGEST, on_planes, read_windows
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value


def _check_weights(call: Call, x: Value, w: Value) -> None:
    """The weights have as many axes as the input."""
    if len(x.shape) != len(w.shape) or len(w.shape) < 3:
        raise call.error(
            f"has an input of shape {dims(x.shape)} and weights of shape {dims(w.shape)}"
        )
    kernel = w.shape[2:]
    if call.has("kernel_shape") and call.attr_ints("kernel_shape") != kernel:
        raise call.error(
            f"says its kernel is {dims(call.attr_ints('kernel_shape'))}, but its weights have "
            f"shape {dims(w.shape)}"
        )


def _on_plane(call: Call, w: Value) -> Value:
    """Weights of one spatial axis as those of two."""
    return w if len(w.shape) == 4 else call.reshape(w, (*w.shape[:2], 1, w.shape[2]))


def _conv(call: Call) -> Value:
    return conv_of(call, call.input(0), call.input(1), call.optional(2))


def conv_of(call: Call, x: Value, w: Value, bias: Value | None) -> Value:
    """A convolution of these operands, with the node's attributes."""
    _check_weights(call, x, w)
    windows = read_windows(call, x, w.shape[2:])
    operands = [_on_plane(call, w)]
    if bias is not None:
        operands.append(bias)
    attrs = {
        "strides": windows.strides,
        "pads": windows.explicit_pads(),
        "dilations": windows.dilations,
        "group": call.attr_int("group", 1),
    }
    return on_planes(call, x, lambda plane: call.add("Conv", plane, *operands, **attrs))


def _conv_transpose(call: Call) -> Value:
    """Pads and output padding follow from ``output_shape`` or ``auto_pad`` where given."""
    x, w = call.input(0), call.input(1)
    _check_weights(call, x, w)
    windows = read_windows(call, x, w.shape[2:])
    axes = len(x.shape) - 2
    extra = call.attr_ints("output_padding", [0] * axes)
    if len(extra) != axes or not all(0 <= number <= LARGEST for number in extra):
        raise call.error(f"has output_padding {list(extra)[:8]}")
    output_padding = [0, *extra][-2:]
    given = _wanted_sizes(call, axes)
    wanted = given
    if given is None and windows.same:
        wanted = [size * stride for size, stride in zip(windows.sizes, windows.strides)]
    pads = list(windows.pads)
    for axis, size in enumerate(wanted or ()):
        full = (windows.sizes[axis] - 1) * windows.strides[axis] + windows.extents[axis]
        surplus = full + output_padding[axis] - size
        before, after = windows.split(max(surplus, 0))
        # Without auto_pad the odd one goes before, as it does for SAME_LOWER.
        odd_before = windows.auto_pad == "NOTSET"
        pads[axis], pads[axis + 2] = (after, before) if odd_before else (before, after)
        if given is not None:  # onnxruntime leaves a "same" result short rather than extend it
            output_padding[axis] += max(-surplus, 0)
    operands = [_on_plane(call, w)]
    bias = call.optional(2)
    if bias is not None:
        operands.append(bias)
    attrs = {
        "strides": windows.strides,
        "pads": tuple(pads),
        "output_padding": tuple(output_padding),
        "dilations": windows.dilations,
        "group": call.attr_int("group", 1),
    }
    return on_planes(call, x, lambda plane: call.add("ConvTranspose", plane, *operands, **attrs))


def _wanted_sizes(call: Call, axes: int) -> list[int] | None:
    """``output_shape``: the spatial sizes, which some exporters precede by N and C."""
    if not call.has("output_shape"):
        return None
    sizes = call.attr_ints("output_shape")
    if len(sizes) not in (axes, axes + 2) or not all(1 <= size <= LARGEST for size in sizes):
        raise call.error(f"has output_shape {list(sizes)[:8]}")
    return [1, *sizes[-axes:]][-2:]


CONVOLUTION: dict[str, Importer] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
"""Importers by operator."""
