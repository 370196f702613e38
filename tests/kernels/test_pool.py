"""The thread pool: equal results, shared use, forks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import (
    RUNTIME_C,
    SCRATCH_BYTES,
    Arguments,
    Epilogue,
    Guarded,
    Isa,
    aligned,
    compiler,
    function_codes,
    library,
)
from hypothesis import given, settings
from hypothesis import strategies as st


class Pool:
    """A pool of the runtime."""

    def __init__(self, threads: int) -> None:
        self.ffi, self.lib = library()
        self.pointer = self.lib.bnnc_pool_create(threads)
        assert self.pointer != self.ffi.NULL

    def run(self, isa: Isa, kernel: str, args: Arguments) -> None:
        scratch = aligned(SCRATCH_BYTES)
        address = self.ffi.cast("void *", scratch.ctypes.data)
        entry = self.ffi.addressof(isa.table, kernel)
        self.lib.bnnc_parallel(self.pointer, entry, args.pointer, address)

    def close(self) -> None:
        self.lib.bnnc_pool_destroy(self.pointer)


@pytest.fixture(scope="module", params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    made = Pool(request.param)
    yield made
    made.close()


def exponential(x: np.ndarray, out: np.ndarray) -> Arguments:
    code = function_codes()["Exp"]
    return Arguments("bnnc_unary_args", count=x.size, function=code, x=x, out=out)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 200_000), st.integers(0, 2**31))
def test_any_number_of_threads_gives_the_same_bits(
    isa: Isa, pool: Pool, size: int, seed: int
) -> None:
    x = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    alone, shared = Guarded(size), Guarded(size)
    isa.run("unary", exponential(x, alone.array))
    pool.run(isa, "unary", exponential(x, shared.array))
    assert alone.check().tobytes() == shared.check().tobytes()


def test_an_epilogue_with_bits_is_shared_out(isa: Isa, pool: Pool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 70, 64, 64)).astype(np.float32)
    zeros = np.zeros(70, np.float32)
    results = []
    for run in (isa.run, lambda kernel, args: pool.run(isa, kernel, args)):
        out = Guarded(64 * 64 * 2, np.uint64)
        sign = {"a": zeros, "compare": "ge", "layout": "bits_nhwc", "out": out.array}
        epilogue = Epilogue([("sign", sign)], 70, 64, 64)
        run("map_f32", Arguments("bnnc_map_args", batch=1, x=x, epilogue=epilogue))
        results.append(out.check().tobytes())
    assert results[0] == results[1]


def test_callers_share_a_pool(isa: Isa) -> None:
    pool = Pool(2)
    x = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    wanted = Guarded(x.size)
    isa.run("unary", exponential(x, wanted.array))
    outs = [Guarded(x.size) for _ in range(4)]

    def work(out: Guarded) -> None:
        for _ in range(30):
            out.array[:] = 0
            pool.run(isa, "unary", exponential(x, out.array))

    threads = [threading.Thread(target=work, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in outs:
        np.testing.assert_array_equal(out.check(), wanted.array)
    pool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_uses_and_frees_the_pool_alone() -> None:
    program = """
import os, sys
import numpy as np
from harness import isa
from test_pool import Pool, exponential
portable = isa("portable")
pool = Pool(3)
x = np.linspace(-5, 5, 100_000, dtype=np.float32)
first, second = np.empty_like(x), np.empty_like(x)
pool.run(portable, "unary", exponential(x, first))
child = os.fork()
pool.run(portable, "unary", exponential(x, second))
pool.close()
if child == 0:
    os._exit(0 if (first == second).all() else 1)
assert os.waitpid(child, 0)[1] == 0 and (first == second).all()
"""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, cwd=here, env=environment
    )


@pytest.mark.parametrize("threads", [0, -1, 1_000_000])
def test_an_impossible_pool_is_refused(threads: int) -> None:
    ffi, lib = library()
    assert lib.bnnc_pool_create(threads) == ffi.NULL


def test_destroying_no_pool_does_nothing() -> None:
    ffi, lib = library()
    lib.bnnc_pool_destroy(ffi.NULL)


@pytest.mark.parametrize(
    "flags", [["-O2"], ["-O1", "-g", "-fsanitize=thread"]], ids=["fast", "tsan"]
)
def test_every_unit_runs_once_and_without_a_race(tmp_path: Path, flags: list[str]) -> None:
    cc = compiler()
    if not cc:
        pytest.skip("there is no C compiler on the path")
    program = tmp_path / "stress"
    sources = [str(RUNTIME_C / "pool.c"), str(Path(__file__).with_name("pool_stress.c"))]
    built: Any = subprocess.run(
        [*cc, "-std=gnu11", *flags, f"-I{RUNTIME_C}", "-o", str(program), *sources, "-lpthread"],
        capture_output=True,
        text=True,
    )
    if built.returncode and "-fsanitize=thread" in flags:
        pytest.skip("this compiler has no thread sanitizer")
    assert built.returncode == 0, built.stderr
    command = [str(program)]
    if "-fsanitize=thread" in flags and shutil.which("setarch"):
        # The sanitizer cannot place its shadow memory under every randomised layout.
        command = ["setarch", "--addr-no-randomize", *command]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "done\n"
