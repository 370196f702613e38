"""How the bits of a two-valued tensor come about: by which comparison, of which tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from bnnc.ir.domains import Domains, Finite
from bnnc.ir.graph import Value
from bnnc.ir.levels import aligned
from bnnc.ir.types import DType


@dataclass(frozen=True, eq=False)
class Bits:
    """How the bits of a two-valued tensor come about: ``compare(x, at[channel])``.

    Attributes:
        x: the float32 tensor that is compared, of the two-valued tensor's shape.
        at: float32 [C], one threshold a channel.
        compare: one of ``epilogue.COMPARES``.
        low, high: float32 [C], the tensor's values where the bit is clear and set; ``low`` may be
            the larger.
    """

    x: Value
    at: np.ndarray
    compare: str
    low: np.ndarray
    high: np.ndarray


def bits_of(domains: Domains, value: Value, *, direct: bool = True) -> Bits:
    """How to decide the bits of ``value``, a float32 tensor (N, C, ...) that takes two values.

    Where one comparison of another tensor decides them, that one is taken; otherwise, or if it is
    not ``direct``, the tensor itself is compared with what lies half-way between its values.
    """
    domain = domains.of(value)
    assert isinstance(domain, Finite), value
    found = domains.distinct(value)
    assert found is not None and len(found) == 2, value
    channels = value.shape[1]
    comparison = _by_comparison(domain, value) if direct else None
    if comparison is not None:
        return comparison
    middle = np.float32((np.float64(found[0]) + np.float64(found[1])) / 2)
    at, low, high = (np.full(channels, x, np.float32) for x in (middle, *found))
    return Bits(value, at, "ge", low, high)


def _by_comparison(domain: Finite, value: Value) -> Bits | None:
    x, at = domain.root.value, domain.root.at
    if at is None or x.shape != value.shape or x.dtype is not DType.F32:
        return None
    rank, channels = len(value.shape), value.shape[1]
    vectors = [at, *(state for state in domain.states if state is not None)]
    if any(not _is_vector(array, rank, channels) for array in vectors):
        return None
    below, equal, above, nan = domain.states
    if equal is None:
        equal = above
    low, high = (below, above) if below is not None and above is not None else (below, equal)
    if low is None:
        low, high = equal, above
    if low is None or high is None or equal is None or (low == high).any():
        return None
    if (equal != low).any() and (equal != high).any():
        return None
    # NaN compares false with everything; a form that makes it the high value is followed.
    nan_high = nan is not None and bool((nan == high).all())
    if (equal == high).all():
        compare = "nlt" if nan_high else "ge"
    else:
        compare = "nle" if nan_high else "gt"
    at, low, high = (_vector(array, rank, channels) for array in (at, low, high))
    return Bits(x, at, compare, low, high)


def _is_vector(array: np.ndarray, rank: int, channels: int) -> bool:
    shape = aligned(array[None], rank).shape[1:]
    return shape[1] in (1, channels) and prod(shape) == shape[1]


def _vector(array: np.ndarray, rank: int, channels: int) -> np.ndarray:
    spread = np.broadcast_to(aligned(array[None], rank).reshape(-1), (channels,))
    return np.ascontiguousarray(spread, np.float32)
