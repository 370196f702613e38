"""Values while importing: named tensors, constants that are not in the graph yet, folding.

A constant enters the graph only when an op that cannot be folded reads it, so that shape
arithmetic leaves no trace there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import FunctionProto, SparseTensorProto, TensorProto

from bnnc.errors import ModelError, UnsupportedError
from bnnc.frontends.onnx.nodes import Body, OnnxNode, Tensor, TensorSequence
from bnnc.frontends.onnx.program import Program
from bnnc.frontends.onnx.tensors import MAX_FOLDED_BYTES, NARROW, sparse_to_array, to_array
from bnnc.frontends.onnx.text import quote
from bnnc.ir.graph import Graph, Node, Value
from bnnc.ir.levels import pool
from bnnc.ir.ops import OPS

MAX_FOLDED_WORK = 5 * 10**8
"""A node on constants that takes more elementary operations is left to be computed in the run."""

_FOLD_BUDGET = 2**29
_FOLD_SHARE = 32


class Builder:
    """Builds the graph of one program.

    Attributes:
        graph: what is built.
        folder: where external data may lie.
        narrow: for constants of less than a byte per element, (bits, signed).
        half: names of the tensors that the model has just cast to half precision.
    """

    def __init__(self, graph: Graph, program: Program, folder: Path | None) -> None:
        self.graph = graph
        self.folder = folder
        self.narrow: dict[Value, tuple[int, bool]] = {}
        self.half: set[str] = set()
        self._inliner = program.inliner
        self._initializers = dict(program.initializers)
        self._values: dict[str, Value] = {}
        self._sequences: dict[str, TensorSequence] = {}
        self._attached: dict[Value, Value] = {}
        self._folded: set[Value] = set()
        self._names = {name for node in program.nodes for name in node.outputs}
        self._names.update(program.initializers, (info.name for info in program.inputs))
        self._uses = Counter(name for node in program.nodes for name in node.reads)
        self._uses.update(info.name for info in program.outputs)
        stored = sum(tensor.ByteSize() for tensor in program.initializers.values())
        self._budget = _FOLD_BUDGET + _FOLD_SHARE * stored
        self._work = 8 * MAX_FOLDED_WORK + _FOLD_SHARE * stored

    # ---- tensors by name ------------------------------------------------------------------

    def value(self, name: str) -> Value:
        """The tensor called ``name``; an initializer is decoded when first asked for.

        Raises:
            UnsupportedError: if a sequence is called so.
        """
        if name in self._sequences:
            raise UnsupportedError(
                f"returns the sequence {quote(name)}; bnnc's outputs are tensors",
                hint="end the model at the sequence's tensors",
            )
        if name not in self._values:
            self._values[name] = self._stored(name)
        return self._values[name]

    def sequence(self, name: str) -> TensorSequence | None:
        """The sequence called ``name``; None if a tensor is called so."""
        return self._sequences.get(name)

    def define(self, name: str, value: Value | TensorSequence) -> None:
        """Let ``value`` be what the model calls ``name``."""
        if isinstance(value, TensorSequence):
            self._sequences[name] = value
        else:
            self._values[name] = value

    def expect(self, nodes: Sequence[OnnxNode], body: Body) -> None:
        """Get ready for further nodes, those of ``body``."""
        self._initializers.update(body.tensors)
        self._names.update(body.tensors, (name for node in nodes for name in node.outputs))
        self._uses.update(name for node in nodes for name in node.reads)
        self._uses.update(body.outputs)

    def expand(self, node: OnnxNode, function: FunctionProto) -> Body:
        """The nodes of a function that says what ``node`` does."""
        return self._inliner.expand(node, function)

    def release(self, names: Iterable[str]) -> None:
        """Count one use of each name; forget those that nobody reads any more."""
        for name in names:
            self._uses[name] -= 1
            if self._uses[name] <= 0:
                self._values.pop(name, None)
                self._sequences.pop(name, None)

    def _stored(self, name: str) -> Value:
        tensor = self._initializers[name]
        value = self.constant(self.decode(tensor), name)
        self.note_narrow(value, tensor)
        return value

    def note_narrow(self, value: Value, tensor: Tensor) -> None:
        """Remember that ``value`` holds a tensor of less than a byte per element, if it does."""
        if isinstance(tensor, TensorProto) and tensor.data_type in NARROW:
            self.narrow[value] = NARROW[tensor.data_type]

    def decode(self, tensor: Tensor) -> np.ndarray:
        """The array of a tensor of the model."""
        if isinstance(tensor, SparseTensorProto):
            array = sparse_to_array(tensor, self.folder)
            self.spend(array.nbytes)
            return array
        return to_array(tensor, self.folder)

    # ---- making values --------------------------------------------------------------------

    def constant(self, array: np.ndarray, name: str) -> Value:
        """A constant outside the graph; :meth:`attach` brings it in."""
        return _detached("Constant", (), {"data": array}, name).outputs[0]

    def attach(self, value: Value) -> Value:
        """``value`` as a value of the graph."""
        data = value.data
        if data is None:
            return value
        if value not in self._attached:
            self._attached[value] = self.graph.constant(data, value.name)
        return self._attached[value]

    def free_name(self, wanted: str) -> str:
        """``wanted``, or the like of it, for a tensor that the model itself does not have."""
        name, count = wanted, 0
        while name in self._names:
            count += 1
            name = f"{wanted}.{count}"
        return name

    def apply(
        self, op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any], node: OnnxNode
    ) -> tuple[Value, ...]:
        """Apply an op of the IR for ``node``: at once where all is constant, else in the graph."""
        base = next(filter(None, node.outputs), node.title)
        if all(value is None or value.is_constant for value in inputs):
            folded = self._fold(op, inputs, attrs, self.free_name(f"{base}/{op}"))
            if folded is not None:
                return folded
        added = self.graph.add(
            op,
            [None if value is None else self.attach(value) for value in inputs],
            attrs,
            name=node.name,
            values=[self.free_name(f"{base}/{op}")] * 2,
        )
        return added.outputs

    def _fold(
        self, op: str, inputs: Sequence[Value | None], attrs: Mapping[str, Any], name: str
    ) -> tuple[Value, ...] | None:
        """The results as constants, or None where computing them takes too long, or where passes
        have a say in them: in what Sign gives at zero, see ``resolve_sign_zero``."""
        if op == "Sign" and _has_float_zeros(inputs[0]) and not self._is_few(inputs[0]):
            return None
        node = _detached(op, tuple(inputs), attrs, name)
        read = sum(value.type.bytes for value in inputs if value is not None)
        written = sum(value.type.bytes for value in node.outputs)
        work = _work(node)
        large = written > max(MAX_FOLDED_BYTES, read)
        if work > min(MAX_FOLDED_WORK, self._work) and not large:
            return None
        self.spend(written, read)
        self._work -= work
        arrays = compute(lambda: node.op.compute(node, [v.data if v else None for v in inputs]))
        values = tuple(self.constant(array, name) for array in arrays)
        self._folded.update(values)
        return values

    def _is_few(self, value: Value | None) -> bool:
        """Whether the model makes few values of a constant: a zero among them is meant."""
        data = None if value is None else value.data
        return value in self._folded and data is not None and pool([data]) is not None

    def spend(self, written: int, read: int = 0) -> None:
        """Account for a constant of ``written`` bytes, computed from ``read`` bytes.

        Raises:
            ModelError: if it is too large, or all of the model's constants are.
        """
        if written > max(MAX_FOLDED_BYTES, read):
            raise ModelError(
                f"would compute a constant of {written / 2**20:.0f} MiB; at most "
                f"{MAX_FOLDED_BYTES // 2**20} MiB are allowed"
            )
        self._budget -= read + written
        if self._budget < 0:
            raise ModelError("computing the model's constants takes too much memory")

    def rename(self, value: Value, name: str) -> None:
        """Give a value just made the model's name for it."""
        value.name = name if value.is_constant else self.graph.unique_name(name)


