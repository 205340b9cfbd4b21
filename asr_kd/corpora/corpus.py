"""A corpus in parts: labelled, dev, unlabelled, test; how its recordings are measured and its manifests written."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.files import atomic_path
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say, show
from asr_kd.corpora.audio import audio_seconds
from asr_kd.corpora.audio_file import SLACK_S
from asr_kd.corpora.manifest import Utterance, write_manifest

REFERENCES = "unlabelled_references"
"""The manifest of the unlabelled part with its text, where it is known."""
MANIFESTS = ("labelled", "dev", "unlabelled", REFERENCES, "test")
LONG_S = 60.0
"""A longer utterance fills a batch by itself, or does not fit one; corpora of speech have 1 to 35 s."""
MEASURED_AT_ONCE = 32
"""Files that a thread takes at a time."""
REJECTED = "rejected.jsonl"
"""Beside the manifests: what was left out and why, one {"id", "audio_filepath", "error"} a line."""
LEXICON = "lexicon.txt"
OLD_FILES = ("hidden.jsonl", "set_aside.jsonl")
"""Of version 0.2."""
WRITTEN = (*(f"{name}.jsonl" for name in MANIFESTS), LEXICON, REJECTED, *OLD_FILES)
"""What `write_corpus` writes or removes."""


@dataclass(frozen=True)
class Recording:
    """An utterance whose length is not known yet."""

    id: str
    path: Path | None
    """None: the corpus lists it, the audio is not there."""
    text: str | None = None
    speaker: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    offset: float = 0.0
    """Seconds from the start of the audio to that of the utterance."""
    duration: float | None = None
    """Seconds of the utterance; None: to the end."""
    claimed: float | None = None
    """Seconds of the whole audio, as the corpus says."""


@dataclass(frozen=True)
class Rejected:
    """A recording that cannot be used, and why."""

    id: str
    audio_filepath: str | None
    error: str


@dataclass
class Corpus:
    """The parts of a prepared corpus; speakers of different parts are disjoint wherever speakers are known."""

    labelled: list[Utterance] = field(default_factory=list)
    dev: list[Utterance] = field(default_factory=list)
    """Labelled, held out: early stopping and tuning."""
    unlabelled: list[Utterance] = field(default_factory=list)
    """Written without text to `unlabelled.jsonl`; with text, where it is known, to `unlabelled_references.jsonl`."""
    test: list[Utterance] = field(default_factory=list)
    lexicon: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """Word and phones, one pronunciation an entry."""
    rejected: list[Rejected] = field(default_factory=list)

    def parts(self) -> dict[str, list[Utterance]]:
        """The manifests' contents by manifest name."""
        bare = [
            Utterance(u.id, u.audio_filepath, u.duration, u.offset, None, u.speaker, u.meta) for u in self.unlabelled
        ]
        references = [u for u in self.unlabelled if u.text is not None]
        return dict(zip(MANIFESTS, (self.labelled, self.dev, bare, references, self.test), strict=True))


def measure(recordings: Iterable[Recording], threads: int = 8) -> tuple[list[Utterance], list[Rejected]]:
    """Read the length of every recording (headers only); what cannot be read is rejected, the order is kept.

    A file is measured once, however many utterances are of it.
    """
    given = list(recordings)
    paths = list(dict.fromkeys(r.path for r in given if r.path is not None))
    chunks = [paths[i : i + MEASURED_AT_ONCE] for i in range(0, len(paths), MEASURED_AT_ONCE)]
    lengths: dict[Path, float | str] = {}
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(_lengths, chunks):
            lengths |= found
    results = [_measured(r, None if r.path is None else lengths[r.path]) for r in given]
    return [r for r in results if isinstance(r, Utterance)], [r for r in results if isinstance(r, Rejected)]


def _lengths(paths: Iterable[Path]) -> dict[Path, float | str]:
    """Seconds of each file, or why there are none."""
    lengths: dict[Path, float | str] = {}
    for path in paths:
        try:
            lengths[path] = audio_seconds(path)
        except ValueError as e:
            lengths[path] = str(e)
    return lengths


