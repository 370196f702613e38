"""Find things on a folder of a million pictures, on as many machines as Ray has.

    python examples/detect_cluster.py det.so pictures/ results/ --actors 8

Each actor holds the compiled library and works on one processor. Results are Parquet files, a row
for each picture: its path, what went wrong with it or null, and lists of names, scores and corners
(x0, y0, x1, y1, in the picture's pixels). The same command goes on where an earlier one stopped. On
a cluster, the library and both folders lie where every machine sees them. Needs
``pip install 'bnnc[cluster]'``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import bnnc
from bnnc.files import make_folder
from bnnc.pictures import pictures_in

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("error", pa.string()),
        ("names", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("corners", pa.list_(pa.list_(pa.float32(), 4))),
    ]
)
BATCH = 32


class Finder:
    """The actor: one library, loaded once."""

    def __init__(self, library: str, score: float) -> None:
        self.detector = bnnc.Detector(library, threads=1, score=score)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self.look(path) for path in batch["path"].to_pylist()], SCHEMA)

    def look(self, path: str) -> dict[str, Any]:
        """The row of one picture; a damaged one costs its own row only."""
        try:
            boxes = self.detector(path)
        except bnnc.InputError as error:
            return {"path": path, "error": str(error), "names": [], "scores": [], "corners": []}
        return {
            "path": path,
            "error": None,
            "names": list(boxes.names),
            "scores": boxes.scores.tolist(),
            "corners": boxes.corners.tolist(),
        }


def done(results: Path) -> set[str]:
    """The pictures that earlier runs have looked at. A file that a run was writing when it was
    stopped is no whole Parquet file, and goes."""
    paths: set[str] = set()
    for file in sorted(results.glob("*.parquet")):
        try:
            paths.update(pq.read_table(file, columns=["path"])["path"].to_pylist())
        except pa.ArrowInvalid:
            file.unlink()
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--actors", type=int, default=os.cpu_count())
    parser.add_argument("--score", type=float, default=0.3)
    options = parser.parse_args()
    try:
        bnnc.Detector(options.library, threads=1)  # a mistake shows here, not on every machine
        make_folder(options.results)
    except bnnc.BnncError as error:
        print(f"detect_cluster: {error}", file=sys.stderr)
        return 1
    before = done(options.results)
    paths = [str(path.resolve()) for path in pictures_in(options.pictures)]
    left = [path for path in paths if path not in before]
    print(f"{len(paths)} pictures, {len(paths) - len(left)} done before")
    if left:
        find(left, options.library.resolve(), options.results, options.actors, options.score)
    rows = pq.read_table(options.results, columns=["error", "scores"]).to_pylist()
    failed = sum(row["error"] is not None for row in rows)
    found = sum(len(row["scores"]) for row in rows)
    print(f"{len(rows)} results, {found} detections, {failed} unreadable")
    return 0


def find(paths: list[str], library: Path, results: Path, actors: int, score: float) -> None:
    """Look at ``paths`` on ``actors`` actors, and add files to ``results`` as they go."""
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    items = [{"path": path} for path in paths]
    blocks = max(actors, len(paths) // 1000)
    found = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
        Finder,
        fn_constructor_kwargs={"library": str(library), "score": score},
        batch_format="pyarrow",
        batch_size=BATCH,
        concurrency=actors,
        num_cpus=1,
        max_restarts=-1,
    )
    found.write_parquet(str(results.resolve()))
    ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
