"""Audio that FFmpeg decodes: measured by decoding, read in stretches and in blocks.

Positions are counted in decoded samples, from the first one on: what a decoder leaves out at the start of a file (the
encoder's delay) is left out whether the file is read whole or in part. A damaged packet or a gap in the timestamps is
an error that names the second: nothing is filled in.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from asr_kd.corpora.audio_file import MAX_FILE_S, SLACK_S, Measured, SampleKind, check_bounds, check_float_peak, differs
from asr_kd.corpora.ffmpeg_container import AudioContainer, errors_of, opened_container

if TYPE_CHECKING:
    import av

PLACE_S = 0.5
"""Between two places at which reading may start."""
PREROLL_S = 1.0
"""Decoded before a stretch and dropped: codecs need what comes before (overlap, bit reservoir, predictors)."""
MIN_SEEK_S = 2.0
"""A stretch that starts earlier is decoded from the start of the file."""
MAX_FRAME = 2048
"""Samples in a frame of a lossy codec; those of lossless ones are longer, and have no delay."""
FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}


class Place(NamedTuple):
    """A decoded frame: its timestamp, and the number of samples before it."""

    pts: int
    position: int


@dataclass(frozen=True)
class FFmpegMeasured(Measured):
    """What FFmpeg decodes of a file."""

    places: tuple[Place, ...] = field(default=(), compare=False, repr=False)

    def place_before(self, position: int) -> Place | None:
        """Where to begin in order to read from a sample on; None = from the start of the file."""
        if position < MIN_SEEK_S * self.rate:
            return None
        after = bisect_right(self.places, position, key=lambda place: place.position)
        return self.places[after - 1] if after else None


def measure_ffmpeg(file: BinaryIO, name: str, max_s: float = MAX_FILE_S) -> FFmpegMeasured:
    """Rate, channels and length of the first audio stream, by decoding all of it, or what is longer than `max_s`.

    ValueError when the file is not readable audio, is damaged, has gaps, holds no samples, or is longer or shorter than
    its header says.
    """
    places: list[Place] = []
    done = 0
    with _opened(file, name) as decoder:
        decoder.opened.say_which(name)
        stated = decoder.opened.stated_seconds()
        missing = decoder.opened.missing_share()
        last_pts = None
        for pts, wave_NC in decoder.frames():
            if pts is not None and (last_pts is None or pts > last_pts):
                last_pts = pts
                if not places or done - places[-1].position >= PLACE_S * decoder.rate:
                    places.append(Place(pts, done))
            done += len(wave_NC)
            if done > max_s * decoder.rate:
                stated, missing = None, 0.0
                break
        measured = FFmpegMeasured(
            *(decoder.rate, decoder.channels, done, stated is not None),
            kind=decoder.kind,
            places=tuple(places),
        )
    if stated and not done:
        raise differs(name, stated, 0.0)
    measured.checked(name)
    if missing * measured.seconds > SLACK_S:
        raise differs(name, measured.seconds / (1 - missing), measured.seconds)
    if stated is not None and abs(stated - measured.seconds) > SLACK_S + 2 * decoder.frame_s:
        raise differs(name, stated, measured.seconds)
    return measured


def read_ffmpeg(
    file: BinaryIO, name: str, measured: FFmpegMeasured, offset: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """Samples from `offset` on, `duration` seconds or to the end: (N, channels) float32. ValueError when they are not
    there, or too many for memory."""
    start, count = measured.stretch(name, offset, duration)
    wave_NC = np.empty((count, measured.channels), np.float32)
    done = 0
    for position, some_NC in _stretch_frames(file, name, measured, start):
        some_NC = some_NC[max(0, start - position) :][: count - done]
        wave_NC[done : done + len(some_NC)] = some_NC
        done += len(some_NC)
        if done == count:
            break
    if done < count:
        raise differs(name, measured.seconds, (start + done) / measured.rate)
    if measured.kind == "float":
        check_float_peak(name, float(np.abs(wave_NC).max()))
    return wave_NC


def ffmpeg_blocks(file: BinaryIO, name: str, measured: FFmpegMeasured, frames: int) -> Iterator[np.ndarray]:
    """All samples, at most `frames` of each channel at once: (N, channels) float32. ValueError as of `read_ffmpeg`."""
    done = 0
    held: list[np.ndarray] = []
    held_frames = 0
    with _opened(file, name) as decoder:
        for _, wave_NC in decoder.frames():
            done += len(wave_NC)
            held.append(wave_NC)
            held_frames += len(wave_NC)
            if held_frames >= frames:
                whole_NC = np.concatenate(held)
                cut = len(whole_NC) // frames * frames
                yield from np.split(whole_NC[:cut], range(frames, cut, frames))
                held, held_frames = [whole_NC[cut:]], len(whole_NC) - cut
    if held_frames:
        yield np.concatenate(held)
    if done != measured.frames:
        raise differs(name, measured.seconds, done / measured.rate)


class _Decoder:
    """The decoded frames of the first audio stream."""

    def __init__(self, opened: AudioContainer, name: str) -> None:
        self.opened, self._name = opened, name
        self.rate = self.channels = 0
        """0 before the first frame."""
        self.frame_s = 0.0
        """Of the first frame: headers may count the encoder's delay and padding, which decoders leave out."""
        self.kind: SampleKind = "codec"

    def frames(self, done: int = 0) -> Iterator[tuple[int | None, np.ndarray]]:
        """Timestamp, None where there is none, and samples (N, C) of each frame. done: samples before the first."""
        time_base = float(self.opened.stream.time_base or 0)
        since = 0
        anchor: int | None = None

        def at_s() -> float:
            return done / max(self.rate, 1)

        packets = self.opened.container.demux(self.opened.stream)
        while True:
            try:
                with errors_of(self.opened.source, self._name, at_s):
                    packet = next(packets, None)
                    decoded = [] if packet is None else packet.decode()
            except ValueError:
                stated = self.opened.stated_seconds()
                if stated is None or at_s() < stated - SLACK_S:
                    raise
                return  # what follows all is no audio, but tags
            if packet is None:
                return
            if packet.is_corrupt:
                raise ValueError(f"{self._name}: damaged at {at_s():.2f} s. Fetch or convert it again.")
            for frame in decoded:
                if frame.is_corrupt:
                    raise ValueError(f"{self._name}: damaged at {at_s():.2f} s. Fetch or convert it again.")
                self._note(frame, at_s())
                pts = frame.pts
                if pts is not None and time_base:
                    if anchor is not None:
                        self._check_gap((pts - anchor) * time_base - since / self.rate, at_s())
                    anchor, since = pts, 0
                wave_NC = self._samples(frame)
                since += len(wave_NC)
                done += len(wave_NC)
                if len(wave_NC):
                    yield pts, wave_NC

    def frames_at(self, place: Place) -> Iterator[np.ndarray] | None:
        """Samples of each frame from the place on; None where it cannot be reached by seeking."""
        stream = self.opened.stream
        before = round(PREROLL_S / float(stream.time_base or 1))
        try:
            with errors_of(self.opened.source, self._name):
                self.opened.container.seek(place.pts - before, stream=stream)
            frames = self.frames(place.position - round(PREROLL_S * stream.codec_context.sample_rate))
            for pts, wave_NC in frames:
                if pts == place.pts:
                    return chain([wave_NC], (wave_NC for _, wave_NC in frames))
                if pts is None or pts > place.pts:
                    return None
        except ValueError:  # what lies before the first packet is missing to some codecs
            return None
        return None

    def _note(self, frame: "av.AudioFrame", at_s: float) -> None:
        """Keep rate and channels. ValueError when they change, or are out of bounds."""
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not self.rate:
            check_bounds(self._name, rate, channels)
            self.rate, self.channels = rate, channels
            self.frame_s = min(frame.samples, MAX_FRAME) / rate
            if frame.format.name.rstrip("p") in FULL_SCALE:
                self.kind = "integer"
            elif self.opened.stream.codec_context.name.startswith("pcm_f"):
                self.kind = "float"
        elif (rate, channels) != (self.rate, self.channels):
            raise ValueError(
                f"{self._name}: changes from {self.rate} Hz and {self.channels} channels to {rate} Hz and {channels} "
                f"channels at {at_s:.2f} s. Cut it there."
            )

    def _check_gap(self, gap_s: float, at_s: float) -> None:
        """ValueError where the timestamps of two frames do not follow each other."""
        if abs(gap_s) > SLACK_S:
            what = f"{gap_s:.2f} s of audio are missing" if gap_s > 0 else f"the time jumps back by {-gap_s:.2f} s"
            raise ValueError(
                f"{self._name}: {what} at {at_s:.2f} s. Fetch it again, or fill gaps with silence: "
                f"ffmpeg -i FILE -af aresample=async=1 FILE.flac"
            )

    def _samples(self, frame: "av.AudioFrame") -> np.ndarray:
        samples = frame.to_ndarray()
        wave_NC = samples.T if frame.format.is_planar else samples.reshape(-1, self.channels)
        scale = FULL_SCALE.get(frame.format.name.rstrip("p"))
        wave_NC = wave_NC.astype(np.float32)
        if scale is not None:
            wave_NC = wave_NC / np.float32(scale) - np.float32(scale == FULL_SCALE["u8"])
        return wave_NC


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[_Decoder]:
    with opened_container(file, name) as opened:
        if opened.stream.codec_context is None:
            raise ValueError(f"{name}: no decoder for its audio is at hand")
        opened.stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        yield _Decoder(opened, name)


def _stretch_frames(
    file: BinaryIO, name: str, measured: FFmpegMeasured, start: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Number of samples before each frame, and its samples (N, C), from the frame that holds sample `start` on."""
    place = measured.place_before(start)
    for from_place in (True, False) if place is not None else (False,):
        with _opened(file, name) as decoder:
            frames = decoder.frames_at(place) if from_place and place else (wave_NC for _, wave_NC in decoder.frames())
            if frames is None:
                continue
            position = place.position if from_place and place else 0
            for wave_NC in frames:
                if position + len(wave_NC) > start:
                    yield position, wave_NC
                position += len(wave_NC)
        return
