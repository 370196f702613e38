"""Passes: graph to graph, one per file, applied in the order of two tuples.

``SEMANTIC`` settles what the model means. The graph behind it is the *reference*: statistics count
it, verification compares with it. ``LOWERING`` turns that into what kernels compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnnc.files import make_folder
from bnnc.ir.graph import Graph
from bnnc.passes.cancel_detach import cancel_detach
from bnnc.passes.compare_earlier import compare_earlier
from bnnc.passes.conform_products import conform_products
from bnnc.passes.dump import dump
from bnnc.passes.eliminate import eliminate
from bnnc.passes.expose_binary import expose_binary
from bnnc.passes.fold_batchnorm import fold_batchnorm
from bnnc.passes.fold_constants import fold_constants
from bnnc.passes.fold_pad import fold_pad
from bnnc.passes.fuse_epilogues import fuse_epilogues
from bnnc.passes.fuse_points import fuse_points
from bnnc.passes.fuse_pools import fuse_pools
from bnnc.passes.hoist_scales import hoist_scales
from bnnc.passes.input_u8 import input_u8
from bnnc.passes.look_up import look_up
from bnnc.passes.lower_binary import lower_binary
from bnnc.passes.merge_branches import merge_branches
from bnnc.passes.name_signs import name_signs
from bnnc.passes.report import Pass, PassOptions, Report
from bnnc.passes.resolve_sign_zero import resolve_sign_zero
from bnnc.passes.sink_pads import sink_pads
from bnnc.passes.sink_transposes import sink_transposes
from bnnc.passes.thresholds import thresholds

SEMANTIC: tuple[Pass, ...] = (
    eliminate,
    sink_transposes,
    cancel_detach,
    sink_pads,
    hoist_scales,
    name_signs,
    resolve_sign_zero,
    fold_constants,
    eliminate,
    input_u8,
    conform_products,
    expose_binary,
)

LOWERING: tuple[Pass, ...] = (
    look_up,
    lower_binary,
    thresholds,
    compare_earlier,
    fold_pad,
    fold_batchnorm,
    fuse_epilogues,
    fuse_pools,
    fuse_points,
    merge_branches,
)


def dump_files(folder: Path | None) -> list[Path]:
    """What runs of ``SEMANTIC`` and ``LOWERING`` write to a folder; nothing where there is none."""
    names = ("import", *(transform.__name__ for transform in (*SEMANTIC, *LOWERING)))
    files = (f"{number:02}_{name}.onnx" for number, name in enumerate(names))
    return [] if folder is None else [folder / name for name in files]


def run(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    options: PassOptions | None = None,
    dump_dir: Path | None = None,
) -> Report:
    """Apply ``passes`` to ``graph`` in place; what no output depends on is dropped after each.

    Args:
        dump_dir: folder to write the graph to after every pass, as ONNX files that Netron opens:
            ``00_import.onnx``, ``01_eliminate.onnx``... A run of ``LOWERING`` goes on counting
            where ``SEMANTIC`` ends.

    Raises:
        AssertionError: if a pass leaves an illegal graph.
        InputError: if ``dump_dir`` cannot be written.
    """
    report = Report(options or PassOptions())
    behind_semantic = tuple(passes) == LOWERING
    first = 1 + (len(SEMANTIC) if behind_semantic else 0)
    if dump_dir is not None:
        make_folder(dump_dir)
        if not behind_semantic:
            dump(graph, dump_dir / "00_import.onnx")
    for number, transform in enumerate(passes, first):
        with np.errstate(all="ignore"):  # a model's weights may be NaN, infinite, anything
            changes = transform(graph, report)
        graph.prune()
        graph.check()
        report.changes.append((transform.__name__, changes))
        if dump_dir is not None:
            dump(graph, dump_dir / f"{number:02}_{transform.__name__}.onnx")
    return report


__all__ = ["LOWERING", "Pass", "PassOptions", "Report", "SEMANTIC", "dump_files", "run"]
