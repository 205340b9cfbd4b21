"""Audio files of any corpus as the one form used here: 16 kHz, mono, float32 in [-1, 1)."""

from pathlib import Path

import numpy as np
import soundfile

from asr_kd.core.quiet import quiet_stderr

SAMPLE_RATE = 16_000
SUFFIXES = (
    *(".flac", ".wav", ".WAV", ".sph", ".opus", ".ogg", ".mp3", ".raw"),
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".mp2", ".nist", ".oga", ".rf64", ".snd", ".voc", ".w64", ".wave"),
)
"""Known audio files, in the order in which they are looked for; `.raw` is headerless 16-bit mono at 16 kHz."""
MAX_CLIPPED = 0.005
"""Share of samples beyond [-1, 1] up to which they are clipped, as lossy codecs make them; more is a wrong scale."""
INT16_SCALE, MIN_INT16_PEAK = 32768.0, 128.0
"""Floats that reach so far are 16-bit integers written as floats, as scientific libraries do."""
MIN_MIXED_ENERGY = 0.1
"""Channels whose mean has less than this share of the energy of independent ones cancel each other."""
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
            with quiet_stderr():
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
            with quiet_stderr(), soundfile.SoundFile(str(path)) as f:
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
    """One channel of (N, C) float samples, at 16 kHz: (N',) float32. Channels are averaged. `name` is for errors.

    Where they cancel each other, as of opposite phase, the loudest is taken. Floats with the values of 16-bit integers
    are scaled. ValueError where samples are not finite, or so many lie beyond [-1, 1] that nobody knows their scale.
    """
    if not np.isfinite(wave_NC).all():
        raise ValueError(f"{name}: holds samples that are not finite numbers")
    wave_N = wave_NC[:, 0] if wave_NC.shape[1] == 1 else _mixed(wave_NC)
    wave_N = _scaled(wave_N, name)
    if rate != SAMPLE_RATE:
        import librosa  # slow to import, and most corpora are at 16 kHz

        wave_N = librosa.resample(wave_N, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    return np.ascontiguousarray(wave_N, dtype=np.float32)


def _scaled(wave_N: np.ndarray, name: str) -> np.ndarray:
    """Samples in [-1, 1] but for a few that a lossy codec made larger."""
    peak = float(np.abs(wave_N).max(initial=0.0))
    if peak <= 1 or np.mean(np.abs(wave_N) > 1) <= MAX_CLIPPED:
        return wave_N
    if MIN_INT16_PEAK <= peak <= INT16_SCALE:
        return wave_N / np.float32(INT16_SCALE)
    raise ValueError(f"{name}: samples reach {peak:g} and must lie in [-1, 1]. Scale the audio and write it again.")


def _mixed(wave_NC: np.ndarray) -> np.ndarray:
    """(N,): the mean of the channels, or the loudest where the mean has lost nearly all of their energy."""
    wave_N = wave_NC.mean(axis=1)
    energy_C = np.square(wave_NC, dtype=np.float64).sum(axis=0)
    independent = energy_C.sum() / wave_NC.shape[1] ** 2  # of the mean of independent channels
    if np.square(wave_N, dtype=np.float64).sum() < MIN_MIXED_ENERGY * independent:
        return wave_NC[:, int(energy_C.argmax())]
    return wave_N


def _read_raw(path: Path) -> np.ndarray:
    """Headerless 16-bit samples. Both byte orders are in circulation (AN4 has either): in the wrong one,
    neighbouring samples of speech jump about, so the smoother reading is the right one."""
    samples = path.read_bytes()
    samples = samples[: len(samples) // RAW_BYTES_PER_SAMPLE * RAW_BYTES_PER_SAMPLE]
    readings = [np.frombuffer(samples, dtype=order).astype(np.float32) / INT16_SCALE for order in ("<i2", ">i2")]
    return min(readings, key=lambda wave_N: float(np.abs(np.diff(wave_N)).mean()) if len(wave_N) > 1 else 0.0)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
