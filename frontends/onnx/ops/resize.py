"""Resize and Upsample, as tables of indices and weights.

Along each axis, output ``o`` is a weighted sum of input elements around a coordinate ``c(o)``
(https://onnx.ai/onnx/operators/onnx__Resize.html). The tables hold which ones and how much of
each; everything the operator can be asked for ends up in them. Coordinates are computed in
float32, as onnxruntime does, since a tie between two neighbours depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

_MAX_TABLE = 2**24
"""No table has more entries: no picture is that wide."""


@dataclass(frozen=True)
class Axis:
    """How one axis is resized.

    Attributes:
        size: of the input.
        out: size of the output.
        scale: the factor coordinates are computed with.
        roi: (start, end) of the region that ``tf_crop_and_resize`` takes, in shares of the axis.
    """

    size: int
    out: int
    scale: np.float32
    roi: tuple[np.float32, np.float32]


@dataclass(frozen=True)
class Table:
    """int32 [out, taps] indices and float32 [out, taps] weights; which outputs lie outside."""

    index: np.ndarray
    weight: np.ndarray
    outside: np.ndarray

    @staticmethod
    def identity(size: int) -> Table:
        """The table that changes nothing."""
        index = np.arange(size, dtype=np.int32)[:, None]
        return Table(index, np.ones((size, 1), np.float32), np.zeros(size, bool))


@dataclass(frozen=True)
class Rule:
    """How values are found; the fields are the operator's attributes."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


# ---- coordinates ------------------------------------------------------------------------------

_HALF = np.float32(0.5)


def _half_pixel(o: np.ndarray, axis: Axis) -> np.ndarray:
    return (o + _HALF) / axis.scale - _HALF


def _symmetric(o: np.ndarray, axis: Axis) -> np.ndarray:
    adjustment = np.float32(axis.out) / (axis.scale * np.float32(axis.size))
    center = np.float32(axis.size) / np.float32(2)
    offset = center * (np.float32(1) - adjustment)
    return offset + (o + _HALF) / axis.scale - _HALF


def _crop(o: np.ndarray, axis: Axis) -> np.ndarray:
    start, end = axis.roi
    last = np.float32(axis.size - 1)
    if axis.out == 1:
        return np.full(1, _HALF * (start + end) * last, np.float32)
    return start * last + o * (end - start) * last / np.float32(axis.out - 1)


COORDINATES: Mapping[str, Callable[[np.ndarray, Axis], np.ndarray]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": lambda o, axis: _half_pixel(o, axis) if axis.out > 1 else o * 0,
    "half_pixel_symmetric": _symmetric,
    "align_corners": lambda o, axis: (
        o * np.float32(axis.size - 1) / np.float32(axis.out - 1) if axis.out > 1 else o * 0
    ),
    "asymmetric": lambda o, axis: o / axis.scale,
    "tf_half_pixel_for_nn": lambda o, axis: (o + _HALF) / axis.scale,
    "tf_crop_and_resize": _crop,
}
"""coordinate_transformation_mode: output positions to input coordinates, both float32 [out]."""

NEAREST: Mapping[str, Callable[[np.ndarray, Axis], np.ndarray]] = {
    "round_prefer_floor": lambda c, axis: np.ceil(c - _HALF),
    "round_prefer_ceil": lambda c, axis: np.floor(c + _HALF),
    "floor": lambda c, axis: np.floor(c),
    "ceil": lambda c, axis: np.ceil(c),
    # Before version 11 there was no such attribute.
    "": lambda c, axis: np.ceil(c) if axis.scale < 1 else np.trunc(c),
}
"""nearest_mode: coordinates to indices."""


# ---- tables -----------------------------------------------------------------------------------


def _linear(distance: np.ndarray, rule: Rule) -> np.ndarray:
    return np.asarray(np.maximum(0, 1 - np.abs(distance)))


def _cubic(distance: np.ndarray, rule: Rule) -> np.ndarray:
    """Keys' kernel (IEEE ASSP 29(6), 1981) with parameter ``a``."""
    a, d = rule.cubic, np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


_KERNELS = {"linear": (1, _linear), "cubic": (2, _cubic)}
"""Interpolation kernels with how far they reach."""


