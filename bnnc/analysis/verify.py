"""Is compiled code right? Checked layer by layer, against the interpreter.

In a deep binary network one rounding difference flips a bit, and a flip grows. So nothing is
compared end to end alone: every value that a run materialises is computed again on the reference
graph from the nearest values upstream that *this run* materialised. Bits and integers must then be
equal, and floats agree to ``TOLERANCE`` of their tensor's largest magnitude. Few values that are
stored as floats are decisions: each must be the one expected, but for such a rounding.

Decisions about floats that moving them by ``TOLERANCE`` would change are counted: they are where
two correct runs part. Such a bit may differ here in one case only: where the floats it is decided
from were not stored by the run, and had to be recomputed with roundings of their own. Bits decided
from stored floats, or from integers, have no such excuse. Those from integers that are scaled are
counted all the same: where scaled weights are added up instead, a sum of 0 is rounded to either
side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnnc.analysis.provenance import Tensor, plan
from bnnc.errors import InputError, ModelError, printable
from bnnc.ir import layout
from bnnc.ir.domains import Domains, Finite
from bnnc.ir.graph import Encoding, Graph, Value
from bnnc.ir.interpreter import evaluate
from bnnc.ir.types import DType, TensorType
from bnnc.runtime import InferenceSession

TOLERANCE = 1e-5
"""Relative to the largest magnitude in a tensor."""
PARTED = 100 * TOLERANCE
"""An end-to-end difference, relative likewise, that roundings alone do not make."""
_GRID_BITS = 16
"""Sums of numbers of so many bits are exact in float32, which has 24, in any order."""

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Check:
    """One tensor of one run, compared. A tensor of few values counts as bits, however stored.

    Attributes:
        layer: index of the layer that wrote it; behind the last for outputs that none wrote.
        name: the tensor's name in the model.
        kind: "bits", "integers" or "floats".
        elements: how many were compared.
        wrong: how many differ by more than they may.
        error: floats: the largest difference, relative to the tensor's largest magnitude.
        near: bits: how many decisions about floats lay within rounding.
        flipped: bits: how many of those came out the other way, with the excuse above.
    """

    layer: int
    name: str
    kind: str
    elements: int
    wrong: int
    error: float = 0.0
    near: int = 0
    flipped: int = 0


@dataclass
class Verification:
    """What was checked, over all samples.

    Attributes:
        checks: every comparison.
        unchecked: names of tensors of the run that the model has no counterpart for.
        layers: how many layers the library has.
        end_to_end: the largest relative difference of any output, by rival.
        left_out: why a rival could not run the model, by rival.
    """

    layers: int
    checks: list[Check] = field(default_factory=list)
    unchecked: set[str] = field(default_factory=set)
    end_to_end: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[Check]:
        """The comparisons that failed."""
        return [check for check in self.checks if check.wrong]

    @property
    def good(self) -> bool:
        return not self.failures

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        kinds = {
            kind: {
                "tensors": len(found),
                "elements": sum(check.elements for check in found),
                "wrong": sum(check.wrong for check in found),
            }
            for kind in ("bits", "integers", "floats")
            for found in [[check for check in self.checks if check.kind == kind]]
        }
        return {
            "good": self.good,
            "layers": self.layers,
            **kinds,
            "largest_error": max((check.error for check in self.checks), default=0.0),
            "near_zero": sum(check.near for check in self.checks),
            "near_zero_flipped": sum(check.flipped for check in self.checks),
            "end_to_end": self.end_to_end,
            "left_out": self.left_out,
            "unchecked": sorted(self.unchecked),
            "failures": [vars(check) for check in self.failures],
        }


def verify(
    graph: Graph,
    session: InferenceSession,
    samples: Iterable[Feeds],
    *,
    rivals: Mapping[str, Callable[[Feeds], list[np.ndarray]]] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Verification:
    """Check a compiled model against its reference graph.

    Args:
        graph: the reference graph of the model.
        session: the compiled model.
        samples: inputs to run it on.
        rivals: other ways to run the whole model, by name, for the end-to-end difference. One
            that raises InputError is left out from there on.
        progress: told what is being done.

    Raises:
        ModelError: if the library was not compiled from this model.
        InputError: if a sample does not fit the model.
    """
    _check_same_model(graph, session)
    checker = _Checker(graph, session)
    result = Verification(layers=len(session.info["layers"]))
    running = dict(rivals or {})
    for number, feeds in enumerate(samples):
        outputs = checker.run(feeds, result, _prefixed(progress, f"sample {number}: "))
        for name, rival in list(running.items()):
            progress(f"sample {number}: {name}, end to end")
            try:
                theirs = rival(feeds)
            except InputError as error:
                result.left_out[name] = str(error)
                del running[name]
                continue
            worst = max((_compare(a, b)[0] for a, b in zip(outputs, theirs)), default=0.0)
            result.end_to_end[name] = max(worst, result.end_to_end.get(name, 0.0))
    return result


def _prefixed(progress: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda text: progress(prefix + text)


def _check_same_model(graph: Graph, session: InferenceSession) -> None:
    ours = [(v.name, v.dtype.value, list(v.shape)) for v in graph.inputs]
    theirs = [(t["name"], t["dtype"], t["shape"]) for t in session.info["inputs"]]
    names = [t["name"] for t in session.info["outputs"]]
    if ours != theirs or graph.output_names != names:
        raise ModelError(
            "was not compiled from this model: inputs or outputs differ",
            file=session.path,
            hint="name the model it was compiled from, with the same --shape",
        )


@dataclass
class _Stored:
    """A tensor of the run, as bytes, until its last use."""

    raw: np.ndarray
    type: TensorType
    layout: str
    encoding: Encoding | None

    def array(self) -> np.ndarray:
        """In the terms of the reference graph."""
        array = layout.unpack(self.raw, self.type, self.layout)
        return array if self.encoding is None else self.encoding.decode(array)


class _Checker:
    def __init__(self, graph: Graph, session: InferenceSession) -> None:
        self.graph = graph
        self.session = session
        self.layers = session.info["layers"]
        self.domains = Domains(graph)
        self.plan = plan(graph, self.domains, self.layers)
        self.last_use: dict[Value, int] = {}
        for index, tensors in enumerate(self.plan):
            for tensor in tensors:
                self.last_use.update(dict.fromkeys(tensor.sources, index))

    def run(
        self, feeds: Feeds, result: Verification, progress: Callable[[str], None]
    ) -> list[np.ndarray]:
        """Check one observed run; returns its outputs."""
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        stored: dict[Value, _Stored | np.ndarray] = {
            value: arrays[value.name] for value in self.graph.inputs if value.name in arrays
        }

        def observe(index: int, views: list[np.ndarray]) -> None:
            progress(f"layer {min(index + 1, len(self.layers))} of {len(self.layers)}")
            fresh = []
            for tensor, view in zip(self.plan[index], views):
                one = _stored(tensor.described, view)
                if tensor.target is None:
                    result.unchecked.add(tensor.described["name"])
                else:
                    stored[tensor.target] = one
                    fresh.append((tensor, one))
            for tensor, one in fresh:
                result.checks.append(self._check(index, tensor, one, stored))
            for value in list(stored):
                if self.last_use.get(value, -1) <= index:
                    del stored[value]

        outputs = self.session.run_observed(arrays, observe)
        unwritten = {tensor.target for tensor in self.plan[-1]}
        behind = [y for y, value in zip(outputs, self.graph.outputs) if value in unwritten]
        observe(len(self.layers), [y.reshape(-1).view(np.uint8) for y in behind])
        return outputs

    def _check(
        self,
        index: int,
        tensor: Tensor,
        one: _Stored,
        stored: Mapping[Value, _Stored | np.ndarray],
    ) -> Check:
        target = tensor.target
        assert target is not None
        known = {
            value: found.array() if isinstance(found, _Stored) else found
            for value in tensor.sources
            for found in [stored[value]]
        }
        floats = evaluate(self.graph, known, tensor.deciders)
        expected = evaluate(self.graph, {**known, **floats}, [target])[target]
        found = one.array()
        if one.type.dtype is DType.B1 or isinstance(self.domains.of(target), Finite):
            return self._check_decided(index, tensor, found, expected, known, floats)
        error, wrong = _compare(found, expected)
        kind = "floats" if one.type.dtype.is_float else "integers"
        if kind == "integers":
            wrong = int(np.count_nonzero(found != expected))
        return Check(index, target.name, kind, found.size, wrong, error)

    def _check_decided(
        self,
        index: int,
        tensor: Tensor,
        found: np.ndarray,
        expected: np.ndarray,
        known: Mapping[Value, np.ndarray],
        floats: Mapping[Value, np.ndarray],
    ) -> Check:
        target = tensor.target
        assert target is not None

        def near(floats: Mapping[Value, np.ndarray]) -> np.ndarray:
            """Where moving ``floats`` changes what is expected."""
            changed = np.zeros(found.shape, bool)
            for direction in (-1, 1) if floats else ():
                moved = {
                    value: array + np.float32(direction * TOLERANCE * _magnitude(array))
                    for value, array in floats.items()
                }
                changed |= evaluate(self.graph, {**known, **moved}, [target])[target] != expected
            return changed

        differs = _differs(found, expected)
        recomputed = {value: array for value, array in floats.items() if value not in known}
        excused = near({} if tensor.exact else recomputed)
        rounded = {value: array for value, array in floats.items() if not _on_grid(array)}
        return Check(
            index,
            target.name,
            "bits",
            found.size,
            int(np.count_nonzero(differs & ~excused)),
            near=int(np.count_nonzero(excused | near(rounded))),
            flipped=int(np.count_nonzero(differs & excused)),
        )


def _stored(described: Mapping[str, Any], view: np.ndarray) -> _Stored:
    encoding = None
    stands_for = described["stands_for"]
    if stands_for is not None:
        low, high = (
            np.asarray(stands_for[key], np.float32).reshape(stands_for["shape"])
            for key in ("low", "high")
        )
        encoding = Encoding(stands_for["name"], low, high)
    kind = TensorType(DType(described["dtype"]), tuple(described["shape"]))
    return _Stored(view.copy(), kind, described["layout"], encoding)


# ---- comparing --------------------------------------------------------------------------------


def _magnitude(array: np.ndarray) -> float:
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0


def _on_grid(array: np.ndarray) -> bool:
    """Whether ``array`` holds but multiples of one step, such as integers, that are small enough
    for any software to have computed them without rounding."""
    step = 2.0 ** (np.frexp(_magnitude(array))[1] - _GRID_BITS)
    places = array.astype(np.float64) / step
    return bool((places == np.round(places)).all())


def _differs(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where decided values differ. Those that are stored as floats may have been scaled in another
    way, such as by a BatchNormalization that was folded: that rounds, but decides nothing."""
    if found.dtype.kind == "f":
        return np.asarray(_differences(found, expected) > TOLERANCE)
    return np.asarray(found != expected)


