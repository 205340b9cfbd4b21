"""NeMo's manifest, and a CSV that spreadsheets and scripts read."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from asr_kd.convert.audio import Placed, is_file
from asr_kd.core.files import atomic_path
from asr_kd.corpora.audio_file import Measured
from asr_kd.corpora.manifest import Utterance

COLUMNS = ("id", "path", "offset", "duration", "text", "speaker")


def can_name(audio_filepath: str, measured: Measured) -> bool:
    """Whether it is a file."""
    return is_file(audio_filepath)


def write_nemo(path: Path, found: Sequence[Placed]) -> str:
    """Write a manifest that NeMo reads: keys of `meta` are keys of the line, as in its own. Returns what is to be said.

    Files that were written are named from the manifest's folder.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        for p in found:
            u = p.utterance
            line = {**u.meta, "id": u.id, "audio_filepath": _near(u, path), "offset": u.offset, "duration": u.duration}
            line |= {key: value for key, value in (("text", u.text), ("speaker", u.speaker)) if value is not None}
            f.write(json.dumps(line, ensure_ascii=False) + "\n")
    return f"{len(found)} lines"


def write_csv(path: Path, found: Sequence[Placed]) -> str:
    """Write a CSV with COLUMNS and one column for each key of `meta`. Returns what is to be said of it."""
    keys = list(dict.fromkeys(key for p in found for key in p.utterance.meta if key not in COLUMNS))
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow([*COLUMNS, *keys])
        for p in found:
            u = p.utterance
            row = [u.id, _near(u, path), repr(u.offset), repr(u.duration), u.text, u.speaker]
            writer.writerow([*row, *(_field(u.meta.get(key)) for key in keys)])
    return f"{len(found)} rows"


def _near(u: Utterance, path: Path) -> str:
    folder = path.parent.absolute()
    audio = Path(u.audio_filepath)
    return str(audio.relative_to(folder)) if audio.is_relative_to(folder) else u.audio_filepath


def _field(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