def table(axis: Axis, rule: Rule) -> Table | None:
    """The table of one axis, or None if it would be absurdly large or is nowhere defined."""
    reach, kernel = _KERNELS.get(rule.mode, (0, _linear))
    stretch = 1 / float(axis.scale) if rule.antialias and axis.scale < 1 else 1.0
    taps = 1 if not reach else 2 * reach if stretch == 1 else math.floor(2 * reach * stretch) + 2
    if axis.out * taps > _MAX_TABLE:
        return None
    with np.errstate(all="ignore"):
        c = COORDINATES[rule.coordinates](np.arange(axis.out, dtype=np.float32), axis)
    if not np.isfinite(c).all():
        return None
    outside = np.zeros(axis.out, bool)
    if rule.coordinates == "tf_crop_and_resize":
        outside = (c < 0) | (c > axis.size - 1)
    if not reach:
        index = NEAREST[rule.nearest](c, axis)[:, None]
        weight = np.ones((axis.out, 1))
    else:
        wide = c.astype(np.float64)
        first = np.floor(wide) + 1 - reach
        if stretch != 1:
            first = np.floor(wide + 1 - reach * stretch)
        index = first[:, None] + np.arange(taps)
        with np.errstate(all="ignore"):
            weight = kernel((index - wide[:, None]) / stretch, rule)
        if stretch != 1:  # onnxruntime's windows end with this tap
            weight[index >= np.floor(wide[:, None] + 1 + reach * stretch)] = 0
        if rule.exclude_outside:
            weight = np.where((index < 0) | (index >= axis.size), 0, weight)
        if rule.exclude_outside or stretch != 1:
            with np.errstate(all="ignore"):
                weight = weight / weight.sum(axis=1, keepdims=True)
    weight = np.where(outside[:, None], 0, weight)
    index = np.clip(index, 0, axis.size - 1)
    return Table(index.astype(np.int32), weight.astype(np.float32), outside)


# ---- importers --------------------------------------------------------------------------------


def _input(call: Call) -> Value:
    x = call.input(0)
    if not x.type.elements:
        raise call.error(f"has an empty input of shape {dims(x.shape)}")
    return x


def _resize(call: Call) -> Value:
    x = _input(call)
    rank = len(x.shape)
    if call.version < 11:
        scales = _scales(call, call.array(1, "scales"), rank)
        return _apply(call, x, _axes_by_scale(call, x, scales), _old_rule(call), 0.0)
    rule = Rule(
        mode=call.attr_string("mode", "nearest"),
        coordinates=call.attr_string("coordinate_transformation_mode", "half_pixel"),
        nearest=call.attr_string("nearest_mode", "round_prefer_floor"),
        cubic=call.attr_float("cubic_coeff_a", -0.75),
        exclude_outside=call.attr_flag("exclude_outside"),
        antialias=call.attr_flag("antialias"),
    )
    for what, name, known in (
        ("mode", rule.mode, ("nearest", *_KERNELS)),
        ("coordinate_transformation_mode", rule.coordinates, COORDINATES),
        ("nearest_mode", rule.nearest, NEAREST),
    ):
        if name not in known:
            raise call.error(f"has {what} {name[:30]!r}")
    chosen = tuple(range(rank))
    if call.has("axes"):
        chosen = call.axes(call.attr_ints("axes"), rank)
    roi = _roi(call, rule, chosen, rank)
    sizes = None if call.optional(3) is None else call.integers(3, "sizes")
    if sizes:
        axes = _axes_by_size(call, x, sizes, chosen, roi)
    else:
        given = _scales(call, call.array(2, "scales"), len(chosen))
        scales = np.ones(rank, np.float32)
        scales[list(chosen)] = given
        axes = _axes_by_scale(call, x, scales, roi)
    return _apply(call, x, axes, rule, call.attr_float("extrapolation_value", 0.0))


def _upsample(call: Call) -> Value:
    x = _input(call)
    if call.version < 9:
        attr = call.node.attrs["scales"]
        given = np.array(attr.floats, np.float32)
    else:
        given = call.array(1, "scales")
    scales = _scales(call, given, len(x.shape))
    return _apply(call, x, _axes_by_scale(call, x, scales), _old_rule(call), 0.0)