def _measured(r: Recording, seconds: float | str | None) -> Utterance | Rejected:
    """The utterance of a recording whose file is `seconds` long; a text says why it cannot be read."""
    if seconds is None:
        return Rejected(r.id, None, f"{r.id}: no audio file in its place")
    name = str(r.path)
    if isinstance(seconds, str):
        return Rejected(r.id, name, seconds)
    if r.claimed is not None and abs(r.claimed - seconds) > SLACK_S:
        return Rejected(r.id, name, f"{name}: {seconds:.2f} s of audio, the corpus says {r.claimed:.2f} s")
    duration = seconds - r.offset if r.duration is None else min(r.duration, seconds - r.offset)
    if duration <= 0 or (r.duration is not None and duration < r.duration - SLACK_S):
        end = r.offset + (r.duration or 0.0)
        return Rejected(r.id, name, f"{name}: {seconds:.2f} s of audio, the utterance ends at {end:.2f} s")
    try:
        return Utterance(r.id, name, duration, r.offset, r.text, r.speaker, r.meta)
    except ValueError as e:
        return Rejected(r.id, name, f"{name}: {e}")


def write_corpus(corpus: Corpus, out: Path) -> None:
    """Write the manifests, `lexicon.txt` and `rejected.jsonl` that the corpus has; those of an earlier run go."""
    for old in OLD_FILES:
        (out / old).unlink(missing_ok=True)
    for name, utterances in corpus.parts().items():
        path = out / f"{name}.jsonl"
        if utterances:
            write_manifest(path, utterances)
        else:
            path.unlink(missing_ok=True)
    lines = sorted({" ".join((word, *phones)) for word, phones in corpus.lexicon})
    _write_lines(out / LEXICON, lines)
    _write_lines(out / REJECTED, [json.dumps(vars(s), ensure_ascii=False) for s in corpus.rejected])


def _write_lines(path: Path, lines: list[str]) -> None:
    if not lines:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def warn_of_long(seconds: Iterable[float], where: str) -> None:
    """Say how many utterances are too long to train on, and how much audio that is."""
    long = [s for s in seconds if s > LONG_S]
    if long:
        say(
            f"{where}: {len(long)} utterances ({sum(long) / SECONDS_PER_HOUR:.3f} h) are longer than {LONG_S:g} s, "
            f"too long to train on. Cut them in pauses: `asr-kd segment MANIFEST --out DIR`."
        )


def leave_out_held_speakers(corpus: Corpus) -> None:
    """Take audio of speakers of dev or test out of the unlabelled part, and say how much: a student must not learn
    from them. A speaker who is also in the labelled part was not held out."""
    held = {u.speaker for u in [*corpus.dev, *corpus.test]} - {u.speaker for u in corpus.labelled} - {None}
    out = [u for u in corpus.unlabelled if u.speaker in held]
    if out:
        corpus.unlabelled = [u for u in corpus.unlabelled if u.speaker not in held]
        hours, speakers = sum(u.duration for u in out) / SECONDS_PER_HOUR, {u.speaker for u in out}
        say(
            f"{len(out)} utterances without text ({hours:.3f} h) are left out: "
            f"their {len(speakers)} speakers are in dev or test"
        )


def print_summary(corpus: Corpus) -> None:
    """Counts, hours and speakers of each part to stdout; what there is to mend to stderr."""
    show(f"{'part':<22}{'utterances':>12}{'hours':>10}{'speakers':>10}")
    for name, utterances in corpus.parts().items():
        hours = sum(u.duration for u in utterances) / SECONDS_PER_HOUR
        speakers = len({u.speaker for u in utterances if u.speaker is not None})
        show(f"{name:<22}{len(utterances):>12}{hours:>10.3f}{speakers:>10}")
    if corpus.lexicon:
        show(f"{'lexicon':<22}{len(corpus.lexicon):>12} pronunciations")
    with_digits = sum(any(c.isdigit() for c in u.text or "") for u in [*corpus.labelled, *corpus.dev, *corpus.test])
    if with_digits:
        say(
            f"{with_digits} transcripts hold digits. `asr-kd align` leaves out those whose lexicon does not have them; "
            "write numbers as words to use them.",
        )
    for name, utterances in corpus.parts().items():
        if name != REFERENCES:  # the unlabelled again
            warn_of_long((u.duration for u in utterances), name)


def check_rejected(corpus: Corpus, out: Path | None, skipped: Skipped) -> None:
    """Say how many recordings were rejected and why. ValueError when they are all, or too many for `skipped`.

    out: the folder of the manifests; None where none are written.
    """
    for item in corpus.rejected:
        skipped.add(item.id, item.error, item.audio_filepath)
    used = sum(len(utterances) for name, utterances in corpus.parts().items() if name != REFERENCES)
    skipped.check(used + len(skipped), None if out is None else out / REJECTED)
