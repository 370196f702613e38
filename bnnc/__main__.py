"""The process that ``bnnc`` and ``python -m bnnc`` start: its signals, around the command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit code, as shells have it."""


def main() -> int:
    """Run the process's command line; returns the exit code.

    Being told to end (SIGTERM, or SIGHUP where a terminal closes) is as being interrupted from the
    keyboard: what was begun is cleared away, a camera's video is finished. Whoever waits for the
    process then learns which signal it was.
    """
    _open_streams()
    told: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        told.append(number)
        raise KeyboardInterrupt

    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # under nohup one of them is ignored
                signal.signal(number, interrupt)
        from bnnc.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        print("bnnc: interrupted", file=sys.stderr)
        for number in told:
            sys.stdout.flush()
            os.kill(os.getpid(), number)
        return INTERRUPTED


def _open_streams() -> None:
    """Standard streams that whoever started the process closed (``>&-``) lead nowhere: else the
    first files to be opened would take their numbers, and get what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it is open to the end


if __name__ == "__main__":
    sys.exit(main())
