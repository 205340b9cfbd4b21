"""This package's side of `asr-kd bench loader`, in a process of its own, with the conversation of `asr_kd.bench.peers`.

python -m asr_kd.bench.loader_pass loader ALIGNMENTS TAR ...     batches of features and targets
python -m asr_kd.bench.loader_pass decoding ALIGNMENTS TAR ...   FLAC to samples and no more: no loader can be faster
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile

from asr_kd import __version__
from asr_kd.core.runtime import set_threads
from asr_kd.core.terminal import show
from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.shards.reader import open_shard
from asr_kd.train.config import TrainConfig
from asr_kd.train.supervision import supervised_source


def loader(alignments: Path, tars: list[Path]) -> float:
    """Seconds of audio of all batches, as `asr-kd train` makes them, without augmentation: peers do none."""
    source = supervised_source([alignments], None)
    stream = source.stream("labelled", tars, AugmentConfig())
    plan = BatchSampler(stream, TrainConfig.max_frames_per_batch, 0, source.inventory.frame_shift_s)
    return sum(batch.seconds for batch in batches(plan, FrontEndConfig(), endless=False))


def decoding(_: Path, tars: list[Path]) -> float:
    """Seconds of audio."""
    seconds = 0.0
    for tar in tars:
        with open(tar, "rb") as file:
            for entry in open_shard(tar).entries:
                file.seek(entry.audio_offset)
                wave_N, rate = soundfile.read(io.BytesIO(file.read(entry.audio_size)), dtype="float32")
                seconds += len(wave_N) / rate
    return seconds


PASSES: dict[str, Callable[[Path, list[Path]], float]] = {"loader": loader, "decoding": decoding}


def main() -> None:
    """Of the process."""
    set_threads(1)
    name, alignments, *tars = sys.argv[1:]
    show(json.dumps({"version": __version__}))
    for _ in sys.stdin:
        started = time.perf_counter()
        seconds = PASSES[name](Path(alignments), [Path(tar) for tar in tars])
        result: dict[str, Any] = {"seconds": time.perf_counter() - started, "audio_seconds": seconds}
        show(json.dumps(result))


if __name__ == "__main__":
    main()
