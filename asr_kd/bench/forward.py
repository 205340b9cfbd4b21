"""Two yardsticks for a labelling job: the bare forward pass at its best, and a loop as one would write it first."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_kd.core.runtime import autocast, has_fast_bf16, synchronise
from asr_kd.shards.reader import Shard
from asr_kd.teachers.inference import Inference, is_out_of_memory

TRIED_FRAMES = (2000, 4000, 8000, 16000, 32000)
"""Frames of a batch, padding included, among which the best is looked for."""
TRIED_FRAMES_GPU = (8000, 16000, 32000, 64000, 128000)
TRIAL_SECONDS = 120.0
"""Audio that each is tried on."""


@dataclass(frozen=True)
class Setting:
    """How the bare forward pass is run."""

    frames_per_batch: int
    precision: str
    workers: int
    threads: int


def read_features(shards: Sequence[Shard], teacher: Inference) -> list[Tensor]:
    """The front end's output of all utterances, each (T, F), longest first. Those that cannot be read are left out."""
    features = [teacher.features([wave_N])[0][0] for wave_N in readable(shards, teacher)]
    return sorted(features, key=len, reverse=True)


def readable(shards: Sequence[Shard], teacher: Inference) -> Iterator[np.ndarray]:
    """The samples (N,) of all utterances that can be read and have a frame, in order."""
    for shard in shards:
        for row in range(len(shard.entries)):
            try:
                wave_N = shard.audio(row)
            except ValueError:
                continue
            if teacher.frontend.num_frames(len(wave_N)):
                yield wave_N


def padded(features: Sequence[Tensor], frames_per_batch: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Batches (B, T, F) and their frames (B,) on the device, as the labelling job forms them.

    But over all of the audio instead of shard by shard, so there is less padding: no job can have less.
    """
    groups: list[list[Tensor]] = []
    for x_TF in features:
        if groups and (len(groups[-1]) + 1) * len(groups[-1][0]) <= frames_per_batch:
            groups[-1].append(x_TF)
        else:
            groups.append([x_TF])
    return [
        (
            torch.nn.utils.rnn.pad_sequence(group, batch_first=True).to(device),
            torch.tensor([len(x) for x in group], device=device),
        )
        for group in groups
    ]


def forward_seconds(
    teacher: Inference, batches: Sequence[tuple[Tensor, Tensor]], precision: str, threads: int, workers: int = 1
) -> float:
    """Wall-clock seconds of the bare forward pass over the batches, by `workers` of `threads` threads each."""

    def work(share: Sequence[tuple[Tensor, Tensor]]) -> None:
        torch.set_num_threads(threads)  # counts for the calling thread's operations
        with torch.inference_mode(), autocast(teacher.device, precision):
            for x_BTF, frames_B in share:
                teacher.model(x_BTF, frames_B)

    with ThreadPoolExecutor(workers) as pool:
        synchronise(teacher.device)
        start = time.perf_counter()
        list(pool.map(work, [batches[i::workers] for i in range(workers)]))
        synchronise(teacher.device)
        return time.perf_counter() - start


def find_best(
    teacher: Inference,
    features: Sequence[Tensor],
    frames: Sequence[int],
    precisions: Sequence[str],
    layouts: Sequence[tuple[int, int]],
) -> tuple[Setting, list[dict[str, Any]]]:
    """The fastest setting, and for each that was tried its frames of speech per second (None: does not fit).

    layouts: workers, and threads of each.
    """
    shift = teacher.frontend.frame_shift_s
    tried: list[dict[str, Any]] = []
    every = max(1, round(sum(len(x) for x in features) * shift / TRIAL_SECONDS))
    for precision, (workers, threads), size in product(precisions, layouts, frames):
        setting = {"frames_per_batch": size, "precision": precision, "workers": workers, "threads": threads}
        batches = padded(features, size, teacher.device)
        # Each worker gets some, of all lengths.
        sample = batches[::every] if len(batches[::every]) >= workers else batches[:workers]
        try:
            forward_seconds(teacher, sample[-1:], precision, threads)  # what is only done once is done now
            seconds = forward_seconds(teacher, sample, precision, threads, workers)
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
            tried.append(setting | {"frames_per_second": None})
            continue
        rate = sum(int(frames_B.sum()) for _, frames_B in sample) / seconds
        tried.append(setting | {"frames_per_second": round(rate, 1)})
    fitting = [t for t in tried if t["frames_per_second"] is not None]
    if not fitting:
        raise ValueError(
            f"no batch of {min(frames)} frames or more fits into memory. Give smaller ones with --batch-frames."
        )
    best = max(fitting, key=lambda t: t["frames_per_second"])
    fastest = {key: value for key, value in best.items() if key != "frames_per_second"}
    return Setting(**fastest), tried


def tried_precisions(precision: str, on: torch.device) -> list[str]:
    """The precisions worth a try: the one asked for; with `auto` float32, and bf16 where it is fast."""
    if precision != "auto":
        return [precision]
    return ["bf16", "float32"] if has_fast_bf16(on) else ["float32"]


def plain_seconds(shards: Sequence[Shard], teacher: Inference, k: int, threads: int) -> float:
    """Wall-clock seconds of decoding, features, float32 forward pass and top k, one utterance after the other."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    with torch.inference_mode():
        for wave_N in readable(shards, teacher):
            wave_1N = torch.from_numpy(wave_N)[None].to(teacher.device)
            x_1TF, frames_1 = teacher.frontend(wave_1N, torch.tensor([len(wave_N)]))
            log_p_1TC = teacher.model(x_1TF, frames_1).log_softmax(-1)
            kept = log_p_1TC[0].topk(min(k, log_p_1TC.shape[-1]))
            kept.values.cpu(), kept.indices.cpu()
    return time.perf_counter() - start
