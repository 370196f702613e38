"""What tests of the float kernels share: references, random epilogues, and their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from harness import Epilogue, Guarded
from hypothesis import strategies as st

from bnnc.ir.epilogue import COMPARES
from bnnc.ir.layout import LAYOUTS, stored_bytes, unpack
from bnnc.ir.types import DType, TensorType

PROGRAMS = (
    ("store",),
    ("relu", "store"),
    ("relu", "affine", "add", "store", "sign_planar"),
    ("store", "sign_nhwc"),
    ("relu", "store", "sign_planar"),
    ("affine", "sign_nhwc", "store"),
    ("sign_planar",),
    ("prelu", "mul", "store"),
    ("scale", "clip", "sign_planar", "relu", "store", "sign_nhwc"),
)
"""Epilogues to try: steps in order."""


@dataclass
class Case:
    """An epilogue over random operands, the outputs it fills, and what they should hold."""

    program: tuple[str, ...]
    shape: tuple[int, ...]
    rng: np.random.Generator
    outputs: list[tuple[str, Guarded, dict[str, Any]]] = field(default_factory=list)

    def epilogue(self) -> Epilogue:
        """Make the operands and outputs for a result of ``shape`` (N, C, H, W)."""
        n, c, h, w = self.shape
        b1 = TensorType(DType.B1, self.shape)
        steps: list[tuple[str, dict[str, Any]]] = []
        for name in self.program:
            kind, _, layout = name.partition("_")
            fields: dict[str, Any] = {}
            if kind in ("affine", "prelu", "sign"):
                fields["a"] = self._random(c)
            if kind == "affine":
                fields["b"] = self._random(c)
            if kind in ("add", "mul"):
                fields["a"] = self._random(*self.shape)
            if kind == "scale":
                fields["a"] = self._random(n, c)
            if kind == "clip":
                fields.update(low=-0.5, high=0.75)
            if kind == "store":
                made = Guarded(self.shape, np.float32, align=4)
                fields["out"] = made.array
                self.outputs.append((kind, made, fields))
            if kind == "sign":
                fields["layout"] = f"bits_{layout}"
                fields["compare"] = str(self.rng.choice(list(COMPARES)))
                made = Guarded(stored_bytes(b1, fields["layout"]), np.uint8)
                fields["out"] = made.array
                self.outputs.append((kind, made, fields))
            steps.append((kind, fields))
        self.steps = steps
        return Epilogue(steps, c, h, w)

    def check(self, raw: np.ndarray) -> None:
        """Assert that every output holds what the steps make of ``raw`` (float64 [N, C, H, W])."""
        v = raw
        scale = max(1.0, float(np.abs(raw).max()))
        for kind, fields in self.steps:
            a = self._spread(fields.get("a"))
            if kind == "affine":
                v = v * a + self._spread(fields["b"])
            elif kind == "relu":
                v = np.maximum(v, 0)
            elif kind == "prelu":
                v = np.where(v >= 0, v, v * a)
            elif kind == "clip":
                v = np.clip(v, fields["low"], fields["high"])
            elif kind == "add":
                v = v + a
            elif kind in ("mul", "scale"):
                v = v * a
            elif kind == "store":
                found = next(made for _, made, f in self.outputs if f is fields).check()
                np.testing.assert_allclose(found, v, rtol=2e-5, atol=2e-5 * scale)
            else:
                assert kind == "sign"
                made = next(made for _, made, f in self.outputs if f is fields)
                b1 = TensorType(DType.B1, self.shape)
                bits = unpack(made.check(), b1, fields["layout"])
                sure = np.abs(v - a) > 2e-5 * scale
                expected = COMPARES[fields["compare"]](v, a)
                np.testing.assert_array_equal(bits[sure], expected[sure])
                assert fields["layout"] in LAYOUTS

    def raw_outputs(self) -> list[bytes]:
        """The outputs' bytes, to compare two runs."""
        return [made.array.tobytes() for _, made, _ in self.outputs]

    def _random(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def _spread(self, a: np.ndarray | None) -> np.ndarray:
        """A vector, gate or tensor, to broadcast against (N, C, H, W)."""
        if a is None:
            return np.zeros(())
        return a if a.ndim == 4 else a.reshape(*a.shape, 1, 1)


def programs() -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(PROGRAMS)


def splits() -> st.SearchStrategy[list[float]]:
    """Where a test cuts a kernel's units."""
    return st.lists(st.floats(0, 1), max_size=3)


@dataclass(frozen=True)
class Geometry:
    """A 2-D convolution; pads are top, left, bottom, right."""

    batch: int
    groups: int
    ic: int
    oc: int
    ih: int
    iw: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def oh(self) -> int:
        extent = self.dilations[0] * (self.kernel[0] - 1) + 1
        return (self.ih + self.pads[0] + self.pads[2] - extent) // self.strides[0] + 1

    @property
    def ow(self) -> int:
        extent = self.dilations[1] * (self.kernel[1] - 1) + 1
        return (self.iw + self.pads[1] + self.pads[3] - extent) // self.strides[1] + 1

    def struct(self, **changes: int) -> dict[str, int]:
        """The fields of a bnnc_conv_shape."""
        fields = {
            "batch": self.batch,
            "groups": self.groups,
            "ic": self.ic,
            "ih": self.ih,
            "iw": self.iw,
            "oc": self.oc,
            "oh": self.oh,
            "ow": self.ow,
            "kh": self.kernel[0],
            "kw": self.kernel[1],
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
            "pad_top": self.pads[0],
            "pad_left": self.pads[1],
            "dilation_h": self.dilations[0],
            "dilation_w": self.dilations[1],
        }
        return fields | changes

    def windows(self, x: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """float64 [KH, KW, N, C, OH, OW]: the inputs under each tap, ``fill`` outside."""
        top, left, bottom, right = self.pads
        padded = np.pad(
            x.astype(np.float64),
            ((0, 0), (0, 0), (top, bottom), (left, right)),
            constant_values=fill,
        )
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.strides, self.dilations
        rows = [slice(k * dh, k * dh + (self.oh - 1) * sh + 1, sh) for k in range(kh)]
        columns = [slice(k * dw, k * dw + (self.ow - 1) * sw + 1, sw) for k in range(kw)]
        return np.stack([[padded[:, :, r, c] for c in columns] for r in rows])


def geometries(
    channels: st.SearchStrategy[int], max_groups: int = 3, max_size: int = 40
) -> st.SearchStrategy[Geometry]:
    """Random convolutions with at least one output pixel; ``channels`` is per group."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> Geometry:
        groups = draw(st.integers(1, max_groups))
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (2, 2), (1, 3), (5, 4), (2, 1)]))
        dilations = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
        least = [d * (k - 1) + 1 for d, k in zip(dilations, kernel)]
        pads = tuple(draw(st.integers(0, least[i % 2])) for i in range(4))
        size = [
            draw(st.integers(max(1, least[i] - pads[i] - pads[i + 2]), max_size)) for i in (0, 1)
        ]
        return Geometry(
            batch=draw(st.integers(1, 2)),
            groups=groups,
            ic=groups * draw(channels),
            oc=groups * draw(channels),
            ih=size[0],
            iw=size[1],
            kernel=kernel,
            strides=draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (1, 3)])),
            dilations=dilations,
            pads=pads,  # type: ignore[arg-type]
        )

    return draw_one()
