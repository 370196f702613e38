"""Einsum as matrix products: operands are joined from the left, two at a time."""

from __future__ import annotations

import re

from bnnc.frontends.onnx.call import Call, Importer
from bnnc.frontends.onnx.text import dims, quote
from bnnc.ir.graph import Value

_Labels = tuple[str, ...]


def _einsum(call: Call) -> Value:
    values = [call.input(slot) for slot in range(len(call.inputs))]
    terms, result = _parse(call, values)
    sizes: dict[str, int] = {}
    for value, term in zip(values, terms):
        for label, size in zip(term, value.shape):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
            if size not in (1, sizes[label]):
                raise call.error(f"gives '{label[0]}' the sizes {sizes[label]} and {size}")
    operands = [_spread(call, value, term, sizes) for value, term in zip(values, terms)]
    x, labels = operands[0]
    for index, (y, other) in enumerate(operands[1:], 1):
        wanted = {*result, *(label for _, term in operands[index + 1 :] for label in term)}
        x, labels = _join(call, _sum(call, x, labels, {*wanted, *other}), (y, other), wanted, sizes)
    x, labels = _sum(call, x, labels, set(result))
    missing = [label for label in result if label not in labels]
    if any(sizes.get(label, 0) != 1 for label in missing):
        raise call.error(f"has the equation {quote(call.attr_string('equation')[:60])}")
    present = [label for label in result if label in labels]
    x = call.transpose(x, [labels.index(label) for label in present])
    return call.reshape(x, [sizes[label] for label in result])


def _parse(call: Call, values: list[Value]) -> tuple[list[_Labels], _Labels]:
    """Labels of each operand and of the result; ``...`` stands for labels of its own."""
    equation = call.attr_string("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    fault = call.error(f"has the equation {quote(equation[:60])} for {len(values)} operands")
    if len(terms) != len(values) or len(equation) > 1000:
        raise fault
    if any(not re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", term) for term in [*terms, right]):
        raise fault
    spread: _Labels = ()
    found = []
    for term, value in zip(terms, values):
        own = len(value.shape) - len(term.replace("...", ""))
        if own < 0 or (own > 0 and "..." not in term):
            raise call.error(f"reads {dims(value.shape)} as '{term[:40]}'")
        # counted from the last one, since broadcasting aligns there
        inner = tuple(f"...{number}" for number in range(own, 0, -1)) if "..." in term else ()
        spread = max(spread, inner, key=len)
        found.append(_labels(term, inner))
        if len(set(found[-1])) != len(found[-1]):
            raise call.unsupported("along a diagonal is not supported")
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    result = _labels(right, spread)
    if len(set(result)) != len(result):
        raise fault
    return found, result


def _labels(term: str, inner: _Labels) -> _Labels:
    before, _, after = term.partition("...")
    return (*before, *(inner if "..." in term else ()), *after)


def _spread(call: Call, x: Value, labels: _Labels, sizes: dict[str, int]) -> tuple[Value, _Labels]:
    """``x`` without the axes of size one that others broadcast."""
    kept = [(label, size) for label, size in zip(labels, x.shape) if size == sizes[label]]
    return call.reshape(x, [size for _, size in kept]), tuple(label for label, _ in kept)


def _sum(call: Call, x: Value, labels: _Labels, wanted: set[str]) -> tuple[Value, _Labels]:
    """``x`` summed over what nobody wants."""
    axes = tuple(axis for axis, label in enumerate(labels) if label not in wanted)
    if axes:
        x = call.add("ReduceSum", x, axes=axes, keepdims=False)
    return x, tuple(label for label in labels if label in wanted)


def _join(
    call: Call,
    left: tuple[Value, _Labels],
    right: tuple[Value, _Labels],
    wanted: set[str],
    sizes: dict[str, int],
) -> tuple[Value, _Labels]:
    """The product of two operands, summed over what they share and nobody wants."""
    x, mine = left
    y, other = _sum(call, *right, {*wanted, *mine})
    batch = [label for label in mine if label in other and label in wanted]
    inner = [label for label in mine if label in other and label not in wanted]
    rows = [label for label in mine if label not in other]
    columns = [label for label in other if label not in mine]

    def lengths(labels: list[str]) -> list[int]:
        return [sizes[label] for label in labels]

    def product(labels: list[str]) -> int:
        total = 1
        for label in labels:
            total *= sizes[label]
        return total

    result = (*batch, *rows, *columns)
    if not inner:
        x = call.transpose(x, [mine.index(label) for label in [*batch, *rows]])
        y = call.transpose(y, [other.index(label) for label in [*batch, *columns]])
        x = call.reshape(x, [*x.shape, *(1 for _ in columns)])
        y = call.reshape(y, [*lengths(batch), *(1 for _ in rows), *lengths(columns)])
        return call.add("Mul", x, y), result
    x = call.transpose(x, [mine.index(label) for label in [*batch, *rows, *inner]])
    y = call.transpose(y, [other.index(label) for label in [*batch, *inner, *columns]])
    x = call.reshape(x, [*lengths(batch), product(rows), product(inner)])
    y = call.reshape(y, [*lengths(batch), product(inner), product(columns)])
    return call.reshape(call.add("MatMul", x, y), lengths([*result])), result


EINSUM: dict[str, Importer] = {"Einsum": _einsum}
"""Importers by operator."""
