"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial, reduce
from math import prod

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.movement import cut
from bnnc.frontends.onnx.ops.windows import LARGEST, on_planes, read_volume, read_windows
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Node, Share, Value

_MOST_SLICES = 64
"""Of three axes, a kernel is no longer along the first: there is a convolution for each entry."""


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
    if len(x.shape) == 5:
        return _over_volume(call, x, w, bias)
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


def _over_volume(call: Call, x: Value, w: Value, bias: Value | None) -> Value:
    """A convolution over D, H and W: those over H and W with each slice of the weights, added up.

    What a slice would meet in the padding along D it leaves out instead, so that binary layers
    stay binary.
    """
    plane, along = read_volume(call, x, w.shape[2:])
    slices, stride, dilation = along.kernel[0], along.strides[0], along.dilations[0]
    if slices > _MOST_SLICES:
        raise call.unsupported(f"of {slices} slices is not supported; {_MOST_SLICES} at most are")
    before, _, after, _ = along.explicit_pads()
    depth = (x.shape[2] + before + after - along.extents[0]) // stride + 1
    attrs = {
        "strides": plane.strides,
        "pads": plane.explicit_pads(),
        "dilations": plane.dilations,
        "group": call.attr_int("group", 1),
    }
    frames = call.transpose(x, (0, 2, 1, 3, 4))
    parts: list[Value] = []
    products: list[Node] = []
    for number in range(slices):
        offset = number * dilation - before
        first, last = max(-(offset // stride), 0), (x.shape[2] - 1 - offset) // stride
        last = min(last, depth - 1)
        if first <= last:
            met = _every(call, frames, offset + first * stride, offset + last * stride, stride)
            weights = call.reshape(cut(call, w, 2, number, number + 1), w.shape[:2] + w.shape[3:])
            y = call.add("Conv", call.reshape(met, _joined(met.shape)), weights, **attrs)
            products.append(y.producer)
            y = call.reshape(y, (*met.shape[:2], *y.shape[1:]))
            parts.append(_placed(call, y, first, depth))
    if not parts:
        raise call.error(
            f"has a kernel of {dims(w.shape[2:])} that meets but padding, or is too large for "
            f"{dims(x.shape)}"
        )
    y = call.transpose(reduce(partial(call.add, "Add"), parts), (0, 2, 1, 3, 4))
    _note_shares(call, products, y, w)
    return y if bias is None else call.add("Add", y, call.reshape(bias, (*bias.shape, 1, 1, 1)))


def _note_shares(call: Call, products: Sequence[Node], volume: Value, w: Value) -> None:
    """Say what the products of single slices of ``w`` are of the layer that gives ``volume``: the
    first stands for its output, and for slices that meet but padding, too."""
    slices = w.shape[2]
    each = prod(volume.shape) * prod(w.shape[1:]) // slices
    whole = Share(call.node.title, "Conv", volume.shape, volume.type.bytes, each)
    for node in products:
        node.share = replace(whole, output_bytes=0)
    missing = slices - len(products)
    products[0].share = replace(whole, macs=(1 + missing) * each)


def _every(call: Call, x: Value, first: int, last: int, step: int) -> Value:
    """Every ``step``-th entry of ``x`` along axis 1."""
    ends, steps = (last + 1,), (step,)
    return call.add("Slice", x, starts=(first,), ends=ends, axes=(1,), steps=steps)


def _joined(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Its first two axes as one."""
    return (shape[0] * shape[1], *shape[2:])


def _placed(call: Call, x: Value, first: int, size: int) -> Value:
    """``x`` between zeros along axis 1, which then has ``size`` entries."""
    behind = size - first - x.shape[1]
    pads = (0, first, 0, 0, 0, 0, behind, 0, 0, 0)
    return call.add("Pad", x, pads=pads) if first or behind else x


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
