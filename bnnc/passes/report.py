"""What passes are told, and what they tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bnnc.errors import InputError
from bnnc.ir.binary import Verdict
from bnnc.ir.graph import Graph

SIGN_ZERO = {"positive": 1, "negative": -1, "strict": 0}
"""What ONNX Sign gives at zero where that decides whether a layer is binary."""


@dataclass(frozen=True)
class PassOptions:
    """Choices of the user's.

    Attributes:
        sign_zero: one of ``SIGN_ZERO``.
        input_u8: take interleaved 8-bit pixels and normalise them in the graph.

    Raises:
        InputError: for an unknown policy.
    """

    sign_zero: str = "positive"
    input_u8: bool = False

    def __post_init__(self) -> None:
        if self.sign_zero not in SIGN_ZERO:
            raise InputError(
                f"sign-zero is {self.sign_zero!r}", hint=f"choose one of {', '.join(SIGN_ZERO)}"
            )


@dataclass
class Report:
    """What the passes did.

    Attributes:
        options: the choices they followed.
        changes: (pass, how many places it changed), in order.
        sign_zero_nodes: how many Sign nodes were given another value at zero.
        verdicts: one for every convolution and matrix product of the model, in order.
    """

    options: PassOptions = field(default_factory=PassOptions)
    changes: list[tuple[str, int]] = field(default_factory=list)
    sign_zero_nodes: int = 0
    verdicts: tuple[Verdict, ...] = ()

    def __add__(self, later: Report) -> Report:
        """The report of two runs, one after the other."""
        return Report(
            self.options,
            self.changes + later.changes,
            self.sign_zero_nodes + later.sign_zero_nodes,
            self.verdicts + later.verdicts,
        )


Pass = Callable[[Graph, Report], int]
"""Rewrites a graph in place and returns in how many places; 0 means that nothing changed."""
