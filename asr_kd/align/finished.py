"""Which shards an interrupted `align` has done, so that the same command goes on after them."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr_kd.core.files import sha256_file
from asr_kd.core.text_files import parse_json


class FinishedShards:
    """A file in the output folder with a line for each sidecar that was written; gone once all are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._of: dict[str, dict[str, Any]] = {}
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():  # what follows was cut short
            with suppress(ValueError):  # damaged: its shard is done again
                record = parse_json(line, path)
                if isinstance(record, dict) and record.keys() == {"sidecar", "made_of", "sha256", "skipped"}:
                    self._of[str(record["sidecar"])] = record

    def find(self, sidecar: Path, made_of: str) -> dict[str, str] | None:
        """The utterances that were skipped, with reasons; None when the sidecar is not there or of something else.

        made_of: digest of all that its content depends on.
        """
        record = self._of.get(self._name(sidecar))
        if record is None or record["made_of"] != made_of or not sidecar.exists():
            return None
        return record["skipped"] if sha256_file(sidecar) == record["sha256"] else None

    def add(self, sidecar: Path, made_of: str, skipped: dict[str, str]) -> None:
        """Note that the sidecar was written."""
        record = {"sidecar": self._name(sidecar), "made_of": made_of, "sha256": sha256_file(sidecar)}
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps({**record, "skipped": skipped}) + "\n")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _name(self, sidecar: Path) -> str:
        return str(sidecar.relative_to(self.path.parent))
