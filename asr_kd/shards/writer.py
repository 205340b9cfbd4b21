"""Writing shards: utterances to WebDataset tars of about equal length. The same input gives the same bytes."""

import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.progress import Progress
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.containers.names import source_file
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.index import build_index, index_path, read_index, write_index

SHARD_NAME = "shard"
"""What the names of tars begin with."""
SHARD_SECONDS = 600.0
PCM_SCALE = 32768
MAX_KEY = 80
"""Longest member name before its extension; old tars hold 100 characters."""


@dataclass(frozen=True)
class PlannedShard:
    """A tar to be and what goes in."""

    path: Path
    utterances: list[Utterance]
    plan: str
    """Fingerprint of the contents; a finished shard with the same one is not written again."""

    @property
    def seconds(self) -> float:
        """Audio that goes in."""
        return sum(u.duration for u in self.utterances)

    def is_finished(self) -> bool:
        """Whether exactly this shard was written already, of audio files that have not changed since.

        A shard stays as it is where one of its files is no longer there: writing it anew would lose good rows.
        """
        if not (self.path.is_file() and index_path(self.path).is_file()):
            return False
        try:
            index = read_index(self.path)
        except ValueError:  # half of an older run: write it anew
            return False
        if index.plan != self.plan:
            return False
        now = source_states(self.utterances)
        before = index.sources
        if before is None:  # an older index: what it set aside gets another try
            return not index.set_aside or None in now.values()
        return now == before or any(now[path] is None and before.get(path) is not None for path in now)


def write_shards(
    utterances: Iterable[Utterance],
    out_dir: str | Path,
    shard_seconds: float = SHARD_SECONDS,
    *,
    strip_text: bool = False,
    jobs: int = 1,
    name: str = SHARD_NAME,
) -> list[Path]:
    """Write `out_dir/NAME-%06d.tar`, each with its index; returns the tars. Finished ones of the same contents stay.

    Members of an utterance: KEY.flac (16 bit, 16 kHz, mono) and KEY.json (id, duration, text, speaker, meta).
    strip_text: leave transcripts out.  jobs: shards written at the same time (threads; the encoder runs without GIL).
    Utterances whose audio cannot be read are set aside in their shard's index, not fatal; a shard is written anew when
    one of its audio files changed, or came back. OSError when the system fails: then nothing is set aside.
    ValueError when `out_dir` holds shards beyond those of this run, or when nothing could be read.
    """
    out = Path(out_dir)
    shards = list(plan_shards(utterances, out, shard_seconds, strip_text, name))
    strangers = {tar.name for tar in out.glob("*.tar")} - {shard.path.name for shard in shards}
    if strangers:
        raise ValueError(
            f"{out}: holds {min(strangers)}, which this run would not write. Remove the folder or give another --out."
        )
    todo = [shard for shard in shards if not shard.is_finished()]
    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        with Progress(f"shards {out.name}", sum(shard.seconds for shard in todo)) as progress:
            for shard, _ in zip(todo, pool.map(write_shard, todo), strict=True):
                progress.update(shard.seconds)
    finally:
        pool.shutdown(cancel_futures=True)  # after an interruption, only what is being written is finished
    check_written(shards)
    return [shard.path for shard in shards]


def check_written(shards: Iterable[PlannedShard]) -> None:
    """ValueError unless the tars and indexes that stand there are those of the plan: nothing else wrote meanwhile."""
    for shard in shards:
        if not shard.is_finished():
            raise ValueError(
                f"{shard.path}: is not what this run wrote; something else changed it. Run the same command again."
            )


def plan_shards(
    utterances: Iterable[Utterance],
    out: Path,
    shard_seconds: float = SHARD_SECONDS,
    strip_text: bool = False,
    name: str = SHARD_NAME,
) -> Iterator[PlannedShard]:
    """Cut the utterances, in order, into shards of at most `shard_seconds`; a longer utterance gets its own."""
    if not shard_seconds > 0:
        raise ValueError(f"shard length is {shard_seconds} s; it must be above 0")
    batch: list[Utterance] = []
    seconds, number = 0.0, 0
    for utterance in utterances:
        if batch and seconds + utterance.duration > shard_seconds:
            yield _planned(out, name, number, batch)
            batch, seconds, number = [], 0.0, number + 1
        if strip_text:
            utterance = Utterance(**{**vars(utterance), "text": None})
        batch.append(utterance)
        seconds += utterance.duration
    if batch:
        yield _planned(out, name, number, batch)


