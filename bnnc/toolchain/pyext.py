"""A model as an importable Python extension module, made by cffi.

cffi writes the C of a module that holds ``ffi`` and ``lib``. A second small C file is the module's
real entry: it lets cffi make the module, then runs the text of ``pyext_module.py`` in it.
"""

from __future__ import annotations

import io
import keyword
import re
import sysconfig
from pathlib import Path

import cffi

from bnnc.errors import InputError, ToolchainError, printable
from bnnc.toolchain import runtime_sources

_ENTRY = """\
#include <Python.h>

static const char text[] = {{{text}, 0}};

PyMODINIT_FUNC bnnc_cffi_init(void);
PyMODINIT_FUNC PyInit_{module}(void);

PyMODINIT_FUNC PyInit_{module}(void) {{
    PyObject *module = bnnc_cffi_init();
    if (module == NULL)
        return NULL;
    PyObject *scope = PyModule_GetDict(module);
    PyObject *code = Py_CompileString(text, "bnnc/toolchain/pyext_module.py", Py_file_input);
    PyObject *done = NULL;
    if (code != NULL && PyDict_SetItemString(scope, "__builtins__", PyEval_GetBuiltins()) == 0)
        done = PyEval_EvalCode(code, scope, scope);
    Py_XDECREF(code);
    if (done == NULL) {{
        Py_DECREF(module);
        return NULL;
    }}
    Py_DECREF(done);
    return module;
}}
"""


def module_name(output: Path) -> str:
    """The name under which ``output`` can be imported: what stands before its first dot.

    Raises:
        InputError: if that is no module name.
    """
    name, dot, suffix = output.name.partition(".")
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise InputError(f"{printable(name)!r} is no name for a Python module", file=output)
    if f"{dot}{suffix}" not in (".so", sysconfig.get_config_var("EXT_SUFFIX")):
        raise InputError("cannot be imported by Python", file=output, hint="name it .so")
    return name


def sources(module: str) -> dict[str, str]:
    """C files of the module, by name."""
    ffi = cffi.FFI()
    ffi.cdef(_declarations())
    ffi.set_source(module, '#include "bnnc.h"')
    bindings = io.StringIO()
    ffi.emit_c_code(bindings)
    text = (Path(__file__).parent / "pyext_module.py").read_bytes()
    return {
        "bindings.c": bindings.getvalue(),
        "entry.c": _ENTRY.format(module=module, text=",".join(map(str, text))),
    }


def flags(module: str, source: str) -> list[str]:
    """Compiler flags for one of the module's files.

    Raises:
        ToolchainError: if Python's headers are not installed.
    """
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        raise ToolchainError(
            "Python.h is missing", file=include, hint="install Python's headers (python3-dev)"
        )
    renamed = [f"-DPyInit_{module}=bnnc_cffi_init"] if source == "bindings.c" else []
    return [f"-I{include}", *renamed]


def _declarations() -> str:
    """The part of bnnc.h that cffi can read: types and functions, no preprocessor."""
    text = (runtime_sources.folder() / "bnnc.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*#.*(?:\\\n.*)*$", "", text, flags=re.MULTILINE)
    return re.sub(r'extern "C" \{|^\}$|BNNC_API', "", text, flags=re.MULTILINE)
