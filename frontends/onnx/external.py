"""External data: tensors kept in files beside the model, and nowhere else."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import numpy as np
from onnx import TensorProto

from bnnc.errors import ModelError
from bnnc.frontends.onnx.text import quote


def read_external(tensor: TensorProto, folder: Path | None, size: int) -> np.ndarray:
    """The ``size`` bytes of ``tensor`` that lie in a file of the model's folder.

    Returns:
        A uint8 array of shape (size,).

    Raises:
        ModelError: if the file is outside the folder by any road, missing, or too short.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(
            f"tensor {quote(tensor.name)} is in the file {quote(location)}, but the model was "
            "given without its folder",
            hint="give the model as a path, or with its external data loaded",
        )
    offset = _number(entries, "offset", 0, tensor)
    length = _number(entries, "length", size, tensor)
    if length != size:
        raise ModelError(
            f"tensor {quote(tensor.name)} takes {size} bytes, but its external data is said to "
            f"have {length}"
        )
    path = _inside(folder, location, tensor)
    try:
        with open(path, "rb") as file:
            if offset + size > os.fstat(file.fileno()).st_size:
                raise ModelError(
                    f"external data {quote(location)} ends before tensor {quote(tensor.name)} does",
                    hint="copy the file anew",
                )
            file.seek(offset)
            return np.fromfile(file, np.uint8, size)
    except OSError as error:
        raise ModelError(f"external data {quote(location)}: {error.strerror}") from None


def _number(entries: dict[str, str], key: str, default: int, tensor: TensorProto) -> int:
    text = entries.get(key, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ModelError(f"tensor {quote(tensor.name)} has an external {key} of {quote(text)}")
    return int(text)


def _inside(folder: Path, location: str, tensor: TensorProto) -> str:
    """The real path of ``location``, which must be a regular file in ``folder``."""
    outside = ModelError(
        f"tensor {quote(tensor.name)} is in {quote(location)}, outside the model's folder",
        hint="put the file beside the model",
    )
    if not location or "\0" in location:
        raise ModelError(f"tensor {quote(tensor.name)} does not say which file its data is in")
    parts = re.split(r"[/\\]", location)
    if parts[0] == "" or re.match("[A-Za-z]:", location) or ".." in parts:
        raise outside
    try:
        root = os.path.realpath(folder)
        path = os.path.realpath(os.path.join(root, location))
        if os.path.commonpath([root, path]) != root:
            raise outside
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        raise ModelError(
            f"external data {quote(location)} is missing", hint="put the file beside the model"
        ) from None
    except OSError as error:
        raise ModelError(f"external data {quote(location)}: {error.strerror}") from None
    if not regular:
        raise ModelError(f"external data {quote(location)} is not a file")
    return path
