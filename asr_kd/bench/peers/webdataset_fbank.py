"""Plain webdataset: tars in order, soundfile, torchaudio's Kaldi features, eight utterances padded to a batch."""

import io
import json
import sys
import time
from typing import Any

import soundfile
import torch
import webdataset
from torchaudio.compliance import kaldi

AUDIO = "flac;wav;ogg;opus;mp3"
UTTERANCES_PER_BATCH = 8


def features(sample: tuple[bytes]) -> tuple[torch.Tensor, float]:
    """Log mel energies (T, 64) and seconds of audio."""
    wave_N, rate = soundfile.read(io.BytesIO(sample[0]), dtype="float32")
    x_TF = kaldi.fbank(torch.from_numpy(wave_N)[None] * 32768, num_mel_bins=64, dither=0.0, sample_frequency=rate)
    return x_TF, len(wave_N) / rate


def padded(samples: list[tuple[torch.Tensor, float]]) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A batch (B, T, 64), its frames (B,) and its seconds of audio."""
    x_BTF = torch.nn.utils.rnn.pad_sequence([x_TF for x_TF, _ in samples], batch_first=True)
    return x_BTF, torch.tensor([len(x_TF) for x_TF, _ in samples]), sum(seconds for _, seconds in samples)


def load(tars: list[str]) -> dict[str, Any]:
    """One pass."""
    started, seconds = time.perf_counter(), 0.0
    data = webdataset.WebDataset(tars, shardshuffle=False).to_tuple(AUDIO).map(features)
    for _, _, audio_s in data.batched(UTTERANCES_PER_BATCH, collation_fn=padded):
        seconds += audio_s
    return {"seconds": time.perf_counter() - started, "audio_seconds": seconds}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"version": webdataset.__version__}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(load(sys.argv[2:])), flush=True)
