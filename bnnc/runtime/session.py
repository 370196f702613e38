"""Running a compiled model, in onnxruntime's manner."""

from __future__ import annotations

import operator
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from ctypes import byref, c_uint8, c_void_p
from typing import Any, Protocol

import numpy as np

from bnnc.errors import InputError, LibraryError, printable
from bnnc.runtime.arrays import Interface, TensorInfo
from bnnc.runtime.library import OBSERVER, DetectOptions, Library
from bnnc.runtime.signals import HeldSignals

_ALIGNMENT = 64
MOST_THREADS = 1024
MOST_BOXES = 1 << 17
BOX = np.dtype([("corners", np.float32, 4), ("score", np.float32), ("label", np.int32)])
"""One box: x0, y0, x1, y1 in input pixels, its score and its class."""
Observer = Callable[[int, "list[np.ndarray]"], object]


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
        InputError: if ``threads`` is no number from 1 to 1024.
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
        threads = _number("threads", threads, MOST_THREADS)
        self._library = Library(path, isa=isa or os.environ.get("BNNC_ISA") or None)
        self.path = self._library.path
        self.info: dict[str, Any] = self._library.info
        self.threads = threads
        self._interface = Interface(self.info)
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
        return list(self._interface.inputs)

    def get_outputs(self) -> list[TensorInfo]:
        """The outputs, in the model's order."""
        return list(self._interface.outputs)

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
        arrays, items = self._interface.arrays(feeds)
        wanted = self._interface.wanted(names)
        results = self._interface.results(wanted, items, out, arrays)
        self._run(arrays, results, items, None)
        return [results[index] for index in wanted]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Run with the inputs in order; returns all outputs. Raises as :meth:`run`."""
        if len(inputs) != len(self._interface.inputs):
            names = ", ".join(repr(printable(t.name)) for t in self._interface.inputs)
            raise InputError(f"{len(inputs)} arrays given; the model takes {names}")
        return self.run(None, {t.name: x for t, x in zip(self._interface.inputs, inputs)})

    def detect(
        self,
        feeds: Mapping[str, np.ndarray],
        *,
        score: float = 0.0,
        max_iou: float | None = None,
        top: int | None = None,
    ) -> np.ndarray:
        """Run one item of a model compiled with ``--decode`` and read its outputs as boxes.

        Args:
            feeds: as for :meth:`run`.
            score: boxes of a lower score are left out.
            max_iou: boxes that overlap a better one of their class by more are dropped; default:
                none is.
            top: how many peaks are looked at, over all classes; default: as the model says.

        Returns:
            A record array of :data:`BOX`, the best box first, corners in input pixels.

        Raises:
            InputError: if a name, shape, type or option is wrong, or for more than one item.
            LibraryError: if the model has no decoder, or as :meth:`run`.
        """
        if max_iou is not None and not 0 < max_iou <= 1:
            raise InputError(f"max_iou must lie above 0 and be at most 1, not {max_iou!r}")
        if top is not None:
            top = _number("top", top, MOST_BOXES)
        arrays, items = self._interface.arrays(feeds)
        if items != 1:
            raise InputError(f"boxes are found on a batch of one, not of {items}")
        library, pool = self._library, self._live_pool()
        slot = self._slot()
        for k, x in enumerate(arrays):
            slot.inputs[k] = x.ctypes.data
        decoder = self.info["compiled"].get("decoder") or {}
        boxes = np.empty(top or decoder.get("top", 1), BOX)
        options = DetectOptions(score, max_iou or 0, top or 0)
        place = boxes.ctypes.data
        arguments = (slot.arena, pool.pointer, slot.inputs, place, len(boxes), byref(options))
        count = library.call("detect", *arguments)
        if count < 0:
            raise LibraryError(f"the run failed: {library.explain(-count)}", file=self.path)
        self._give_back(slot)
        return boxes[:count]

    def run_observed(self, feeds: Mapping[str, np.ndarray], callback: Observer) -> list[np.ndarray]:
        """Run one item and call ``callback(layer, outputs)`` after each layer.

        ``layer`` counts ``info["layers"]``. ``outputs`` are that layer's outputs as bytes (uint8,
        1-D, read-only), in the layout that ``info`` gives; they are valid during the call only.
        An exception in the callback stops the run and is raised here; so is what the handler of a
        signal raises meanwhile, such as KeyboardInterrupt.

        Returns:
            All outputs.

        Raises:
            InputError, LibraryError: as :meth:`run`; also InputError for more than one item.
        """
        return self._run_watched(feeds, _Callback(callback))

    def run_timed(self, feeds: Mapping[str, np.ndarray]) -> list[float]:
        """Run one item and return how many seconds each layer took, by ``info["layers"]``.

        The clock is read between layers, which takes some microseconds each time.

        Raises:
            InputError, LibraryError: as :meth:`run`; also InputError for more than one item.
        """
        watch = _Stopwatch()
        self._run_watched(feeds, watch)
        return [end - start for start, end in zip(watch.times, watch.times[1:])]

    def ceilings(self, seconds: float = 0.05) -> dict[str, float]:
        """What this machine can do at best with the session's threads and instruction set:
        multiply-adds a second by kind, ``float`` and ``binary``. Takes about ``seconds`` for each
        of a few measurements.

        Raises:
            LibraryError: if the session is closed.
        """
        pool = self._live_pool()
        slot = _Slot(self._library, 0, 0)
        best = {}
        for number, kind in enumerate(("float", "binary")):
            units, rates = 64 * self.threads, [0.0]
            for _ in range(5):
                start = time.perf_counter()
                macs = self._library.call("calibrate", slot.arena, pool.pointer, number, units)
                took = time.perf_counter() - start
                rates.append(macs / took)
                units = max(1, round(units * seconds / took))
            best[kind] = max(rates)
        return best

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

    def _run(
        self,
        arrays: list[np.ndarray],
        results: Mapping[int, np.ndarray],
        items: int,
        watch: _Watch | None,
    ) -> None:
        library = self._library
        pool = self._live_pool()
        slot = self._slot()
        sources = [(x.ctypes.data, x.nbytes // max(items, 1)) for x in arrays]
        targets = [(results[i].ctypes.data, results[i].nbytes // max(items, 1)) for i in results]
        for item in range(items):
            for k, (address, step) in enumerate(sources):
                slot.inputs[k] = address + item * step
            for k, (address, step) in enumerate(targets):
                slot.outputs[k] = address + item * step
            if watch is None:
                code = library.call("run", slot.arena, pool.pointer, slot.inputs, slot.outputs)
            else:
                code = self._watch(slot, pool, watch)
            if code:
                raise LibraryError(f"the run failed: {library.explain(code)}", file=self.path)
        self._give_back(slot)

    def _slot(self) -> _Slot:
        try:
            return self._idle.pop()
        except IndexError:
            inputs, outputs = len(self._interface.inputs), len(self._interface.outputs)
            return _Slot(self._library, inputs, outputs)

    def _give_back(self, slot: _Slot) -> None:
        if self._pool is not None:
            self._idle.append(slot)

    def _run_watched(self, feeds: Mapping[str, np.ndarray], watch: _Watch) -> list[np.ndarray]:
        arrays, items = self._interface.arrays(feeds)
        if items != 1:
            raise InputError(f"an observed run takes a batch of one, not of {items}")
        results = self._interface.results(range(len(self._interface.outputs)), 1, None, arrays)
        self._run(arrays, results, 1, watch)
        return [results[index] for index in range(len(self._interface.outputs))]

    def _watch(self, slot: _Slot, pool: _Pool, watch: _Watch) -> int:
        failure: list[BaseException] = []
        signals = HeldSignals()

        @OBSERVER
        def observer(_user: Any, layer: int, count: int, outputs: Any) -> int:
            try:
                try:
                    signals.free = True
                    watch.layer(layer, count, outputs)
                finally:
                    signals.free = False
            except BaseException as error:
                failure.append(error)
            return 1 if failure or signals.raised else 0

        args = (slot.arena, pool.pointer, slot.inputs, slot.outputs, observer, None)
        with signals:
            watch.begin()
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


class _Watch(Protocol):
    """Who is told of a run's layers."""

    def begin(self) -> None:
        """The run begins."""

    def layer(self, number: int, count: int, outputs: Any) -> None:
        """A layer has ended; ``outputs`` are ``count`` of its outputs, as C gives them."""


