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

Shape = tuple[int | str, ...]
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
    caches = _caches(values)
    flat = g.concat(g.reshape("embed_states", -1, CACHE_VALUES), g.node("Squeeze", "cached_key_0", g.ints(0)), axis=1)
    built = network.build(g, "x", g.slice(flat, 0, values, 1), "processed_lens", None)
    new_flat = g.concat(built.state, g.slice(flat, values, CACHE_VALUES + _keys(values), 1), axis=1)
    keys = g.node("Unsqueeze", g.slice(new_flat, CACHE_VALUES, CACHE_VALUES + _keys(values), 1), g.ints(0))
    log_p = g.node("Identity", built.log_p) if offset_C is None else g.node("Sub", built.log_p, g.constant(offset_C))
    renewed = dict.fromkeys(caches, "") | {
        "cached_key_0": keys,
        "embed_states": g.reshape(g.slice(new_flat, 0, CACHE_VALUES, 1), -1, *CACHE),
        "processed_lens": built.count,
    }
    outputs = {g.node("Identity", log_p, name="log_probs"): ("float", _answer(network))}
    for name, (kind, shape) in caches.items():
        outputs[g.node("Identity", renewed[name] or name, name=f"new_{name}")] = (kind, shape)
    inputs = {"x": ("float", (BATCH, network.window, network.mel_bins)), **caches}
    return g.model(inputs, outputs, _sherpa_metadata(network))


def _answer(network: StreamingNetwork) -> Shape:
    return (BATCH, network.chunk, network.model.inventory.num_classes)


def _keys(values: int) -> int:
    """Numbers in the attention cache: what does not fit the other, at least one."""
    return max(1, values - CACHE_VALUES)


def _caches(values: int) -> dict[Value, tuple[str, Shape]]:
    """All of sherpa-onnx's, in its order: of one Zipformer layer, then those that hold for all.

    One layer at least must be there: sherpa-onnx reads the number of streams from the shape of its first cache.
    """
    return {
        "cached_key_0": ("float", (_UNUSED, BATCH, _keys(values))),
        "cached_nonlin_attn_0": ("float", (_UNUSED, BATCH, _UNUSED, 3 * _ENCODER_DIM // 4)),
        "cached_val1_0": ("float", (_UNUSED, BATCH, _UNUSED)),
        "cached_val2_0": ("float", (_UNUSED, BATCH, _UNUSED)),
        "cached_conv1_0": ("float", (BATCH, _ENCODER_DIM, _KERNEL // 2)),
        "cached_conv2_0": ("float", (BATCH, _ENCODER_DIM, _KERNEL // 2)),
        "embed_states": ("float", (BATCH, *CACHE)),
        "processed_lens": ("int64", (BATCH,)),
    }


_ENCODER_DIM, _KERNEL = 4, 2
"""The smallest that give no empty cache."""


def _sherpa_metadata(network: StreamingNetwork) -> dict[str, str]:
    return {
        "model_type": "zipformer2",
        "T": str(network.window),
        "decode_chunk_len": str(network.chunk * network.stack),
        "encoder_dims": str(_ENCODER_DIM),
        "query_head_dims": str(_keys(network.state_values)),
        "value_head_dims": str(_UNUSED),
        "num_heads": "1",
        "num_encoder_layers": "1",
        "cnn_module_kernels": str(_KERNEL),
        "left_context_len": str(_UNUSED),
    }
