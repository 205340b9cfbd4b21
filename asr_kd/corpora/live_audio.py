"""Audio that comes in while it is recognised: standard input and the microphone, as blocks of 16 kHz mono float32."""

import io
import queue
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from asr_kd.core.extras import how_to_install
from asr_kd.core.terminal import say
from asr_kd.corpora.any_audio import measure_audio
from asr_kd.corpora.audio import RAW_BYTES_PER_SAMPLE, SAMPLE_RATE
from asr_kd.corpora.audio_file import MAX_RATE, MIN_RATE, SLACK_S, UNKNOWN_BYTES, check_bounds, differs
from asr_kd.corpora.audio_stream import at_16k, opened_blocks

MAX_READ = 1 << 16
"""Bytes read at once; fewer where fewer are there."""
MICROPHONE_BLOCK_S = 0.1
LOOK_S = 0.2
"""Between two looks whether the microphone is still wanted."""
MAX_HEADER = 1 << 20
"""Bytes before the samples of a WAV."""
_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_PCM, _EXTENSIBLE = 1, 0xFFFE
_SUBFORMAT_AT = 24
"""In the format chunk of an extensible WAV."""


@dataclass(frozen=True)
class PcmFormat:
    """Samples that are integers, little-endian; those of 8 bits are unsigned, as in WAV."""

    rate: int
    channels: int
    bytes_per_sample: int

    @property
    def bytes_per_frame(self) -> int:
        """Of all channels at one moment."""
        return self.channels * self.bytes_per_sample

    def mono(self, data: bytes) -> np.ndarray:
        """(N,) float32, the mean of the channels."""
        width = self.bytes_per_sample
        wave_N: np.ndarray
        if width == 1:
            wave_N = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
        else:
            padded = np.zeros((len(data) // width, 4), np.uint8)  # as the upper bytes of 32 bits
            padded[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
            wave_N = padded.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
        return wave_N.reshape(-1, self.channels).mean(axis=1)


def piped_blocks(file: io.BufferedReader, name: str, raw_rate: int | None = None) -> Iterator[np.ndarray]:
    """The audio that comes through a pipe.

    A WAV of integers is given on as it comes, whatever length its header says when that is none or unknown; other
    formats are first read to their end. raw_rate: there is no header; the samples are 16-bit, mono, at this rate.
    ValueError where it is no audio, holds no samples, or ends before its header says.
    """
    if raw_rate is not None:
        if not MIN_RATE <= raw_rate <= MAX_RATE:
            raise ValueError(f"--raw-rate {raw_rate}: {MIN_RATE} to {MAX_RATE} Hz are read")
        yield from _growing(file, name, PcmFormat(raw_rate, 1, RAW_BYTES_PER_SAMPLE), None)
        return
    head, found = _wav_header(file)
    if found is not None:
        form, declared = found
        check_bounds(name, form.rate, form.channels)
        yield from _growing(file, name, form, declared)
        return
    with tempfile.TemporaryFile() as whole:
        whole.write(head)
        shutil.copyfileobj(file, whole)
        yield from opened_blocks(whole, name, measure_audio(whole, name))


def microphone_blocks(is_wanted: Callable[[], bool]) -> Iterator[np.ndarray]:
    """What the system's default microphone records, until `is_wanted` says no.

    ValueError where the package `sounddevice`, PortAudio or a microphone is missing.
    """
    try:
        import sounddevice
    except ImportError:
        raise ValueError(f"--mic: needs the package sounddevice. {how_to_install('mic')}") from None
    except OSError:
        raise ValueError("--mic: the library PortAudio is missing. Debian: apt install libportaudio2") from None
    recorded: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    try:
        microphone = sounddevice.InputStream(
            samplerate=SAMPLE_RATE,
            channels=1,
            dtype="float32",
            blocksize=round(MICROPHONE_BLOCK_S * SAMPLE_RATE),
            callback=lambda wave_NC, frames, times, status: recorded.put(wave_NC[:, 0].copy()),
        )
        microphone.start()
    except (sounddevice.PortAudioError, ValueError) as e:
        reason = " ".join(str(e).split())
        raise ValueError(f"--mic: no microphone can be opened ({reason}). Connect one, or pipe audio: -") from None
    with microphone:
        say("--mic: recording; Ctrl-C ends it")
        while is_wanted():
            try:
                yield recorded.get(timeout=LOOK_S)
            except queue.Empty:
                if not microphone.active:
                    raise ValueError("--mic: the microphone is gone. Connect it again.") from None


def _growing(file: io.BufferedReader, name: str, form: PcmFormat, declared: int | None) -> Iterator[np.ndarray]:
    """declared: bytes of samples; None: as many as come."""
    rest, seen = b"", 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal rest, seen
        while data := file.read1(MAX_READ if declared is None else min(MAX_READ, declared - seen)):
            seen += len(data)
            data = rest + data
            whole = len(data) // form.bytes_per_frame * form.bytes_per_frame
            rest = data[whole:]
            if whole:
                yield form.mono(data[:whole])

    yield from at_16k(blocks(), form.rate)
    per_second = form.bytes_per_frame * form.rate
    if seen < form.bytes_per_frame:
        raise ValueError(f"{name}: holds no samples")
    if declared is not None and declared - seen > SLACK_S * per_second:
        raise differs(name, declared / per_second, seen / per_second)


def _wav_header(file: BinaryIO) -> tuple[bytes, tuple[PcmFormat, int | None] | None]:
    """What was read, and the format and bytes of samples that follow; None where it is no WAV of integers."""
    head = file.read(_RIFF.size)
    if len(head) < _RIFF.size or _RIFF.unpack(head)[::2] != (b"RIFF", b"WAVE"):
        return head, None
    form: PcmFormat | None = None
    while len(head) < MAX_HEADER:
        chunk = file.read(_CHUNK.size)
        head += chunk
        if len(chunk) < _CHUNK.size:
            return head, None
        kind, size = _CHUNK.unpack(chunk)
        if kind == b"data":
            declared = None if size == 0 or size >= UNKNOWN_BYTES else size
            return head, None if form is None else (form, declared)
        body = file.read(min(size + size % 2, MAX_HEADER))
        head += body
        if kind == b"fmt ":
            form = _pcm_format(body)
    return head, None


def _pcm_format(chunk: bytes) -> PcmFormat | None:
    if len(chunk) < _FORMAT.size:
        return None
    tag, channels, rate, _, per_frame, bits = _FORMAT.unpack_from(chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _SUBFORMAT_AT + 2:
        (tag,) = struct.unpack_from("<H", chunk, _SUBFORMAT_AT)
    width = bits // 8
    is_pcm = tag == _PCM and bits in (8, 16, 24, 32) and per_frame == channels * width and channels > 0
    return PcmFormat(rate, channels, width) if is_pcm else None