def _old_rule(call: Call) -> Rule:
    mode = call.attr_string("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise call.error(f"has mode {mode[:30]!r}")
    return Rule("nearest" if mode == "nearest" else "linear", "asymmetric", "")


def _scales(call: Call, array: np.ndarray, count: int) -> np.ndarray:
    if array.shape != (count,) or array.dtype != np.float32:
        raise call.error(f"has scales of shape {dims(array.shape)} for {count} axes")
    if not np.isfinite(array).all() or (array <= 0).any():
        raise call.error(f"has scales {array.tolist()}", hint="they must be positive")
    return array


def _roi(call: Call, rule: Rule, chosen: Sequence[int], rank: int) -> np.ndarray:
    """Starts and ends, float32 [2, rank]; the whole axis where the operator says nothing."""
    roi = np.stack([np.zeros(rank, np.float32), np.ones(rank, np.float32)])
    if rule.coordinates == "tf_crop_and_resize":
        given = call.array(1, "region of interest")
        if given.size != 2 * len(chosen):
            raise call.error(f"has a region of interest of shape {dims(given.shape)}")
        roi[:, list(chosen)] = given.reshape(2, -1)
    return roi


def _axes_by_scale(
    call: Call, x: Value, scales: np.ndarray, roi: np.ndarray | None = None
) -> list[Axis]:
    axes = []
    for number, (size, scale) in enumerate(zip(x.shape, scales)):
        share = (np.float32(0), np.float32(1)) if roi is None else (roi[0, number], roi[1, number])
        out = float(np.float32(size) * scale)
        if not 1 <= out < 2**31:
            raise call.error(f"scales axis {number} of {size} by {scale}")
        axes.append(Axis(size, int(out), scale, share))
    return axes


def _axes_by_size(
    call: Call, x: Value, sizes: Sequence[int], chosen: Sequence[int], roi: np.ndarray
) -> list[Axis]:
    if len(sizes) != len(chosen) or not all(1 <= size < 2**31 for size in sizes):
        raise call.error(f"has sizes {list(sizes)[:8]} for {len(chosen)} axes")
    wanted = dict(zip(chosen, sizes))
    scales = {axis: np.float32(size) / np.float32(x.shape[axis]) for axis, size in wanted.items()}
    policy = call.attr_string("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        if policy not in ("not_larger", "not_smaller"):
            raise call.error(f"has keep_aspect_ratio_policy {policy[:30]!r}")
        scale = (min if policy == "not_larger" else max)(scales.values())
        scales = dict.fromkeys(scales, scale)
        wanted = {axis: math.floor(float(scale * x.shape[axis]) + 0.5) for axis in wanted}
    return [
        Axis(
            size,
            wanted.get(number, size),
            scales.get(number, np.float32(1)),
            (roi[0, number], roi[1, number]),
        )
        for number, size in enumerate(x.shape)
    ]


def _apply(call: Call, x: Value, axes: Sequence[Axis], rule: Rule, extrapolation: float) -> Value:
    """Resize the axes that change, two at a time.

    Scales that leave every size as it is change nothing: the specification would still move
    coordinates, but onnxruntime does not.
    """
    shape = tuple(axis.out for axis in axes)
    if shape == x.shape and rule.coordinates != "tf_crop_and_resize":
        return x
    tables: dict[int, Table] = {}
    for number, axis in enumerate(axes):
        if axis.scale == 1 and axis.out == axis.size and tuple(map(float, axis.roi)) == (0, 1):
            continue
        made = table(axis, rule)
        if made is None:
            raise call.error(f"cannot make {axis.out} of axis {number}, which is {axis.size} long")
        tables[number] = made
    outside = {number: made for number, made in tables.items() if made.outside.any()}
    while tables:
        pair = sorted(tables)[-2:]
        x = _resize_pair(call, x, {number: tables.pop(number) for number in pair})
    if extrapolation and outside:
        call.make_room(shape, np.dtype(bool))
        mask = np.zeros(shape, bool)
        for number, made in outside.items():
            mask |= made.outside.reshape([-1 if i == number else 1 for i in range(len(shape))])
        x = call.add("Where", call.constant(mask), call.like(x, extrapolation), x)
    return x


def _resize_pair(call: Call, x: Value, tables: Mapping[int, Table]) -> Value:
    """Resize one or two axes of a tensor of any rank as H and W of a 4-D one."""
    rank = len(x.shape)
    pair = sorted(tables)
    if rank == 4 and len(pair) == 1 and pair[0] in (2, 3) and max(x.shape) <= _MAX_TABLE:
        pair = [2, 3]
    others = [number for number in range(rank) if number not in pair]
    perm = (*others, *pair)
    moved = call.transpose(x, perm)
    if rank == 4 and len(pair) == 2:
        plane = moved
    else:
        sizes = [1, *(x.shape[number] for number in pair)][-2:]
        plane = call.reshape(moved, (1, math.prod(x.shape[n] for n in others), *sizes))
    along = [tables.get(number) or Table.identity(x.shape[number]) for number in pair]
    y, z = [Table.identity(1), *along][-2:]
    if all((made.weight == 1).all() for made in tables.values()):  # picks elements, as they are
        plane = call.narrow_as_float(plane)
    resized = call.add(
        "Resize", plane, out_h=len(y.index), out_w=len(z.index),
        iy=y.index, ix=z.index, wy=y.weight, wx=z.weight,
    )  # fmt: skip
    resized = call.cast(resized, x.dtype)
    shape = [x.shape[number] for number in others] + [len(made.index) for made in along]
    return call.transpose(call.reshape(resized, shape), np.argsort(perm).tolist())


RESIZE: dict[str, Importer] = {"Resize": _resize, "Upsample": _upsample}
"""Importers by operator."""
