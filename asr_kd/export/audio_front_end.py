"""The front end as ONNX nodes, and the form of a network that takes audio: for runtimes that compute no features.

All that `FrontEnd` does to a frame before the power spectrum is linear (scale, mean taken off, pre-emphasis, window,
Fourier transform), so it is one matrix, multiplied in float64 before it is rounded.
"""

import json
from typing import Any

import numpy as np
import onnx
import torch
from torchaudio.compliance.kaldi import get_mel_banks

from asr_kd.export.network import UNROUNDED, StreamingNetwork
from asr_kd.export.onnx_graph import BATCH, OnnxGraph, Value
from asr_kd.frontend.fbank import LOG_FLOOR, POVEY_POWER, FrontEnd, FrontEndConfig
from asr_kd.teachers.onnx_model import KEY

KIND = "asr_kd exported model that takes audio"


def window_samples(network: StreamingNetwork) -> int:
    """Samples of a window of the network: the next one begins `chunk_samples` later."""
    f = FrontEnd(network.model.frontend)
    return f.window + (network.window - 1) * f.shift


def chunk_samples(network: StreamingNetwork) -> int:
    """Samples from the begin of a window to that of the next one."""
    return network.chunk * network.stack * FrontEnd(network.model.frontend).shift


def audio_form(network: StreamingNetwork, description: dict[str, Any]) -> onnx.ModelProto:
    """Like `plain_form`, with `audio` (N, samples) in place of `features`: 16 kHz, float in [-1, 1).

    A window has `window_samples`; the next one begins `chunk_samples` later. Behind the end of the audio are zeros, and
    `frames` says how many stacked frames are whole. With `snip_edges` off, the caller first puts the stream's first
    `FrontEnd.mirrored` samples before it, mirrored.
    """
    g = OnnxGraph()
    x = _inside(g, network, log_mel(g, "audio", network.model.frontend))
    built = network.build(g, x, "state", "count", "frames")
    log_p, state, count = (
        g.node("Identity", value, name=name)
        for value, name in ((built.log_p, "log_posteriors"), (built.state, "next_state"), (built.count, "next_count"))
    )
    shape = (BATCH, network.state_values)
    inputs = {
        "audio": ("float", (BATCH, window_samples(network))),
        "frames": ("int64", (BATCH,)),
        "state": ("float", shape),
        "count": ("int64", (BATCH,)),
    }
    outputs = {
        log_p: ("float", (BATCH, network.chunk, network.model.inventory.num_classes)),
        state: ("float", shape),
        count: ("int64", (BATCH,)),
    }
    return g.model(inputs, outputs, {KEY: json.dumps(description | {"kind": KIND}, sort_keys=True)})


def log_mel(g: OnnxGraph, audio: Value, config: FrontEndConfig) -> Value:
    """Add nodes from samples (N, samples) to `FrontEnd.fbank` of their whole windows, (N, T, mel_bins)."""
    shift = FrontEnd(config).shift
    spectrum_SL, mel_FS = _matrices(config)
    audio_N1S = g.node("Unsqueeze", audio, g.ints(1))
    spectrum_NST = g.node(
        "Conv", audio_N1S, g.constant(spectrum_SL[:, None]), name=f"{UNROUNDED}spectrum", strides=[shift]
    )
    power_NST = g.node("Mul", spectrum_NST, spectrum_NST)
    energy_NFT = g.node("MatMul", g.constant(mel_FS), power_NST, name=f"{UNROUNDED}mel")
    return g.node("Transpose", g.node("Log", g.node("Max", energy_NFT, g.number(LOG_FLOOR))), perm=[0, 2, 1])


def _inside(g: OnnxGraph, network: StreamingNetwork, x_NTF: Value) -> Value:
    """Zeros behind the end, as callers of the plain form put there: digital silence would widen the range of int8."""
    time_1T1 = g.constant(np.arange(network.window, dtype=np.int64).reshape(1, -1, 1))
    real_N11 = g.reshape(g.node("Mul", "frames", g.ints(network.stack)), -1, 1, 1)
    return g.node("Where", g.node("Less", time_1T1, real_N11), x_NTF, g.number(0))


def _matrices(config: FrontEndConfig) -> tuple[np.ndarray, np.ndarray]:
    """Samples to real and imaginary parts of the spectrum (S, L), and their squares to mel energies (F, S).

    Only of the frequencies that a filter reads.
    """
    f = FrontEnd(config)
    window_L = torch.hann_window(f.window, periodic=False, dtype=torch.float64).pow(POVEY_POWER).numpy()
    step_LL = np.eye(f.window) - config.preemphasis * np.eye(f.window, k=-1)
    centre_LL = np.eye(f.window) - 1 / f.window
    frame_LL = config.sample_scale * window_L[:, None] * (step_LL @ centre_LL)
    bank_FK, _ = get_mel_banks(
        config.mel_bins, f.fft, float(config.sample_rate), config.low_hz, config.top_hz, 100.0, -500.0, 1.0
    )
    heard_K = np.flatnonzero(bank_FK.numpy().any(0))
    angle_KL = -2 * np.pi / f.fft * np.outer(heard_K, np.arange(f.window))
    spectrum_SL = np.concatenate([np.cos(angle_KL), np.sin(angle_KL)]) @ frame_LL
    mel_FS = np.tile(bank_FK.numpy()[:, heard_K], 2)
    return spectrum_SL.astype(np.float32), mel_FS
