"""Whisper through faster-whisper (extra `whisper`): waveform in, words with times and confidences out. No posteriors.

Numerals are kept from being written, so numbers are spelt as they were said (`TWO TWO EIGHT`): text here is what was
said, and how digits are read cannot be seen from them (corpora/text.py). Decoding is a beam search without sampling, so
the same audio gives the same words; where Whisper falls into a loop, which its own remedy is to sample, the utterance
is set aside.

Confidences, all in [0, 1]:
- of an utterance: exp of the mean log-probability of a token. faster-whisper tells it for each segment (avg_logprob);
  segments weigh by their tokens.
- of a word: the mean probability of its tokens, by the alignment that finds its times (word_timestamps). It counts what
  Whisper would rather have written: number words come out low where it leans to digits.
Source: Radford et al., "Robust speech recognition via large-scale weak supervision" (arXiv 2212.04356), section 4.5.
"""

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from asr_kd.core.extras import how_to_install
from asr_kd.core.files import sha256_file
from asr_kd.core.runtime import set_threads
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.quotations import is_word_character, unquoted
from asr_kd.corpora.text import normalise
from asr_kd.transcripts.recognised import Transcript, Word

PREFIX = "whisper:"
BEAM = 5
MAX_COMPRESSION = 2.4
"""Text that gzip shortens by more goes in circles (the paper's value)."""
NUMERALS = "0123456789%$£€"
FILES = ("config.json", "model.bin", "tokenizer.json")
"""Of a CTranslate2 model; there is a vocabulary too, under different names."""
COMPUTE_TYPES = {"float32": "float32", "bf16": "bfloat16"}
LANGUAGE_WINDOWS_S = (5, 10, 15, 30)
"""Seconds that the encoder looks at to tell the language."""
FRAMES_PER_S = 100
"""Of Whisper's features."""
NO_SPEECH = "Whisper hears no speech"


class TimedWord(Protocol):
    """A word as faster-whisper gives it."""

    word: str
    """Begins with a space unless it goes on where the one before ends."""
    start: float
    end: float
    probability: float