class _Callback:
    """Shows a callback what each layer gave."""

    def __init__(self, callback: Observer) -> None:
        self._callback = callback

    def begin(self) -> None:
        pass

    def layer(self, number: int, count: int, outputs: Any) -> None:
        self._callback(number, [_view(outputs[k].data, outputs[k].bytes) for k in range(count)])


class _Stopwatch:
    """Notes when the run began and when each layer ended, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def begin(self) -> None:
        self.times.append(time.perf_counter())

    def layer(self, number: int, count: int, outputs: Any) -> None:
        self.times.append(time.perf_counter())


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
        self.arena = address + -address % _ALIGNMENT
        self.inputs = (c_void_p * max(inputs, 1))()
        self.outputs = (c_void_p * max(outputs, 1))()


class _Pool:
    """The C thread pool, destroyed with this object in the process that made it."""

    def __init__(self, library: Library, threads: int) -> None:
        self.process = os.getpid()
        self.pointer: int | None = None
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


def _view(address: int, size: int) -> np.ndarray:
    there = (c_uint8 * size).from_address(address) if size else b""
    view = np.frombuffer(there, np.uint8)
    view.flags.writeable = False
    return view


def _number(what: str, given: Any, most: int) -> int:
    """An integer from 1 to ``most``, numpy's own included."""
    try:
        number = operator.index(given)
    except TypeError:
        number = 0
    if not 1 <= number <= most:
        raise InputError(f"{what} must be a number from 1 to {most}, not {given!r}")
    return number


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
