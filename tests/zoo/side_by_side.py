"""Running ONNX files in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime


def run_onnx(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """The outputs of ``model``, which has one input, in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})
