"""A file opened by FFmpeg (PyAV, extra `formats`): its audio stream, and the length that its header states.

The format is told from the content, never from the name. Formats that name other files (playlists, SDP, image
sequences) are not in the list, and no protocol is: nothing but the given file is read.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

from asr_kd.core.extras import how_to_install
from asr_kd.core.terminal import say
from asr_kd.corpora.audio_file import UNKNOWN_BYTES

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream

DEMUXERS = (
    *("aac", "ac3", "eac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "asf_o", "au", "avi", "caf", "dsf", "dts"),
    *("flac", "flv", "iff", "loas", "matroska", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "nut", "ogg", "oma"),
    *("qcp", "rm", "shn", "tak", "truehd", "tta", "voc", "w64", "wav", "wtv", "wv", "xwma"),
)
"""FFmpeg's readers of single files. Left out are those that open others: hls, dash, concat, sdp, image2, ..."""
STATED_BY_STREAM = {"mov", "ape", "wv", "tta", "mpc", "mpc8", "tak", "wav", "w64", "aiff", "caf", "dsf", "flac", "avi"}
"""Formats whose header states how long the audio is."""
STATED_BY_FILE = {"matroska", "asf", "asf_o"}
"""Formats whose header states how long the whole file is: that of the audio where nothing else is in it."""
BOX_HEADER = 8
RIFF_HEADER = 12
MATROSKA_HEAD, MATROSKA_DURATIONS = 1 << 16, (b"\x44\x89\x84", b"\x44\x89\x88")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
MAX_ERRNO = 1000
"""Beyond it are numbers that decoders made up."""
ASF_FLAGS_AT, ASF_BROADCAST = 88, 1


class Source:
    """A file without its name, as FFmpeg sees it. Errors of the system are kept: C code may take them for an end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | MemoryError | None = None
        file.seek(0)

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end, or where the system failed."""
        try:
            return self._file.read(size)
        except (OSError, MemoryError) as e:
            self.error = e
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def look(self, place: int, size: int) -> bytes:
        """Bytes at a place, without a move."""
        before = self.tell()
        self.seek(place)
        data = self.read(size)
        self.seek(before)
        return data

    def size(self) -> int:
        """Of the file in bytes."""
        before = self.tell()
        end = self.seek(0, os.SEEK_END)
        self.seek(before)
        return end


class AudioContainer:
    """An open container and its first audio stream."""

    def __init__(self, container: "av.container.InputContainer", stream: "AudioStream", source: Source) -> None:
        self.container, self.stream, self.source = container, stream, source
        self.formats = set(container.format.name.split(","))

    def say_which(self, name: str) -> None:
        """Where there are several audio streams, say which one is read."""
        streams = self.container.streams.audio
        if len(streams) > 1:
            about = [s.metadata.get("title") or s.metadata.get("language", "").replace("und", "") for s in streams]
            named = f" ({', '.join(x or 'no name' for x in about)})" if any(about) else ""
            say(f"{name}: {len(streams)} audio streams{named}; the first is read")

    def missing_share(self) -> float:
        """AVI and WAV: the share of the file that its header counts and that is not there."""
        head, size = self.source.look(0, RIFF_HEADER), self.source.size()
        stated = int.from_bytes(head[4:8], "little")
        return max(0.0, 1 - size / stated) if head.startswith(b"RIFF") and stated < UNKNOWN_BYTES else 0.0

    def stated_seconds(self) -> float | None:
        """How long the audio is as the header says; None where it says nothing about it."""
        stream, container = self.stream, self.container
        if self.formats & STATED_BY_STREAM:
            stated = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
            return None if "mov" in self.formats and _is_fragmented(self.source) else stated
        if not self.formats & STATED_BY_FILE or not _is_stated(self.source, self.formats):
            return None
        if tag := stream.metadata.get("DURATION"):
            return _clock_seconds(tag)
        if len(container.streams) > 1 or not container.duration:
            return None
        return container.duration / 1e6


