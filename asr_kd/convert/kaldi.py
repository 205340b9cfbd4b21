"""A Kaldi data directory: wav.scp, segments, text, utt2spk, spk2utt, spk2gender, utt2lang, utt2dur, reco2dur."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.convert.audio import Placed, is_file
from asr_kd.convert.kaldi_ids import in_c_order, plain_ids, sorts_like_speakers, with_speakers
from asr_kd.core.files import atomic_path
from asr_kd.core.terminal import say
from asr_kd.corpora.audio_file import Measured
from asr_kd.corpora.containers.names import split_name
from asr_kd.corpora.languages import ENGLISH, LANG

ID_MAP = "renamed_ids"
"""`NEW OLD` a line, of utterances, speakers and recordings."""
GENDERS = {"f": "f", "female": "f", "m": "m", "male": "m", "female_feminine": "f", "male_masculine": "m"}
FILES = ("segments", "text", "spk2gender", "utt2lang", ID_MAP)
"""Those that not every directory has."""


def can_name(audio_filepath: str, measured: Measured) -> bool:
    """Whether wav.scp can: a mono file, or a place in an archive."""
    inside = split_name(audio_filepath)
    is_archive = inside is not None and inside.container.suffix == ".ark" and inside.member.isdecimal()
    plain = not audio_filepath.endswith("|") and "\n" not in audio_filepath
    return measured.channels == 1 and plain and (is_archive or is_file(audio_filepath))


def write_data_directory(folder: Path, found: Sequence[Placed]) -> str:
    """Write the files. Returns what is to be said of them.

    Ids that Kaldi cannot have are replaced: blanks by `_`, and where utterances do not sort like their speakers all
    begin with their speaker. The file `renamed_ids` has the old ones.
    """
    ids, speakers = _ids(found)
    recordings = _recordings(found, ids)
    tables: dict[str, dict[str, str]] = {name: {} for name in FILES}
    tables |= {"wav.scp": {}, "utt2spk": {}, "utt2dur": {}, "reco2dur": {}, "spk2utt": {}}
    has_segments = not all(p.is_whole for p in found) or len(recordings) < len(found)
    not_wav = 0
    for p in found:
        u, name = p.utterance, ids[p.utterance.id]
        recording = recordings[u.audio_filepath]
        if recording not in tables["wav.scp"]:
            inside = split_name(u.audio_filepath)
            entry = f"{inside.container}:{inside.member}" if inside else u.audio_filepath
            not_wav += inside is None and not entry.lower().endswith(".wav")
            tables["wav.scp"][recording] = entry
            tables["reco2dur"][recording] = f"{p.file.seconds:.6f}"
        if has_segments:
            tables["segments"][name] = f"{recording} {u.offset:.6f} {u.offset + u.duration:.6f}"
        if u.text is not None:
            tables["text"][name] = " ".join(u.text.split())
        speaker = speakers[name]
        tables["utt2spk"][name] = speaker
        tables["utt2dur"][name] = f"{u.duration:.6f}"
        gender = GENDERS.get(str(u.meta.get("gender", "")).lower())
        if gender is not None:
            tables["spk2gender"][speaker] = gender
        tables["utt2lang"][name] = str(u.meta.get(LANG, ENGLISH))
    if set(tables["spk2gender"]) != set(speakers.values()):  # Kaldi asks for all or none
        tables["spk2gender"] = {}
    if set(tables["utt2lang"].values()) == {ENGLISH}:  # which need not be said
        tables["utt2lang"] = {}
    by_speaker: dict[str, list[str]] = {}
    for name in in_c_order(speakers):
        by_speaker.setdefault(speakers[name], []).append(name)
    tables["spk2utt"] = {speaker: " ".join(names) for speaker, names in by_speaker.items()}
    tables[ID_MAP] = {new: old for old, new in ids.items() if new != old}
    for name, table in tables.items():
        _write(folder / name, table)
    told = f"{len(found)} utterances of {len(tables['wav.scp'])} recordings"
    if not_wav:
        told += f"; {not_wav} recordings are not WAV, which Kaldi's own tools cannot read: --audio wav writes them"
    if not sorts_like_speakers(speakers):
        say(f"{folder}: speakers do not sort like their utterances; Kaldi's tools need names of one length")
    return told


def _ids(found: Sequence[Placed]) -> tuple[dict[str, str], dict[str, str]]:
    """New ids by the old ones; and the speaker of each new id, itself where none is known."""
    ids = plain_ids(p.utterance.id for p in found)
    names = plain_ids(p.utterance.speaker for p in found if p.utterance.speaker is not None)
    speakers = {ids[p.utterance.id]: names.get(p.utterance.speaker or "", ids[p.utterance.id]) for p in found}
    renamed = sum(old != new for old, new in ids.items())
    if renamed:
        say(f"{renamed} ids have blanks, which Kaldi's cannot: `_` is in their place ({ID_MAP} has the old ones)")
    if not sorts_like_speakers(speakers):
        longer = with_speakers({name: speaker for name, speaker in speakers.items() if speaker != name})
        if len({longer.get(new, new) for new in ids.values()}) == len(ids):
            ids = {old: longer.get(new, new) for old, new in ids.items()}
            speakers = {longer.get(name, name): longer.get(name, name) if speaker == name else speaker
                        for name, speaker in speakers.items()}  # fmt: skip
            say(f"utterances do not sort like their speakers: SPEAKER- begins their ids ({ID_MAP} has the old ones)")
    return ids, speakers


def _recordings(found: Sequence[Placed], ids: Mapping[str, str]) -> dict[str, str]:
    """An id for each file: that of its utterance where it is all of it, else what the corpus calls it, or its name."""
    times = Counter(p.utterance.audio_filepath for p in found)
    wanted: dict[str, str] = {}
    for p in found:
        u = p.utterance
        called = u.meta.get("recording")
        own = called if isinstance(called, str) and called else Path(u.audio_filepath).stem
        wanted.setdefault(u.audio_filepath, ids[u.id] if p.is_whole and times[u.audio_filepath] == 1 else own)
    taken: Counter[str] = Counter()
    recordings: dict[str, str] = {}
    known = set(plain_ids(wanted.values()).values())
    plain = plain_ids(wanted.values())
    for path, name in wanted.items():
        new = plain[name]
        taken[new] += 1
        number = taken[new]
        while number > 1 and (new := f"{plain[name]}-{number}") in known:
            number += 1
        known.add(new)
        recordings[path] = new
    return recordings


def _write(path: Path, table: Mapping[str, str]) -> None:
    if not table:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.writelines(f"{key} {table[key]}".rstrip() + "\n" for key in in_c_order(table))
