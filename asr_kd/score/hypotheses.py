"""Reading references and hypotheses, and matching one to the other."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.files import read_json
from asr_kd.corpora.manifest import Utterance, read_manifest


def read_references(path: str | Path) -> list[Utterance]:
    """The utterances of a manifest. ValueError when one has no text or none has a word."""
    utterances = list(read_manifest(path))
    if not utterances:
        raise ValueError(f"{path}: holds no utterances; there is nothing to score against")
    silent = [u.id for u in utterances if u.text is None]
    if silent:
        raise ValueError(
            f"{path}: no text for {some(silent)}. "
            "Score against a manifest with text (hidden.jsonl, not unlabelled.jsonl)."
        )
    return utterances


def hypotheses_file(path: str | Path) -> Path:
    """`path` itself, or `hyp.jsonl` in it when it is a folder."""
    return Path(path) / "hyp.jsonl" if Path(path).is_dir() else Path(path)


def read_hypotheses(path: str | Path) -> dict[str, str]:
    """Text of each utterance id. ValueError names file and line of what cannot be read or comes twice."""
    file = hypotheses_file(path)
    texts: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file. Write it with `asr-kd decode --out {file.parent}`.") from None
    except UnicodeDecodeError as e:
        raise ValueError(f"{file}: not UTF-8 ({e})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as e:
            raise ValueError(f"{file}:{number}: not valid JSON ({e})") from None
        for field in ("id", "text"):
            if not isinstance(entry, dict) or not isinstance(entry.get(field), str):
                raise ValueError(f'{file}:{number}: no text field "{field}". A line is {{"id": ..., "text": ...}}.')
        if entry["id"] in texts:
            raise ValueError(
                f"{file}:{number}: second hypothesis for {entry['id']}. Decode again into an empty folder."
            )
        texts[entry["id"]] = entry["text"]
    return texts


def read_decode_notes(path: str | Path) -> dict[str, Any]:
    """`decode.json` beside the hypotheses; {} for hypotheses made elsewhere, which have none."""
    notes = hypotheses_file(path).with_name("decode.json")
    return read_json(notes) if notes.exists() else {}


def match(references: Sequence[Utterance], hypotheses: Mapping[str, str], path: str | Path) -> list[str]:
    """The hypothesis of each reference, in order. ValueError lists the ids that only one side has."""
    ids = {u.id for u in references}
    missing = [u.id for u in references if u.id not in hypotheses]
    if missing:
        raise ValueError(
            f"{hypotheses_file(path)}: no hypothesis for {some(missing)}. Decode the whole test set; an utterance "
            "without an answer is a line with empty text."
        )
    unknown = [i for i in hypotheses if i not in ids]
    if unknown:
        raise ValueError(
            f"{hypotheses_file(path)}: no reference for {some(unknown)}. Give --ref the manifest that was decoded."
        )
    return [hypotheses[u.id] for u in references]


def some(ids: Sequence[str], shown: int = 5) -> str:
    """`3 utterances (a, b, c)`: how many, and the first few."""
    more = ", ..." if len(ids) > shown else ""
    return f"{len(ids)} utterance{'s' if len(ids) != 1 else ''} ({', '.join(ids[:shown])}{more})"
