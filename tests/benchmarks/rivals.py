"""Engines to measure, and how each runs a network or a piece of one.

Before an engine's time counts, it computes each piece of the network on random numbers, and is left
out if its results are not numpy's.
"""

from __future__ import annotations

import importlib.metadata
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnnc.errors import BnncError
from tests.benchmarks.pieces import Piece

Run = Callable[[], Sequence[np.ndarray]]
"""One inference; gives NCHW arrays."""

_F32, _BF16, _INT8 = 1e-4, 3e-2, 3e-1
"""Errors allowed, relative to a tensor's largest magnitude."""


class LeftOut(Exception):
    """Why an engine is not measured."""


@dataclass(frozen=True)
class Sample:
    """A piece, numbers to feed it, and what comes out."""

    piece: Piece
    feeds: list[np.ndarray]
    results: list[np.ndarray]


def samples(network: Piece, seed: int = 0) -> list[Sample]:
    """One sample of each piece of ``network``."""
    rng = np.random.default_rng(seed)
    made = []
    for piece in network.pieces():
        feeds = [rng.standard_normal(v.shape, np.float32) for v in piece.inputs]
        made.append(Sample(piece, feeds, piece.compute(dict(zip(piece.inputs, feeds)))))
    return made


@dataclass(frozen=True)
class Rival:
    """An engine in one setting.

    Attributes:
        title: what to call it.
        package: where it comes from.
        tolerance: how far off its results may be, relative to the largest.
        build: a piece, its inputs and a number of threads to a run.
    """

    title: str
    package: str
    tolerance: float
    build: Callable[[Piece, Sequence[np.ndarray], int], Run]

    def prepare(
        self, network: Piece, feeds: Sequence[np.ndarray], threads: int, checks: Sequence[Sample]
    ) -> Run:
        """A run of ``network``.

        Raises:
            LeftOut: if the engine is not installed, or computes one of ``checks`` wrongly.
        """
        if version(self.package) is None:
            raise LeftOut("is not installed")
        for check in checks:
            found = self.build(check.piece, check.feeds, threads)()
            for value, one, other in zip(check.piece.outputs, found, check.results):
                error = np.abs(one - other).max() / np.abs(other).max()
                if not error <= self.tolerance:
                    raise LeftOut(f"computes {value.name} wrongly, by {error:.1e} of the largest")
        return self.build(network, feeds, threads)


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _onnxruntime(piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
    return _onnxruntime_run(piece.onnx(), piece, feeds, threads)


def _onnxruntime_int8(piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
    """Quantised as onnxruntime's own tool does it by default, with a scale for each channel of
    weights; calibrated on ``feeds``."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            given = {value.name: feed for value, feed in zip(piece.inputs, feeds)}
            self._left = [given]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self._left.pop() if self._left else None

    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder) / "plain.onnx", Path(folder) / "quantised.onnx"
        plain.write_bytes(piece.onnx())
        logging.disable(logging.WARNING)  # it has advice on every layer
        try:
            quantization.quantize_static(
                plain,
                quantised,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
            )
        finally:
            logging.disable(logging.NOTSET)
        return _onnxruntime_run(quantised.read_bytes(), piece, feeds, threads)


def _onnxruntime_run(model: bytes, piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    given = {value.name: feed for value, feed in zip(piece.inputs, feeds)}
    return lambda: session.run(None, given)


def _openvino(binary: bool, precision: str = "") -> Callable[..., Run]:
    """OpenVINO at the precision it chooses, or at ``precision``."""

    def build(piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
        import openvino

        from tests.benchmarks import openvino_binary

        core = openvino.Core()
        model: Any = openvino_binary.model(piece) if binary else core.read_model(piece.onnx())
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        settings["INFERENCE_NUM_THREADS"] = threads
        if precision:
            settings["INFERENCE_PRECISION_HINT"] = precision
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        for k, feed in enumerate(feeds):
            request.set_input_tensor(k, openvino.Tensor(feed, shared_memory=True))

        def run() -> list[np.ndarray]:
            request.infer()
            return [request.get_output_tensor(k).data for k in range(len(piece.outputs))]

        return run

    return build


def _ncnn(piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
    import ncnn

    from tests.benchmarks import ncnn_text

    net = ncnn_text.Net(piece, threads)
    # Copies: ncnn's alignment, and it computes in place in what it does not own.
    given = [ncnn.Mat(feed[0]).clone() for feed in feeds]
    return lambda: net.run(given)


def _larq(piece: Piece, feeds: Sequence[np.ndarray], threads: int) -> Run:
    from tests.benchmarks import larq

    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        raise LeftOut(f"takes arrays of numpy 1 only, not of {np.__version__}")
    engine = larq.interpreter(piece, threads)
    given = [np.ascontiguousarray(np.moveaxis(feed, 1, -1)) for feed in feeds]
    return lambda: [np.moveaxis(array, -1, 1) for array in engine.predict(given)]


RIVALS = {
    "onnxruntime": Rival("onnxruntime, fp32", "onnxruntime", _F32, _onnxruntime),
    "onnxruntime-int8": Rival("onnxruntime, int8 (QDQ)", "onnxruntime", _INT8, _onnxruntime_int8),
    "larq": Rival("Larq Compute Engine", "larq-compute-engine", _F32, _larq),
    "ncnn": Rival("ncnn", "ncnn", _F32, _ncnn),
    "openvino": Rival("OpenVINO", "openvino", _BF16, _openvino(False)),
    "openvino-binary-f32": Rival(
        "OpenVINO, BinaryConvolution, fp32 rest", "openvino", _F32, _openvino(True, "f32")
    ),
    "openvino-binary-bf16": Rival(
        "OpenVINO, BinaryConvolution, bf16 rest", "openvino", _BF16, _openvino(True, "bf16")
    ),
}
BASELINE = "onnxruntime"

BNNC = {"bnnc": None, "bnnc-avx2": "avx2", "bnnc-portable": "portable"}
"""bnnc's contestants, and the instruction set each is held to."""


def bnnc_run(
    library: Path, network: Piece, feeds: Sequence[np.ndarray], threads: int, isa: str | None
) -> Callable[[], object]:
    """A run of a compiled network.

    Raises:
        LeftOut: if this machine lacks ``isa``, or the library computes wrongly.
    """
    import bnnc
    from bnnc.analysis import bench
    from bnnc.analysis.verify import verify

    given = {value.name: feed for value, feed in zip(network.inputs, feeds)}
    try:
        session = bnnc.load(library, threads=threads, isa=isa)
        result = verify(network.graph, session, [given])
    except BnncError as error:
        raise LeftOut(str(error)) from None
    if not result.good:
        wrong = ", ".join(check.name for check in result.failures[:3])
        raise LeftOut(f"computes {len(result.failures)} tensors wrongly: {wrong}")
    return bench.own_run(session, given)
