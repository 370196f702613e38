"""Which instruction set is chosen, and forcing one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Isa, isas, library

FOLDER = Path(__file__).parent

PRELUDE = """
import sys
from harness import library
ffi, lib = library()
name = lambda: ffi.string(lib.bnnc_isa()).decode()
active = lambda: ffi.string(lib.bnnc_active().name).decode()
"""


def fresh(program: str) -> list[str]:
    """What a program prints, in a process where nothing has been chosen yet."""
    library()
    path = os.pathsep.join([str(FOLDER), str(FOLDER.parents[1])])
    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return ran.stdout.split()


def supported() -> list[str]:
    ffi, lib = library()
    return [name for name in isas() if lib.bnnc_supported_table(name.encode()) != ffi.NULL]


def test_the_best_supported_set_is_chosen() -> None:
    assert fresh("print(name(), active())") == [supported()[-1]] * 2


def test_a_set_is_forced_before_the_first_run(isa: Isa) -> None:
    program = f"print(lib.bnnc_set_isa({isa.name.encode()!r}), name(), active())"
    assert fresh(program) == ["0", isa.name, isa.name]


def test_looking_is_not_yet_a_choice() -> None:
    assert fresh("name(); print(lib.bnnc_set_isa(b'portable'), active())") == ["0", "portable"]


def test_the_last_wish_before_the_first_run_counts() -> None:
    program = """
best = name()
lib.bnnc_set_isa(b"portable")
print(lib.bnnc_set_isa(best.encode()), active() == best)
"""
    assert fresh(program) == ["0", "True"]


def test_after_a_run_only_the_set_in_use_is_accepted() -> None:
    if len(supported()) < 2:
        pytest.skip("this machine supports one instruction set only")
    program = """
best = active().encode()
print(lib.bnnc_set_isa(b"portable"), lib.bnnc_set_isa(best), active() == best.decode())
"""
    assert fresh(program) == ["4", "0", "True"]


@pytest.mark.parametrize("wish", [b"", b"avx", b"AVX2", b"neon", b"\xff" * 1000])
def test_an_unknown_set_is_refused(wish: bytes) -> None:
    assert fresh(f"print(lib.bnnc_set_isa({wish!r}))") == ["3"]


def test_no_name_is_refused() -> None:
    assert fresh("print(lib.bnnc_set_isa(ffi.NULL))") == ["1"]


def test_every_code_has_a_message_of_its_own() -> None:
    ffi, lib = library()
    messages = [ffi.string(lib.bnnc_strerror(code)).decode() for code in range(8)]
    assert len(set(messages[:7])) == 7
    assert messages[7] == "unknown error code"


def test_every_table_is_complete(isa: Isa) -> None:
    ffi, _ = library()
    kernel = ffi.typeof("bnnc_kernel")
    fields = [n for n, field in ffi.typeof("bnnc_isa_table").fields if field.type is kernel]
    assert len(fields) > 20
    missing = [
        name
        for name in fields
        if getattr(isa.table, name).run == ffi.NULL or getattr(isa.table, name).units == ffi.NULL
    ]
    assert missing == []
