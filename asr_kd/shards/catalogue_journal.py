"""Rows of a catalogue that is being made: each is kept when its shard was opened, so that a stopped command goes on."""

import json
import os
from pathlib import Path

from asr_kd.core.text_files import parse_json
from asr_kd.shards.catalogue_writer import CatalogueRow

TarState = tuple[int | None, int]
"""Bytes (None: not told) and time of change of a tar: a row counts for the same alone."""


class CatalogueJournal:
    """A file of JSON lines. The rows stay on the disk; in memory is where each begins."""

    def __init__(self, file: Path) -> None:
        """What a stopped command left there is taken over, but for a line that it did not end."""
        self.file = file
        self._found: dict[str, tuple[int, TarState]] = {}
        self._end = 0
        if file.is_file():
            with open(file, "rb") as stream:
                for line in stream:
                    try:
                        path, bytes_there, changed_ns, _ = parse_json(line, file)
                    except (ValueError, TypeError):
                        break
                    self._found[path] = (self._end, (bytes_there, changed_ns))
                    self._end += len(line)

    def add(self, row: CatalogueRow, state: TarState) -> None:
        """Keep a row."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fields = [row.bytes, row.digest, row.seconds, list(row.lengths_N)]
        line = json.dumps([row.path, *state, fields]).encode() + b"\n"
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, self._end)
            os.pwrite(descriptor, line, self._end)
        finally:
            os.close(descriptor)
        self._found[row.path] = (self._end, state)
        self._end += len(line)

    def has(self, path: str, state: TarState) -> bool:
        """Whether there is a row of this tar as it is now."""
        return path in self._found and self._found[path][1] == state

    def row(self, path: str) -> CatalogueRow:
        """A row that is there."""
        with open(self.file, "rb") as stream:
            stream.seek(self._found[path][0])
            return CatalogueRow(path, *parse_json(stream.readline(), self.file)[3])