def has_ffmpeg() -> bool:
    """Whether FFmpeg's libraries are installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def opened_container(file: BinaryIO, name: str) -> Iterator[AudioContainer]:
    """The file for FFmpeg. ValueError where the package is missing, or the file holds no audio; OSError when the system
    fails."""
    try:
        import av
    except ImportError:
        raise ValueError(
            f"{name}: not readable as audio by libsndfile; FFmpeg reads more. {how_to_install('formats')}"
        ) from None
    source = Source(file)
    if not source.size():
        raise ValueError(f"{name}: not readable as audio (an empty file)")
    options = {
        "format_whitelist": ",".join(DEMUXERS),
        "protocol_whitelist": "none",
        "codec_whitelist": _audio_codecs(),
        "err_detect": "crccheck",
    }
    with errors_of(source, name):
        container = av.open(source, "r", options=options, metadata_errors="replace")
    with container:
        yield AudioContainer(container, _audio_stream(container, name), source)


@contextmanager
def errors_of(source: Source, name: str, at_s: Callable[[], float] | None = None) -> Iterator[None]:
    """Errors of FFmpeg in the block as a ValueError that names the file, and the second where there is one."""
    import av

    try:
        yield
    except av.FFmpegError as e:
        _raise_system_error(source, name)
        where = "" if at_s is None else f" at {at_s():.2f} s"
        raise ValueError(f"{name}: not readable as audio{where} ({_reason(e, at_s is None)})") from None
    _raise_system_error(source, name)


def _reason(error: "av.FFmpegError", is_opening: bool) -> str:
    import av

    if is_opening and isinstance(error, av.ArgumentError):
        return "its format is none of audio, or names other files"
    if is_opening and isinstance(error, av.InvalidDataError):
        return "no audio format is recognised in it"
    made_up = (error.errno or 0) > MAX_ERRNO and isinstance(error, av.UnknownError | av.UndefinedError)
    if made_up or error.errno is None or isinstance(error, BlockingIOError):
        return "a damaged packet"
    if isinstance(error, MemoryError):  # FFmpeg refuses what no recording needs
        return "a damaged size"
    return " ".join(str(error.strerror).split()).rstrip(".")


def _raise_system_error(source: Source, name: str) -> None:
    if isinstance(source.error, OSError):
        raise OSError(source.error.errno, source.error.strerror, name)
    if source.error is not None:
        raise source.error


@cache
def _audio_codecs() -> str:
    """Decoders of audio: those of pictures are never opened."""
    import av

    names = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "r")
        except ValueError:  # an encoder
            continue
        if codec.type == "audio":
            names.append(codec.name)
    return ",".join(names)


def _audio_stream(container: "av.container.InputContainer", name: str) -> "AudioStream":
    streams = container.streams.audio
    if not streams:
        kinds = sorted({stream.type or "unknown" for stream in container.streams})
        raise ValueError(f"{name}: holds no audio ({', '.join(kinds) or 'no stream'} only)")
    return streams[0]


def _is_fragmented(source: Source) -> bool:
    """MP4: whether it is a row of fragments, as recorders write; then its header knows no length."""
    at, end = 0, source.size()
    while at + BOX_HEADER <= end:
        head = source.look(at, 2 * BOX_HEADER)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind == b"moof":
            return True
        size = int.from_bytes(head[8:], "big") if size == 1 else size
        if size < BOX_HEADER:
            return False
        at += size
    return False


def _is_stated(source: Source, formats: set[str]) -> bool:
    """Whether there is a length in the header; without one, FFmpeg guesses from the bit rate."""
    head = source.look(0, MATROSKA_HEAD)
    if "matroska" in formats:
        return any(mark in head for mark in MATROSKA_DURATIONS)
    at = head.find(ASF_PROPERTIES)
    return at >= 0 and len(head) > at + ASF_FLAGS_AT and not head[at + ASF_FLAGS_AT] & ASF_BROADCAST


def _clock_seconds(text: str) -> float | None:
    """Seconds of `00:00:03.023000000`."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
