"""A small hand to write ONNX graphs with: constants and nodes get names of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
"""Old enough for the runtimes inside sherpa-onnx and onnxruntime-web of the last years."""
BATCH = "N"
"""Name of the axis of streams in shapes."""
TYPES = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}

Value = str
"""Name of what a node, an input or a constant gives."""


class OnnxGraph:
    """Nodes in order, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._ints: dict[tuple[int, ...], Value] = {}

    def constant(self, array: np.ndarray, name: str | None = None) -> Value:
        """An array that is part of the model."""
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, *values: int) -> Value:
        """A vector of int64."""
        if values not in self._ints:
            self._ints[values] = self.constant(np.array(values, np.int64))
        return self._ints[values]

    def int32(self, value: int) -> Value:
        """One int32, (1,)."""
        return self.constant(np.array([value], np.int32))

    def number(self, value: float, dtype: Any = np.float32) -> Value:
        """A scalar."""
        return self.constant(np.array(value, dtype))

    def node(self, op: str, *inputs: Value, outputs: int = 1, name: str | None = None, **attributes: Any) -> Value:
        """Add a node with one output, and give that."""
        return self.node_of_many(op, *inputs, outputs=1, name=name, **attributes)[0]

    def node_of_many(
        self, op: str, *inputs: Value, outputs: int, name: str | None = None, **attributes: Any
    ) -> list[Value]:
        """Add a node, and give its outputs."""
        name = name or f"{op.lower()}{len(self.nodes)}"
        out = [name] if outputs == 1 else [f"{name}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), out, name=name, **attributes))
        return out

    def slice(self, x: Value, start: int, stop: int, axis: int) -> Value:
        """From `start` to before `stop` along an axis."""
        return self.node("Slice", x, self.ints(start), self.ints(stop), self.ints(axis))

    def concat(self, *parts: Value, axis: int) -> Value:
        """One behind the other."""
        return self.node("Concat", *parts, axis=axis)

    def reshape(self, x: Value, *shape: int) -> Value:
        """As numpy's reshape; 0 keeps an axis."""
        return self.node("Reshape", x, self.ints(*shape))

    def model(
        self,
        inputs: Mapping[Value, tuple[str, Sequence[int | str]]],
        outputs: Mapping[Value, tuple[str, Sequence[int | str]]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The whole, checked. inputs, outputs: type (of `TYPES`) and shape by name."""
        ins, outs = (
            [helper.make_tensor_value_info(name, TYPES[kind], list(shape)) for name, (kind, shape) in values.items()]
            for values in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "asr_kd", ins, outs, self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="asr_kd"
        )
        for key, text in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.checker.check_model(model, full_check=True)
        return model
