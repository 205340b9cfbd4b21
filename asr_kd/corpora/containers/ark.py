"""Entries of Kaldi's archives of audio (`wav.ark`), by the byte at which `wav.scp` says that they begin."""

import io
import os
import struct
from pathlib import Path

from asr_kd.corpora.containers.tar import opened_section

_RIFF_HEAD = 8


def opened_ark_entry(path: Path, offset: str) -> io.BufferedReader:
    """The WAV or FLAC that begins at byte `offset`. ValueError when there is none, or the archive ends within it."""
    name = f"{path}::{offset}"
    size = os.stat(path).st_size
    if not (offset.isascii() and offset.isdigit()) or len(offset) > 18 or int(offset) >= size:
        raise ValueError(f"{name}: {size} bytes, none at {offset[:20]!r}")
    start = int(offset)
    with open(path, "rb") as f:
        f.seek(start)
        head = f.read(12)
    if head.startswith(b"fLaC"):  # its end is not written down; what follows the samples is not read
        return opened_section(path, start, size - start)
    if not (head.startswith(b"RIFF") and head[8:] == b"WAVE"):
        raise ValueError(
            f"{name}: neither a WAV nor a FLAC begins there ({head[:4]!r}). Archives of features hold no audio."
        )
    length = _RIFF_HEAD + struct.unpack("<I", head[4:8])[0]
    if start + length > size:
        raise ValueError(f"{name}: the WAV says {length} bytes, the archive ends after {size - start}")
    return opened_section(path, start, length)
