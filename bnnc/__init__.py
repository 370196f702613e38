"""bnnc: a compiler for binary neural networks. ONNX or PyTorch in, a small fast library out.

>>> session = bnnc.compile("model.onnx", "det.so")
>>> session = bnnc.load("det.so", threads=2)
>>> outputs = session(x)
>>> bnnc.stats("model.onnx").total.binarization_ratio

Everything is loaded when first used: a machine that only runs compiled models imports no compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bnnc.errors import (
    BnncError,
    InputError,
    LibraryError,
    ModelError,
    ToolchainError,
    UnsupportedError,
)
from bnnc.version import VERSION

if TYPE_CHECKING:
    from bnnc.analysis.statistics import Statistics
    from bnnc.compiler import compile
    from bnnc.detect.detector import Detector
    from bnnc.runtime import InferenceSession, load

__version__ = VERSION
__all__ = [
    "BnncError",
    "Detector",
    "InferenceSession",
    "InputError",
    "LibraryError",
    "ModelError",
    "ToolchainError",
    "UnsupportedError",
    "compile",
    "get_include",
    "load",
    "stats",
]

_HOMES = {
    "Detector": "bnnc.detect.detector",
    "InferenceSession": "bnnc.runtime",
    "compile": "bnnc.compiler",
    "load": "bnnc.runtime",
}


def stats(model: Any, *, convention: str = "executed", **options: Any) -> Statistics:
    """Multiply-adds, binarisation ratio, equivalent FLOP, parameters and bytes of a model.

    >>> bnnc.stats("model.onnx", convention="paper").total.binarization_ratio

    Args:
        model: an ONNX file, its bytes, an ``onnx.ModelProto``, a ``torch.nn.Module``, or a
            compiled library.
        convention: ``executed`` counts what a run executes, ``paper`` counts as the paper does.
        options: ``shapes``, ``example_inputs``, ``sign_zero``, ``input_u8`` as for
            :func:`compile`; a compiled library has them settled.

    Raises:
        ModelError, UnsupportedError, LibraryError, InputError: if the model cannot be read.
    """
    import os

    from bnnc.analysis.statistics import Statistics, check_convention, statistics

    check_convention(convention)
    if isinstance(model, (str, os.PathLike)):
        from bnnc.runtime.library import Library, is_library

        if is_library(model):
            info = Library(model).info
            return Statistics.of_document(info.get("statistics", {}).get(convention, {}))
    from bnnc.compiler import reference_graph

    graph, _ = reference_graph(model, **options)
    return statistics(graph, convention)


def get_include() -> str:
    """The folder of ``bnnc.h``, the interface of every compiled library, for a C compiler's -I."""
    from bnnc.toolchain import runtime_sources

    return str(runtime_sources.folder())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bnnc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
