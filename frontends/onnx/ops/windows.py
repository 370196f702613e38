"""What convolutions and pools share: windows over one or two axes, and how they are padded.

The IR knows windows over H and W only. An operator on (N, C, L) works on (N, C, 1, L); the
helpers here add the missing leading entries. Windows over (D, H, W) are windows along D and windows
over H and W: of a pool, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from bnnc.frontends.onnx.call import Call
from bnnc.frontends.onnx.text import dims
from bnnc.ir.graph import Value

LARGEST = 2**31 - 1
"""No stride, dilation or pad is larger: the generated C counts in 32 bits."""

LARGEST_KERNEL = 2**15
"""No kernel is longer; padding would let a hostile one be of any size."""


@dataclass(frozen=True)
class Windows:
    """Windows over H and W.

    Attributes:
        sizes: H and W of the input.
        kernel: KH and KW.
        strides: along H and W.
        dilations: along H and W.
        pads: (top, left, bottom, right) as the model gives them, None where ``auto_pad`` decides.
        auto_pad: ``NOTSET``, ``SAME_UPPER``, ``SAME_LOWER`` or ``VALID``.
        aside: of three axes, D, H and W, those that are not the windows': none, D, or H and W.
    """

    sizes: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    auto_pad: str
    aside: tuple[int, ...] = ()

    @property
    def extents(self) -> tuple[int, int]:
        """How far a window reaches along H and W."""
        (kh, kw), (dh, dw) = self.kernel, self.dilations
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    @property
    def single(self) -> bool:
        """Whether each window is one element, and each element has one."""
        return self.kernel == self.strides == (1, 1) and not any(self.pads)

    @property
    def same(self) -> bool:
        """Whether the output's size follows from the input's and the stride alone."""
        return self.auto_pad.startswith("SAME")

    def same_pads(self) -> tuple[int, int, int, int]:
        """Pads that give ceil(size / stride) windows; the odd one goes below or above."""
        pairs = []
        for size, extent, stride in zip(self.sizes, self.extents, self.strides):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            pairs.append(self.split(total))
        (top, bottom), (left, right) = pairs
        return top, left, bottom, right

    def split(self, total: int) -> tuple[int, int]:
        """``total`` pads before and after."""
        small = total // 2
        return (total - small, small) if self.auto_pad == "SAME_LOWER" else (small, total - small)

    def explicit_pads(self) -> tuple[int, int, int, int]:
        """The pads of a convolution."""
        if self.same:
            return self.same_pads()
        return self.pads


def read_windows(call: Call, x: Value, kernel: Sequence[int]) -> Windows:
    """The windows of a node on ``x`` of shape (N, C, L) or (N, C, H, W).

    Raises:
        ModelError: if an attribute has the wrong length or a value out of range.
        UnsupportedError: for windows that extend over more than two axes.
    """
    return _windows(*_read_sides(call, x, kernel, most=2))


def read_volume(call: Call, x: Value, kernel: Sequence[int]) -> tuple[Windows, Windows]:
    """The windows of a node on ``x`` of shape (N, C, D, H, W): over H and W, and along D, as over
    columns of width 1.

    Raises:
        ModelError: as :func:`read_windows`.
    """
    (depth, *plane), auto_pad = _read_sides(call, x, kernel, most=3)
    along = _windows([depth, (1, 1, 1, 1, 0, 0)], auto_pad)
    return replace(_windows(plane, auto_pad), aside=(0,)), replace(along, aside=(1, 2))


def read_passes(call: Call, x: Value, kernel: Sequence[int]) -> list[Windows]:
    """The windows of a pool, which may as well go over H and W first and then along D.

    Raises:
        ModelError: as :func:`read_windows`.
    """
    if len(x.shape) != 5:
        return [read_windows(call, x, kernel)]
    passes = read_volume(call, x, kernel)
    return [windows for windows in passes if not windows.single] or [passes[0]]


_Side = tuple[int, int, int, int, int, int]
"""Along one axis: the input's size, kernel, stride, dilation, pads before and after."""


def _read_sides(call: Call, x: Value, kernel: Sequence[int], most: int) -> tuple[list[_Side], str]:
    """What the attributes say of each axis, and ``auto_pad``."""
    axes = len(x.shape) - 2
    if axes > most:
        raise call.unsupported(f"over {axes} axes is not supported; one or two are")
    if axes < 1:
        raise call.error(f"needs an input of 3 or 4 axes, but it is {dims(x.shape)}")

    def numbers(name: str, least: int, given: Sequence[int], count: int = axes) -> list[int]:
        most = LARGEST_KERNEL if name == "kernel" else LARGEST
        if len(given) == count and any(number > most for number in given):
            raise call.error(f"has {name} {list(given)}; none may be larger than {most}")
        if len(given) != count or not all(least <= number for number in given):
            raise call.error(
                f"has {name} {list(given)[:8]}; needs {count} numbers of at least {least}"
            )
        return list(given)

    auto_pad = call.attr_string("auto_pad", "NOTSET") or "NOTSET"
    if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise call.error(f"has auto_pad {auto_pad[:20]!r}")
    ones, zeros = [1] * axes, [0] * 2 * axes
    pads = call.attr_ints("pads", zeros) if auto_pad == "NOTSET" else zeros
    pads = numbers("pads", 0, pads, 2 * axes)
    sides = zip(
        x.shape[2:],
        numbers("kernel", 1, kernel),
        numbers("strides", 1, call.attr_ints("strides", ones)),
        numbers("dilations", 1, call.attr_ints("dilations", ones)),
        pads[:axes],
        pads[axes:],
    )
    return list(sides), auto_pad


def _windows(sides: Sequence[_Side], auto_pad: str) -> Windows:
    (h, w) = ([(1, 1, 1, 1, 0, 0), *sides])[-2:]
    size, wide, strides, dilations, before, after = zip(h, w)
    return Windows(size, wide, strides, dilations, (*before, *after), auto_pad)


def on_planes(
    call: Call, x: Value, apply: Callable[[Value], Value], aside: Sequence[int] = ()
) -> Value:
    """``apply`` on ``x`` as (N, C, H, W); the result has as many axes as ``x``.

    Args:
        aside: of ``x``'s axes D, H and W, if it has those, the ones that windows leave alone: D, or
            H and W.
    """
    if len(x.shape) == 4:
        return apply(x)
    if len(x.shape) == 3:
        batch, channels, length = x.shape
        y = apply(call.reshape(x, (batch, channels, 1, length)))
        return call.reshape(y, (*y.shape[:2], y.shape[3]))
    batch, channels, *volume = x.shape
    depth, *plane = volume
    if len(aside) == 2:
        y = apply(call.reshape(x, (batch, channels, depth, prod(plane))))
        return call.reshape(y, (batch, channels, y.shape[2], *plane))
    y = apply(call.reshape(x, (batch, channels * depth, *plane)))
    return call.reshape(y, (batch, channels, depth, *y.shape[2:]))
