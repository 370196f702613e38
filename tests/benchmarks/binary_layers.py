"""Speed of the binary convolution kernels, layer by layer.

    python -m tests.benchmarks.binary_layers [--isa avx512] [--kernel planar] [--layers 64@62,64@64]

Prints the best time in ms and multiply-adds a cycle, with a threshold ("thr": bits to bits) and
with the residual block's epilogue ("res": ReLU, affine, add, store, sign) in place. Cycles are
counted with a chain of additions timed beside, which runs at one a cycle. Pin it to one core
(taskset), and let nothing else run. A layer is timed in parts, each at its best, since on a shared
machine no long run is undisturbed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from bnnc.codegen.packing import bits
from bnnc.ir.layout import BITS_NHWC, BITS_PLANAR, pack, stored_bytes
from bnnc.ir.types import DType, TensorType
from tests.kernels import harness
from tests.kernels.harness import Arguments, Epilogue, Isa, aligned


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution of stride 1 and pads 1 between square maps of as many channels."""

    channels: int
    size: int

    @property
    def macs(self) -> int:
        return 9 * self.channels**2 * self.size**2

    def __str__(self) -> str:
        return f"{self.channels}ch@{self.size}"


PARTS = 8
LAYERS = (
    Layer(64, 128),
    Layer(128, 128),
    Layer(256, 64),
    Layer(324, 32),
    Layer(512, 16),
    Layer(128, 64),
    Layer(256, 32),
    Layer(162, 32),
    Layer(256, 16),
)


def arguments(layer: Layer, kernel: str, residual: bool) -> Arguments:
    """Random operands; the residual is updated in place."""
    rng = np.random.default_rng(0)
    c, size = layer.channels, layer.size
    planar = kernel == "planar"
    layout = BITS_PLANAR if planar else BITS_NHWC
    b1 = TensorType(DType.B1, (1, c, size, size))
    weights = rng.random((c, c, 3, 3)) < 0.5
    out = aligned(stored_bytes(b1, layout))
    if residual:
        stream = aligned(c * size * size, np.float32).reshape(c, size, size)
        stream[:] = rng.standard_normal(stream.shape)
        # Small numbers, so that the stream does not grow without bound from run to run.
        a, b = (1e-3 * rng.standard_normal((2, c))).astype(np.float32)
        steps: list[tuple[str, dict[str, Any]]] = [
            ("relu", {}),
            ("affine", {"a": a, "b": b}),
            ("add", {"a": stream}),
            ("store", {"out": stream}),
            ("sign", {"a": np.zeros(c, np.float32), "compare": "ge", "layout": layout, "out": out}),
        ]
    else:
        thresholds = rng.integers(-30, 30, c, np.int32)
        flips = np.zeros(c, np.uint8)
        steps = [("threshold", {"a": thresholds, "b": flips, "layout": layout, "out": out})]
    return Arguments(
        "bnnc_binary_conv_args",
        shape={
            **{"batch": 1, "groups": 1, "ic": c, "ih": size, "iw": size},
            **{"oc": c, "oh": size, "ow": size, "kh": 3, "kw": 3, "stride_h": 1, "stride_w": 1},
            **{"pad_top": 1, "pad_left": 1, "dilation_h": 1, "dilation_w": 1},
        },
        x=_aligned_copy(pack(rng.random(b1.shape) < 0.5, b1, layout)),
        w=_weights(bits.pack_planar(weights) if planar else bits.pack_nhwc(weights)),
        pad=1,
        epilogue=Epilogue(steps, c, size, size),
    )


def _weights(packed: np.ndarray) -> np.ndarray:
    """With others behind them, as in a model: they are asked for ahead, and asking for memory that
    does not exist takes long."""
    return _aligned_copy(np.append(packed, np.zeros(4096, packed.dtype)))


def _aligned_copy(array: np.ndarray) -> np.ndarray:
    made = aligned(array.size, array.dtype)
    made[:] = array.reshape(-1)
    return made


@functools.cache
def _clock() -> Any:
    source = Path(__file__).with_name("clock.c")
    library = harness.link_cached([harness.compile_cached(source, ["-O2", "-fPIC"])])
    ffi = cffi.FFI()
    ffi.cdef("double clock_hz(void);")
    return ffi.dlopen(str(library))


def best(isa: Isa, kernel: str, args: Arguments, repeats: int) -> tuple[float, float]:
    """The shortest of ``repeats`` runs in seconds, and the highest clock rate seen between them."""
    entry = getattr(isa.table, f"binary_conv_{kernel}")
    units = entry.units(args.pointer)
    ffi, _ = harness.library()
    memory = aligned(harness.SCRATCH_BYTES)
    scratch = ffi.cast("void *", memory.ctypes.data)
    cuts = [units * part // PARTS for part in range(PARTS + 1)]
    ranges = [(begin, end) for begin, end in itertools.pairwise(cuts) if begin < end]
    shortest, clock = [float("inf")] * len(ranges), 0.0
    for _ in range(repeats):
        for part, (begin, end) in enumerate(ranges):
            start = time.perf_counter()
            entry.run(args.pointer, begin, end, scratch)
            shortest[part] = min(shortest[part], time.perf_counter() - start)
        clock = max(clock, _clock().clock_hz())
    return sum(shortest), clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", choices=harness.ISAS, action="append")
    parser.add_argument("--kernel", choices=("nhwc", "planar"), action="append")
    parser.add_argument(
        "--layers",
        type=_layers,
        default=LAYERS,
        metavar="C@S,...",
        help="channels and size of square maps (default: those of the paper's networks)",
    )
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    for name in options.isa or reversed(harness.ISAS):
        isa = harness.isa(name)
        if isa is None:
            continue
        for kernel in options.kernel or ("planar", "nhwc"):
            print(f"{name} {kernel}:      thr ms  MAC/cycle      res ms  MAC/cycle")
            for layer in options.layers:
                line = f"  {layer!s:16}"
                for residual in (False, True):
                    args = arguments(layer, kernel, residual)
                    seconds, clock = best(isa, kernel, args, options.repeats)
                    line += f" {seconds * 1e3:9.3f} {layer.macs / seconds / clock:10.0f}   "
                print(line, flush=True)


def _layers(text: str) -> tuple[Layer, ...]:
    pairs = (word.split("@") for word in text.split(","))
    return tuple(Layer(int(channels), int(size)) for channels, size in pairs)


if __name__ == "__main__":
    main()
