"""Statistics for people: a table, and a picture with layers as bars."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from bnnc.analysis.statistics import LayerStatistics, Statistics
from bnnc.errors import printable

BINARY_COLOUR, FLOAT_COLOUR = "#2a6f97", "#e07a3f"


def summary(stats: Statistics) -> str:
    """The totals in a few lines, and what could be binary but is not."""
    total = stats.total
    rows = [
        ("model", printable(stats.model) or "(no name)"),
        ("convention", stats.convention),
        ("multiply-adds", f"{total.macs:,}"),
        ("  binary", f"{total.binary_macs:,}"),
        ("  float", f"{total.float_macs:,}"),
        ("r_b", f"{total.binarization_ratio:.4f}"),
        ("equivalent FLOP", flop_text(total.equivalent_flop)),
        ("parameters", f"{total.parameters:,}"),
        ("bytes", f"{total.bytes:,} stored, {total.float_bytes:,} as float32"),
        ("activations", f"{total.activation_bytes:,} bytes"),
    ]
    width = max(len(title) for title, _ in rows)
    lines = [f"{title:<{width}}  {text}" for title, text in rows]
    lines += [f"not binary: {text}" for text in missed(stats.layers)]
    return "\n".join([*lines, *(f"note: {text}" for text in noted(stats.layers))])


def flop_text(count: float) -> str:
    """``0.812 G``, or at least three digits in M or K; small ones as they are."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size / 10:
            return f"{count / size:.3f} {unit}"
    return f"{count:g}"


def missed(layers: Iterable[LayerStatistics]) -> list[str]:
    """Each layer that looks as if it was meant to be binary, and why it is not."""
    return _told([(layer.name, layer.reason or "") for layer in layers if layer.candidate])


def noted(layers: Iterable[LayerStatistics]) -> list[str]:
    """Each binary layer of which there is something to tell."""
    return _told([(layer.name, layer.note) for layer in layers if layer.note])


def _told(found: Sequence[tuple[str, str]], limit: int = 12) -> list[str]:
    lines = [f"{printable(name)}: {printable(text, 200)}" for name, text in found[:limit]]
    more = len(found) - limit
    return [*lines, f"and {more} more; see `bnnc stats --layers`"] if more > 0 else lines


def layer_table(stats: Statistics) -> str:
    """A row for each layer with multiply-adds."""
    rows = [("layer", "op", "kind", "MACs", "share", "parameters", "bytes", "output", "why float")]
    for layer in counted(stats):
        rows.append(
            (
                printable(layer.name, 60),
                layer.op,
                "binary" if layer.binary else "float",
                f"{layer.macs:,}",
                f"{100 * layer.macs / max(stats.total.macs, 1):.1f} %",
                f"{layer.parameters:,}",
                f"{layer.bytes:,}",
                "x".join(map(str, layer.output_shape)),
                printable(layer.reason or ""),
            )
        )
    return columns(rows, right=(3, 4, 5, 6))


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned text; the columns in ``right`` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def counted(stats: Statistics) -> list[LayerStatistics]:
    """The layers with multiply-adds."""
    return [layer for layer in stats.layers if layer.macs]


def picture(stats: Statistics) -> str:
    """A page of its own: layers as bars of multiply-adds, binary and float in two colours."""
    total = stats.total
    bars = [
        Bar(
            layer.name,
            float(layer.macs),
            f"{layer.macs:,}",
            f"{layer.op}, {'binary' if layer.binary else layer.reason or 'float'}",
            BINARY_COLOUR if layer.binary else FLOAT_COLOUR,
        )
        for layer in counted(stats)
    ]
    facts = (
        f"{total.macs:,} multiply-adds ({stats.convention} convention), "
        f"r_b {total.binarization_ratio:.4f}, "
        f"{flop_text(total.equivalent_flop)} equivalent FLOP, {total.bytes:,} bytes of weights"
    )
    legend = (("binary", BINARY_COLOUR), ("float", FLOAT_COLOUR))
    return bar_page(stats.model, facts, legend, bars)


class Bar:
    """A bar of :func:`bar_page`: what is written left and right of it, its tooltip and colour."""

    def __init__(self, title: str, length: float, text: str, hint: str, colour: str) -> None:
        self.title, self.length, self.text, self.hint = title, length, text, hint
        self.colour = colour


def bar_page(title: str, facts: str, legend: Sequence[tuple[str, str]], bars: Sequence[Bar]) -> str:
    """A self-contained HTML page, one horizontal bar a row. Names are escaped: they are data."""
    row, left, span = 18, 330, 620
    longest = max((bar.length for bar in bars), default=0) or 1
    shapes = []
    for index, bar in enumerate(bars):
        y = index * row
        width = max(span * bar.length / longest, 1)
        name = html.escape(printable(bar.title, 48))
        shapes.append(
            f"<g><title>{html.escape(printable(bar.title, 400))}: "
            f"{html.escape(printable(bar.hint, 400))}</title>"
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="{row - 5}" '
            f'fill="{bar.colour}"/>'
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{html.escape(bar.text)}</text></g>'
        )
    keys = " ".join(
        f'<span style="color:{colour}">&#9632;</span> {html.escape(name)}'
        for name, colour in legend
    )
    safe_title = html.escape(printable(title)) or "model"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{safe_title}</title><style>"
        "body{font:14px sans-serif;margin:2em;color:#222}svg text{font-size:11px;fill:#333}"
        f"</style></head><body><h1>{safe_title}</h1><p>{html.escape(facts)}</p><p>{keys}</p>\n"
        f'<svg width="{left + span + 160}" height="{len(bars) * row + 4}" role="img">\n'
        + "\n".join(shapes)
        + "\n</svg></body></html>\n"
    )
