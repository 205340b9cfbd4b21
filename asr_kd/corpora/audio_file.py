"""One audio file: opened, bounded, measured and read. What its header says is compared with what is counted.

Errors of the system (`asr_kd.core.errors`) pass as they are; a fault of the file is a ValueError that names it.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal, Self

import numpy as np
import soundfile

from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.quiet import quiet_stderr
from asr_kd.corpora.mp3 import FRAME_SAMPLES, has_tagged_length, mp3_tag
from asr_kd.corpora.ogg import check_ogg
from asr_kd.corpora.wav_header import is_foreign_wav

MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64
MAX_SAMPLES = 1 << 29
"""Of all channels in one read, and at OUTPUT_RATE: 2 GiB of memory."""
OUTPUT_RATE = 16_000
MAX_FILE_S = 100 * SECONDS_PER_HOUR
"""A longer file is taken for damaged: no count goes on for ever."""
SLACK_S = 0.1
"""What is declared and what is counted may differ by so much (rounded durations, padding of codecs)."""
READ_BLOCK = FRAME_SAMPLES[0]
"""Frames read at once while counting; those of one MPEG frame, as no more may be lost where a file is cut within it."""
MAX_MP3_PADDING = 5 * READ_BLOCK
"""The frame of an MP3's own header, the encoder's delay and its padding, which decoders leave out."""
UNKNOWN_BYTES = 0x7FFF0000
"""From here on a size of 32 bits means that whoever wrote to a pipe did not know it."""
MIN_FLOAT_PEAK = 1e-4
"""Floats that stay below it but are not all zero: three steps of 16 bits, in which nothing can be heard."""
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
UNKNOWN_CODES = (1, 4)
"""libsndfile's errors for a format and an encoding that it does not know."""
_PAST_END = 1 << 40
HEAD_BYTES = 512
JOINT_BYTES = 1 << 17
_FLAC_HEAD = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SPHERE_SAMPLES = re.compile(rb"^NIST_1A[\s\S]*?sample_count -i (\d{1,15})\s")
_SIZE_LOG = re.compile(r"(?:RIFF|riff|Riff size|FORM|SSND|data|Data Size)\s*: (\d+) \(should be (\d+)\)")
_JUNK_LOG = re.compile(r"Unknown chunk marker .* at position (\d+)")


SampleKind = Literal["integer", "float", "codec"]
"""What samples are before they are scaled: integers, numbers of floating point, or what a lossy codec makes."""


class UnknownFormat(ValueError):
    """The file is of no format, or holds no encoding, that libsndfile knows."""


@dataclass(frozen=True)
class Measured:
    """What an audio file holds, as counted."""

    rate: int
    channels: int
    frames: int
    header_agrees: bool = True
    """False where the header does not say the length, or only guesses: it is not asked when reading."""
    kind: SampleKind = field(default="float", compare=False)
    """float where it is not known."""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.rate

    def checked(self, name: str) -> Self:
        """This. ValueError when it is empty, or of no length that a recording has."""
        if self.frames <= 0:
            raise ValueError(f"{name}: holds no samples")
        if self.seconds > MAX_FILE_S:
            raise ValueError(f"{name}: longer than {MAX_FILE_S / SECONDS_PER_HOUR:g} h. Cut it.")
        return self

    def stretch(self, name: str, offset: float, duration: float | None) -> tuple[int, int]:
        """First frame and number of frames of a stretch. ValueError when it is not there, or too long for memory."""
        start = round(min(offset * self.rate, self.frames))
        left = self.frames - start
        count = left if duration is None else round(min(left, duration * self.rate))
        seconds = count / self.rate
        if count <= 0 or (duration is not None and seconds < duration - SLACK_S):
            raise ValueError(
                f"{name}: {seconds:.2f} s of audio from {offset:.2f} s on; {duration or 0:.2f} s are needed"
            )
        if count * self.channels > MAX_SAMPLES or seconds * OUTPUT_RATE > MAX_SAMPLES:
            raise ValueError(f"{name}: {seconds / SECONDS_PER_HOUR:.1f} h are too long for one utterance. Cut it.")
        return start, count


