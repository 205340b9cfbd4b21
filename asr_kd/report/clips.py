"""Audio of single utterances as `data:` URIs, so that a page plays them without any file beside it."""

import base64
import io
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.core.skipped import Skipped
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.containers.names import source_file
from asr_kd.corpora.manifest import read_manifest
from asr_kd.shards.readable import readable
from asr_kd.shards.reader import find_shards, open_shard


def clips_from_shards(paths: Iterable[Path], ids: Collection[str], skipped: Skipped) -> dict[str, str]:
    """URI of each wanted utterance that the shards hold. skipped: gets those with damaged audio."""
    wanted, clips = set(ids), dict[str, str]()
    for path in find_shards(*paths):
        if not wanted:
            break
        shard = open_shard(path)
        for row, entry in enumerate(shard.entries):
            if entry.id in wanted:
                _, waves = readable(shard, [row], skipped)
                clips.update((entry.id, data_uri(wave_N)) for wave_N in waves)
                wanted.remove(entry.id)
    return clips


def clips_from_manifest(path: Path, ids: Collection[str], skipped: Skipped) -> dict[str, str]:
    """URI of each wanted utterance whose audio file is still there. skipped: gets those with damaged audio."""
    clips = {}
    for u in read_manifest(path):
        if u.id in ids and Path(source_file(u.audio_filepath)).is_file():
            try:
                clips[u.id] = data_uri(read_audio(u.audio_filepath, u.offset, u.duration))
            except ValueError as e:
                skipped.add(u.id, str(e))
    return clips


def data_uri(wave_N: np.ndarray) -> str:
    """16 kHz samples as MP3 in base64: a fifth of FLAC's size, and every browser plays it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_N, SAMPLE_RATE, format="MP3")
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
