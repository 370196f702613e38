"""What loading a compiled model promises, above all of files that are no good."""

from __future__ import annotations

import gc
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnnc.errors import LibraryError
from bnnc.runtime import InferenceSession
from bnnc.runtime.library import parse_info

X = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


def failure(path: Path, **options: str) -> str:
    with pytest.raises(LibraryError) as caught:
        InferenceSession(path, threads=1, **options)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "No such file" in failure(tmp_path / "none.so")


def test_a_folder_is_told(tmp_path: Path) -> None:
    assert "Is a directory" in failure(tmp_path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "empty.so"
    path.write_bytes(b"")
    assert "is empty" in failure(path)


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07\x12\x07pytorch")
    assert "no ELF shared library" in failure(path)


@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.9, 0.999])
def test_a_library_cut_short_is_told(toy: Path, tmp_path: Path, part: float) -> None:
    whole = toy.read_bytes()
    path = tmp_path / "short.so"
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "cut short" in failure(path)


def test_a_library_for_another_processor_is_told(toy: Path, tmp_path: Path) -> None:
    data = bytearray(toy.read_bytes())
    machine = 183 if data[18] != 183 else 62
    struct.pack_into("<H", data, 18, machine)
    path = tmp_path / "other.so"
    path.write_bytes(data)
    assert "was compiled for" in failure(path)


def test_a_library_without_a_model_is_told(tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text("int answer(void) { return 42; }\n")
    path = tmp_path / "plain.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    assert "holds no model compiled by bnnc" in failure(path)


def test_another_interface_version_is_told(make_toy) -> None:
    path = make_toy("future.so", TOY_VERSION="7")
    assert "has interface version 7, this bnnc loads version 2" in failure(path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"inputs": 1, "outputs": []}', b"\xff\xfe"]
)
def test_a_damaged_description_is_told(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="its description is damaged"):
        parse_info(text, tmp_path)


def test_a_damaged_description_in_a_library_is_told(make_toy) -> None:
    path = make_toy("mute.so", TOY_JSON='"no json"')
    assert "its description is damaged" in failure(path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_library_with_damaged_headers_never_crashes_the_reader(
    toy: Path, tmp_path: Path, data: st.DataObject
) -> None:
    from bnnc.runtime.elf import model_prefix

    content = bytearray(toy.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        where = data.draw(st.integers(4, 63) | st.integers(len(content) - 2000, len(content) - 1))
        content[where] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.so"
    path.write_bytes(content)
    try:
        assert model_prefix(path) == "bnnc"
    except LibraryError as error:
        assert "\n" not in str(error)


# ---- instruction sets -------------------------------------------------------------------------


def test_an_instruction_set_can_be_forced(toy: Path) -> None:
    assert InferenceSession(toy, threads=1, isa="other").isa == "other"


def test_an_unknown_instruction_set_is_told(toy: Path) -> None:
    text = failure(toy, isa="mmx")
    assert "instruction set 'mmx'" in text and "portable, other" in text


def test_the_environment_forces_an_instruction_set(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNNC_ISA", "other")
    assert InferenceSession(toy, threads=1).isa == "other"


def test_sessions_of_one_library_may_differ_in_instruction_set(toy: Path) -> None:
    first = InferenceSession(toy, threads=1, isa="portable")
    first(X)
    second = InferenceSession(toy, threads=1, isa="other")
    assert (first.isa, second.isa) == ("portable", "other")
    np.testing.assert_array_equal(second(X)[0], X * 2)


def test_an_instruction_set_may_be_forced_after_another_session_is_gone(toy: Path) -> None:
    InferenceSession(toy, threads=1, isa="portable")(X)
    gc.collect()
    assert InferenceSession(toy, threads=1, isa="other").isa == "other"


# ---- files that change ------------------------------------------------------------------------


def test_a_library_compiled_again_is_loaded_anew(make_toy, toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    shutil.copy(toy, path)
    old = InferenceSession(path, threads=1)
    fresh = tmp_path / "fresh.so"
    shutil.copy(make_toy("open.so", TOY_OPEN='"true"'), fresh)
    fresh.rename(path)
    new = InferenceSession(path, threads=1)
    assert old.get_inputs()[0].shape[0] == 1
    assert new.get_inputs()[0].shape[0] == "batch"


def test_a_library_compiled_again_is_loaded_anew_where_no_session_is_left(
    make_toy, toy: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.so"
    shutil.copy(toy, path)
    InferenceSession(path, threads=1)(X)
    gc.collect()
    fresh = tmp_path / "fresh.so"
    shutil.copy(make_toy("open.so", TOY_OPEN='"true"'), fresh)
    fresh.rename(path)
    assert InferenceSession(path, threads=1).get_inputs()[0].shape[0] == "batch"


def test_loading_needs_neither_compiler_nor_onnx(toy: Path) -> None:
    script = (
        "import sys, bnnc; bnnc.load(sys.argv[1]);"
        "bad = {'onnx', 'torch', 'networkx', 'bnnc.toolchain', 'bnnc.ir'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(toy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