def measure_audio(file: BinaryIO, name: str) -> Measured:
    """Rate, channels and length. A length that the header says is looked for at the end of the file, without decoding
    what lies before; that of an MP3 is first compared with its frames, counted by their headers. Where the header says
    no length, or none that is sure, the whole file is counted.

    ValueError when the file is not readable audio, holds no samples, is out of bounds, or is longer or shorter than its
    header says.
    """
    with opened_audio(file, name) as f:
        header, kind, log = stated(f), f.format, f.extra_info
    if kind in ("FLAC", "MP3"):
        return _measure_compressed(file, name, header, kind).checked(name)
    if kind == "OGG":
        if not check_ogg(file, name, _size(file)):
            raise UnknownFormat(f"{name}: Opus whose pages are not as long as they say, which libsndfile cannot read")
    else:
        _check_sizes(file, name, log, header)
    return header.checked(name)


def stated(f: soundfile.SoundFile) -> Measured:
    """What the header of an opened file says."""
    subtype = f.subtype
    kind: SampleKind = "float" if subtype in FLOAT_SUBTYPES else "integer" if subtype.startswith("PCM_") else "codec"
    return Measured(f.samplerate, f.channels, f.frames, kind=kind)


def read_samples(
    file: BinaryIO, name: str, measured: Measured, offset: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """Samples from `offset` on, `duration` seconds or to the end: (N, channels) float32.

    ValueError when there are fewer (beyond rounding), too many for memory, or some do not decode.
    """
    with opened_audio(file, name, masked=not measured.header_agrees) as f:
        return read_opened(f, name, measured, offset, duration)


def read_opened(
    f: soundfile.SoundFile, name: str, measured: Measured, offset: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """As `read_samples`, of a file that was opened."""
    start, count = measured.stretch(name, offset, duration)
    if start:
        f.seek(start)
    wave_NC = f.read(count, dtype="float32", always_2d=True)
    if len(wave_NC) < max(1, count - SLACK_S * measured.rate):
        raise differs(name, measured.seconds, (start + len(wave_NC)) / measured.rate)
    if f.subtype in FLOAT_SUBTYPES:
        check_float_peak(name, float(np.abs(wave_NC).max()))
    return wave_NC


def read_blocks(file: BinaryIO, name: str, measured: Measured, frames: int) -> Iterator[np.ndarray]:
    """All samples, at most `frames` of each channel at once: (N, channels) float32. ValueError as of `read_samples`."""
    stream = _Stream(file, masked=not measured.header_agrees)
    with _errors_of(stream, name):
        opened = _Sequential(stream)
    done = 0
    with opened as f:
        while done < measured.frames:
            with _errors_of(stream, name):
                wave_NC = f.read(min(frames, measured.frames - done), dtype="float32", always_2d=True)
            if not len(wave_NC):
                break
            done += len(wave_NC)
            yield wave_NC
    if done < max(1, measured.frames - SLACK_S * measured.rate):
        raise differs(name, measured.seconds, done / measured.rate)


def check_float_peak(name: str, peak: float) -> None:
    """ValueError when the largest of all samples of floating point is too small for a recording."""
    if 0 < peak < MIN_FLOAT_PEAK:
        raise ValueError(
            f"{name}: samples reach only {peak:g}, as if scaled twice. Scale the audio and write it again."
        )


def check_bounds(name: str, rate: int, channels: int) -> None:
    """ValueError when a header asks for what no recording has."""
    if not MIN_RATE <= rate <= MAX_RATE or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(
            f"{name}: {rate} Hz and {channels} channels; {MIN_RATE} to {MAX_RATE} Hz and at most "
            f"{MAX_CHANNELS} channels are read"
        )


class _Stream:
    """A file as libsndfile sees it. Errors of the system are kept: C code could not pass them on.

    masked: without what its header says of its length. A FLAC's number of samples reads 0 = unknown; an MP3's own
    header is blank and the file seems endless, as libsndfile reckons lengths from sizes and reads no further.
    """

    def __init__(self, file: BinaryIO, masked: bool) -> None:
        self.file, self.position = file, 0
        self.error: OSError | MemoryError | None = None
        self.size = file.seek(0, os.SEEK_END)
        self.extra = 0
        self.patches: dict[int, int] = {}
        if masked:
            head, start = _head(file)
            if head.startswith(b"fLaC") and len(head) > 26:
                self.patches = {start + 21: head[21] & 0xF0} | dict.fromkeys(range(start + 22, start + 26), 0)
            else:
                self.extra = _PAST_END
                tag = mp3_tag(head)
                self.patches = dict.fromkeys(range(start + tag, start + tag + 4), 0) if tag >= 0 else {}

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size + self.extra}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, target: memoryview) -> int:
        buffer = memoryview(target).cast("B")
        if self.position >= self.size:  # at the end of an endless MP3, libmpg123 looks for 128 bytes of ID3
            count = min(len(buffer), self.size + self.extra - self.position) if self.is_past_end() else 0
            buffer[:count] = bytes(count)
        else:
            try:
                self.file.seek(self.position)
                count = self.file.readinto(buffer)  # type: ignore[attr-defined]
            except (OSError, MemoryError) as e:
                self.error = e
                return 0
            for place, byte in self.patches.items():
                if self.position <= place < self.position + count:
                    buffer[place - self.position] = byte
        self.position += count
        return count

    def is_past_end(self) -> bool:
        return bool(self.extra) and self.position >= self.size + self.extra - 128

    def write(self, data: bytes) -> int:
        raise io.UnsupportedOperation("read only")


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """Without the seek after each read that `soundfile` adds: it fails at the end of a file of unknown length."""

    def seekable(self) -> bool:
        return False