def _compare(found: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """Largest relative difference, and how many elements differ by more than the tolerance."""
    differences = _differences(found, expected)
    wrong = int(np.count_nonzero(differences > TOLERANCE))
    return (float(differences.max()) if differences.size else 0.0), wrong


def _differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Each element's, relative to the largest magnitude that is expected."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.asarray(np.abs(a - b))
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    difference[np.isnan(difference)] = np.inf
    return np.asarray(difference / (_magnitude(expected) or 1.0))


def describe(result: Verification) -> str:
    """The result in a few lines."""
    document = result.document()
    lines = [f"{result.layers} layers, each computed again from the run's own inputs to it:"]
    for kind, agreed in (
        ("bits", "equal"),
        ("integers", "equal"),
        ("floats", f"within {TOLERANCE:g} of the largest, at most {document['largest_error']:.1e}"),
    ):
        found = document[kind]
        if not found["tensors"]:
            continue
        verdict = agreed if not found["wrong"] else f"{found['wrong']:,} WRONG"
        lines.append(
            f"  {found['tensors']:>5} tensors of {kind:<9} {found['elements']:>14,}  {verdict}"
        )
    if document["bits"]["tensors"]:
        lines.append(
            f"{document['near_zero']:,} sign decisions lay within rounding of zero; "
            f"{document['near_zero_flipped']:,} of them came out the other way"
        )
    if result.unchecked:
        lines.append(
            f"{len(result.unchecked)} tensors are no tensors of the model's; what is computed from "
            "them was checked"
        )
    for rival, error in result.end_to_end.items():
        lines.append(f"end to end, the largest difference from {rival} is {error:.2e} (relative)")
        if result.good and error > PARTED and document["near_zero"]:
            lines += [
                "  more than roundings make, unless a sign near zero falls the other way there and",
                "  changes all behind it; `bnnc eval --against` compares what is detected",
            ]
    for rival, reason in result.left_out.items():
        lines.append(f"end to end, {rival} was left out: {reason}")
    for check in result.failures[:10]:
        layer = printable(check.name)
        lines.append(
            f"WRONG: layer {check.layer}, {layer}: {check.wrong:,} of {check.elements:,} "
            f"{check.kind}, by up to {check.error:.1e}"
        )
    if len(result.failures) > 10:
        lines.append(f"... and {len(result.failures) - 10} more tensors")
    lines.append("verified" if result.good else "NOT verified")
    return "\n".join(lines)
