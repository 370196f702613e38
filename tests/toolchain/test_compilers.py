"""Finding a C compiler, and saying clearly when there is none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bnnc.errors import ToolchainError
from bnnc.toolchain import TARGETS, Compiler, compilers, find, resolve

MakeProgram = Callable[[str, str], Path]
FAKE = 'case "$*" in *--version) echo "{version}";; *-dumpmachine) echo {machine};; esac'


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds nothing but what a test puts into ``tmp_path``."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path


def fake(make_program: MakeProgram, name: str, version: str, machine: str = "native") -> Path:
    if machine == "native":
        machine = resolve("native").triple
    return make_program(name, FAKE.format(version=version, machine=machine))


def test_the_systems_compiler_is_found() -> None:
    compiler = find(resolve("native"))
    assert compiler.family in ("gcc", "clang", "zig") and compiler.version


def test_without_a_compiler_the_error_says_what_to_install(empty_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"found no C compiler for .*; install gcc or clang"):
        find(resolve("native"))


def test_cc_is_preferred(empty_path: Path, make_program: MakeProgram) -> None:
    fake(make_program, "gcc", "gcc 12")
    fake(make_program, "cc", "Debian clang version 14")
    compiler = find(resolve("native"))
    assert compiler.command == ("cc",) and compiler.family == "clang"


def test_the_environment_chooses(
    empty_path: Path, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(make_program, "cc", "gcc 12")
    fake(make_program, "mine", "gcc 13")
    monkeypatch.setenv("CC", "mine -m64")
    assert find(resolve("native")).command == ("mine", "-m64")


def test_an_option_overrides_the_environment(
    empty_path: Path, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(make_program, "mine", "gcc 13")
    fake(make_program, "other", "gcc 14")
    monkeypatch.setenv("CC", "mine")
    assert find(resolve("native"), "other").version == "gcc 14"


@pytest.mark.parametrize("source", ["--cc", "$CC"])
def test_a_compiler_asked_for_by_name_is_not_replaced_by_another(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-cc" if source == "$CC" else "")
    given = "no-such-cc" if source == "--cc" else None
    with pytest.raises(ToolchainError) as caught:
        find(resolve("native"), given)
    assert str(caught.value).startswith(f"{source} names 'no-such-cc', which is not there")


def test_a_program_that_is_no_compiler_is_told(make_program: MakeProgram) -> None:
    program = make_program("cc", "exit 1")
    with pytest.raises(ToolchainError, match="which is no C compiler for"):
        find(resolve("native"), str(program))


@pytest.mark.parametrize("given", ["./tools/mine", "tools/mine -O1", "mine"])
def test_a_compiler_near_by_can_be_called_from_any_folder(
    given: str, tmp_path: Path, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tools").mkdir()
    program = fake(make_program, "tools/mine", "gcc 13")
    monkeypatch.setenv("PATH", "tools")
    monkeypatch.chdir(tmp_path)
    assert find(resolve("native"), given).command[0] == str(program)


def test_a_compiler_that_hangs_is_none(
    make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilers, "_PATIENCE", 0.2)
    program = make_program("cc", "sleep 60 & wait")
    with pytest.raises(ToolchainError, match="which is no C compiler for"):
        find(resolve("native"), str(program))


def test_what_a_compiler_started_is_stopped_with_it(
    interrupted: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
    make_program: MakeProgram,
) -> None:
    driver = make_program("cc", "sleep 60 > held & wait")
    with interrupted():
        Compiler((str(driver),), "gcc", "1").run([], makes=tmp_path / "a.so", doing="linking")


def test_a_compiler_that_ignores_being_told_to_end_is_ended(
    interrupted: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
    make_program: MakeProgram,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilers, "_GRACE", 0.2)
    driver = make_program("cc", "trap '' TERM; exec > held; while :; do sleep 1; done")
    with interrupted():
        Compiler((str(driver),), "gcc", "1").run([], makes=tmp_path / "a.so", doing="linking")


@pytest.mark.parametrize("text", [":", ": > made.o"])
def test_a_compiler_that_succeeds_and_makes_nothing_has_failed(
    text: str, tmp_path: Path, make_program: MakeProgram
) -> None:
    compiler = Compiler((str(make_program("cc", text)),), "gcc", "1")
    with pytest.raises(ToolchainError, match=r"failed compiling a\.c: .*made nothing"):
        compiler.run([], makes=tmp_path / "made.o", doing="compiling a.c")


@pytest.mark.parametrize(
    "fault",
    [
        "/usr/bin/ld: cannot open output file x.so: Read-only file system",
        "/usr/bin/ld: final link failed: No space left on device",
        "/usr/bin/ld: cannot find -lm: No such file or directory",
    ],
)
def test_the_linkers_reason_is_told(fault: str, tmp_path: Path, make_program: MakeProgram) -> None:
    warning = "/usr/bin/ld: warning: a.o: an error: of no matter"
    program = make_program(
        "cc",
        f"echo '{warning}'; echo '{fault}'; echo 'collect2: error: ld returned 1 exit status'\n"
        "exit 1",
    )
    with pytest.raises(ToolchainError) as caught:
        Compiler((str(program),), "gcc", "1").run([], makes=tmp_path / "x.so", doing="linking")
    assert str(caught.value).endswith(f"failed linking: {fault}")


def test_a_compiler_for_another_machine_is_passed_over(
    empty_path: Path, make_program: MakeProgram
) -> None:
    fake(make_program, "cc", "gcc 12", "m68k-linux-gnu")
    fake(make_program, "gcc", "gcc 12")
    assert find(resolve("native")).command == ("gcc",)


def test_a_cross_compiler_is_found_by_its_name(empty_path: Path, make_program: MakeProgram) -> None:
    target = next(target for target in TARGETS if not target.is_native)
    fake(make_program, "cc", "gcc 12")
    fake(make_program, f"{target.triple}-gcc", "gcc 12", target.triple)
    assert find(target).command == (f"{target.triple}-gcc",)


def test_zig_is_told_its_target_so_that_code_is_portable(
    make_program: MakeProgram,
) -> None:
    program = make_program("zig", "echo clang version 19")
    compiler = find(resolve("native"), f"{program} cc")
    assert compiler.family == "zig"
    assert compiler.command[-3:] == ("-target", resolve("native").zig, "-mcpu=baseline")


def test_an_unknown_target_is_told() -> None:
    with pytest.raises(ToolchainError, match="there is no target 'vax'; choose one of native, x86"):
        resolve("vax")


def test_native_is_this_machine() -> None:
    target = resolve("native")
    assert target.is_native
    assert "portable" in target.supported_isas()


def test_a_machine_without_a_target_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(ToolchainError, match=r"this machine \(s390x, linux\)"):
        resolve("native")


def test_another_machines_instruction_sets_are_not_supported_here() -> None:
    for target in TARGETS:
        assert target.is_native or target.supported_isas() == ()
