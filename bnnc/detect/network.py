"""A detector's network, whatever runs it: a compiled library, or something else that takes one
input and gives named outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bnnc.errors import InputError
from bnnc.runtime import InferenceSession

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Network:
    """A network that finds things on pictures.

    Attributes:
        title: what runs it, for people.
        metadata: what the model says of itself: preprocessing, labels, decoder.
        height, width: of its input, in pixels.
        takes_pixels: its input is uint8 [1, height, width, 3] (``--input-u8``) instead of
            normalised float32 [1, 3, height, width].
        run: from an input to the outputs by name.
    """

    title: str
    metadata: Mapping[str, str]
    height: int
    width: int
    takes_pixels: bool
    run: Run


def network_of(session: InferenceSession) -> Network:
    """The network in a compiled library.

    Raises:
        InputError: if its input is no picture.
    """
    inputs = session.get_inputs()
    names = [tensor.name for tensor in session.get_outputs()]
    shape = inputs[0].item_shape if len(inputs) == 1 else ()
    takes_pixels = bool(inputs) and inputs[0].dtype == np.uint8
    height, width = picture_size(shape, takes_pixels)

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session(x)))

    title = f"bnnc ({session.isa})"
    return Network(title, session.info["metadata"], height, width, takes_pixels, run)


def picture_size(shape: tuple[object, ...], takes_pixels: bool = False) -> tuple[int, int]:
    """Height and width of a network's only input.

    Raises:
        InputError: if a picture in three colours does not fit into it, or its size is left open.
    """
    place = (1, 2, 3) if takes_pixels else (2, 3, 1)
    if len(shape) == 4:
        height, width, channels = (shape[axis] for axis in place)
        if channels == 3 and isinstance(height, int) and isinstance(width, int):
            return height, width
    listed = "x".join(map(str, shape)) or "none or several"
    raise InputError(f"the model's input ({listed}) is no picture in three colours of a fixed size")
