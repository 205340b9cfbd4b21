"""Small wav2vec 2.0 models with random weights, of the same classes as torchaudio's bundles."""

import torch

from asr_kd.teachers.wav2vec2 import Wav2Vec2Config, Wav2Vec2Teacher

LABELS = ("|", "E", "-", "T", "A", "'")


def small_config(mode="layer_norm", **changes):
    architecture = {
        "extractor_mode": mode,
        "extractor_conv_layer_config": [[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2],
        "extractor_conv_bias": mode == "layer_norm",
        "encoder_embed_dim": 32,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 2,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 64,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": mode == "layer_norm",
        "encoder_layer_drop": 0.05,
        "aux_num_out": len(LABELS),
    }
    fields = {"architecture": architecture, "labels": LABELS, "normalise_waveform": mode == "layer_norm"}
    return Wav2Vec2Config(**fields | changes)


def small_bundle(mode="layer_norm", seed=0):
    torch.manual_seed(seed)
    model = Wav2Vec2Teacher(small_config(mode)).eval()
    model.network.aux.weight.data.mul_(20)  # an opinion on each frame
    return model
