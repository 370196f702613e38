"""What can be built from a model's C text, and what goes wrong in one line."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bnnc.errors import InputError, ToolchainError
from bnnc.runtime import InferenceSession
from bnnc.toolchain import Sources, build, runtime_sources

X = np.zeros((1, 4), np.float32)
Y = np.array([[1, 2, 3, 4]], np.float32)
MakeProgram = Callable[[str, str], Path]

PROGRAM = """\
#include <stdio.h>
#include "one.h"
#include "two.h"

int main(void) {
    static float x[4], y[4], z[4];
    const void *inputs[] = {x};
    void *first[] = {y}, *second[] = {z};
    _Alignas(64) static char arena[64];
    int code = one_run(arena, NULL, inputs, first) | two_run(arena, NULL, inputs, second);
    printf("%d %g %g %s\\n", code, (double)y[3], (double)z[3], two_strerror(BNNC_OK));
    return 0;
}
"""


@pytest.fixture(autouse=True)
def light(
    request: pytest.FixtureRequest,
    without_kernels: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leave the kernels out, but for the slow tests."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(runtime_sources, "folder", lambda: without_kernels)
        cache = tmp_path_factory.getbasetemp() / "cache"
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_a_shared_library_runs(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    assert build(sources, path) == [path]
    np.testing.assert_array_equal(InferenceSession(path, threads=1)(X)[0], Y)


def test_a_library_with_a_prefix_is_loaded_as_any(sources: Sources, tmp_path: Path) -> None:
    build(sources, tmp_path / "model.so", prefix="det")
    np.testing.assert_array_equal(InferenceSession(tmp_path / "model.so", threads=1)(X)[0], Y)


def test_a_library_shows_nothing_but_its_interface(sources: Sources, tmp_path: Path) -> None:
    build(sources, tmp_path / "model.so", prefix="det")
    names = _symbols(tmp_path / "model.so", "-D", "--defined-only")
    functions = (
        "abi_version arena_bytes calibrate detect isa model_json pool_create pool_destroy run"
    )
    expected = f"{functions} run_observed set_isa strerror"
    assert sorted(names) == [f"det_{name}" for name in expected.split()]


def test_large_weights_do_not_pass_the_compiler(sources: Sources, tmp_path: Path) -> None:
    build(Sources(sources.text, sources.weights + bytes(64 << 20)), tmp_path / "large.so")
    np.testing.assert_array_equal(InferenceSession(tmp_path / "large.so", threads=1)(X)[0], Y)
    assert (tmp_path / "large.so").stat().st_size > 64 << 20


def test_a_c_file_compiles_alone(whole_sources: Sources, tmp_path: Path) -> None:
    files = build(whole_sources, tmp_path / "model.c", emit="c")
    assert [f.name for f in files] == ["model.c", "model.h"]
    library = tmp_path / "by_hand.so"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), "model.c", "-lm", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    np.testing.assert_array_equal(InferenceSession(library, threads=1)(X)[0], Y)


@pytest.mark.parametrize("standard", ["c99", "c11", "gnu17"])
def test_a_c_file_compiles_by_any_standard(
    whole_sources: Sources, tmp_path: Path, standard: str
) -> None:
    build(whole_sources, tmp_path / "model.c", emit="c")
    command = ["cc", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "model.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_c_file_opens_with_the_models_banner(whole_sources: Sources, tmp_path: Path) -> None:
    build(whole_sources, tmp_path / "model.c", emit="c")
    assert (tmp_path / "model.c").read_text().startswith("/* A model that adds")


def test_a_c_file_is_the_same_every_time(whole_sources: Sources, tmp_path: Path) -> None:
    texts = []
    for name in ("a.c", "b.c"):
        build(whole_sources, tmp_path / name, emit="c")
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_a_c_file_includes_only_system_headers(whole_sources: Sources, tmp_path: Path) -> None:
    build(whole_sources, tmp_path / "model.c", emit="c")
    assert not re.search(r'#\s*include\s+"', (tmp_path / "model.c").read_text())


def test_a_library_runs_its_own_functions_where_another_has_the_same(
    sources: Sources, tmp_path: Path
) -> None:
    build(sources, tmp_path / "one.so")
    build(Sources(sources.text, struct.pack("<4f", 5, 6, 7, 8)), tmp_path / "two.so")
    script = (
        "import ctypes, bnnc, numpy as np\n"
        "ctypes.CDLL('./one.so', mode=ctypes.RTLD_GLOBAL)\n"
        "print(bnnc.load('two.so', threads=1)(np.zeros((1, 4), np.float32))[0].tolist())\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[[5.0, 6.0, 7.0, 8.0]]\n", done.stderr


@pytest.mark.parametrize("emit", ["a", "c", "whole a"])
def test_two_models_link_into_one_program(
    sources: Sources, whole_sources: Sources, tmp_path: Path, emit: str
) -> None:
    whole, _, emit = emit.rpartition(" ")
    model = sources if emit == "a" else whole_sources
    for name in ("one", "two"):
        build(model, tmp_path / f"{name}.{emit}", emit=emit, prefix=name)
    (tmp_path / "main.c").write_text(PROGRAM)
    parts = ["main.c", f"one.{emit}", f"two.{emit}"]
    if whole:
        parts = [parts[0], "-Wl,--whole-archive", *parts[1:], "-Wl,--no-whole-archive"]
    command = ["cc", "-O1", "-o", "program", *parts, "-lm", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    assert done.stdout == "0 4 4 no error\n"


def test_a_static_librarys_symbols_carry_the_prefix_or_their_version(
    sources: Sources, tmp_path: Path
) -> None:
    build(sources, tmp_path / "det.a", emit="a", prefix="det")
    assert not _stray_symbols(tmp_path / "det.a", "det")


@pytest.mark.slow
def test_the_whole_runtime_is_one_file_that_compiles_without_a_warning(
    whole_sources: Sources, tmp_path: Path
) -> None:
    build(whole_sources, tmp_path / "model.c", emit="c", prefix="det")
    strict = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only"]
    command = ["cc", "-std=gnu11", *strict, "model.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_kernels_show_nothing_but_tables_named_by_their_version(
    sources: Sources, tmp_path: Path
) -> None:
    build(sources, tmp_path / "det.a", emit="a", prefix="det")
    assert not _stray_symbols(tmp_path / "det.a", "det")


def test_headers_whose_prefixes_differ_by_case_alone_go_together(
    whole_sources: Sources, tmp_path: Path
) -> None:
    for name in ("det", "Det"):
        (tmp_path / name).mkdir()
        build(whole_sources, tmp_path / name / "model.c", emit="c", prefix=name)
    text = '#include "det/model.h"\n#include "Det/model.h"\nint main(void) { return %s; }\n'
    (tmp_path / "main.c").write_text(text % "det_run == Det_run")
    command = ["cc", "-Werror", "-fsyntax-only", "main.c"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0


def test_a_header_with_a_prefix_says_so(whole_sources: Sources, tmp_path: Path) -> None:
    build(whole_sources, tmp_path / "model.c", emit="c", prefix="det")
    text = (tmp_path / "model.h").read_text()
    assert "Every name starts with this model's prefix, det." in text and "PREFIX" not in text


def test_a_header_works_in_cplusplus(sources: Sources, tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    build(sources, tmp_path / "det.a", emit="a", prefix="det")
    (tmp_path / "main.cc").write_text('#include "det.h"\nint main() { return det_run ? 0 : 1; }\n')
    command = [compiler, "-o", "program", "main.cc", "det.a", "-lm", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "program"]).returncode == 0


def test_an_extension_module_is_imported_and_runs(sources: Sources, tmp_path: Path) -> None:
    _needs_python_headers()
    build(sources, tmp_path / "adder.so", emit="pyext")
    script = (
        "import numpy as np, adder, sys\n"
        "assert 'bnnc' not in sys.modules\n"
        "y, = adder.run(np.zeros((1, 4), np.float32), threads=2)\n"
        "print(y.tolist(), adder.info['name'], adder.lib.bnnc_abi_version())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "[[1.0, 2.0, 3.0, 4.0]] adder 2\n", done.stderr


def test_an_extension_module_checks_its_input(sources: Sources, tmp_path: Path) -> None:
    _needs_python_headers()
    build(sources, tmp_path / "adder.so", emit="pyext")
    script = "import numpy as np, adder; adder.run(np.zeros((1, 5), np.float32))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert "input 'x' is float32 [1, 5]; expected float32 [1, 4]" in done.stderr


def test_an_extension_module_tells_that_threads_cannot_start(
    sources: Sources, tmp_path: Path
) -> None:
    _needs_python_headers()
    build(sources, tmp_path / "adder.so", emit="pyext")
    script = "import numpy as np, adder; adder.run(np.zeros((1, 4), np.float32), threads=5000)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert "RuntimeError: cannot start 5000 threads" in done.stderr


def test_an_extension_module_can_also_be_loaded(sources: Sources, tmp_path: Path) -> None:
    _needs_python_headers()
    build(sources, tmp_path / "adder.so", emit="pyext")
    np.testing.assert_array_equal(InferenceSession(tmp_path / "adder.so", threads=1)(X)[0], Y)


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], indirect=True, ids=oct)
@pytest.mark.parametrize("emit", ["so", "a", "c"])
def test_what_is_made_has_the_permissions_of_any_new_file(
    sources: Sources, whole_sources: Sources, tmp_path: Path, emit: str, umask: int
) -> None:
    model = whole_sources if emit == "c" else sources
    for path in build(model, tmp_path / f"model.{emit}", emit=emit):
        full = 0o777 if path.suffix == ".so" else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~umask


@pytest.mark.parametrize("name", ["模型" * 40 + ".so", "x" * 252 + ".so"], ids=["wide", "long"])
def test_a_name_may_be_as_long_as_the_system_lets_it(
    sources: Sources, tmp_path: Path, name: str
) -> None:
    build(sources, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_builds_of_one_output_at_the_same_time_all_succeed(
    whole_sources: Sources, tmp_path: Path
) -> None:
    path = tmp_path / "model.c"

    def make(_: int) -> None:
        build(whole_sources, path, emit="c")

    with ThreadPoolExecutor(6) as workers:
        list(workers.map(make, range(30)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.c", "model.h"]


# ---- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "1st", "a-b", "linux", "NULL", "bnnc_pool", "x;y", "é", "a" * 70, "ha\nha"],
)
def test_a_prefix_must_be_a_c_name(sources: Sources, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no prefix for C symbols"):
        build(sources, tmp_path / "model.so", prefix=name)


@pytest.mark.parametrize("name", ["my-model.so", "1.so", "class.so", "model.txt"])
def test_an_extension_must_have_a_modules_name(sources: Sources, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no name for a Python module|cannot be imported"):
        build(sources, tmp_path / name, emit="pyext")


def test_an_unknown_kind_of_output_is_told(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot emit 'exe'; choose one of so, c, a, pyext"):
        build(sources, tmp_path / "model.exe", emit="exe")


def test_a_missing_folder_is_told(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its folder does not exist"):
        build(sources, tmp_path / "none" / "model.so")


def test_a_folder_in_place_of_the_output_is_told(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        build(sources, tmp_path)


def test_a_device_is_not_replaced(sources: Sources) -> None:
    with pytest.raises(InputError, match="is not an ordinary file"):
        build(sources, "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_c_file_does_not_overwrite_itself_with_its_header(
    whole_sources: Sources, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="overwritten by its own header"):
        build(whole_sources, tmp_path / "model.h", emit="c")


def test_a_folder_without_permission_is_told(
    whole_sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "model.c")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"model.c: cannot be written: Permission denied"):
        build(whole_sources, tmp_path / "model.c", emit="c")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_compiled(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a name nobody knows")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError) as caught:
        build(sources, tmp_path / "model.so", cc="no-such-cc")
    assert str(caught.value) == f"{tmp_path / 'model.so'}: cannot be written: Permission denied"


def test_a_name_too_long_is_told(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        build(sources, tmp_path / ("x" * 300 + ".so"), cc="no-such-cc")


@pytest.mark.parametrize("emit", ["so", "a"])
def test_a_disk_full_in_the_end_is_told_with_the_output(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emit: str
) -> None:
    def fail(made: Path, fresh: Path) -> None:
        raise OSError(28, "No space left on device", made, None, fresh)

    build(sources, tmp_path / f"good.{emit}", emit=emit)  # the runtime is in the cache now
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(shutil, "copyfile", fail)
    path = tmp_path / "out" / f"model.{emit}"
    with pytest.raises(InputError) as caught:
        build(sources, path, emit=emit)
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert not list(path.parent.iterdir())


def test_a_folder_for_compilers_that_is_missing_is_told(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ToolchainError, match=r"none: cannot be compiled in: .*; name .* TMPDIR"):
        build(sources, tmp_path / "model.so")


def test_a_full_disk_is_told(
    whole_sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(InputError, match=r"model.c: cannot be written: No space left on device"):
        build(whole_sources, tmp_path / "model.c", emit="c")
    assert not list(tmp_path.iterdir())


def test_a_compilers_first_error_is_shown(tmp_path: Path) -> None:
    broken = Sources('#include "kernel.h"\nint x = nonsense;\nint y = more;\n', b"")
    with pytest.raises(ToolchainError) as caught:
        build(broken, tmp_path / "model.so")
    assert re.search(
        r"cc failed compiling model.c: .*model.c:2:\d+: error: .*nonsense", str(caught.value)
    )
    assert "\n" not in str(caught.value)
    assert "more" in caught.value.details


def test_a_failed_build_leaves_the_old_file(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    build(sources, path)
    good = path.read_bytes()
    with pytest.raises(ToolchainError):
        build(Sources("nonsense", b""), path)
    with pytest.raises(ToolchainError, match="failed linking"):
        build(
            Sources(
                sources.text + "int missing(void);\nint call(void) { return missing(); }",
                b"\0" * 16,
            ),
            path,
        )
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["model.so"]


def test_a_linker_that_makes_an_empty_library_leaves_the_old_file(
    sources: Sources, tmp_path: Path, make_program: MakeProgram
) -> None:
    cc = make_program("cc", 'case "$*" in *-shared*) : > model.so;; *) exec cc "$@";; esac')
    path = tmp_path / "good.so"
    path.write_bytes(b"good")
    with pytest.raises(ToolchainError, match=r"failed linking the library: .*made nothing"):
        build(sources, path, cc=str(cc))
    assert path.read_bytes() == b"good"


def test_a_killed_compiler_is_told(
    sources: Sources, tmp_path: Path, make_program: MakeProgram
) -> None:
    cc = make_program(
        "cc", 'case "$1" in --version) echo gcc 1;; -dumpmachine) uname -m;; *) kill -9 $$;; esac'
    )
    with pytest.raises(ToolchainError, match="stopped by signal 9, as when memory runs out"):
        build(sources, tmp_path / "model.so", cc=str(cc))


def _stray_symbols(library: Path, prefix: str) -> set[str]:
    """Those that would be in the way of another model's in one program."""
    own = re.compile(rf"{prefix}_\w+|bnnc_[0-9a-f]{{16}}_table_\w+")
    return {name for name in _symbols(library, "--defined-only", "-g") if not own.fullmatch(name)}


def _symbols(path: Path, *options: str) -> set[str]:
    done = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True)
    return {line.split()[-1] for line in done.stdout.splitlines() if re.search(r" [A-Za-z] ", line)}


def _needs_python_headers() -> None:
    import sysconfig

    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        pytest.skip("Python's headers are not installed")
