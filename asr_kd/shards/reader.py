"""Shards for reading: any row, in any order, without unpacking the tar."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.corpora.audio import to_16k_mono
from asr_kd.shards.index import Entry, index_of

__all__ = ["Entry", "Shard", "find_shards", "open_shard"]


@dataclass(frozen=True)
class Shard:
    """One tar of utterances. Cheap to pickle: it holds no open file."""

    path: Path
    digest: str
    """SHA-256 of the tar."""
    seconds: float
    """Audio in all rows."""
    entries: list[Entry]

    def audio(self, row: int) -> np.ndarray:
        """The samples of a row: (N,) float32 in [-1, 1), 16 kHz mono. ValueError names tar and utterance."""
        entry = self.entries[row]
        name = f"{self.path}: {entry.id}"
        with open(self.path, "rb") as f:
            f.seek(entry.audio_offset)
            data = f.read(entry.audio_size)
        try:
            wave_NC, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as e:
            reason = e.error_string.strip().rstrip(".")
            raise ValueError(f"{name}: damaged audio ({reason}). Write or fetch the tar again.") from None
        return to_16k_mono(wave_NC, rate, name)


def open_shard(path: str | Path) -> Shard:
    """A shard by its tar. Reads the index beside it; a foreign WebDataset tar without one is walked and given one.

    ValueError when tar or index is missing, cut off, damaged, or they do not belong together.
    """
    path = Path(path)
    index = index_of(path)
    return Shard(path, index.sha256, index.seconds, index.entries)


def find_shards(*paths: str | Path) -> list[Path]:
    """The tars among `paths` and directly inside the folders among them, sorted, each once.

    ValueError when a path is missing or a folder holds no tar: parts of a corpus are never mixed by looking deeper.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            tars = sorted(path.glob("*.tar"))
            if not tars:
                inside = sorted({tar.parent.name for tar in path.glob("*/*.tar")})
                hint = f"Give one of its folders: {', '.join(inside)}." if inside else "`asr-kd shard` writes some."
                raise ValueError(f"{path}: holds no shards (*.tar). {hint}")
            found.update(tars)
        elif path.is_file() and path.suffix == ".tar":
            found.add(path)
        else:
            wrong = "not a shard (.tar) or a folder of shards" if path.exists() else "no such shard or folder"
            raise ValueError(f"{path}: {wrong}. `asr-kd shard` writes shards.")
    if not found:
        raise ValueError("no shards given. Give a folder of shards or tars.")
    return sorted(found)
