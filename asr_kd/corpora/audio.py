"""Audio files of any corpus as the one form used here: 16 kHz, mono, float32 in [-1, 1)."""

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
SUFFIXES = (".flac", ".wav", ".WAV", ".sph", ".opus", ".ogg", ".mp3", ".raw")
"""Known audio files, in the order in which they are looked for; `.raw` is headerless 16-bit mono at 16 kHz."""
RAW_BYTES_PER_SAMPLE = 2
SLACK_S = 0.1
"""A segment may end this much after the end of its file (rounded durations); more is an error."""


def find_audio(stem: Path) -> Path | None:
    """The audio file called `stem` plus one of SUFFIXES, or None. `stem` is a path without suffix."""
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None


def audio_seconds(path: Path) -> float:
    """Length in seconds, from the header. ValueError when the file is not readable audio or is empty."""
    try:
        if path.suffix == ".raw":
            seconds = path.stat().st_size / RAW_BYTES_PER_SAMPLE / SAMPLE_RATE
        else:
            info = soundfile.info(str(path))
            seconds = info.frames / info.samplerate
    except (soundfile.LibsndfileError, OSError) as e:
        raise ValueError(f"{path}: not readable as audio ({_reason(e)})") from None
    if seconds <= 0:
        raise ValueError(f"{path}: holds no samples")
    return seconds


def read_audio(path: str | Path, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """A stretch of an audio file, shape (N,), float32, 16 kHz; channels are averaged.

    offset, duration: seconds; None reads to the end. ValueError names the file when it cannot be read, ends before
    the stretch does (beyond rounding), or holds samples that are not numbers.
    """
    path = Path(path)
    try:
        if path.suffix == ".raw":
            wave_NC, rate = _read_raw(path)[:, None], SAMPLE_RATE
            wave_NC = wave_NC[round(offset * rate) : None if duration is None else round((offset + duration) * rate)]
        else:
            with soundfile.SoundFile(str(path)) as f:
                rate = f.samplerate
                if offset:
                    f.seek(min(round(offset * rate), f.frames))
                wave_NC = f.read(-1 if duration is None else round(duration * rate), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as e:
        raise ValueError(f"{path}: not readable as audio ({_reason(e)})") from None
    seconds = len(wave_NC) / rate
    if seconds == 0 or (duration is not None and seconds < duration - SLACK_S):
        raise ValueError(f"{path}: {seconds:.2f} s of audio from {offset:.2f} s on; {duration or 0:.2f} s are needed")
    return to_16k_mono(wave_NC, rate, str(path))


def to_16k_mono(wave_NC: np.ndarray, rate: int, name: str) -> np.ndarray:
    """Average the channels of (N, C) float samples and resample them to 16 kHz: (N',) float32. `name` is for errors."""
    wave_N = wave_NC[:, 0] if wave_NC.shape[1] == 1 else wave_NC.mean(axis=1)
    if not np.isfinite(wave_N).all():
        raise ValueError(f"{name}: holds samples that are not finite numbers")
    if rate != SAMPLE_RATE:
        import librosa  # slow to import, and most corpora are at 16 kHz

        wave_N = librosa.resample(wave_N, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    return np.ascontiguousarray(wave_N, dtype=np.float32)


def _read_raw(path: Path) -> np.ndarray:
    """Headerless 16-bit samples. Both byte orders are in circulation (AN4 has either): in the wrong one,
    neighbouring samples of speech jump about, so the smoother reading is the right one."""
    samples = path.read_bytes()
    samples = samples[: len(samples) // RAW_BYTES_PER_SAMPLE * RAW_BYTES_PER_SAMPLE]
    readings = [np.frombuffer(samples, dtype=order).astype(np.float32) / 32768 for order in ("<i2", ">i2")]
    return min(readings, key=lambda wave_N: float(np.abs(np.diff(wave_N)).mean()) if len(wave_N) > 1 else 0.0)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
