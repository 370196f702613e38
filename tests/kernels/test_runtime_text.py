"""runtime_c as text: no warnings, one file or several, formatted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import FLAGS, RUNTIME_C, WARNINGS, compiled, compiler, included, sources

QUICK = "-O1"
"""Optimised as far as warnings about what flows where need it."""


def compilers() -> list[str]:
    """Those of the usual compilers that are on the path, each once."""
    found = {Path(path).resolve() for path in map(shutil.which, ("cc", "gcc", "clang")) if path}
    return sorted(map(str, found)) or ["cc"]


def compile_quietly(cc: str, file: Path, out: Path, *flags: str) -> None:
    if not compiler():
        pytest.skip("there is no C compiler on the path")
    command = [cc, *FLAGS, *WARNINGS, *flags, "-c", str(file), "-o", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cc", compilers())
@pytest.mark.parametrize("file", sources(), ids=lambda path: path.name)
def test_every_file_compiles_without_a_warning(tmp_path: Path, cc: str, file: Path) -> None:
    compile_quietly(cc, file, tmp_path / "object.o", QUICK)


def inline(file: Path, seen: set[Path]) -> str:
    """A file with its own includes in place; headers once, templates every time."""

    def replace(match: re.Match[str]) -> str:
        path = (file.parent / match[1]).resolve()
        if path.suffix == ".h" and path in seen:
            return ""
        seen.add(path)
        return inline(path, seen)

    return re.sub(r'^#include "([^"]+)"$', replace, file.read_text(), flags=re.MULTILINE)


def in_one_file() -> str:
    """The runtime as a single C file, which shares nothing with others."""
    seen: set[Path] = set()
    return "#define BNNC_INTERNAL static __attribute__((unused))\n" + "".join(
        inline(path, seen) for path in sources()
    )


@pytest.mark.slow
@pytest.mark.parametrize("cc", compilers())
def test_the_runtime_works_as_a_single_file(tmp_path: Path, cc: str) -> None:
    file = tmp_path / "all.c"
    file.write_text(in_one_file())
    compile_quietly(cc, file, tmp_path / "all.o", QUICK)
    nm = shutil.which("nm")
    if nm:
        symbols = subprocess.run([nm, tmp_path / "all.o"], capture_output=True, text=True).stdout
        defined = {line.split()[2] for line in symbols.splitlines() if re.search(r" [TDBR] ", line)}
        assert defined == {
            "bnnc_abi_version",
            "bnnc_calibrate",
            "bnnc_isa",
            "bnnc_pool_create",
            "bnnc_pool_destroy",
            "bnnc_set_isa",
            "bnnc_strerror",
        }


@pytest.mark.parametrize("isa", ("portable", "avx2", "avx512"))
def test_asking_ahead_for_memory_survives_the_compiler(isa: str) -> None:
    objdump = shutil.which("objdump")
    if objdump is None or not compiler():
        pytest.skip("needs a C compiler and objdump")
    command = [objdump, "-d", "--no-show-raw-insn", compiled(RUNTIME_C / "isa" / f"{isa}.c")]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = re.split(r"^\w+ <(.*)>:$", code, flags=re.MULTILINE)[1:]
    if not functions:
        pytest.skip("these kernels are for another processor")
    bodies = zip(functions[::2], functions[1::2])
    asking = {name for name, body in bodies if re.search("prefetch|prfm", body)}
    for part in ("planar_(conv_unit|tile|output)|binary_conv_planar", "planar_add_block", "gemm_"):
        assert any(re.search(part, name) for name in asking), (part, asking)


def test_headers_serve_cplusplus(tmp_path: Path) -> None:
    cxx = shutil.which("c++")
    if cxx is None:
        pytest.skip("there is no C++ compiler on the path")
    file = tmp_path / "user.cpp"
    file.write_text('#include "bnnc.h"\nint main() { return bnnc_run(0, 0, 0, 0); }\n')
    command = [cxx, "-Wall", "-Wextra", "-Werror", "-c", f"-I{RUNTIME_C}", str(file)]
    ran = subprocess.run([*command, "-o", str(tmp_path / "user.o")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_names_taken_for_an_instruction_set_are_given_back() -> None:
    taken, given = set(), set()
    for path in [*RUNTIME_C.glob("kernels/*.inl"), *RUNTIME_C.glob("isa/*.c")]:
        text = path.read_text()
        taken |= set(re.findall(r"^\s*#define (\w+)", text, re.MULTILINE))
        given |= set(re.findall(r"^\s*#undef (\w+)", text, re.MULTILINE))
    assert taken == given


def test_the_c_files_are_formatted() -> None:
    tool = shutil.which("clang-format")
    if tool is None:
        pytest.skip("clang-format is not installed")
    files = [str(path) for path in [*sources(), *included()]]
    ran = subprocess.run([tool, "--dry-run", "-Werror", *files], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