def _has_float_zeros(value: Value | None) -> bool:
    """Whether these may be weights with zeros among them; shape arithmetic has one axis."""
    data = None if value is None else value.data
    return data is not None and data.dtype.kind == "f" and data.ndim > 1 and not data.all()


_SLOW = {"Erf": 100, "TopK": 30, "Pow": 10}
"""Ops that take so many times longer for each element than others do."""


def _work(node: Node) -> int:
    """About how many elementary operations a node takes; windows also touch their padding."""
    result = node.outputs[0].type.elements
    work = result if node.op.macs is None else node.op.macs(node)
    if node.op.name in _SLOW:
        work = _SLOW[node.op.name] * max(result, node.operand(0).type.elements)
    if "kernel" in node.attrs:
        work = result * math.prod(node.attrs["kernel"])
    if "strides" in node.attrs:
        top, left, bottom, right = node.attrs["pads"]
        *planes, height, width = node.operand(0).shape
        work += math.prod(planes) * (height + top + bottom) * (width + left + right)
    return work


def compute(function: Callable[[], Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
    """Call a numpy computation on constants of a model; what it chokes on is the model's fault.

    Raises:
        ModelError: if numpy refuses the arrays.
    """
    try:
        with np.errstate(all="ignore"):
            return function()
    except (ArithmeticError, LookupError, ValueError, MemoryError) as error:
        raise ModelError(f"cannot be computed ({error})") from None


def _detached(
    op: str, inputs: tuple[Value | None, ...], attrs: Mapping[str, Any], name: str
) -> Node:
    """A node that is in no graph."""
    declaration = OPS[op]
    node = Node(declaration, name, declaration.complete(attrs), 0)
    node.inputs = inputs
    types = declaration.infer(node)
    node.outputs = tuple(Value(name, type, node, i) for i, type in enumerate(types))
    return node