def write_shard(shard: PlannedShard) -> None:
    """Write one tar, then its index, which makes it count as finished and lists what was set aside."""
    aside: list[dict[str, str]] = []
    written: dict[str, tuple[int, float]] = {}
    sources = source_states(shard.utterances)
    index_path(shard.path).unlink(missing_ok=True)
    with (
        atomic_path(shard.path) as temporary,
        open(temporary, "wb") as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for utterance in shard.utterances:
            try:
                members, seconds = _members(utterance)
            except ValueError as e:
                aside.append({"id": utterance.id, "error": str(e)})
                continue
            for name, data in members.items():
                written[name] = zlib.crc32(data), seconds
                tar.addfile(_tar_info(name, len(data)), io.BytesIO(data))
    origins = {u.id: (u.audio_filepath, u.offset) for u in shard.utterances}
    write_index(shard.path, build_index(shard.path, shard.plan, aside, origins, sources, written))


def source_states(utterances: Iterable[Utterance]) -> dict[str, list[int] | None]:
    """Size and time of change of each file that holds audio, None where it is missing. OSError when the system fails.

    Of audio inside another file (`CONTAINER::MEMBER`) it is the container.
    """
    states: dict[str, list[int] | None] = {}
    for path in dict.fromkeys(source_file(utterance.audio_filepath) for utterance in utterances):
        try:
            state = os.stat(path)
            states[path] = [state.st_size, state.st_mtime_ns]
        except (FileNotFoundError, NotADirectoryError):
            states[path] = None
    return states


def tar_key(utterance_id: str) -> str:
    """A member name for an id: WebDataset ends a key at its first dot, and slashes would make folders.

    Ids of letters, digits, `_` and `-` stay; others are cleaned and told apart by 8 hex digits of their digest.
    """
    key = re.sub(r"[^A-Za-z0-9_-]", "_", utterance_id)
    if key == utterance_id and len(key) <= MAX_KEY:
        return key
    return f"{key[:MAX_KEY]}-{hashlib.sha256(utterance_id.encode()).hexdigest()[:8]}"


def _planned(out: Path, name: str, number: int, utterances: list[Utterance]) -> PlannedShard:
    plan = fingerprint([asdict(utterance) for utterance in utterances])
    return PlannedShard(out / f"{name}-{number:06d}.tar", utterances, plan)


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    """As webdataset's TarWriter writes members, byte for byte; importing it imports torch."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname, info.gname = size, 0o644, "asr_kd", "asr_kd"
    info.mtime = 0.0  # as a float it makes a header of its own, which tars of older versions have as well
    return info


def _members(utterance: Utterance) -> tuple[dict[str, bytes], float]:
    """Contents of the members of an utterance, by their names; and its seconds. ValueError when its audio cannot be
    read."""
    wave_N = read_audio(utterance.audio_filepath, utterance.offset, utterance.duration)
    fields = {"id": utterance.id, "duration": len(wave_N) / SAMPLE_RATE}
    fields.update({k: v for k, v in (("text", utterance.text), ("speaker", utterance.speaker)) if v is not None})
    if utterance.meta:
        fields["meta"] = utterance.meta
    key, text = tar_key(utterance.id), json.dumps(fields, ensure_ascii=False, sort_keys=True)
    return {f"{key}.flac": flac_bytes(wave_N), f"{key}.json": text.encode()}, len(wave_N) / SAMPLE_RATE


def flac_bytes(wave_N: np.ndarray) -> bytes:
    """16-bit FLAC of (N,) float samples at 16 kHz; samples that came from 16 bits return to the very same bits."""
    pcm_N = np.clip(np.round(wave_N * PCM_SCALE), -PCM_SCALE, PCM_SCALE - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm_N, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
