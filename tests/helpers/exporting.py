"""Small streaming models with random weights, and audio that makes them say something."""

from dataclasses import replace

import numpy as np
import torch

from asr_kd.frontend.fbank import PRESETS, FrontEndConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import ModelConfig

SHERPA = replace(PRESETS["sherpa-onnx"], mel_bins=20)
SMALL = ModelConfig(num_layers=2, hidden_size=24, lookahead=3)


def random_model(config=SMALL, frontend=SHERPA, scale=2.0):
    """Random weights that make its answers depend much on what it remembers."""
    torch.manual_seed(0)
    tokens = Tokens(tuple("▁abcdefgh"), frame_shift_s=frontend.frame_shift_s * frontend.frame_stacking)
    model = build_model(config, tokens, frontend)
    features = len(model.feature_mean_F)
    model.set_normalisation(torch.randn(features), 1 + torch.rand(features))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
        model.output.bias.zero_()
    return model.eval()


def stored(model, folder):
    """As it comes from a file: with rounded matrices where its config says so."""
    save_model(folder / "stored.safetensors", model)
    return load_model(folder / "stored.safetensors")


def waves(*samples):
    """Tones that change every 80 ms, in noise."""
    rng = np.random.default_rng(0)
    found = []
    for n in samples:
        hertz_N = np.repeat(rng.uniform(100, 6000, n // 1280 + 1), 1280)[:n]
        loud_N = np.repeat(rng.uniform(0, 0.3, n // 1280 + 1), 1280)[:n]
        tones_N = loud_N * np.sin(2 * np.pi * np.cumsum(hertz_N) / 16_000)
        found.append((tones_N + 0.01 * rng.standard_normal(n)).astype(np.float32))
    return found


VARIANTS = {
    "exponential mean, centred windows": (SMALL, SHERPA, 4),
    "causal mean": (SMALL, FrontEndConfig(mel_bins=20), 4),
    "causal mean that has filled its window": (SMALL, FrontEndConfig(mel_bins=20, cmn_window_s=0.4, cmn_init_s=0.1), 2),
    "no mean, no look-ahead": (replace(SMALL, lookahead=0), replace(SHERPA, cmn="none"), 3),
    "look-ahead in the first layers only": (replace(SMALL, num_layers=3, lookahead=2), SHERPA, 1),
    "more look-ahead than chunk, projections": (replace(SMALL, lookahead=9, proj_size=10), SHERPA, 2),
    "matrices of eight bits": (replace(SMALL, weight_dtype="int8"), SHERPA, 4),
    "one layer, long chunk": (replace(SMALL, num_layers=1), SHERPA, 40),
}