class Whisper:
    """A Whisper model in memory, on one device."""

    def __init__(self, name: str, device: torch.device, precision: str = "auto", language: str | None = None) -> None:
        """name: `whisper:` and the folder of a CTranslate2 model, or a name that is fetched from its public home.

        precision: auto is float32 on CPUs, float16 on GPUs.  language: a code such as `en`; None: Whisper judges each
        utterance.  ValueError when the extra is missing, or the model, or it cannot be had.
        """
        faster_whisper = _library()
        # faster-whisper has a progress bar, never shown, whose lock between processes would outlive a killed worker.
        tqdm.set_lock(threading.RLock())
        what = name.removeprefix(PREFIX)
        self.folder = _folder(faster_whisper, what)
        self.precision = {"cpu": "float32"}.get(device.type, "float16") if precision == "auto" else precision
        try:
            self._model = faster_whisper.WhisperModel(
                str(self.folder),
                device=device.type,
                device_index=device.index or 0,
                compute_type=COMPUTE_TYPES.get(self.precision, self.precision),
                cpu_threads=set_threads(None),
            )
        except (RuntimeError, ValueError) as e:
            raise ValueError(f"{PREFIX}{what}: cannot be loaded ({_reason(e)})") from None
        if language is not None and language not in self._model.supported_languages:
            raise ValueError(
                f"--language {language}: {PREFIX}{what} knows {', '.join(self._model.supported_languages)}"
            )
        self.language = language
        tokenizer = self._model.hf_tokenizer
        numbers = range(tokenizer.get_vocab_size())
        self._unwritten = [n for n in numbers if any(c in NUMERALS for c in tokenizer.decode([n]))]

    def fingerprint(self) -> str:
        """SHA-256 over the files of the model, 64 hex digits."""
        digests = {name: sha256_file(self.folder / name) for name in FILES}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What else decides the words, for a sidecar."""
        return {
            "engine": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2")),
            "beam": BEAM,
            "language": self.language,
            "numerals": "as words",
        }

    def __call__(self, wave_N: np.ndarray) -> Transcript | str:
        """What was said in one utterance, or why nothing can be made of it. wave_N: 16 kHz in [-1, 1)."""
        segments, about = self._model.transcribe(
            wave_N,
            language=self.language,
            beam_size=BEAM,
            temperature=0.0,
            condition_on_previous_text=False,
            suppress_tokens=[-1, *self._unwritten],
            word_timestamps=True,
        )
        segments_found = list(segments)  # the work is done here
        if not segments_found:
            return NO_SPEECH
        compression = max(s.compression_ratio for s in segments_found)
        if compression > MAX_COMPRESSION:
            return f"Whisper repeats itself (text compresses by {compression:.1f})"
        confidence = utterance_confidence(
            [s.avg_logprob for s in segments_found], [len(s.tokens) for s in segments_found]
        )
        said = (w for s in segments_found for w in s.words or ())
        return Transcript(normalise_words(said, self.language or about.language), confidence)

    def check_languages(self) -> None:
        """ValueError when the model knows English only, so that it cannot tell languages apart."""
        if not self._model.model.is_multilingual:
            raise ValueError(
                f"{PREFIX}{self.folder}: knows English only and cannot tell languages apart. Give a model without .en."
            )

    def language_of(self, wave_N: np.ndarray) -> tuple[str, float]:
        """The likeliest language as a code such as `en`, and its probability, by the first 30 s. wave_N: 16 kHz.

        The window is as short as the utterance allows, not always 30 s: it takes a tenth of the time for 3 s.
        """
        wave_N = wave_N[: LANGUAGE_WINDOWS_S[-1] * SAMPLE_RATE]
        window_s = next(s for s in LANGUAGE_WINDOWS_S if s * SAMPLE_RATE >= len(wave_N))
        features_FT = self._model.feature_extractor(wave_N)[:, : window_s * FRAMES_PER_S]
        encoded = self._model.encode(np.pad(features_FT, ((0, 0), (0, window_s * FRAMES_PER_S - features_FT.shape[1]))))
        token, probability = self._model.model.detect_language(encoded)[0][0]
        return token.strip("<|>"), float(probability)


def utterance_confidence(log_p: Sequence[float], tokens: Sequence[int]) -> float:
    """exp of the mean log-probability of a token. log_p: the mean in each segment; tokens: how many each has."""
    return min(1.0, math.exp(sum(p * n for p, n in zip(log_p, tokens, strict=True)) / max(1, sum(tokens))))


def normalise_words(said: Iterable[TimedWord], language: str = ENGLISH) -> list[Word]:
    """Whisper's words, normalised. What normalises to nothing is left out; to several, shares its time by letters.

    Two that Whisper parts within a word (O | 'CLOCK) are one, as sure as the less sure of them.
    """
    parts: list[tuple[str, float, float, float]] = []
    for w in said:
        start, end, sure = float(w.start), float(w.end), min(1.0, max(0.0, float(w.probability)))
        if parts and w.word and is_word_character(w.word[0]) and is_word_character(parts[-1][0][-1]):
            before, begin, _, other = parts[-1]
            parts[-1] = (before + w.word, begin, end, min(sure, other))
        elif w.word:
            parts.append((w.word, start, end, sure))
    words, place, whole = [], 0, "".join(text for text, *_ in parts)
    if language_code(language) == ENGLISH:
        whole = unquoted(whole)
    for text, start, end, sure in parts:
        normalised = normalise(whole[place : place + len(text)], language).split()
        place += len(text)
        letters = sum(map(len, normalised))
        for word in normalised:
            stop = start + (end - start) * len(word) / letters
            letters -= len(word)
            words.append(Word(word, start, stop, sure))
            start = stop
    return words


def _library() -> Any:
    try:
        import faster_whisper
    except ImportError:
        raise ValueError(f"{PREFIX}...: faster-whisper is not installed. {how_to_install('whisper')}") from None
    return faster_whisper


def _folder(faster_whisper: Any, what: str) -> Path:
    """Where the model lies on this machine."""
    folder = Path(what)
    if folder.is_dir():
        lacking = [name for name in FILES if not (folder / name).is_file()]
        if lacking:
            raise ValueError(
                f"{PREFIX}{what}: no CTranslate2 model of Whisper, it lacks {', '.join(lacking)}. "
                "ct2-transformers-converter makes one of a model of transformers."
            )
        return folder
    known = faster_whisper.available_models()
    if what not in known and what.count("/") != 1:
        raise ValueError(f"{PREFIX}{what}: no such folder, and no name of a model. Those: {', '.join(known)}.")
    try:
        return Path(faster_whisper.download_model(what))
    except Exception as e:  # of several libraries, which have no common base
        raise ValueError(
            f"{PREFIX}{what}: cannot be fetched from the Hugging Face Hub ({type(e).__name__}: {_reason(e)}). "
            f"Where there is a network, get that model, then give its folder: --teacher {PREFIX}FOLDER."
        ) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
