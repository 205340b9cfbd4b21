"""The list of utterances that a student learns from: what `asr-kd filter` kept, or any JSON lines with an `id`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.files import fingerprint
from asr_kd.core.text_files import read_rows


@dataclass(frozen=True)
class UtteranceList:
    """Ids and where they came from."""

    path: Path
    ids: frozenset[str]
    digest: str
    """Of the ids, whatever their order and whatever else the lines say: what training depends on."""
    ordered: tuple[str, ...]
    """The ids as they are listed."""

    @classmethod
    def read(cls, path: Path) -> "UtteranceList":
        """ValueError names file and line that has no id or repeats one; an empty list is an error too."""
        ids: dict[str, str] = {}
        for place, row in read_rows(path, advice="Give a list of `asr-kd filter --out`."):
            name = row.get("id")
            if not isinstance(name, str) or not name:
                raise ValueError(f'{place}: no text field "id". Give a list of `asr-kd filter`.')
            if name in ids:
                raise ValueError(f"{place}: {name} is also at {ids[name]}; each utterance is listed once")
            ids[name] = place
        if not ids:
            raise ValueError(f"{path}: lists no utterance; there would be nothing to learn from")
        return cls(path, frozenset(ids), fingerprint(sorted(ids)), tuple(ids))

    def check(self, missing: Collection[str]) -> None:
        """ValueError naming the first listed utterance that is `missing`, and how many are."""
        if missing:
            first = next(i for i in self.ordered if i in missing)
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(
                f"{self.path}: {first}{more} of {len(self.ids)} listed utterances: in no unlabelled shard. "
                "Give all shards that the list was selected from, or select again."
            )
