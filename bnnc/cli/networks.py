"""What can stand in for a compiled library where detections are measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bnnc.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bnnc.detect.network import Network

_ARCHIVE = b"PK\x03\x04"  # what torch.save writes


def network_for(path: Path, *, threads: int | None = None) -> Network:
    """The network in a file, by what the file holds: a compiled library, a checkpoint of the
    training, which torch runs, or an ONNX model, which onnxruntime runs.

    Raises:
        LibraryError, InputError: if it cannot be loaded.
    """
    from bnnc.detect.network import network_of
    from bnnc.files import open_regular
    from bnnc.runtime import load
    from bnnc.runtime.library import is_library

    if is_library(path):
        return network_of(load(path, threads=threads))
    with open_regular(path) as file:
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE
    return _checkpoint(path, threads) if is_archive else _onnx(path, threads)


def _onnx(path: Path, threads: int | None) -> Network:
    from bnnc.analysis.bench import onnxruntime_session, onnxruntime_title
    from bnnc.detect.network import Network, picture_size

    session = onnxruntime_session(path, threads)
    inputs = session.get_inputs()
    height, width = picture_size(tuple(inputs[0].shape) if len(inputs) == 1 else ())
    names = [tensor.name for tensor in session.get_outputs()]
    metadata = session.get_modelmeta().custom_metadata_map

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {inputs[0].name: x})))

    return Network(onnxruntime_title(), metadata, height, width, False, run)


def _checkpoint(path: Path, threads: int | None) -> Network:
    from bnnc.detect.network import Network

    try:
        import torch

        from bnnc.zoo import checkpoint
    except ModuleNotFoundError as error:
        raise InputError(
            f"needs the package {error.name}", file=path, hint="pip install 'bnnc[train]'"
        ) from error
    held = checkpoint.load(path)
    if threads is not None:
        torch.set_num_threads(threads)
    title = f"torch {torch.__version__}"
    predict = held.network().predict
    return Network(title, held.metadata, held.height, held.width, False, predict)
