"""lhotse: Shar with FLAC, buckets by length, features on the fly, half a minute padded to a batch."""

import json
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lhotse
import torch
from lhotse import CutSet, Fbank, FbankConfig, MonoCut, Recording
from lhotse.dataset import DynamicBucketingSampler
from lhotse.dataset.input_strategies import OnTheFlyFeatures

SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")
SECONDS_PER_BATCH = 30.0


class Features(torch.utils.data.Dataset[Any]):
    """A batch of cuts as features (B, T, 64) and frames (B,)."""

    def __init__(self) -> None:
        self.extract = OnTheFlyFeatures(Fbank(FbankConfig(num_filters=64)))

    def __getitem__(self, cuts: CutSet) -> tuple[Any, float]:
        return self.extract(cuts), sum(cut.duration for cut in cuts)


def utterances(tars: list[str]) -> Iterator[MonoCut]:
    """Those of WebDataset tars."""
    for tar in tars:
        with tarfile.open(tar) as archive:
            for member in archive:
                if member.name.endswith(SUFFIXES):
                    file = archive.extractfile(member)
                    assert file is not None
                    recording = Recording.from_bytes(file.read(), Path(member.name).stem)
                    yield recording.to_cut()


def load(folder: str) -> dict[str, Any]:
    """One pass."""
    started, seconds = time.perf_counter(), 0.0
    sampler = DynamicBucketingSampler(
        CutSet.from_shar(in_dir=folder), max_duration=SECONDS_PER_BATCH, num_buckets=10, shuffle=False
    )
    for _, audio_s in torch.utils.data.DataLoader(Features(), sampler=sampler, batch_size=None):
        seconds += audio_s
    return {"seconds": time.perf_counter() - started, "audio_seconds": seconds}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *tars = sys.argv[1:]
    CutSet.from_cuts(utterances(tars)).to_shar(folder, fields={"recording": "flac"}, shard_size=1000)
    print(json.dumps({"version": lhotse.__version__}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(load(folder)), flush=True)
