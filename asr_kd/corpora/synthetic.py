"""The built-in `synthetic` corpus: smart-home requests by synthetic voices in simulated rooms and noise, from a seed.

Needs the extra `voices`, and for languages but English `languages`: asr-kd says so when one is missing."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, firwin, resample_poly, sosfilt

from asr_kd.core.commands import command
from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.options import option
from asr_kd.core.progress import Progress
from asr_kd.corpora.corpus import Corpus, print_summary, write_corpus
from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.prepare import name_language
from asr_kd.corpora.rng import seeded_rng
from asr_kd.corpora.synthetic_acoustics import NOISES, SAMPLE_RATE, Scene, SceneMix, record
from asr_kd.corpora.synthetic_speakers import Voice, draw_voices
from asr_kd.corpora.synthetic_text import GRAMMARS, draw_sentence_of, pronunciations, vocabulary
from asr_kd.corpora.text import lower_case
from asr_kd.corpora.tts import espeak_version, synthesise

GENERATOR_VERSION = 2
"""Raised with every change that changes samples; files of another version are made again."""
SILENCE_SHARE = 0.01
"""Samples below this share of the peak are silence where the words start and end."""
NO_DC = butter(2, 40.0, "highpass", fs=SAMPLE_RATE, output="sos")
"""Some variants come with an offset, which no microphone passes."""
BABBLE_TALKERS = 5
BABBLE_CLIPS_PER_VOICE = 3
PAD_S = (0.15, 0.40)
"""Silence before and after the words."""

NEAR_AND_CLEAN = SceneMix({None: 0.7, 20.0: 0.2, 10.0: 0.1}, near_share=0.7, rt60=(0.15, 0.35), drr_db=(6.0, 12.0))
AS_IN_USE = SceneMix({None: 0.25, 20.0: 0.3, 10.0: 0.3, 5.0: 0.15}, near_share=0.2)
TEST_SNRS = (None, 20.0, 10.0, 5.0)
MIXES = {"labelled": NEAR_AND_CLEAN, "dev": AS_IN_USE, "unlabelled": AS_IN_USE, "test": AS_IN_USE}
SENTENCES_OF = {"labelled": "train", "dev": "dev", "unlabelled": "train", "test": "test"}


@dataclass(frozen=True)
class SyntheticConfig:
    """How much is spoken, and by how many."""

    seed: int = option("random seed; the same options and espeak-ng version give the same bytes", 0)
    language: str = option(
        f"what is spoken: {' or '.join(GRAMMARS)} (de needs the extra `languages` too)",
        ENGLISH,
        metavar="CODE",
        parse=language_code,
    )
    labelled_minutes: float = option("minutes with text, mostly near the microphone and clean", 10.0)
    dev_minutes: float = option("minutes with text held out for tuning, in rooms and noise", 4.0)
    unlabelled_minutes: float = option("minutes without text, in rooms and noise", 75.0)
    test_utterances: int = option(
        "test utterances of unseen voices and sentences: clean and at 20, 10 and 5 dB SNR in turn", 250
    )
    voices: int = option("speakers in all; the parts share no speaker and no voice family", 100)
    labelled_voices: int = option("speakers of the labelled part", 10)
    dev_voices: int = option("speakers of the dev part", 5)
    test_voices: int = option("speakers of the test part", 15)

    def __post_init__(self) -> None:
        if self.language not in GRAMMARS:
            raise ValueError(f"--language {self.language}: the voices speak {' and '.join(GRAMMARS)}")
        for name in ("labelled_minutes", "dev_minutes", "unlabelled_minutes"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; 0 or more is needed")
        for name in ("test_utterances", "labelled_voices", "dev_voices", "test_voices"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; at least 1 is needed")
        if self.unlabelled_voices < BABBLE_TALKERS + 1:
            raise ValueError(
                f"--voices is {self.voices}, which leaves {self.unlabelled_voices} unlabelled speakers; at least"
                f" {BABBLE_TALKERS + 1} are needed. Raise --voices, or lower --labelled-voices or --test-voices."
            )

    @property
    def unlabelled_voices(self) -> int:
        """Speakers of the unlabelled part: all that the other parts do not have."""
        return self.voices - self.labelled_voices - self.dev_voices - self.test_voices


@dataclass(frozen=True, kw_only=True)
class SyntheticRun(SyntheticConfig):
    """What `asr-kd prepare synthetic` is given."""

    out: Path = option("output folder: the manifests and the audio")


@command()
def prepare_synthetic(config: SyntheticRun) -> None:
    """Make the corpus of synthetic voices."""
    write_synthetic_corpus(config.out, config)


def write_synthetic_corpus(out: Path, config: SyntheticConfig) -> None:
    """Write the corpus into `out`: `audio/ID.flac` (16 kHz, 16 bit), the manifests and `lexicon.txt`.

    Audio already there that this configuration would make again is kept (each file carries the fingerprint of what it
    was made from), so an interrupted run goes on, and asking for more minutes makes only what is missing.
    ValueError when espeakng-loader is missing or the configuration cannot be met.
    """
    sizes = {part: getattr(config, f"{part}_voices") for part in MIXES}
    synthesiser = Synthesiser(out, config.seed, draw_voices(sizes, config.seed, config.language), config.language)
    minutes = {part: getattr(config, f"{part}_minutes") for part in ("labelled", "dev", "unlabelled")}
    corpus = Corpus(lexicon=pronunciations(vocabulary(config.language), config.language))
    for part, wanted in minutes.items():
        with Progress(f"synthetic: {part}", wanted * 60) as progress:
            held_s = 0.0
            utterances: list[Utterance] = getattr(corpus, part)
            while held_s < wanted * 60:
                utterances.append(synthesiser.utterance(part, len(utterances)))
                held_s += utterances[-1].duration
                progress.update(utterances[-1].duration)
    with Progress("synthetic: test") as progress:
        for index in range(config.test_utterances):
            corpus.test.append(synthesiser.utterance("test", index))
            progress.update(corpus.test[-1].duration)
    name_language(corpus, config.language)
    write_corpus(corpus, out)
    print_summary(corpus)


class Synthesiser:
    """Makes utterances, each from (seed, part, index) alone, and keeps those that are on disk already."""

    def __init__(self, out: Path, seed: int, voices: dict[str, list[Voice]], language: str = ENGLISH) -> None:
        self.out, self.seed, self.voices, self.language = out, seed, voices, language
        self._version = [GENERATOR_VERSION, espeak_version()]
        self._babble_clips: dict[tuple[str, int], np.ndarray] = {}
        self._test_sentences = self._unique_sentences()
        (out / "audio").mkdir(parents=True, exist_ok=True)

    def utterance(self, part: str, index: int) -> Utterance:
        """The utterance `index` of `part`; its audio is made unless it is there. Test: call in order of index."""
        rng = seeded_rng(self.seed, part, index)
        voice = self._voice(part, index)
        if part == "test":
            sentence = next(self._test_sentences)
            scene = MIXES[part].draw_at(TEST_SNRS[index % len(TEST_SNRS)], rng)
        else:
            sentence = draw_sentence_of(SENTENCES_OF[part], rng, self.language)
            scene = MIXES[part].draw(rng)
        utterance_id = f"{voice.name}-{index:05d}"
        path = self.out / "audio" / f"{utterance_id}.flac"
        others = self.babble_voices(part)
        made_from = [self._version, self.seed, part, index, sentence, asdict(voice), asdict(scene)]
        if scene.noise == "babble":
            made_from.append([asdict(other) for other in others])
        made_from_digest = fingerprint(made_from)
        samples = _samples_if_made_from(path, made_from_digest)
        if samples is None:
            wave_N = self._perform(sentence, voice, scene, others, rng)
            samples = len(wave_N)
            with (
                atomic_path(path) as temporary,
                soundfile.SoundFile(temporary, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as f,
            ):
                f.comment = made_from_digest
                f.write(wave_N)
        return Utterance(
            id=utterance_id,
            audio_filepath=f"audio/{path.name}",
            duration=samples / SAMPLE_RATE,
            text=sentence,
            speaker=voice.name,
            meta=_meta(voice, scene),
        )

    def babble_voices(self, part: str) -> list[Voice]:
        """Who talks in the background: test voices in the test, unlabelled ones elsewhere."""
        enough = len(self.voices["test"]) > BABBLE_TALKERS
        return self.voices["test" if part == "test" and enough else "unlabelled"]

    def _voice(self, part: str, index: int) -> Voice:
        """Rounds over the voices, each round in another order, so that voices and conditions do not go in step."""
        voices = self.voices[part]
        turn, place = divmod(index, len(voices))
        return voices[int(seeded_rng(self.seed, part, "turn", turn).permutation(len(voices))[place])]

    def _unique_sentences(self) -> Iterator[str]:
        rng, seen = seeded_rng(self.seed, "test", "sentences"), set()
        while True:
            sentence = draw_sentence_of("test", rng, self.language)
            if sentence not in seen:
                seen.add(sentence)
                yield sentence

    def _perform(
        self, sentence: str, voice: Voice, scene: Scene, others: list[Voice], rng: np.random.Generator
    ) -> np.ndarray:
        before, after = (int(rng.uniform(*PAD_S) * SAMPLE_RATE) for _ in range(2))
        speech_N = np.pad(speak(sentence, voice, rng, self.language), (before, after))
        noise_N = None
        if scene.noise == "babble":
            noise_N = self._babble(len(speech_N), [other for other in others if other != voice], rng)
        elif scene.noise is not None:
            noise_N = NOISES[scene.noise](len(speech_N), rng)
        return record(speech_N, noise_N, scene, rng)

    def _babble(self, samples: int, others: list[Voice], rng: np.random.Generator) -> np.ndarray:
        """Talkers at once, each some clip over and over, from some place in it on."""
        wave_N = np.zeros(samples)
        for i in rng.choice(len(others), BABBLE_TALKERS, replace=False):
            clip_N = self._babble_clip(others[i], int(rng.integers(BABBLE_CLIPS_PER_VOICE)))
            wave_N += np.resize(np.roll(clip_N, -rng.integers(len(clip_N))), samples) * rng.uniform(0.5, 1)
        return wave_N

    def _babble_clip(self, voice: Voice, number: int) -> np.ndarray:
        key = (voice.name, number)
        if key not in self._babble_clips:
            rng = seeded_rng(self.seed, "babble", *key)
            clip_N = speak(draw_sentence_of("train", rng, self.language), voice, rng, self.language)
            self._babble_clips[key] = clip_N / clip_N.std()
        return self._babble_clips[key]


def speak(sentence: str, voice: Voice, rng: np.random.Generator, language: str = ENGLISH) -> np.ndarray:
    """`sentence` by `voice`, dry, without silence around it: float64 (N,) at 16 kHz. Rate and pitch vary a little."""
    rate = round(voice.rate * rng.uniform(0.9, 1.1) * voice.tract)
    pitch = voice.pitch + int(rng.integers(-4, 5))
    wave_N, sample_rate = synthesise(lower_case(sentence, language), voice.espeak_name, rate, pitch, voice.pitch_range)
    # More samples for the same sound is a slower wave: a longer vocal tract. `rate` above takes the tempo back.
    common = math.gcd(SAMPLE_RATE, sample_rate)
    up, down = round(SAMPLE_RATE / common * voice.tract), sample_rate // common
    speech_N = resample_poly(wave_N.astype(np.float64), up, down, window=_low_pass(up, down))
    speech_N = sosfilt(NO_DC, speech_N)
    assert speech_N.any(), f"{voice.espeak_name} says nothing for {sentence!r}"
    loud_N = np.flatnonzero(np.abs(speech_N) > SILENCE_SHARE * np.abs(speech_N).max())
    return speech_N[loud_N[0] : loud_N[-1] + 1]


@lru_cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """resample_poly's own filter, which it would design anew at each call."""
    widest = max(up, down)
    return firwin(2 * 10 * widest + 1, 1 / widest, window=("kaiser", 5.0))


def _samples_if_made_from(path: Path, digest: str) -> int | None:
    try:
        with soundfile.SoundFile(str(path)) as f:
            return f.frames if f.comment == digest else None
    except soundfile.LibsndfileError:
        return None


def _meta(voice: Voice, scene: Scene) -> dict[str, object]:
    meta: dict[str, object] = {"snr": "clean" if scene.snr is None else scene.snr, "group": voice.accent}
    meta |= {"noise": scene.noise or "none", "rt60": scene.rt60, "variant": voice.variant}
    return meta