@contextmanager
def opened_audio(file: BinaryIO, name: str, masked: bool = False) -> Iterator[soundfile.SoundFile]:
    """The file for libsndfile, read from front to end. masked: as `_Stream` says.

    ValueError when it is not readable audio, or its rate or number of channels is out of bounds.
    """
    stream = _Stream(file, masked)
    with _errors_of(stream, name), _Sequential(stream) as f:
        check_bounds(name, f.samplerate, f.channels)
        yield f


@contextmanager
def _errors_of(stream: _Stream, name: str) -> Iterator[None]:
    """Errors of libsndfile in the block as those of this module, and nothing of it on stderr."""
    try:
        with quiet_stderr():
            yield
    except (soundfile.LibsndfileError, ValueError) as e:
        _raise_system_error(stream, name)
        if isinstance(e, ValueError):
            raise
        reason = " ".join(e.error_string.split()).rstrip(".")
        if "malloc" in reason:
            raise MemoryError(f"{name}: {reason}") from None
        kind = UnknownFormat if e.code in UNKNOWN_CODES or is_foreign_wav(_head(stream.file)[0]) else ValueError
        raise kind(f"{name}: not readable as audio ({reason})") from None
    _raise_system_error(stream, name)


def _raise_system_error(stream: _Stream, name: str) -> None:
    if isinstance(stream.error, OSError):
        raise OSError(stream.error.errno, stream.error.strerror, name)
    if stream.error is not None:
        raise stream.error


