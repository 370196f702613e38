"""Small sets of values, one per element of a tensor: what a finite domain works with.

An array of *levels* has shape (n, *s), where s broadcasts to the tensor's shape (aligned right, as
numpy does): the element at a position takes one of the n values there, in ascending order. Where a
position takes fewer than n values, the last is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LIMIT = 16
"""A set of more values than this is not tracked."""


def compress(array: np.ndarray) -> np.ndarray:
    """``array`` with every axis along which it is constant cut to one element."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array.take([0], axis)
            second = array.take([1], axis)
            if _same(first, second) and _same(array, first):
                array = first
    return array


def compress_alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """:func:`compress` for arrays of one shape, cut along the same axes."""
    return list(np.moveaxis(compress(np.stack(arrays, axis=-1)), -1, 0))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all())


def merge(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """The levels of a tensor whose elements are taken from any of ``arrays``, position by position.

    Returns:
        None where there are more than ``LIMIT``, or one is not a number.
    """
    stack = np.stack(np.broadcast_arrays(*arrays)) if len(arrays) > 1 else arrays[0][None]
    stack = np.sort(stack, axis=0)
    if (stack != stack).any():
        return None
    fresh = np.ones(stack.shape, bool)
    fresh[1:] = stack[1:] != stack[:-1]
    place = fresh.cumsum(axis=0) - 1
    count = int(place.max()) + 1
    if count > LIMIT:
        return None
    levels = np.broadcast_to(stack[-1], (count, *stack.shape[1:])).copy()
    np.put_along_axis(levels, place, stack, 0)
    return np.stack([stack[0]]) if count == 1 else levels


def pool(levels: Sequence[np.ndarray]) -> np.ndarray | None:
    """The levels, alike everywhere, of a tensor whose elements come from anywhere in several."""
    found = np.unique(np.concatenate([np.unique(array) for array in levels]))
    if len(found) > LIMIT or (found != found).any():
        return None
    return found


def aligned(levels: np.ndarray, rank: int) -> np.ndarray:
    """``levels`` with one axis for each of the tensor's ``rank`` axes behind the first."""
    missing = rank - (levels.ndim - 1)
    return levels.reshape(levels.shape[0], *(1,) * missing, *levels.shape[1:])
