"""Pools, over windows and over whole planes."""

from __future__ import annotations

from functools import partial
from math import prod

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.ops.windows import Windows, on_planes, read_passes, read_windows
from bnnc.ir.graph import Value

_Pads = tuple[int, int, int, int]


def _pool_pads(call: Call, windows: Windows) -> tuple[_Pads, tuple[int, int]]:
    """The model's pads, and how far ``ceil_mode`` lets the last windows reach beyond them."""
    pads = windows.explicit_pads()
    if windows.same or not call.attr_flag("ceil_mode"):
        return pads, (0, 0)
    beyond = []
    for axis in (0, 1):
        size, before, after = windows.sizes[axis], pads[axis], pads[axis + 2]
        extent, stride = windows.extents[axis], windows.strides[axis]
        last = -(-(size + before + after - extent) // stride) * stride
        if last >= size + before:  # a window that starts in the padding behind does not count
            last -= stride
        beyond.append(max(last + extent - (size + before + after), 0))
    return pads, (beyond[0], beyond[1])


def _and_beyond(pads: _Pads, beyond: tuple[int, int]) -> _Pads:
    return pads[0], pads[1], pads[2] + beyond[0], pads[3] + beyond[1]


def _max_pool(call: Call) -> list[Value | None]:
    x = call.input(0)
    y = call.narrow_as_float(x)
    for windows in read_passes(call, x, call.attr_ints("kernel_shape")):
        attrs = {
            "kernel": windows.kernel,
            "strides": windows.strides,
            "pads": _and_beyond(*_pool_pads(call, windows)),
            "dilations": windows.dilations,
        }
        y = on_planes(call, y, partial(call.add, "MaxPool", **attrs), windows.aside)
    return [call.cast(y, x.dtype), None]


def _average_pool(call: Call) -> Value:
    return average_pool(call, call.input(0))


def average_pool(call: Call, x: Value) -> Value:
    """Cells that ``ceil_mode`` adds never count; padded ones count if ``count_include_pad``."""
    for windows in read_passes(call, x, call.attr_ints("kernel_shape")):
        average = partial(_average, call, windows)
        x = on_planes(call, x, average, windows.aside)
    return x


def _average(call: Call, windows: Windows, plane: Value) -> Value:
    pads, beyond = _pool_pads(call, windows)
    counted = call.attr_flag("count_include_pad") and any(pads)
    if counted and any(beyond):
        top, left, bottom, right = pads
        plane = call.add("Pad", plane, pads=(0, 0, top, left, 0, 0, bottom, right))
        pads, counted = (0, 0, 0, 0), False
    return _mean(call, windows, _and_beyond(pads, beyond), counted, plane)


def _mean(call: Call, windows: Windows, pads: _Pads, counted: bool, plane: Value) -> Value:
    return call.add(
        "AveragePool",
        plane,
        kernel=windows.kernel,
        strides=windows.strides,
        pads=pads,
        dilations=windows.dilations,
        count_include_pad=counted,
    )


def _lp_pool(call: Call) -> Value:
    """(sum of |x|^p)^(1/p), where the sum is the mean over the whole kernel times its size."""
    x, order = call.input(0), _order(call)
    windows = read_windows(call, x, call.attr_ints("kernel_shape"))
    pads = _and_beyond(*_pool_pads(call, windows))
    mean = partial(_mean, call, windows, pads, True)
    powers = on_planes(call, _power(call, x, order), mean)
    return _root(call, call.add("Mul", powers, call.like(x, prod(windows.kernel))), order)


def _order(call: Call) -> int:
    order = call.attr_int("p", 2)
    if not 1 <= order <= 100:
        raise call.error(f"has order {order}")
    return order


def _power(call: Call, x: Value, order: int) -> Value:
    """|x|^order."""
    if order == 2:
        return call.add("Mul", x, x)
    size = call.add("Abs", x)
    return size if order == 1 else call.add("Pow", size, call.like(x, order))


def _root(call: Call, x: Value, order: int) -> Value:
    if order <= 2:
        return x if order == 1 else call.add("Sqrt", x)
    return call.add("Pow", x, call.like(x, 1 / order))


def _global(op: str) -> Importer:
    """A reduction over everything but batch and channels."""

    def importer(call: Call) -> Value:
        x = call.input(0)
        if len(x.shape) < 3:
            raise call.error(f"needs an input of 3 or more axes, but it has {len(x.shape)}")
        return call.add(op, x, axes=tuple(range(2, len(x.shape))), keepdims=True)

    return importer


def _global_lp_pool(call: Call) -> Value:
    x, order = call.input(0), _order(call)
    if len(x.shape) < 3:
        raise call.error(f"needs an input of 3 or more axes, but it has {len(x.shape)}")
    axes = tuple(range(2, len(x.shape)))
    if order <= 2:
        return call.add(f"ReduceL{order}", x, axes=axes, keepdims=True)
    total = call.add("ReduceSum", _power(call, x, order), axes=axes, keepdims=True)
    return _root(call, total, order)


POOLING: dict[str, Importer] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": _global("ReduceMean"),
    "GlobalMaxPool": _global("ReduceMax"),
    "GlobalLpPool": _global_lp_pool,
}
"""Importers by operator."""
