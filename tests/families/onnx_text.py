"""ONNX models by hand, node by node, the way exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


class Writer:
    """Collects nodes; calling it adds one and returns its output's name. Arrays and numbers become
    initializers; a node is called ``name``, else after its op and place."""

    def __init__(self, opset: int = 17, **domains: int) -> None:
        self.opsets = {"": opset, **domains}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []

    def input(self, name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, data: Any) -> str:
        array = np.asarray(data)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def __call__(
        self, op: str, *inputs: Any, name: str = "", domain: str = "", **attrs: Any
    ) -> str:
        given = [i if isinstance(i, str) else "" if i is None else self.constant(i) for i in inputs]
        name = name or f"{op.lower()}_{len(self.nodes)}"
        output = f"{name}:0"
        self.nodes.append(helper.make_node(op, given, [output], name=name, domain=domain, **attrs))
        return output

    def returns(self, *outputs: str) -> ModelProto:
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "model", self.inputs, infos, self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return model
