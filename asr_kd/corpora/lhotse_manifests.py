"""lhotse's manifests as lines of JSON: recordings, supervisions and cuts. The package `lhotse` is not needed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.corpora.audio_file import SLACK_S
from asr_kd.corpora.walk import is_file

FULL_BAND_HZ = 16_000
"""A change of rate to this or more changes nothing that is heard at 16 kHz."""
HOW_TO_WRITE = "Write such audio with lhotse: cuts.save_audios(FOLDER)."


@dataclass(frozen=True)
class Source:
    """Where the audio of a recording is."""

    path: Path
    duration: float
    """Seconds of the whole recording, as the manifest says."""


@dataclass(frozen=True)
class Stretch:
    """An utterance in its recording."""

    id: str
    start: float
    """Seconds from the start of the recording."""
    duration: float
    supervision: Mapping[str, Any]
    """Empty for a stretch without."""


def audio_source(recording: Any, channel: Any, bases: Sequence[Path]) -> Source:
    """The one file of a recording that holds nothing but `channel`. bases: folders that relative paths count from.

    ValueError when it is a command, a URL or bytes in the manifest, when the audio is changed while it is read, or
    when the file has other channels, which would be averaged.
    """
    if not isinstance(recording, dict) or not isinstance(recording.get("sources"), list):
        raise ValueError("names no recording with sources; cuts of features alone hold no audio")
    for change in recording.get("transforms") or []:
        _check_change(change)
    sources = [s for s in recording["sources"] if isinstance(s, dict)]
    if isinstance(channel, list):
        channel = channel[0] if len(channel) == 1 else None
        if channel is None:
            raise ValueError(f"a cut of several channels. {HOW_TO_WRITE}")
    own = [s for s in sources if channel is None or channel in _channels(s)]
    if len(own) != 1 or len(_channels(own[0])) > 1:
        raise ValueError(f"channel {channel} of a file with several, which are averaged here. {HOW_TO_WRITE}")
    kind, name = own[0].get("type"), own[0].get("source")
    if kind != "file" or not isinstance(name, str) or not name or "://" in name:
        what = "nothing of data is run" if kind == "command" else "only files are read"
        raise ValueError(f"audio of type {kind}: {what}. {HOW_TO_WRITE}")
    path = next((base / name for base in bases if is_file(base / name)), bases[0] / name)
    return Source(path, number(recording, "duration"))


def stretches(cut: Mapping[str, Any], name: str, place: str) -> Iterator[Stretch | tuple[str, str]]:
    """The utterances of a cut: one for each supervision, the whole cut without; id and reason where one cannot be used.

    name: the cut's id.  ValueError when the cut cannot be read.
    """
    start, length = number(cut, "start", 0.0), number(cut, "duration")
    supervisions = cut.get("supervisions") or []
    if not isinstance(supervisions, list) or not all(isinstance(s, dict) for s in supervisions):
        raise ValueError("supervisions are no list of objects")
    if not supervisions:
        yield Stretch(name, start, length, {})
    for i, supervision in enumerate(supervisions):
        own = name if len(supervisions) == 1 else f"{name}-{i}"
        begin = number(supervision, "start", 0.0)
        end = begin + number(supervision, "duration")
        if begin < -SLACK_S or end > length + SLACK_S:
            yield own, f"{place}: the supervision lasts from {begin:g} to {end:g} s, the cut from 0 to {length:g} s"
            continue
        begin, end = max(0.0, begin), min(length, end)
        yield Stretch(own, start + begin, end - begin, supervision)


def number(values: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A finite number of a manifest. ValueError when it is missing or none."""
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        remedy = "; write it without quotation marks" if isinstance(value, str) else ""
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a number{remedy}")
    return float(value)


def plain(values: Any) -> dict[str, Any]:
    """Of an object the single values; what lhotse stores as manifests inside stays out."""
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(value, str | int | float | bool)}


def _channels(source: Mapping[str, Any]) -> list[Any]:
    channels = source.get("channels")
    return channels if isinstance(channels, list) else [channels]


def _check_change(change: Any) -> None:
    about = change if isinstance(change, dict) else {}
    name, how = str(about.get("name")), about.get("kwargs")
    rate = how.get("target_sampling_rate", 0) if isinstance(how, dict) else 0
    if name != "Resample" or not isinstance(rate, int | float) or rate < FULL_BAND_HZ:
        raise ValueError(f"the audio is changed while it is read ({name[:40]}), which is not done here. {HOW_TO_WRITE}")
