"""Compiling small graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnnc.ir.graph import Graph
from bnnc.runtime import InferenceSession


@pytest.fixture
def compile_graph(tmp_path: Path) -> Callable[..., InferenceSession]:
    """Compiles a lowered graph as it stands and loads the library."""
    from bnnc import codegen, toolchain

    made = iter(range(1000))

    def compile_graph(
        graph: Graph, *, threads: int = 1, isa: str | None = None
    ) -> InferenceSession:
        generated = codegen.generate(graph, {"abi": 1, "bnnc": "test", "name": graph.name})
        sources = toolchain.Sources(
            codegen.source(generated, embed_weights=False), generated.weights
        )
        output = tmp_path / f"graph{next(made)}.so"
        toolchain.build(sources, output)
        return InferenceSession(output, threads=threads, isa=isa)

    return compile_graph


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)
