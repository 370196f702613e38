"""Files: read only if they are some, written whole or not at all, and no output an input.

Like the errors this stands under everything else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bnnc.errors import InputError

_KIND = "is not an ordinary file"


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read it, but no pipe or device, which may have no end, nor ever a beginning.

    Raises:
        OSError: if it cannot be opened, or is none.
    """
    file = open(path, "rb", opener=open_at_once)  # noqa: SIM115 - it is for the caller to close
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, f"it {_KIND}")


def check_readable(path: str | os.PathLike[str]) -> None:
    """See that a file can be read, for libraries that would wait for a pipe, or tell too little.

    Raises:
        InputError: if it cannot, or is none.
    """
    try:
        open_regular(path).close()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None


def open_at_once(path: str, flags: int) -> int:
    """An opener, as ``open`` takes one, that does not wait for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is an ordinary file; what can be no path is none."""
    try:
        return os.path.isfile(path)
    except ValueError:  # a NUL in it
        return False


@contextlib.contextmanager
def fresh_file(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside ``path``, of the same suffix, that takes its place if all goes well.

    It has the permissions of any new file: what the umask leaves of ``mode``.

    Raises:
        InputError: if it cannot be written, or something that is no file has its place: a folder,
            or a device, which a rename would destroy.
    """
    target = Path(path)
    # Named by chance: another process, or thread, may be writing the same file.
    fresh = target.parent / f".{os.urandom(8).hex()}.new{target.suffix}"
    with _unwritable(target):
        _check_replaceable(target)
        try:
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield fresh
            os.replace(fresh, target)
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()


def check_place(path: str | os.PathLike[str]) -> None:
    """See that a file could be written, before the work for it.

    Raises:
        InputError: as :func:`fresh_file`.
    """
    target = Path(path)
    probe = target.parent / f".{os.urandom(8).hex()}.new"
    with _unwritable(target):
        _check_replaceable(target)
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        probe.unlink()


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, where there is none yet.

    Raises:
        InputError: if it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", file=path) from None


def check_kept(
    read: Iterable[str | os.PathLike[str]], written: Iterable[str | os.PathLike[str]], what: str
) -> None:
    """See that no output would replace what it is made of.

    Args:
        read: files that are read; asked for only if there is an output already.
        written: places of outputs.
        what: what to say of an output that is read, too.

    Raises:
        InputError: if one is.
    """
    there = [path for path in written if is_file(path)]
    for file in read if there else ():
        for output in there:
            if os.path.samefile(file, output):
                raise InputError(what, file=output, hint="give the output another name")


def _check_replaceable(path: Path) -> None:
    if path.is_dir():
        raise InputError("is a folder; name a file to write", file=path)
    if path.exists() and not path.is_file():
        raise InputError(_KIND, file=path)
    if not path.parent.is_dir():
        raise InputError("cannot be written: its folder does not exist", file=path)


@contextlib.contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    """Full disks and missing permissions in the user's terms."""
    try:
        yield
    except BrokenPipeError:
        raise  # no file breaks like that: it is standard output
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"cannot be written: {why}", file=path) from None
