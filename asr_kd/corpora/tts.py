"""espeak-ng through ctypes, on the library that the PyPI package `espeakng-loader` ships. Same call, same samples."""

import _ctypes
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np

from asr_kd.core.extras import how_to_install

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POSITION_CHARACTER = 1
PARAMETER_RATE, PARAMETER_VOLUME, PARAMETER_PITCH, PARAMETER_RANGE = 1, 2, 3, 4
VOLUME = 50
"""espeak's scale is 0 to 200; at its default of 100 some variants clip."""

RANDOM_SEED = 1

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def espeak_version() -> str:
    """Version of the `espeakng-loader` in use. ValueError when it is not installed."""
    _loader()
    return metadata.version("espeakng-loader")


def espeak_data() -> str:
    """The folder of espeak-ng's data. ValueError when it is not installed."""
    return str(_loader().get_data_path())


def synthesise(text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> tuple[np.ndarray, int]:
    """Speak `text`; returns samples (N,) float32 in [-1, 1) and the sample rate in Hz (22050).

    voice: an espeak voice, with a variant or without ("en-us+f3").  rate: words a minute.  pitch, pitch_range: 0 to 99.
    The library keeps state between utterances that no call of it resets (phases, flutter, what earlier variants
    set), so it is loaded afresh for each: 5 ms, and the samples depend on the arguments alone. Not for several threads.
    ValueError when the package is missing, the library cannot be loaded or it does not know the voice.
    """
    with loaded() as (library, data_path):
        return _speak(library, data_path, text, voice, rate, pitch, pitch_range)


@contextmanager
def loaded() -> Iterator[tuple[ctypes.CDLL, str]]:
    """espeak-ng in its first state, and the folder of its data; unloaded afterwards. Not for several threads.

    ValueError when the package is missing, or the library cannot be loaded or is in use in this process.
    """
    loader = _loader()
    path = loader.get_library_path()
    _refuse_when_loaded(path)
    try:
        library = ctypes.CDLL(path)
    except OSError as e:
        raise ValueError(f"espeak-ng cannot be loaded ({e}). Reinstall espeakng-loader.") from None
    try:
        yield library, loader.get_data_path()
    finally:
        _unload(library)


def start(library: ctypes.CDLL, data_path: str) -> int:
    """Initialise it; returns the sample rate in Hz. ValueError when the data are damaged."""
    sample_rate: int = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), INITIALIZE_DONT_EXIT)
    if sample_rate <= 0:
        raise ValueError(f"espeak-ng does not start with the data in {data_path}. Reinstall espeakng-loader.")
    return sample_rate


def _speak(
    library: ctypes.CDLL, data_path: str, text: str, voice: str, rate: int, pitch: int, pitch_range: int
) -> tuple[np.ndarray, int]:
    chunks: list[bytes] = []

    def collect(samples: Any, count: int, events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, count * ctypes.sizeof(ctypes.c_short)))
        return 0

    callback = _SynthCallback(collect)
    sample_rate = start(library, data_path)
    try:
        library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))  # breath and flutter; starts from the clock otherwise
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}. Install espeakng-loader>=0.2.4.")
        settings = {
            PARAMETER_RATE: rate,
            PARAMETER_VOLUME: VOLUME,
            PARAMETER_PITCH: pitch,
            PARAMETER_RANGE: pitch_range,
        }
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        spoken = text.encode() + b"\0"
        failed = library.espeak_Synth(spoken, len(spoken), 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
        assert failed == 0, f"espeak_Synth returned {failed}"
    finally:
        library.espeak_Terminate()
    return np.frombuffer(b"".join(chunks), dtype=np.int16).astype(np.float32) / 32768, sample_rate


def _loader() -> ModuleType:
    try:
        import espeakng_loader  # an extra: most users bring a corpus
    except ImportError:
        raise ValueError(f"espeakng-loader is not installed. {how_to_install('voices')}") from None
    return espeakng_loader


def _refuse_when_loaded(path: str) -> None:
    """Someone else's handle would keep the library, and its state, alive over our unloading."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return
    try:
        handle = _ctypes.dlopen(path, os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return
    _ctypes.dlclose(handle)
    raise ValueError(f"{path} is already in use in this process. Make the corpus in a process of its own.")


def _unload(library: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)
