"""lhotse: one cut an utterance, cuts_PART.jsonl.gz."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_kd.convert.audio import Placed, is_file
from asr_kd.core.files import atomic_path
from asr_kd.corpora.audio_file import Measured
from asr_kd.corpora.languages import LANG

DIGITS = 8
"""Of seconds, as lhotse rounds them."""
KNOWN = (LANG, "gender")
"""Keys of `meta` that have fields of their own."""


def can_name(audio_filepath: str, measured: Measured) -> bool:
    """Whether a cut can: a mono file."""
    return measured.channels == 1 and is_file(audio_filepath)


def write_cuts(path: Path, found: Sequence[Placed]) -> str:
    """Write the cuts, packed. Returns what is to be said of them."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as f,
    ):
        for p in found:
            f.write(json.dumps(cut(p), ensure_ascii=False).encode() + b"\n")
    return f"{len(found)} cuts"


def cut(p: Placed) -> dict[str, Any]:
    """An utterance as a MonoCut with one supervision."""
    u, file = p.utterance, p.file
    seconds = file.frames / file.rate
    duration = round(min(u.duration, seconds - u.offset), DIGITS)
    recording_id = u.id if p.is_whole else Path(u.audio_filepath).stem
    supervision = {
        "id": u.id,
        "recording_id": recording_id,
        "start": 0.0,
        "duration": duration,
        "channel": 0,
        "text": u.text,
        "language": u.meta.get(LANG),
        "speaker": u.speaker,
        "gender": u.meta.get("gender"),
        "custom": {key: value for key, value in u.meta.items() if key not in KNOWN} or None,
    }
    recording = {
        "id": recording_id,
        "sources": [{"type": "file", "channels": [0], "source": u.audio_filepath}],
        "sampling_rate": file.rate,
        "num_samples": file.frames,
        "duration": seconds,
        "channel_ids": [0],
    }
    return {
        "id": u.id,
        "start": round(u.offset, DIGITS),
        "duration": duration,
        "channel": 0,
        "supervisions": [{key: value for key, value in supervision.items() if value is not None}],
        "recording": recording,
        "type": "MonoCut",
    }
