"""A network becomes an ONNX file that says how to use it."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnnc.errors import InputError
from bnnc.files import check_kept, fresh_file
from bnnc.zoo.metadata import describe, labels_for
from bnnc.zoo.models import LARGEST_INPUT, find

if TYPE_CHECKING:
    import onnx

    from bnnc.zoo.centernet import CenterNet

OPSET = 18


def export(
    model_id: str,
    path: str | os.PathLike[str],
    *,
    input_size: int | None = None,
    classes: int = 20,
    seed: int = 0,
    compact: bool = False,
) -> Path:
    """Write network ``model_id``, untrained, as an ONNX file.

    Weights are drawn from ``seed``; BatchNorm statistics are measured on smooth noise, so that
    activations are those of a realistic network. Labels and preprocessing are in the metadata.

    Args:
        model_id: a key of ``models.MODELS``.
        path: the file to write.
        input_size: height and width in pixels; None for the network's own.
        classes: how many the heatmap tells apart.
        seed: of everything random.
        compact: see :func:`to_onnx`.

    Returns the path. Raises InputError for an unknown id, an impossible size, a path that cannot
    be written, or where torch or onnxscript is not installed.
    """
    spec = find(model_id)
    size = spec.input if input_size is None else input_size
    if not 1 <= size <= LARGEST_INPUT:
        raise InputError(f"an input of {size} pixels", hint=f"use 1 to {LARGEST_INPUT}")
    _require_packages()
    from bnnc.zoo.centernet import build
    from bnnc.zoo.settle import settle

    model = build(spec, classes, seed=seed)
    settle(model, size, size, seed=seed)
    return write(model, path, size, size, labels=labels_for(classes), name=spec.id, compact=compact)


def export_checkpoint(
    checkpoint: str | os.PathLike[str], path: str | os.PathLike[str], *, compact: bool = False
) -> Path:
    """Write the network of a training run's checkpoint as an ONNX file; see :func:`to_onnx`.

    Returns the path. Raises InputError where the checkpoint cannot be read or ``path`` cannot be
    written, or where torch or onnxscript is not installed.
    """
    _require_packages()
    from bnnc.zoo.checkpoint import load

    held = load(checkpoint)
    check_kept([checkpoint], [path], "is the checkpoint itself, which would be replaced")
    return write(
        held.network(),
        path,
        held.height,
        held.width,
        labels=held.labels,
        name=held.model.id,
        compact=compact,
    )


def write(
    model: CenterNet,
    path: str | os.PathLike[str],
    height: int,
    width: int,
    *,
    labels: Sequence[str],
    name: str,
    compact: bool = False,
) -> Path:
    """Write ``model`` as an ONNX file for pictures of ``height`` x ``width``; see :func:`to_onnx`.

    The file appears complete or not at all. Raises InputError where it cannot be written.
    """
    # Begun before the work, so that a hopeless place is known at once.
    with fresh_file(path) as fresh:
        proto = to_onnx(model, height, width, labels=labels, name=name, compact=compact)
        fresh.write_bytes(proto.SerializeToString())
    return Path(path)


def to_onnx(
    model: CenterNet,
    height: int,
    width: int,
    *,
    labels: Sequence[str],
    name: str,
    compact: bool = False,
) -> onnx.ModelProto:
    """``model`` in inference mode as ONNX.

    Input ``input`` [1, 3, height, width]; outputs ``heatmap``, ``size``, ``offset``. Binary
    weights are stored as int8, nodes are named after modules, and the metadata are those of
    :mod:`bnnc.zoo.metadata`. ``compact`` stores them as bits, which only takes a few
    more nodes. ``model`` itself is left as it was.
    """
    _require_packages()
    import torch

    from bnnc.zoo.centernet import OUTPUTS
    from bnnc.zoo.layers import freeze_binary_weights
    from bnnc.zoo.onnx_file import (
        name_after_modules,
        store_signs_in_bits,
        store_signs_in_bytes,
    )

    deployed = copy.deepcopy(model).cpu().eval()
    freeze_binary_weights(deployed)
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            deployed,
            (torch.zeros(1, 3, height, width),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=list(OUTPUTS),
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    leaves = {path for path, module in deployed.named_modules() if not any(module.children())}
    name_after_modules(proto, leaves)
    (store_signs_in_bits if compact else store_signs_in_bytes)(proto)
    proto.graph.name = name
    del proto.metadata_props[:]
    for key, value in describe(name, labels, model.stride).items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def _require_packages() -> None:
    try:
        import onnxscript  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"exporting needs the package {error.name}", hint="pip install 'bnnc[zoo]'"
        ) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
