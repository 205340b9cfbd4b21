"""What `asr-kd experiment` measured: the errors of each row and seed, so that tables made apart can become one.

OUT/results.jsonl is JSON Lines. The first line is the test: {"ids": [...], "speakers": [...], "words": [...],
"measure": "WER"} (ids, speakers or null, and words of the reference, one each an utterance; with the measure CER the
words are characters). Every other line is a row with one seed:
{"seed": 1, "row": "hard", "errors": [...], "params": ..., "bytes": ..., "rtf": ..., "commit": ...}, the errors in the
order of the test.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.files import atomic_path
from asr_kd.core.text_files import read_rows

SIZES = ("params", "bytes", "rtf")
"""What a row is, whatever its seed: parameters, bytes on disk, real-time factor of the forward pass on one core."""


@dataclass(frozen=True)
class Utterances:
    """The utterances that every row was decoded on."""

    ids: list[str]
    speakers: list[str | None]
    words: list[int]
    measure: str = "WER"
    """WER, or CER for languages without spaces between words."""

    @classmethod
    def of(cls, scores: Mapping[str, Any]) -> "Utterances":
        """Of what `asr-kd score` wrote."""
        utterances = scores["per_utterance"]
        return cls(
            [u["id"] for u in utterances],
            [u["speaker"] for u in utterances],
            [len(u["reference"].split()) for u in utterances],
            scores.get("measure", "WER"),
        )


@dataclass
class SeedResults:
    """Rows of one or more seeds on one test."""

    test: Utterances
    errors: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """By seed and row, of each utterance."""
    system_info: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By row: SIZES and `commit`, of the first seed that has it."""

    @classmethod
    def of(cls, seed: int, scores: Mapping[str, Any], about: Mapping[str, dict[str, Any]]) -> "SeedResults":
        """What `asr-kd score` wrote of rows with one seed; about: SIZES and `commit` of each."""
        utterances = scores["per_utterance"]
        found = {row: [u["systems"][row]["errors"] for u in utterances] for row in scores["systems"]}
        return cls(Utterances.of(scores), {seed: found}, {row: about[row] for row in found})

    def join(self, other: "SeedResults", whose: str) -> None:
        """Take in another's seeds and rows.

        ValueError names `whose` when it was of another test, or has other errors in a row that is there already.
        """
        if other.test != self.test:
            sizes = f"{len(other.test.ids)} utterances of another test than the others' {len(self.test.ids)}"
            raise ValueError(f"{whose}: {sizes}. One table needs one test.")
        for seed, rows in other.errors.items():
            ours = self.errors.get(seed, {})
            if differing := [row for row in rows if ours.get(row, rows[row]) != rows[row]]:
                raise ValueError(
                    f"{whose}: {differing[0]} with seed {seed} has other errors than where it was measured before, so "
                    "one of them is of another model. In the file that you do not trust, delete the lines of that row "
                    "and of rows made from it."
                )
            self.errors[seed] = ours | rows
        self.system_info = other.system_info | self.system_info

    def rows(self) -> list[str]:
        """Those that every seed has."""
        first, *others = self.errors.values()
        return [row for row in first if all(row in o for o in others)]

    def write(self, path: Path) -> None:
        """Write the file whole."""
        lines: list[Mapping[str, Any]] = [asdict(self.test)]
        for seed, rows in sorted(self.errors.items()):
            lines += [{"seed": seed, "row": row, "errors": e} | self.system_info[row] for row, e in rows.items()]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def merge(parts: Iterable[tuple[str, SeedResults]]) -> SeedResults:
    """Named parts, at least one, as one. ValueError as `SeedResults.join` says."""
    _, whole = next(parts := iter(parts))
    for name, part in parts:
        whole.join(part, name)
    return whole


def read_measured(paths: Sequence[Path]) -> SeedResults:
    """The files together. ValueError names the file that is none, of another test, or has other errors in some row."""
    return merge((str(path), _read(path)) for path in paths)


def _read(path: Path) -> SeedResults:
    try:
        rows = read_rows(path, advice="`asr-kd experiment` leaves results.jsonl beside its table.")
        return _parsed([row for _, row in rows])
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path}: not what `asr-kd experiment` leaves in results.jsonl ({e!r})") from None


def _parsed(lines: Sequence[dict[str, Any]]) -> SeedResults:
    test, *rows = lines
    measured = SeedResults(Utterances(**test))
    for line in rows:
        if len(line["errors"]) != len(measured.test.ids) or not all(isinstance(e, int) for e in line["errors"]):
            raise TypeError(f"errors of row {line['row']}")
        measured.errors.setdefault(int(line["seed"]), {})[line["row"]] = line["errors"]
        measured.system_info.setdefault(line["row"], {key: line[key] for key in (*SIZES, "commit")})
    return measured
