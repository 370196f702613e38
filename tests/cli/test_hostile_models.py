"""Models made to take all memory, all time or the machine: each ends in one line, soon.

All are tried in one process, which may not use more than a few GiB and has some seconds for each.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SECONDS = 60
MEMORY = 3 * 2**30

_DRIVER = """
import contextlib, io, json, resource, signal, sys, time
from bnnc.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
def ring(*args):
    raise SystemExit("too slow")
signal.signal(signal.SIGALRM, ring)
for path in sys.argv[1:]:
    text = io.StringIO()
    signal.alarm({seconds})
    try:
        with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
            code = main(["compile", path, "-o", path + ".so"])
    except SystemExit as stop:
        code = str(stop)
    signal.alarm(0)
    print(json.dumps([path, code, text.getvalue()]), flush=True)
"""


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    shape: Sequence[Any] = (1, 3, 8, 8),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    tensors = []
    for name, value in (constants or {}).items():
        tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        tensor.name = name
        tensors.append(tensor)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [x], [onnx.ValueInfoProto(name="y")], tensors)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


node = helper.make_node


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def filled(*shape: int) -> onnx.NodeProto:
    """A few bytes that stand for so many elements."""
    value = numpy_helper.from_array(np.ones(1, np.float32))
    return node("ConstantOfShape", ["shape"], ["c"], value=value)


def folding(nodes: Sequence[onnx.NodeProto], *shape: int) -> onnx.ModelProto:
    """A constant of this shape, something done to it, and the input added."""
    last = nodes[-1].output[0] if nodes else "c"
    return model([filled(), *nodes, node("Add", ["x", last], ["y"])], {"shape": ints(*shape)}, [1])


def many_constants() -> onnx.ModelProto:
    """Each as large as one may be."""
    nodes = []
    for number in range(60):
        made = filled()
        made.output[0] = f"c{number}"
        nodes.append(made)
    total = node("Concat", [f"c{number}" for number in range(60)], ["all"], axis=0)
    nodes += [total, node("Add", ["x", "all"], ["y"])]
    return model(nodes, {"shape": ints(2**26)}, [1])


def laughs() -> onnx.ModelProto:
    """Functions that each call the one before ten times."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = []
    for level in range(30):
        inner = "Neg" if level == 0 else f"f{level - 1}"
        domain = "" if level == 0 else "local"
        names = ["a", *(f"t{i}" for i in range(9)), "b"]
        body = [node(inner, [a], [b], domain=domain) for a, b in itertools.pairwise(names)]
        functions.append(helper.make_function("local", f"f{level}", ["a"], ["b"], body, imports))
    call = node("f29", ["x"], ["y"], domain="local")
    return model([call], functions=functions)


def doubling() -> onnx.ModelProto:
    names = ["x", *(f"t{i}" for i in range(70)), "y"]
    return model([node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)])


def conv(weights: Any, **attrs: Any) -> onnx.ModelProto:
    return model([node("Conv", ["x", "w"], ["y"], name="conv", **attrs)], {"w": weights})


def sparse() -> onnx.ModelProto:
    made = model([node("Mul", ["x", "s"], ["y"])])
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(ints(0), "i")
    made.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=values, indices=indices, dims=[2**33, 2**33])
    )
    return made


SMALL = np.ones((4, 3, 3, 3), np.float32)
WIDE = TensorProto(data_type=1, dims=[2**31, 3, 3, 3], raw_data=b"\0" * 16)
WRAPPED = TensorProto(data_type=1, dims=[2**32, 2**32, 3, 3], raw_data=b"")

HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "petabytes": (lambda: folding([], 2**50), "would compute a constant of"),
    "sixty constants": (many_constants, "takes too much memory"),
    "tiles": (
        lambda: model([node("Tile", ["x", "t"], ["y"])], {"t": ints(1, 2**40, 2**40, 1)}),
        "elements, more than 2^31",
    ),
    "dilation": (lambda: conv(SMALL, dilations=[2**40, 1]), "none may be larger than"),
    "stride of zero": (lambda: conv(SMALL, strides=[0, 0]), "at least 1"),
    "pads": (lambda: conv(SMALL, pads=[2**31 - 1] * 4), "more than 2^31"),
    "channels": (lambda: conv(WIDE), "more than 2^31"),
    "sizes that wrap": (lambda: conv(WRAPPED), "more than 2^31"),
    "kernel": (
        lambda: model(
            [node("LpPool", ["x"], ["y"], kernel_shape=[32768, 32768], pads=[32767] * 4)]
        ),
        "more than 2^31",
    ),
    "input": (
        lambda: model([node("Relu", ["x"], ["y"])], shape=[2**31, 2**31]),
        "more than 2^31",
    ),
    "depth": (
        lambda: model(
            [node("OneHot", ["i", "d", "v"], ["h"]), node("Mul", ["x", "h"], ["y"])],
            {"i": ints(0), "d": ints(2**60), "v": np.ones(2, np.float32)},
        ),
        "has depth",
    ),
    "range": (
        lambda: model(
            [node("Range", ["a", "b", "c"], ["r"]), node("Mul", ["x", "r"], ["y"])],
            {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)},
        ),
        "would compute a constant of",
    ),
    "resize": (
        lambda: model([node("Resize", ["x", "", "", "s"], ["y"])], {"s": ints(1, 3, 2**31 - 1, 8)}),
        "cannot make 2147483647 of axis 2",
    ),
    "scale": (
        lambda: model(
            [node("Resize", ["x", "", "s"], ["y"])], {"s": np.array([1, 1, 3e38, 1], np.float32)}
        ),
        "scales axis 2 of 8 by",
    ),
    "sparse": (sparse, "more than 2^31"),
    "no kernel": (
        lambda: model(
            [node("TopK", ["i", "k"], ["y", "z"]), node("Cast", ["x"], ["i"], to=7)], {"k": ints(2)}
        ),
        "y: TopK works on i64 elements",
    ),
    "functions": (laughs, "more than 100000 nodes"),
    "doubling": (doubling, "more than 2^31"),
    "topk": (
        lambda: model([node("TopK", ["x", "k"], ["y", "i"])], {"k": ints(2**62)}),
        "TopK wants",
    ),
    "split": (
        lambda: model(
            [node("Split", ["x", "s"], ["y", "z"], axis=1)], {"s": ints(2**62, 3 - 2**62)}
        ),
        "cannot cut",
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any, str]]:
    """Of every model: its path, the exit code and what was said."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = {}
    for name, (make, _) in HOSTILE.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.onnx"
        paths[name].write_bytes(make().SerializeToString())
    driver = _DRIVER.format(memory=MEMORY, seconds=SECONDS)
    command = [sys.executable, "-c", driver, *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = {path: (code, text) for path, code, text in lines}
    assert len(said) == len(paths), done.stderr
    return {name: (path, *said[str(path)]) for name, path in paths.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models_are_refused_in_one_line(
    name: str, answers: dict[str, tuple[Path, Any, str]]
) -> None:
    path, code, text = answers[name]
    assert code == 1, (code, text)
    assert text.startswith(f"bnnc: error: {path}: ") and text.count("\n") == 1
    assert "; " in text, "it does not say what to do"
    assert HOSTILE[name][1] in text
    assert sorted(path.parent.glob(f"{path.name}*")) == [path]
