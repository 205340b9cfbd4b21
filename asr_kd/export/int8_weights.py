"""Weights of eight bits that become float32 when a model is loaded: a small file that computes as the large one.

For runtimes whose products of eight bits are no faster, as WebAssembly's. Only weights are rounded, with a scale for
each output, so the answers are far nearer to those of float32 than where activations are rounded too (`int8_form`).
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from asr_kd.export.network import UNROUNDED
from asr_kd.export.onnx_graph import TYPES

LARGEST = 127


def int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with the matrices of LSTM and linear layers as int8 and scales, multiplied by nodes of their own.

    Runtimes fold these nodes away when they load the model.
    """
    small = onnx.ModelProto.FromString(model.SerializeToString())
    constants = {constant.name: constant for constant in small.graph.initializer}
    nodes = []
    for name, inputs in _matrices(small).items():
        weight = numpy_helper.to_array(constants[name])
        scale = np.maximum(np.abs(weight).max(inputs, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
        small.graph.initializer.remove(constants[name])
        small.graph.initializer.extend(
            [
                numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), f"{name}_int8"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
            ]
        )
        nodes += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=TYPES["float"]),
            helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [name]),
        ]
    nodes += small.graph.node
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small, full_check=True)
    return small


def _matrices(model: onnx.ModelProto) -> dict[str, int]:
    """Constants to be rounded, and their axis of inputs."""
    constants = {constant.name for constant in model.graph.initializer}
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.name.startswith(UNROUNDED):
            continue
        if node.op_type == "LSTM":
            found |= dict.fromkeys(node.input[1:3], 2)
        elif node.op_type == "MatMul" and node.input[1] in constants:
            found[node.input[1]] = 0
    return found
