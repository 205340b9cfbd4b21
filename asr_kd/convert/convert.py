"""Manifests, or shards, in the form of another toolkit. Each input is a part with its own name:

  kaldi        OUT/NAME/wav.scp, segments, text, utt2spk, spk2utt, ...: a Kaldi data directory; where only some
               utterances have text, the others are in OUT/NAME_unlabelled
  lhotse       OUT/cuts_NAME.jsonl.gz: one cut with one supervision an utterance
  nemo         OUT/NAME.jsonl: a NeMo manifest
  huggingface  OUT/data/SPLIT-00000-of-00001.parquet with the audio inside: datasets.load_dataset("OUT")
  shar         OUT/NAME/cuts.000000.jsonl.gz, recording.000000.tar, ...: lhotse Shar, with the audio inside
  nemo-tarred  OUT/NAME/audio_0.tar, ... and tarred_audio_manifest.json, with the audio inside
  table        OUT/NAME.csv: for spreadsheets and scripts

Audio files are named where they are. What the form cannot name (audio in shards, tars and tables; several channels for
Kaldi and lhotse) is written to OUT/audio: 16 bit, 16 kHz, mono. --transcripts puts a teacher's text in the place of the
reference text. What cannot be read is listed in OUT/rejected.jsonl.

  asr-kd convert exp/manifests/labelled.jsonl exp/manifests/dev.jsonl --to kaldi --out exp/kaldi
  asr-kd convert exp/shards/unlabelled --transcripts exp/targets --to lhotse --out exp/lhotse
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.convert import huggingface, kaldi, lhotse, plain_tables, tarred
from asr_kd.convert.audio import AudioPlan, Placed, placed
from asr_kd.convert.items import Item, Part, Transcripts, part_name, read_parts
from asr_kd.core.commands import command
from asr_kd.core.files import atomic_path, refuse_to_replace
from asr_kd.core.options import argument, option
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import show
from asr_kd.corpora.audio_file import Measured
from asr_kd.corpora.corpus import REJECTED, Rejected


@dataclass(frozen=True, kw_only=True)
class ConvertRun(SkippedOptions):
    """What `asr-kd convert` is given."""

    inputs: tuple[Path, ...] = argument("manifests (.jsonl), folders of shards, tars", metavar="IN")
    to: Literal["kaldi", "lhotse", "shar", "nemo", "nemo-tarred", "huggingface", "table"] = option("form to write")
    out: Path = option("output folder")
    transcripts: tuple[PathOrUrl, ...] = option(
        "transcripts of `asr-kd label` or `asr-kd transcribe`, files or folders: the text of their utterances; others "
        "have none then",
        (),
        metavar="HYP",
    )
    min_confidence: float = option("with --transcripts: no text where the confidence is lower, in [0, 1]", 0.0)
    audio: Literal["auto", "flac", "wav"] = option(
        "auto: name audio files where they are, write what the form cannot name; flac, wav: write all audio", "auto"
    )
    jobs: int = option("threads that read and write audio", 2, metavar="N")


@dataclass(frozen=True)
class Form:
    """A form that names audio files."""

    can_name: Callable[[str, Measured], bool]
    write: Callable[[Path, Sequence[Placed]], str]
    """Writes to a path; says what."""
    place: str
    """The path below OUT, with {name}."""
    suffix: str = ".flac"
    """Of audio that must be written."""
    parts_by_text: bool = False
    """Whether utterances without text need a part of their own."""


FORMS = {
    "kaldi": Form(kaldi.can_name, kaldi.write_data_directory, "{name}", ".wav", parts_by_text=True),
    "lhotse": Form(lhotse.can_name, lhotse.write_cuts, "cuts_{name}.jsonl.gz"),
    "nemo": Form(plain_tables.can_name, plain_tables.write_nemo, "{name}.jsonl"),
    "table": Form(plain_tables.can_name, plain_tables.write_csv, "{name}.csv"),
}
TARRED = {"shar": tarred.SHAR, "nemo-tarred": tarred.NEMO_TARRED}
UNLABELLED = "_unlabelled"
"""Ends the name of the utterances without text, where they are a part of their own."""


@command()
def convert(config: ConvertRun) -> None:
    """Write every input in the form that is asked for. ValueError when too much audio cannot be read."""
    if config.jobs < 1:
        raise ValueError(f"--jobs {config.jobs}: at least one is needed")
    if config.min_confidence and not config.transcripts:
        raise ValueError("--min-confidence: only used with --transcripts")
    inputs = [path for path in config.inputs if path.name != REJECTED]  # it lies beside manifests, and shells glob it
    if not inputs:
        raise ValueError(f"{REJECTED} lists what was left out; give manifests or shards")
    names = [(path, part_name(path)) for path in inputs]
    _check_apart(config, names)
    _check_inputs_stay(config, names)
    transcripts = Transcripts(config.transcripts, config.min_confidence) if config.transcripts else None
    parts = read_parts(inputs, transcripts)
    if config.to in FORMS and FORMS[config.to].parts_by_text:
        mixed = [part for part in parts if len({item.utterance.text is None for item in part.items}) > 1]
        _check_apart(config, [*names, *((part.source, part.name + UNLABELLED) for part in mixed)])
    rejected: list[Rejected] = []
    for part in parts:
        told, bad = _write(config, part)
        rejected += bad
        show(told)
    _list_rejected(config.out / REJECTED, rejected)
    skipped = Skipped("utterances", config.max_skipped)
    for item in rejected:
        skipped.add(item.id, item.error, item.audio_filepath)
    skipped.check(sum(len(part.items) for part in parts), config.out / REJECTED)


def _place(config: ConvertRun, name: str) -> Path:
    """Where a part is written: a file, a folder, or how the files of a Hugging Face split begin."""
    if config.to == "huggingface":
        return config.out / "data" / huggingface.split_name(name)
    return config.out / (name if config.to in TARRED else FORMS[config.to].place.format(name=name))


def _check_apart(config: ConvertRun, names: Sequence[tuple[Path, str]]) -> None:
    """ValueError when two inputs would be written to one place.  names: inputs, and what their parts are called."""
    taken: dict[Path, Path] = {}
    for path, name in names:
        place = _place(config, name)
        if place == config.out / REJECTED:
            raise ValueError(f"{path}: {place} is the list of what cannot be read. Rename the input.")
        if place in taken:
            raise ValueError(
                f"{taken[place]} and {path}: both would be written to {place}. Rename one, or convert them apart into "
                "two --out folders."
            )
        taken[place] = path


def _check_inputs_stay(config: ConvertRun, names: Sequence[tuple[Path, str]]) -> None:
    """ValueError when the output would replace an input, or the list of what was left out beside it."""
    read = [path for path in config.transcripts if isinstance(path, Path)]
    written = [config.out / REJECTED]
    for path, name in names:
        beside = path.parent / REJECTED
        read += [path, *(path.glob("*.tar") if path.is_dir() else ()), *([beside] if beside.exists() else ())]
        if config.to in TARRED:
            written += tarred.files_of(_place(config, name), TARRED[config.to])
        if config.to != "huggingface":
            written.append(_place(config, name))
    refuse_to_replace(read, written)


def _write(config: ConvertRun, part: Part) -> tuple[str, list[Rejected]]:
    """Write one part; what is to be said of it, and what could not be read."""
    if config.to == "huggingface":
        folder = config.out / "data"
        if config.audio == "wav":
            raise ValueError("--audio wav: data sets hold FLAC or the files as they are")
        count, rejected = huggingface.write_split(folder, part.name, part.items, config.audio == "flac", config.jobs)
        return f"{folder}: {part.name}: {count} rows", rejected
    if config.to in TARRED:
        if config.audio == "wav":
            raise ValueError(f"--audio wav: {config.to} holds FLAC")
        return tarred.write_tars(_place(config, part.name), part.name, part.items, TARRED[config.to], config.jobs)
    form = FORMS[config.to]
    items = _in_file_order(part.items)
    suffix = form.suffix if config.audio == "auto" else f".{config.audio}"
    plan = AudioPlan(
        config.out / "audio" / part.name, form.can_name, suffix, write_all=config.audio != "auto", jobs=config.jobs
    )
    found, rejected = placed(items, plan, part.name)
    groups = {part.name: found}
    if form.parts_by_text and len({p.utterance.text is None for p in found}) > 1:
        groups = {part.name: [p for p in found if p.utterance.text is not None]}
        groups[part.name + UNLABELLED] = [p for p in found if p.utterance.text is None]
    paths = {_place(config, name): own for name, own in groups.items()}
    return "; ".join(f"{path}: {form.write(path, own)}" for path, own in paths.items()), rejected


def _in_file_order(items: Sequence[Item]) -> list[Item]:
    """Utterances of one file after each other, so that it is measured once."""
    first: dict[str, int] = {}
    keys = [first.setdefault(item.utterance.audio_filepath, i) for i, item in enumerate(items)]
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def _list_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    if not rejected:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        text = "".join(json.dumps(vars(item), ensure_ascii=False) + "\n" for item in rejected)
        temporary.write_text(text, encoding="utf-8")
