"""Audio of what is converted: named where it is, or written as FLAC or WAV files of 16 kHz, mono."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile

from asr_kd.convert.items import Item
from asr_kd.core.progress import Progress
from asr_kd.corpora.audio import SAMPLE_RATE, decode_audio, measured_file, opened_file, read_audio
from asr_kd.corpora.audio_file import SLACK_S, Measured, opened_audio, stated
from asr_kd.corpora.containers.names import split_name
from asr_kd.corpora.corpus import Rejected
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import flac_bytes, tar_key

WHOLE_S = 0.001
"""An utterance that leaves out less of its file is all of it."""
FILES_PER_FOLDER = 1000
IN_A_ROW = 16
"""Utterances that a thread takes at a time: those of a long recording follow each other."""


@dataclass(frozen=True)
class Placed:
    """An utterance whose audio a file of its own format can be named for."""

    utterance: Utterance
    """Its `audio_filepath` is absolute, a file or `CONTAINER::MEMBER`."""
    file: Measured
    """What the whole file holds."""

    @property
    def is_whole(self) -> bool:
        """Whether the utterance is all of its file."""
        u = self.utterance
        return u.offset < WHOLE_S and abs(u.offset + u.duration - self.file.seconds) < WHOLE_S


@dataclass(frozen=True)
class AudioPlan:
    """What is done with audio."""

    folder: Path
    """Of files that are written."""
    can_name: Callable[[str, Measured], bool]
    """Whether the form can name such a file."""
    suffix: str = ".flac"
    """Of files that are written: `.flac` or `.wav`."""
    write_all: bool = False
    jobs: int = 1


def placed(items: Sequence[Item], plan: AudioPlan, name: str) -> tuple[list[Placed], list[Rejected]]:
    """The utterances with audio that can be named, in order; and those whose audio cannot be read."""
    chunks = [range(i, min(i + IN_A_ROW, len(items))) for i in range(0, len(items), IN_A_ROW)]

    def work(rows: range) -> list[Placed | Rejected]:
        return [_placed(items[row], row, plan) for row in rows]

    found: list[Placed | Rejected] = []
    with ThreadPoolExecutor(plan.jobs) as pool, Progress(f"audio {name}", sum(_seconds(i) for i in items)) as progress:
        for rows, some in zip(chunks, pool.map(work, chunks), strict=True):
            found += some
            progress.update(sum(_seconds(items[row]) for row in rows))
    return [f for f in found if isinstance(f, Placed)], [f for f in found if isinstance(f, Rejected)]


def _seconds(item: Item) -> float:
    return item.utterance.duration


def _placed(item: Item, row: int, plan: AudioPlan) -> Placed | Rejected:
    u = item.utterance
    try:
        if item.place is None:
            path = Path(u.audio_filepath)
            with opened_file(path) as file:
                measured = measured_file(path, file)
            if u.offset + u.duration > measured.seconds + SLACK_S:
                end = u.offset + u.duration
                raise ValueError(f"{path}: {measured.seconds:.2f} s of audio, the utterance ends at {end:.2f} s")
            if not plan.write_all and plan.can_name(u.audio_filepath, measured):
                duration = min(u.duration, measured.seconds - u.offset)
                return Placed(Utterance(**{**vars(u), "duration": duration}), measured)
        data = audio_bytes(item, plan.suffix)
        path = plan.folder / f"{row // FILES_PER_FOLDER:04d}" / f"{tar_key(u.id)}{plan.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        os.replace(temporary, path)
        with opened_audio(io.BytesIO(data), str(path)) as f:
            measured = stated(f)
        new = {"audio_filepath": str(path.absolute()), "offset": 0.0, "duration": measured.seconds}
        return Placed(Utterance(**{**vars(u), **new}), measured)
    except ValueError as e:
        return Rejected(u.id, u.audio_filepath, str(e))


def audio_bytes(item: Item, suffix: str = ".flac") -> bytes:
    """The audio of an utterance as a file: FLAC or WAV, 16 bit, 16 kHz, mono. ValueError when it cannot be read.

    The FLAC of a shard stays, byte for byte.
    """
    u = item.utterance
    if item.place is None:
        wave_N = read_audio(u.audio_filepath, u.offset, u.duration)
    else:
        data = tar_bytes(item)
        if suffix == ".flac" and _is_plain_flac(data, u.audio_filepath):
            return data
        wave_N = decode_audio(data, u.audio_filepath, u.duration)
    flac = flac_bytes(wave_N)
    if suffix == ".flac":
        return flac
    pcm_N, _ = soundfile.read(io.BytesIO(flac), dtype="int16")
    wav = io.BytesIO()
    soundfile.write(wav, pcm_N, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return wav.getvalue()


def tar_bytes(item: Item) -> bytes:
    """The bytes of the audio file in a shard."""
    assert item.place is not None
    with open(item.place.tar, "rb") as f:
        f.seek(item.place.offset)
        return f.read(item.place.size)


def is_file(audio_filepath: str) -> bool:
    """Whether it names a file, not what is inside one."""
    return split_name(audio_filepath) is None


def _is_plain_flac(data: bytes, name: str) -> bool:
    if not data.startswith(b"fLaC"):
        return False
    with opened_audio(io.BytesIO(data), name) as f:
        return bool(f.samplerate == SAMPLE_RATE and f.channels == 1 and f.subtype == "PCM_16")
