"""Running a compiled model, in onnxruntime's manner."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnc.errors import InputError, LibraryError, printable
from bnnc.runtime.library import DTYPES, Library

_ALIGNMENT = 64
Observer = Callable[[int, "list[np.ndarray]"], object]


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


class InferenceSession:
    """A compiled model, ready to run. Re-entrant: two threads may run one session.

    Args:
        path: a library made by ``bnnc compile``.
        threads: threads a run uses; default: the processors this process may use.
        isa: instruction set to force; default: ``$BNNC_ISA``, else the best this machine has.

    Attributes:
        info: the description of the model, as parsed from the library's JSON.
        threads: how many threads a run uses.

    Raises:
        LibraryError: if the library cannot be loaded here.
        InputError: if ``threads`` is no positive number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        if threads is None:
            threads = available_processors()
        if not isinstance(threads, int) or not 1 <= threads <= 1024:
            raise InputError(f"threads must be a number from 1 to 1024, not {threads!r}")
        self._library = Library(path, isa=isa or os.environ.get("BNNC_ISA") or None)
        self.path = self._library.path
        self.info: dict[str, Any] = self._library.info
        self.threads = threads
        self._open_batch = bool(self.info.get("open_batch", False))
        self._inputs = [self._tensor(t) for t in self.info["inputs"]]
        self._outputs = [self._tensor(t) for t in self.info["outputs"]]
        self._pool: _Pool | None = _Pool(self._library, threads)
        self._idle: list[_Slot] = []

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._library.isa

    @property
    def arena_bytes(self) -> int:
        """Working memory one run needs, in bytes."""
        return self._library.arena_bytes

    def get_inputs(self) -> list[TensorInfo]:
        """The inputs, in the model's order."""
        return list(self._inputs)

    def get_outputs(self) -> list[TensorInfo]:
        """The outputs, in the model's order."""
        return list(self._outputs)

    def run(
        self,
        names: Sequence[str] | None,
        feeds: Mapping[str, np.ndarray],
        out: Sequence[np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """Run the model.

        Args:
            names: outputs wanted, by name; None for all of them.
            feeds: one array for each input, by name, of exactly its shape and type. An array
                that is not contiguous is copied.
            out: contiguous arrays to write the results to, one for each of ``names``.

        Returns:
            One array for each of ``names``; those of ``out`` if given.

        Raises:
            InputError: if a name, shape or type is wrong.
            LibraryError: if the session is closed or the library reports a fault.
        """
        arrays, items = self._arrays(feeds)
        wanted = self._wanted(names)
        results = self._results(wanted, items, out, arrays)
        self._run(arrays, results, items, None)
        return [results[index] for index in wanted]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run with the inputs in order; returns all outputs. Raises as :meth:`run`."""
        if len(inputs) != len(self._inputs):
            names = ", ".join(repr(printable(t.name)) for t in self._inputs)
            raise InputError(f"{len(inputs)} arrays given; the model takes {names}")
        return self.run(None, {t.name: x for t, x in zip(self._inputs, inputs)})

    def run_observed(self, feeds: Mapping[str, np.ndarray], callback: Observer) -> list[np.ndarray]:
        """Run one item and call ``callback(layer, outputs)`` after each layer.

        ``layer`` counts ``info["layers"]``. ``outputs`` are that layer's outputs as bytes (uint8,
        1-D, read-only), in the layout that ``info`` gives; they are valid during the call only.
        An exception in the callback stops the run and is raised here.

        Returns:
            All outputs.

        Raises:
            InputError, LibraryError: as :meth:`run`; also InputError for more than one item.
        """
        arrays, items = self._arrays(feeds)
        if items != 1:
            raise InputError(f"an observed run takes a batch of one, not of {items}")
        results = self._results(range(len(self._outputs)), 1, None, arrays)
        self._run(arrays, results, 1, callback)
        return [results[index] for index in range(len(self._outputs))]

    def close(self) -> None:
        """Give the threads and the memory back; the session cannot run any more."""
        self._pool = None
        self._idle.clear()

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<bnnc session {self.path} on {self.threads} threads, {self.isa}>"

    # ---- before a run ---------------------------------------------------------------------

    def _tensor(self, described: Mapping[str, Any]) -> TensorInfo:
        numpy_name, type_name = DTYPES[described["dtype"]]
        item = tuple(described["shape"])
        shape: list[int | str] = list(item)
        if self._open_batch and shape:
            shape[0] = "batch"
        return TensorInfo(described["name"], shape, type_name, np.dtype(numpy_name), item)

    def _arrays(self, feeds: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The inputs as contiguous arrays in order, and how many items they hold."""
        if not isinstance(feeds, Mapping):
            raise InputError("inputs are given as a dictionary from names to arrays")
        known = {tensor.name for tensor in self._inputs}
        listed = ", ".join(repr(printable(t.name)) for t in self._inputs) or "no inputs"
        for name in feeds:
            if name not in known:
                raise InputError(f"there is no input {printable(str(name))!r}; expected {listed}")
        arrays = []
        items: int | None = None
        for tensor in self._inputs:
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
        if self._open_batch and item and len(shape) == len(item):
            # An item may be several rows: a model whose open axis is 2 * batch, for example.
            fits = shape[1:] == item[1:] and item[0] > 0 and shape[0] % item[0] == 0
            count = shape[0] // item[0] if fits else 0
        else:
            fits, count = shape == item, 1
        if not fits:
            raise InputError(f"{what} has shape {_times(shape)}; expected {_times(tensor.shape)}")
        return count

    def _wanted(self, names: Sequence[str] | None) -> list[int]:
        if names is None:
            return list(range(len(self._outputs)))
        if isinstance(names, str):
            raise InputError("output names are given as a list")
        order = {tensor.name: index for index, tensor in enumerate(self._outputs)}
        for name in names:
            if name not in order:
                listed = ", ".join(repr(printable(t.name)) for t in self._outputs)
                raise InputError(f"there is no output {printable(str(name))!r}; expected {listed}")
        return [order[name] for name in names]

    def _results(
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
        for index, tensor in enumerate(self._outputs):
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
        return (items * item[0], *item[1:]) if self._open_batch and item else item

    # ---- the run --------------------------------------------------------------------------

    def _run(
        self,
        arrays: list[np.ndarray],
        results: Mapping[int, np.ndarray],
        items: int,
        callback: Observer | None,
    ) -> None:
        library = self._library
        pool = self._live_pool()
        try:
            slot = self._idle.pop()
        except IndexError:
            slot = _Slot(library, len(self._inputs), len(self._outputs))
        sources = [(x.ctypes.data, x.nbytes // max(items, 1)) for x in arrays]
        targets = [(results[i].ctypes.data, results[i].nbytes // max(items, 1)) for i in results]
        for item in range(items):
            for k, (address, step) in enumerate(sources):
                slot.inputs[k] = library.ffi.cast("void *", address + item * step)
            for k, (address, step) in enumerate(targets):
                slot.outputs[k] = library.ffi.cast("void *", address + item * step)
            if callback is None:
                code = library.call("run", slot.arena, pool.pointer, slot.inputs, slot.outputs)
            else:
                code = self._observe(slot, pool, callback)
            if code:
                raise LibraryError(f"the run failed: {library.explain(code)}", file=self.path)
        if self._pool is not None:
            self._idle.append(slot)

    def _observe(self, slot: _Slot, pool: _Pool, callback: Observer) -> int:
        ffi = self._library.ffi
        failure: list[BaseException] = []

        @ffi.callback("bnnc_observer")
        def observer(_user: Any, layer: int, count: int, outputs: Any) -> int:
            try:
                views = [_view(ffi, outputs[k].data, outputs[k].bytes) for k in range(count)]
                callback(layer, views)
            except BaseException as error:
                failure.append(error)
                return 1
            return 0

        args = (slot.arena, pool.pointer, slot.inputs, slot.outputs, observer, ffi.NULL)
        code = self._library.call("run_observed", *args)
        if failure:
            raise failure[0]
        return int(code)

    def _live_pool(self) -> _Pool:
        pool = self._pool
        if pool is None:
            raise LibraryError("the session is closed", file=self.path)
        if pool.process != os.getpid():  # after a fork only the calling thread is left
            self._pool = pool = _Pool(self._library, self.threads)
        return pool


class _Slot:
    """What one run at a time needs: an arena and the two tables of pointers."""

    def __init__(self, library: Library, inputs: int, outputs: int) -> None:
        try:
            self._memory = np.empty(library.arena_bytes + _ALIGNMENT, np.uint8)
        except (MemoryError, ValueError, OverflowError):
            raise LibraryError(
                f"needs {library.arena_bytes} bytes of memory to run", file=library.path
            ) from None
        address = self._memory.ctypes.data
        self.arena = library.ffi.cast("void *", address + -address % _ALIGNMENT)
        self.inputs = library.ffi.new("const void *[]", max(inputs, 1))
        self.outputs = library.ffi.new("void *[]", max(outputs, 1))


class _Pool:
    """The C thread pool, destroyed with this object in the process that made it."""

    def __init__(self, library: Library, threads: int) -> None:
        self.process = os.getpid()
        self.pointer = library.ffi.NULL
        if threads > 1:
            self.pointer = library.call("pool_create", threads)
            if not self.pointer:
                raise LibraryError(
                    f"cannot start {threads} threads", file=library.path, hint="ask for fewer"
                )
            weakref.finalize(self, _destroy, library, self.pointer, self.process)


def _destroy(library: Library, pointer: Any, process: int) -> None:
    if process == os.getpid():
        library.call("pool_destroy", pointer)


def _view(ffi: Any, data: Any, size: int) -> np.ndarray:
    view = np.frombuffer(ffi.buffer(data, size), np.uint8) if size else np.empty(0, np.uint8)
    view.flags.writeable = False
    return view


def _times(shape: Sequence[int | str]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def available_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load(
    path: str | os.PathLike[str], *, threads: int | None = None, isa: str | None = None
) -> InferenceSession:
    """Load a compiled model; see :class:`InferenceSession`."""
    return InferenceSession(path, threads=threads, isa=isa)
