"""Files that commands read and write."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnc.errors import InputError
from bnnc.files import check_kept, fresh_file, is_file, open_regular

if TYPE_CHECKING:
    import numpy as np


def keep_inputs(args: argparse.Namespace) -> None:
    """See that no output of a command line would replace what the same command line reads, the
    external data of its models included.

    Raises:
        InputError: if one would.
    """
    written = _named(args, args.written)
    check_kept(_read(args), written, "is read by this command, which would replace it")


def _read(args: argparse.Namespace) -> Iterator[Path]:
    """The files that a command line reads."""
    for path in _named(args, (*args.read, *args.models)):
        if is_file(path):
            yield path
    from bnnc.runtime.library import is_library

    for path in _named(args, args.models):
        if is_file(path) and not is_library(path):
            from bnnc.compiler import files_of

            yield from files_of(path)


def _named(args: argparse.Namespace, names: Iterable[str]) -> Iterator[Path]:
    """The paths that these arguments give, be it several, or each with an input's name."""

    def paths(value: Any) -> Iterator[Path]:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, (list, tuple)):
            for part in value:
                yield from paths(part)

    for name in names:
        yield from paths(getattr(args, name))


def read_arrays(inputs: list[tuple[str, Path]]) -> dict[str, np.ndarray]:
    """The arrays of ``--input``.

    Raises:
        InputError: if a file cannot be read or a name is given twice.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, path in inputs:
        if name in arrays:
            raise InputError(f"--input {name} is given twice")
        arrays[name] = read_array(path)
    return arrays


def read_array(path: Path) -> np.ndarray:
    """An .npy file.

    Raises:
        InputError: if it cannot be read as one.
    """
    import numpy as np

    try:
        with open_regular(path) as file:
            array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or 'cut short'}", file=path) from None
    except MemoryError:
        raise InputError("claims to hold more numbers than fit into memory", file=path) from None
    except Exception:  # numpy's readers raise whatever they stumble over
        raise InputError("is no array of numpy's (.npy)", file=path) from None
    if not isinstance(array, np.ndarray):
        raise InputError("holds several arrays (.npz); one .npy is expected", file=path)
    return array


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, complete or not at all; any name will do.

    Raises:
        InputError: if it cannot be written.
    """
    import zipfile

    import numpy as np

    with fresh_file(path) as fresh, zipfile.ZipFile(fresh, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    with fresh_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
