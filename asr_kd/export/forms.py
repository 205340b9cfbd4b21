"""The two forms in which a network is exported: a plain one for any runtime, and that which sherpa-onnx runs.

sherpa-onnx's `zipformer2_ctc` takes any network whose state fits its caches: one of (N, 128, 3, 19) numbers and one
int64. What does not fit goes into the attention cache of a Zipformer layer that is not there.
"""

import json
from typing import Any

import numpy as np
import onnx

from asr_kd.export.network import StreamingNetwork
from asr_kd.export.onnx_graph import BATCH, OnnxGraph, Value
from asr_kd.teachers.onnx_model import KEY

CACHE = (128, 3, 19)
CACHE_VALUES = 128 * 3 * 19
_UNUSED = 1
"""Size of caches that pass through."""


def plain_form(network: StreamingNetwork, description: dict[str, Any]) -> onnx.ModelProto:
    """Inputs `features`, `frames`, `state` and `count`; outputs `log_posteriors`, `next_state` and `next_count`.

    As `StreamingNetwork.build` says; `state` and `count` are 0 at the begin of a stream.
    """
    g = OnnxGraph()
    built = network.build(g, "features", "state", "count", "frames")
    log_p, state, count = (
        g.node("Identity", value, name=name)
        for value, name in ((built.log_p, "log_posteriors"), (built.state, "next_state"), (built.count, "next_count"))
    )
    shape = (BATCH, network.state_values)
    return g.model(
        {
            "features": ("float", (BATCH, network.window, network.mel_bins)),
            "frames": ("int64", (BATCH,)),
            "state": ("float", shape),
            "count": ("int64", (BATCH,)),
        },
        {
            log_p: ("float", (BATCH, network.chunk, network.model.inventory.num_classes)),
            state: ("float", shape),
            count: ("int64", (BATCH,)),
        },
        {KEY: json.dumps(description, sort_keys=True)},
    )


def sherpa_form(network: StreamingNetwork, offset_C: np.ndarray | None = None) -> onnx.ModelProto:
    """What `sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc` takes. offset_C: is taken off the log-posteriors."""
    g, values = OnnxGraph(), network.state_values
    beyond = max(0, values - CACHE_VALUES)
    layer = _layer_caches(beyond)
    flat = g.reshape("embed_states", -1, CACHE_VALUES)
    state = flat if beyond else g.slice(flat, 0, values, 1)
    if beyond:
        state = g.concat(flat, g.node("Squeeze", "cached_key_0", g.ints(0)), axis=1)
    built = network.build(g, "x", state, "processed_lens", None)
    if offset_C is None:
        log_p = g.node("Identity", built.log_p, name="log_probs")
    else:
        log_p = g.node("Sub", built.log_p, g.constant(offset_C), name="log_probs")
    outputs: dict[Value, tuple[str, tuple[int | str, ...]]] = {
        log_p: ("float", (BATCH, network.chunk, network.model.inventory.num_classes))
    }
    if beyond:
        first = g.slice(built.state, 0, CACHE_VALUES, 1)
        rest = g.node("Unsqueeze", g.slice(built.state, CACHE_VALUES, values, 1), g.ints(0))
    else:
        first, rest = g.concat(built.state, g.slice(flat, values, CACHE_VALUES, 1), axis=1), ""
    for name, shape in layer.items():
        new = g.node("Identity", rest if name == "cached_key_0" else name, name=f"new_{name}")
        outputs[new] = ("float", shape)
    embed = g.node("Reshape", first, g.ints(-1, *CACHE), name="new_embed_states")
    count = g.node("Identity", built.count, name="new_processed_lens")
    outputs |= {embed: ("float", (BATCH, *CACHE)), count: ("int64", (BATCH,))}
    inputs = {
        "x": ("float", (BATCH, network.window, network.mel_bins)),
        **{name: ("float", shape) for name, shape in layer.items()},
        "embed_states": ("float", (BATCH, *CACHE)),
        "processed_lens": ("int64", (BATCH,)),
    }
    return g.model(inputs, outputs, _sherpa_metadata(network, beyond))


def _layer_caches(beyond: int) -> dict[str, tuple[int | str, ...]]:
    """Caches of one Zipformer layer, whose keys are `beyond` numbers; none where everything fits without."""
    if not beyond:
        return {}
    return {
        "cached_key_0": (_UNUSED, BATCH, beyond),
        "cached_nonlin_attn_0": (_UNUSED, BATCH, _UNUSED, 3 * _ENCODER_DIM // 4),
        "cached_val1_0": (_UNUSED, BATCH, _UNUSED),
        "cached_val2_0": (_UNUSED, BATCH, _UNUSED),
        "cached_conv1_0": (BATCH, _ENCODER_DIM, _KERNEL // 2),
        "cached_conv2_0": (BATCH, _ENCODER_DIM, _KERNEL // 2),
    }


_ENCODER_DIM, _KERNEL = 4, 2
"""The smallest that give no empty cache."""


def _sherpa_metadata(network: StreamingNetwork, beyond: int) -> dict[str, str]:
    layers = 1 if beyond else 0
    lists = {
        "encoder_dims": _ENCODER_DIM,
        "query_head_dims": beyond,
        "value_head_dims": _UNUSED,
        "num_heads": 1,
        "num_encoder_layers": 1,
        "cnn_module_kernels": _KERNEL,
        "left_context_len": _UNUSED,
    }
    return {
        "model_type": "zipformer2",
        "T": str(network.window),
        "decode_chunk_len": str(network.chunk * network.stack),
        **{key: str(value * layers) for key, value in lists.items()},
    }