def _measure_compressed(file: BinaryIO, name: str, header: Measured, kind: str) -> Measured:
    """FLAC and MP3, whose headers may say nothing, or guess."""
    rate, declared = header.rate, header.frames
    if kind == "FLAC":
        known, padding = declared <= MAX_FILE_S * rate, 0
    else:
        head, start = _head(file)
        known, padding = mp3_tag(head) >= 0, MAX_MP3_PADDING
        if has_tagged_length(file, head, start, rate, declared, padding):
            return header
    if known:
        try:
            counted = _count(file, name, max(0, declared - 1), header, known)
        except ValueError:  # no such place
            counted = 0
        if kind == "FLAC":
            _check_joined(file, name)
        if declared <= counted <= declared + padding:
            return header
    counted = _count(file, name, 0, header, known)
    if kind == "FLAC":
        _check_joined(file, name)
    if known or (kind == "FLAC" and declared < _PAST_END):
        raise differs(name, declared / rate, counted / rate)
    agrees = abs(counted - declared) <= SLACK_S * rate
    return header if agrees else replace(header, frames=counted, header_agrees=False)


def _count(file: BinaryIO, name: str, start: int, header: Measured, known: bool) -> int:
    """Frames up to the end, counted from `start` on; 0 when there is none there. A last one that is cut off is lost."""
    declared, rate, frames = header.frames, header.rate, start
    with opened_audio(file, name, masked=True) as f:
        if start:
            f.seek(start)
        while frames <= MAX_FILE_S * rate:
            try:
                some = len(f.read(min(READ_BLOCK, max(0, declared - frames) or READ_BLOCK), dtype="float32"))
            except soundfile.LibsndfileError:
                is_cut_off = f.format == "MP3" and file.tell() >= _size(file)
                is_all = frames >= declared if known else abs(frames - declared) <= SLACK_S * rate
                if not (is_cut_off or is_all):  # what follows all is no audio
                    raise
                some = 0
            if some == 0:
                break
            frames += some
    return frames if frames > start else 0


def _check_joined(file: BinaryIO, name: str) -> None:
    """FLAC: libsndfile reads the first of several files in a row, and stops near where the next begins."""
    stopped, start = file.tell(), _head(file)[1]
    place = max(start + 1, stopped - JOINT_BYTES)
    file.seek(place)
    if _FLAC_HEAD.search(file.read(stopped - place + JOINT_BYTES)):
        raise ValueError(
            f"{name}: several FLAC files, one after the other, of which only the first would be read. "
            "Cut it where they meet, or convert each."
        )


def _check_sizes(file: BinaryIO, name: str, log: str, header: Measured) -> None:
    """Formats of plain samples: libsndfile notes sizes that do not fit the file, and goes on."""
    seconds = header.seconds
    for declared, found in ((int(a), int(b)) for a, b in _SIZE_LOG.findall(log)):
        missing_s = seconds * (declared - found) / max(found, 1)
        if declared < UNKNOWN_BYTES and missing_s > SLACK_S:
            raise differs(name, seconds + missing_s, seconds)
    sphere = _SPHERE_SAMPLES.search(_head(file)[0])
    if sphere and abs(int(sphere[1]) - header.frames) > SLACK_S * header.rate:
        raise differs(name, int(sphere[1]) / header.rate, seconds)
    junk = _JUNK_LOG.search(log)
    rest = _size(file) - int(junk[1]) if junk else 0
    if junk and rest * seconds > SLACK_S * int(junk[1]):
        raise ValueError(f"{name}: {rest} bytes after its audio are in no chunk of it. Write it again.")
    if "truncated file" in log:
        raise ValueError(f"{name}: cut off. Fetch it again.")


def _head(file: BinaryIO) -> tuple[bytes, int]:
    """The first bytes after an ID3 tag, and where they begin."""
    file.seek(0)
    id3 = file.read(10)
    start = 0
    if len(id3) == 10 and id3.startswith(b"ID3"):
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(id3[6:], (21, 14, 7, 0), strict=True))
    file.seek(start)
    return file.read(HEAD_BYTES), start


def _size(file: BinaryIO) -> int:
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def differs(name: str, declared_s: float, counted_s: float) -> ValueError:
    """The error of a file that is not as long as its header says."""
    return ValueError(
        f"{name}: its header says {declared_s:.2f} s of audio, {counted_s:.2f} s are there. Fetch or convert it again."
    )
