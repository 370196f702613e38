"""Loading and running compiled models. Needs numpy, no compiler, no onnx, no torch."""

from __future__ import annotations

from bnnc.runtime.arrays import TensorInfo
from bnnc.runtime.library import Library
from bnnc.runtime.session import InferenceSession, load

__all__ = ["InferenceSession", "Library", "TensorInfo", "load"]
