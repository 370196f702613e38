"""Speed of the float kernels on the layers of the paper's networks.

    python -m tests.benchmarks.float_layers [--isa avx512] [--only conv] [--repeats 50]

Prints GMAC/s and the share of the multiply-adds a core can do, which is measured beside. Times are
the thread's own (CPU time), so that others on the machine disturb them only through the caches.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cffi
import numpy as np

from bnnc.codegen.packing import floats
from tests.kernels import harness
from tests.kernels.harness import Arguments, Epilogue, Isa, aligned


@dataclass(frozen=True)
class Layer:
    """A layer to time: a kernel's name, its geometry, and how many of its steps are fused."""

    kernel: str
    ic: int
    oc: int
    size: int  # of the input
    kernel_size: int
    stride: int = 1
    pad: int = 0
    steps: tuple[str, ...] = ("relu", "store")
    groups: int = 1
    tile: int = 0  # of Winograd's transposed convolution
    expand: bool = False  # whether that transforms its weights itself

    @property
    def out_size(self) -> int:
        if self.kernel.startswith("conv_transpose_f32"):
            return self.size * self.stride
        return -(-self.size // self.stride)

    @property
    def macs(self) -> int:
        size = self.size if self.kernel.startswith("conv_transpose_f32") else self.out_size
        return size**2 * self.kernel_size**2 * self.ic * self.oc // self.groups

    def __str__(self) -> str:
        kind = f"{self.kernel_size}x{self.kernel_size}"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        steps = "+".join(self.steps)
        tile = f" by {self.tile}" if self.tile else ""
        tile += " expanded" if self.expand else ""
        return f"{self.kernel}{tile} {kind}{stride} {self.ic}->{self.oc}@{self.size} {steps}"


RESIDUAL = ("relu", "affine", "add", "store", "sign")
LAYERS = (
    Layer("conv_f32", 32, 96, 128, 3, pad=1),
    Layer("conv_f32", 16, 192, 128, 3, pad=1),
    Layer("conv_f32", 4, 192, 128, 3, pad=1),
    Layer("conv_f32", 3, 32, 512, 3, 2, 1),
    Layer("conv_f32", 3, 16, 512, 3, 2, 1),
    Layer("conv_f32", 32, 128, 128, 1),
    Layer("conv_f32", 32, 128, 128, 1, steps=("store", "sign")),
    Layer("conv_f32", 16, 64, 128, 1, steps=("store", "sign")),
    Layer("conv_f32", 64, 128, 64, 1, steps=("store", "sign")),
    Layer("conv_f32", 128, 256, 64, 1, steps=("store", "sign")),
    Layer("conv_f32", 256, 324, 32, 1, steps=("store", "sign")),
    Layer("conv_f32", 324, 512, 16, 1, steps=("store", "sign")),
    Layer("conv_f32", 256, 512, 16, 1, steps=("store", "sign")),
    Layer("conv_f32", 96, 24, 128, 1, steps=("store",)),
    Layer("conv_f32", 32, 20, 128, 1, steps=("store",)),
    Layer("conv_f32", 32, 2, 128, 1, steps=("store",)),
    Layer("conv_f32", 64, 64, 128, 3, pad=1, steps=RESIDUAL),
    Layer("conv_f32", 256, 256, 32, 3, pad=1, steps=RESIDUAL),
    Layer("conv_f32", 512, 512, 16, 3, pad=1, steps=RESIDUAL),
    Layer("conv_f32_winograd", 32, 96, 128, 3, pad=1),
    Layer("conv_f32_winograd", 16, 192, 128, 3, pad=1),
    Layer("conv_f32_winograd", 4, 192, 128, 3, pad=1),
    Layer("conv_f32_winograd", 64, 64, 128, 3, pad=1, steps=RESIDUAL),
    Layer("conv_transpose_f32", 512, 64, 16, 2, 2),
    Layer("conv_transpose_f32", 64, 64, 32, 2, 2),
    Layer("conv_transpose_f32", 64, 32, 64, 2, 2),
    Layer("conv_transpose_f32", 512, 32, 16, 4, 2, 1),
    Layer("conv_transpose_f32", 32, 16, 32, 4, 2, 1),
    Layer("conv_transpose_f32", 16, 4, 64, 4, 2, 1),
    Layer("conv_transpose_f32", 512, 128, 16, 4, 2, 1),
    *(
        Layer("conv_transpose_f32_winograd", ic, oc, size, 4, 2, 1, tile=tile)
        for ic, oc, size in ((512, 32, 16), (256, 64, 16), (64, 32, 32), (32, 16, 32), (16, 4, 64))
        for tile in (2, 4)
        if ic <= 256 or tile == 2
    ),
    Layer("conv_transpose_f32_winograd", 256, 64, 16, 4, 2, 1, tile=4, expand=True),
    Layer("depthwise_f32", 32, 32, 256, 3, 2, 1, ("store",), 32),
    Layer("depthwise_f32", 16, 16, 256, 3, 2, 1, ("store",), 16),
    Layer("depthwise_f32", 64, 64, 127, 3, 2, 1, ("store",), 64),
    Layer("depthwise_f32", 64, 64, 128, 3, 1, 1, ("store",), 64),
    Layer("depthwise_f32", 16, 16, 64, 3, 1, 1, ("store",), 16),
    Layer("depthwise_f32", 16, 16, 64, 3, 2, 1, ("store",), 16),
)


def arguments(layer: Layer) -> Arguments:
    """Random operands for ``layer``."""
    rng = np.random.default_rng(0)
    k, out = layer.kernel_size, layer.out_size

    def random(*shape: int) -> np.ndarray:
        made = aligned(int(np.prod(shape)), np.float32).reshape(shape)
        made[:] = rng.standard_normal(shape)
        return made

    weights = random(layer.oc, layer.ic // layer.groups, k, k)
    if layer.kernel == "depthwise_f32":
        packed = weights
    elif layer.tile:
        packed = floats.pack_conv_transpose_winograd(
            weights.swapaxes(0, 1), (layer.pad, layer.pad), layer.tile, expand=layer.expand
        )
    elif layer.kernel == "conv_transpose_f32":
        swapped = np.ascontiguousarray(weights.swapaxes(0, 1))
        packed = floats.pack_conv_transpose(swapped, layer.groups, (layer.stride, layer.stride))
    elif layer.kernel == "conv_f32_winograd":
        packed = floats.pack_conv_winograd(weights)
    else:
        packed = floats.pack_conv(weights, layer.groups)
    steps = []
    for kind in layer.steps:
        fields: dict[str, object] = {}
        if kind == "affine":
            fields = {"a": random(layer.oc), "b": random(layer.oc)}
        elif kind == "add":
            fields = {"a": random(layer.oc, out, out)}
        elif kind == "store":
            fields = {"out": random(layer.oc, out, out)}
        elif kind == "sign":
            plane = 64 * (-(-(64 + (out + 2) * -(-out // 8) + 128) // 64))
            fields = {"a": random(layer.oc), "compare": "ge", "layout": "bits_planar"}
            fields["out"] = aligned(layer.oc * plane)
        steps.append((kind, fields))
    shape = {
        **{"batch": 1, "groups": layer.groups, "ic": layer.ic, "oc": layer.oc},
        **{"ih": layer.size, "iw": layer.size, "oh": out, "ow": out, "kh": k, "kw": k},
        **{"stride_h": layer.stride, "stride_w": layer.stride},
        **{"pad_top": layer.pad, "pad_left": layer.pad, "dilation_h": 1, "dilation_w": 1},
    }
    return Arguments(
        "bnnc_conv_f32_args",
        shape=shape,
        x=random(layer.ic, layer.size, layer.size),
        w=aligned_copy(packed),
        bias=random(layer.oc),
        tile=layer.tile,
        expand=int(layer.expand),
        epilogue=Epilogue(steps, layer.oc, out, out),
    )


def aligned_copy(array: np.ndarray) -> np.ndarray:
    made = aligned(array.size, np.float32)
    made[:] = array.reshape(-1)
    return made


@functools.cache
def peak(isa: str) -> Callable[[], float]:
    """A function that measures multiply-adds a second."""
    source = Path(__file__).with_name("peak.c")
    library = harness.link_cached([harness.compile_cached(source, ["-O2", "-fPIC"])])
    ffi = cffi.FFI()
    ffi.cdef(f"double peak_{isa}(void);")
    loaded = ffi.dlopen(str(library))
    return lambda: float(getattr(loaded, f"peak_{isa}")())


def best(isa: Isa, layer: Layer, repeats: int) -> tuple[float, float]:
    """The shortest of ``repeats`` runs in seconds, and the peak measured between them."""
    args = arguments(layer)
    entry = getattr(isa.table, layer.kernel)
    units = entry.units(args.pointer)
    ffi, _ = harness.library()
    memory = aligned(harness.SCRATCH_BYTES)
    scratch = ffi.cast("void *", memory.ctypes.data)
    shortest, most = float("inf"), 0.0
    for _ in range(repeats):
        start = time.thread_time()
        entry.run(args.pointer, 0, units, scratch)
        shortest = min(shortest, time.thread_time() - start)
        most = max(most, peak(isa.name)())
    return shortest, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", choices=harness.ISAS, action="append")
    parser.add_argument("--only", default="", help="layers whose name contains this")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    layers = [layer for layer in LAYERS if options.only in str(layer)]
    for name in options.isa or harness.ISAS:
        isa = harness.isa(name)
        if isa is None:
            continue
        print(f"{name}: peak {peak(name)() / 1e9:.1f} GMAC/s")
        for layer in layers:
            seconds, most = best(isa, layer, options.repeats)
            rate = layer.macs / seconds
            print(
                f"  {layer!s:60} {seconds * 1e3:7.3f} ms {rate / 1e9:6.1f} GMAC/s"
                f" {100 * rate / most:4.0f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
