"""Audio dealt evenly to workers: a job of three shards on two workers would measure how one of them waits."""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.shards.writer import PlannedShard, write_shard

UNEVEN = 0.02
"""Share by which the largest of the shards may exceed their mean."""


def even_shards(shards: Sequence[Shard], workers: int, folder: Path) -> list[Shard]:
    """The same audio in as many shards for each worker, all of about the same length.

    Where the given ones are not so, theirs are cut anew, in `folder` and as FLAC; what cannot be read is left out.
    """
    count = -(-len(shards) // workers) * workers
    mean = sum(shard.seconds for shard in shards) / count
    if workers == 1 or (len(shards) == count and max(s.seconds for s in shards) <= (1 + UNEVEN) * mean):
        return list(shards)
    rows = [(shard, row) for shard in shards for row in range(len(shard.entries))]
    dealt: list[list[Utterance]] = [[] for _ in range(count)]
    held = [0.0] * count
    # The longest first, each to the shard that has least.
    for number, (shard, row) in enumerate(sorted(rows, key=lambda at: -at[0].entries[at[1]].seconds)):
        try:
            wave_N = shard.audio(row)
        except ValueError:
            continue
        path = folder / "audio" / f"u{number:06d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave_N, SAMPLE_RATE, subtype="PCM_16")
        least = held.index(min(held))
        held[least] += len(wave_N) / SAMPLE_RATE
        dealt[least].append(Utterance(id=path.stem, audio_filepath=str(path), duration=len(wave_N) / SAMPLE_RATE))
    planned = [
        PlannedShard(folder / f"even-{number:03d}.tar", utterances, plan="")
        for number, utterances in enumerate(u for u in dealt if u)
    ]
    for shard_to_be in planned:
        write_shard(shard_to_be)
    return [open_shard(shard_to_be.path) for shard_to_be in planned]
