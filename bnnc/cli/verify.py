"""``bnnc verify``."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc.cli import arguments
from bnnc.cli.files import read_arrays
from bnnc.cli.terminal import Progress, print_json
from bnnc.errors import InputError, ModelError, printable

if TYPE_CHECKING:
    import numpy as np

    from bnnc.ir.graph import Graph

NAME = "verify"
HELP = "check a compiled model against its ONNX file, layer by layer"
EXAMPLE = "bnnc verify model.onnx model.so"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "model", metavar="MODEL.onnx")
    arguments.add_read(parser, "library", metavar="MODEL.so")
    arguments.add_inputs(parser)
    parser.add_argument(
        "--samples",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="random inputs to check with, where none is given (default: 1)",
    )
    parser.add_argument(
        "--seed", type=arguments.seed, default=0, help="of the random inputs (default: 0)"
    )
    parser.add_argument(
        "--no-end-to-end",
        action="store_true",
        help="only layer by layer, without running the whole model elsewhere",
    )
    arguments.add_threads(parser)
    arguments.add_isa(parser)
    arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
    import bnnc
    from bnnc import compiler
    from bnnc.analysis.samples import samples
    from bnnc.analysis.verify import describe, verify

    session = bnnc.load(args.library, threads=args.threads, isa=args.isa)
    compiled = session.info["compiled"]
    input_u8 = compiled.get("input_u8", False)
    with Progress(f"reading {args.model}"):
        try:
            graph, _ = compiler.reference_graph(
                args.model,
                shapes=_shapes(session.info),
                sign_zero=compiled.get("sign_zero", "positive"),
                input_u8=input_u8,
            )
        except InputError:  # the library's shapes contradict the model
            raise ModelError(
                f"was not compiled from {printable(str(args.model))}: their inputs differ",
                file=args.library,
                hint="name the model it was compiled from",
            ) from None
    if args.input:
        feeds = [read_arrays(args.input)]
    else:
        feeds = samples(session.info["inputs"], session.info["metadata"], args.samples, args.seed)
    with Progress("verifying") as progress:
        rivals = {} if args.no_end_to_end else _rivals(args.model, graph, input_u8)
        result = verify(graph, session, feeds, rivals=rivals, progress=progress)
    if args.json:
        print_json({"isa": session.isa, "threads": session.threads, **result.document()})
    else:
        print(f"{args.library} against {args.model}, {session.isa}, threads {session.threads}")
        print(describe(result))
    return 0 if result.good else 1


def _shapes(info: Mapping[str, Any]) -> dict[str, list[int]]:
    """The model's input shapes, as the library was compiled for them."""
    shapes = {}
    for tensor in info["inputs"]:
        shape = list(tensor["shape"])
        if info["compiled"].get("input_u8") and tensor["dtype"] == "u8" and len(shape) == 4:
            shape = [shape[0], shape[3], *shape[1:3]]
        shapes[tensor["name"]] = shape
    return shapes


def _rivals(
    model: Path, graph: Graph, input_u8: bool
) -> dict[str, Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]]:
    """Ways to run the whole model elsewhere."""
    from bnnc.analysis.bench import fitted, onnxruntime_run, onnxruntime_session
    from bnnc.ir import interpreter
    from bnnc.passes.input_u8 import normalised

    session = functools.cache(lambda: onnxruntime_session(model, optimized=False))

    def elsewhere(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = fitted(normalised(feeds, graph.metadata) if input_u8 else feeds, session())
        return onnxruntime_run(session(), given)

    return {
        "the interpreter": lambda feeds: interpreter.run(graph, feeds),
        "onnxruntime": elsewhere,
    }
