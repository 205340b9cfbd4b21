"""Entries of archives of audio (`wav.ark`, of Kaldi and kaldiio), by the byte at which `wav.scp` says they begin."""

import io
import os
import struct
from pathlib import Path

from asr_kd.corpora.containers.tar import opened_section

_RIFF_HEAD = 8
_FLAC_HEAD = b"fLaC\0\0\0\x22"
_MARK = b"AUDIO"
"""Of kaldiio: bytes of the length, one byte that says how many, and any audio file follow."""
_BLOCK = 1 << 20


def opened_ark_entry(path: Path, offset: str) -> io.BufferedReader:
    """The audio file that begins at byte `offset`. ValueError when there is none, or the archive ends within it."""
    name = f"{path}::{offset}"
    size = os.stat(path).st_size
    if not (offset.isascii() and offset.isdigit()) or len(offset) > 18 or int(offset) >= size:
        raise ValueError(f"{name}: {size} bytes, none at {offset[:20]!r}")
    start = int(offset)
    with open(path, "rb") as f:
        f.seek(start)
        head = f.read(len(_MARK) + 9)
        if head.startswith(b"fLaC"):
            return opened_section(path, start, _flac_bytes(f, start, size))
    if head.startswith(_MARK) and 1 <= head[5] <= 8:
        begin = len(_MARK) + 1 + head[5]
        length = int.from_bytes(head[len(_MARK) + 1 : begin], "little")
    elif head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        begin, length = 0, _RIFF_HEAD + struct.unpack("<I", head[4:8])[0]
    else:
        raise ValueError(f"{name}: neither a WAV nor a FLAC begins there. Archives of features hold no audio.")
    if start + begin + length > size:
        raise ValueError(f"{name}: the audio says {length} bytes, the archive ends after {size - start - begin}")
    return opened_section(path, start + begin, length)


def _flac_bytes(file: io.BufferedReader, start: int, size: int) -> int:
    """Bytes up to the next FLAC, or to the end: a FLAC does not say how many it has. The name of the next entry may
    follow its samples."""
    place = start + 1
    while place < size:
        file.seek(place)
        block = file.read(_BLOCK)
        found = block.find(_FLAC_HEAD)
        if found >= 0:
            return place + found - start
        if len(block) < _BLOCK:
            break
        place += len(block) - len(_FLAC_HEAD) + 1
    return size - start
