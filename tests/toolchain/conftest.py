"""A model's C text written by hand, as code generation would hand it over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bnnc.toolchain import Sources, runtime_sources

MODEL = """\
/* A model that adds its weights to its input. */
#include "kernel.h"

#ifdef BNNC_PREFIX
#define bnnc_weights BNNC_CONCAT(BNNC_PREFIX, weights)
#endif
@WEIGHTS@

const char *bnnc_model_json(void) {
    return "{\\"abi\\":1,\\"name\\":\\"adder\\",\\"open_batch\\":false,\\"metadata\\":{},"
           "\\"inputs\\":[{\\"name\\":\\"x\\",\\"dtype\\":\\"f32\\",\\"shape\\":[1,4]}],"
           "\\"outputs\\":[{\\"name\\":\\"y\\",\\"dtype\\":\\"f32\\",\\"shape\\":[1,4]}],"
           "\\"compiled\\":{\\"isas\\":[\\"portable\\"]},\\"layers\\":[]}";
}

size_t bnnc_arena_bytes(void) {
    return 64;
}

int bnnc_run_observed(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs,
                      bnnc_observer *observer, void *user) {
    (void)arena, (void)pool, (void)observer, (void)user, (void)bnnc_active();
    const float *weights = (const float *)(const void *)bnnc_weights;
    for (int i = 0; i < 4; i++)
        ((float *)outputs[0])[i] = ((const float *)inputs[0])[i] + weights[i];
    return BNNC_OK;
}

int bnnc_detect(void *arena, bnnc_pool *pool, const void *const *inputs, bnnc_box *boxes,
                int capacity, const bnnc_detect_options *options) {
    (void)arena, (void)pool, (void)inputs, (void)boxes, (void)capacity, (void)options;
    return -BNNC_E_DECODER;
}

int bnnc_run(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs) {
    return bnnc_run_observed(arena, pool, inputs, outputs, NULL, NULL);
}
"""
LINKED = "extern BNNC_INTERNAL const uint8_t bnnc_weights[];"
WEIGHTS = (1.0, 2.0, 3.0, 4.0)


@pytest.fixture(scope="session")
def sources() -> Sources:
    """The weights are linked in."""
    return Sources(MODEL.replace("@WEIGHTS@", LINKED), struct.pack("<4f", *WEIGHTS))


@pytest.fixture(scope="session")
def whole_sources() -> Sources:
    """The weights are in the text, as for a C file."""
    values = ", ".join(map(str, WEIGHTS))
    return Sources(
        MODEL.replace("@WEIGHTS@", f"static const float bnnc_weights[] = {{{values}}};"), b""
    )


@pytest.fixture(scope="session", autouse=True)
def a_compiler() -> None:
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler")


EMPTY_TABLE = """\
static const bnnc_isa_table ISA(kernels) = {.name = BNNC_TEXT(BNNC_ISA)};

BNNC_TABLE const bnnc_isa_table *ISA(table)(void) {
    return &ISA(kernels);
}
#undef BNNC_ISA
#undef BNNC_VEC_BYTES
"""


@pytest.fixture(scope="session")
def without_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime with empty tables of kernels, which compiles in no time."""
    root = tmp_path_factory.mktemp("light") / "runtime_c"
    shutil.copytree(runtime_sources.folder(), root)
    (root / "kernels" / "all.inl").write_text(EMPTY_TABLE)
    return root


@pytest.fixture
def interrupted(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """A block that is interrupted as soon as a program holds ``tmp_path / "held"`` open for
    writing, and that must leave none which still does."""
    held = tmp_path / "held"
    os.mkfifo(held)

    def interrupt() -> None:
        with held.open("rb") as pipe:
            # To this thread: the main one notes it, but what it waits for is not cut short, as
            # where a signal comes just before the wait begins.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            pipe.read()  # ends with the last program that holds it

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        thread = threading.Thread(target=interrupt, daemon=True)
        # It is ignored in what a shell runs in the background.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        before = time.monotonic()
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            signal.signal(signal.SIGINT, handler)
        thread.join(10)
        assert not thread.is_alive() and time.monotonic() - before < 10

    return block


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write an executable shell script."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make
