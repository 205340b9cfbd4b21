"""Reading references and hypotheses, and matching one to the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.files import read_json
from asr_kd.core.storage import list_files
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.languages import ENGLISH, LANG, language_name, language_of, one_language
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.transcripts.pseudo_labels import ENDING, find_transcripts
from asr_kd.transcripts.recognised import read_recognised


def read_references(path: str | Path) -> list[Utterance]:
    """The utterances of a manifest. ValueError when one has no text or none has a word."""
    utterances = list(read_manifest(path))
    if not utterances:
        raise ValueError(f"{path}: holds no utterances; there is nothing to score against")
    silent = [u.id for u in utterances if u.text is None]
    if silent:
        raise ValueError(
            f"{path}: no text for {preview_ids(silent)}. "
            "Score against a manifest with text (unlabelled_references.jsonl, not unlabelled.jsonl)."
        )
    return utterances


def hypotheses_file(path: str | Path) -> Path:
    """`path` itself, or `hyp.jsonl` in it when it is a folder."""
    return Path(path) / "hyp.jsonl" if Path(path).is_dir() else Path(path)


def read_hypotheses(path: str | Path) -> dict[str, str | None]:
    """Text of each utterance id, None where decoding skipped it: its line has `reason` instead of text.

    path: a file; a folder of `asr-kd decode`; or one of `asr-kd label`, with transcripts of each shard.
    ValueError names file and line of what cannot be read or comes twice.
    """
    file = hypotheses_file(path)
    files = [file]
    if not file.exists() and list_files(file.parent, ENDING):
        files = [Path(str(found)) for found in find_transcripts(file.parent)]
    rows = (row for f in files for row in read_rows(f, advice=f"Write it with `asr-kd decode --out {f.parent}`."))
    found = read_recognised(rows, 'A line is {"id": ..., "text": ...}.', text_only=True)
    return {utterance.id: utterance.text for utterance in found}


def read_decode_notes(path: str | Path) -> dict[str, Any]:
    """`decode.json` beside the hypotheses; {} for hypotheses made elsewhere, which have none."""
    notes = hypotheses_file(path).with_name("decode.json")
    return read_json(notes) if notes.exists() else {}


def reference_language(references: Sequence[Utterance], ref: str | Path, given: str | None = None) -> str:
    """The one language of the references: what they name, else the one that is given, else English.

    ValueError when they name several, or another than the one given.
    """
    named = [language_of(u.meta, f"{ref}: {u.id}: lang") for u in references if LANG in u.meta]
    if not named:
        return given or ENGLISH
    unnamed = [given or ENGLISH] * (len(named) < len(references))
    language = one_language([*named, *unnamed], str(ref))
    if given not in (None, language):
        raise ValueError(f"--language {given}: {ref} is in {language_name(language)}. Leave the option out.")
    return language


def check_decoded_in(language: str, path: str | Path, ref: str | Path, name: str) -> None:
    """ValueError naming both when `decode.json` beside hypotheses says that their model is of another language."""
    decoded = read_decode_notes(path).get("language", language)
    if decoded != language:
        raise ValueError(
            f"{hypotheses_file(path)}: {name} was decoded in {language_name(decoded)}, {ref} is in "
            f"{language_name(language)}. Give hypotheses and references of one language."
        )


def match(
    references: Sequence[Utterance], hypotheses: Mapping[str, str | None], path: str | Path, ref: str | Path
) -> list[str | None]:
    """The hypothesis of each reference, in order, None where it was skipped. ValueError lists ids of one side only.

    path, ref: the files of hypotheses and references, for messages.
    """
    ids = {u.id for u in references}
    missing = [u.id for u in references if u.id not in hypotheses]
    if missing:
        raise ValueError(
            f"{hypotheses_file(path)}: no hypothesis for {preview_ids(missing)} of {ref}. "
            "Decode the whole test set; an utterance without an answer is a line with empty text."
        )
    unknown = [i for i, text in hypotheses.items() if i not in ids and text is not None]
    if unknown:
        raise ValueError(
            f"{hypotheses_file(path)}: no reference for {preview_ids(unknown)} in {ref}. "
            "Give --ref the manifest that was decoded."
        )
    return [hypotheses[u.id] for u in references]


def preview_ids(ids: Sequence[str], shown: int = 5) -> str:
    """`3 utterances (a, b, c)`: how many, and the first few."""
    more = ", ..." if len(ids) > shown else ""
    return f"{len(ids)} utterance{'s' if len(ids) != 1 else ''} ({', '.join(ids[:shown])}{more})"
