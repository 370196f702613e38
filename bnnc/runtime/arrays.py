"""The arrays that go into a run and come out of it: checked against what the model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.errors import InputError, printable
from bnnc.runtime.library import DTYPES


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the model.

    Attributes:
        name: the model's own name for it.
        shape: its dimensions; the first is ``"batch"`` where the model leaves it open.
        type: the element type as onnxruntime writes it, for example ``tensor(float)``.
        dtype: the same for numpy.
        item_shape: what one run of the library takes or gives.
    """

    name: str
    shape: list[int | str]
    type: str
    dtype: np.dtype
    item_shape: tuple[int, ...]


class Interface:
    """A model's inputs and outputs.

    Attributes:
        inputs, outputs: in the model's order.
        open_batch: whether a run may take any number of items.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.open_batch = bool(info.get("open_batch", False))
        self.inputs = [self._tensor(t) for t in info["inputs"]]
        self.outputs = [self._tensor(t) for t in info["outputs"]]

    def _tensor(self, described: Mapping[str, Any]) -> TensorInfo:
        numpy_name, type_name = DTYPES[described["dtype"]]
        item = tuple(described["shape"])
        shape: list[int | str] = list(item)
        if self.open_batch and shape:
            shape[0] = "batch"
        return TensorInfo(described["name"], shape, type_name, np.dtype(numpy_name), item)

    def arrays(self, feeds: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The inputs as contiguous arrays in order, and how many items they hold."""
        if not isinstance(feeds, Mapping):
            raise InputError("inputs are given as a dictionary from names to arrays")
        known = {tensor.name for tensor in self.inputs}
        listed = ", ".join(repr(printable(t.name)) for t in self.inputs) or "no inputs"
        for name in feeds:
            if name not in known:
                raise InputError(f"there is no input {printable(str(name))!r}; expected {listed}")
        arrays = []
        items: int | None = None
        for tensor in self.inputs:
            if tensor.name not in feeds:
                raise InputError(f"input {printable(tensor.name)!r} is missing")
            array = np.asarray(feeds[tensor.name])
            count = self._check(f"input {printable(tensor.name)!r}", tensor, array)
            if items is not None and count != items:
                raise InputError(f"inputs hold {items} and {count} items; expected the same number")
            items = count
            arrays.append(np.ascontiguousarray(array).reshape(array.shape))
        return arrays, 1 if items is None else items

    def _check(self, what: str, tensor: TensorInfo, array: np.ndarray) -> int:
        """Check type and shape; returns the number of items."""
        if array.dtype != tensor.dtype:
            raise InputError(
                f"{what} holds {array.dtype}; expected {tensor.dtype}",
                hint=f"convert it with .astype(numpy.{tensor.dtype})",
            )
        shape, item = array.shape, tensor.item_shape
        if self.open_batch and item and len(shape) == len(item):
            # An item may be several rows: a model whose open axis is 2 * batch, for example.
            fits = shape[1:] == item[1:] and item[0] > 0 and shape[0] % item[0] == 0
            count = shape[0] // item[0] if fits else 0
        else:
            fits, count = shape == item, 1
        if not fits:
            raise InputError(f"{what} has shape {_times(shape)}; expected {_times(tensor.shape)}")
        return count

    def wanted(self, names: Sequence[str] | None) -> list[int]:
        if names is None:
            return list(range(len(self.outputs)))
        if isinstance(names, str):
            raise InputError("output names are given as a list")
        order = {tensor.name: index for index, tensor in enumerate(self.outputs)}
        for name in names:
            if name not in order:
                listed = ", ".join(repr(printable(t.name)) for t in self.outputs)
                raise InputError(f"there is no output {printable(str(name))!r}; expected {listed}")
        return [order[name] for name in names]

    def results(
        self,
        wanted: Sequence[int],
        items: int,
        out: Sequence[np.ndarray] | None,
        arrays: list[np.ndarray],
    ) -> dict[int, np.ndarray]:
        """Arrays for all outputs: those of ``out``, else new ones."""
        given: dict[int, np.ndarray] = {}
        if out is not None:
            if isinstance(out, np.ndarray) or len(out) != len(wanted):
                raise InputError(f"out= must be a list of {len(wanted)} arrays")
            if len(set(wanted)) != len(wanted):
                raise InputError("out= needs each output named once")
            given = dict(zip(wanted, out))
        results = {}
        for index, tensor in enumerate(self.outputs):
            shape = self._result_shape(tensor, items)
            if index not in given:
                results[index] = np.empty(shape, tensor.dtype)
                continue
            array = given[index]
            what = f"out= for {printable(tensor.name)!r}"
            if not isinstance(array, np.ndarray) or array.dtype != tensor.dtype:
                raise InputError(f"{what} must be an array of {tensor.dtype}")
            if array.shape != shape:
                raise InputError(
                    f"{what} has shape {_times(array.shape)}; expected {_times(shape)}"
                )
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise InputError(f"{what} must be contiguous and writeable")
            for slot, source in enumerate(arrays):
                if np.may_share_memory(array, source):
                    arrays[slot] = source.copy()
            results[index] = array
        return results

    def _result_shape(self, tensor: TensorInfo, items: int) -> tuple[int, ...]:
        item = tensor.item_shape
        return (items * item[0], *item[1:]) if self.open_batch and item else item


def _times(shape: Sequence[int | str]) -> str:
    return "x".join(map(str, shape)) or "scalar"
