"""Real speech with planted faults: which of them do the measures of `asr-kd annotate` find, and what do they accuse?

    python tests/stress/cleaning.py --utterances 900 [--whisper whisper:FOLDER] [--dnsmos]

Takes AN4, speechocean762 and speech_to_intent from $ASR_KD_DATA, and ESC-10 sounds. Plants copies (Opus, MP3, 8 kHz; at
another level, 0.3 s cut off), clipped speech, upsampled 8 kHz, silence, sounds, tunes. Prints one line of JSON: recall
of each fault, and the share of the clean speech that its condition drops. With --whisper: espeak-ng voices of other
languages too.
"""

import argparse
import io
import json
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asr_kd.cleaning.annotate import AnnotateRun, annotate_manifests
from asr_kd.cleaning.annotate_job import AnnotateJob, AnnotateWorker
from asr_kd.cleaning.measure import MeasureOptions
from asr_kd.cleaning.registry import MEASURES
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.conditions import Condition
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest

SPEECH = ("an4/wav/**/*.flac", "speechocean762/**/*.opus", "speech_to_intent/**/*.opus")
CONDITIONS = {
    "copy-opus": "duplicate_of is null",
    "copy-mp3": "duplicate_of is null",
    "copy-8khz": "duplicate_of is null",
    "exact": "duplicate_of is null",
    "clipped": "clipping <= 0.001",
    "clipped-opus": "clipping <= 0.001",
    "8khz": "bandwidth_hz >= 4500",
    "8khz-opus": "bandwidth_hz >= 4500",
    "8khz-mp3": "bandwidth_hz >= 4500",
    "silence": "speech_share >= 0.12",
    "room": "speech_share >= 0.12",
    "sound": "speech_share >= 0.12",
    "tune": "steady_tones <= 0.7",
    "noise-0db": "snr_db >= 8",
    "noise-5db": "snr_db >= 8",
    "noise-10db": "snr_db >= 8",
    "language": "language == en",
}
"""What keeps speech without each fault."""
MADE_OF_NOTHING = ("silence", "room", "tune")
TEXTS = {
    "de": "heute morgen haben wir lange über das wetter und den urlaub am meer gesprochen",
    "fr": "ce matin nous avons longtemps parlé du temps et des vacances au bord de la mer",
    "es": "esta mañana hemos hablado mucho del tiempo y de las vacaciones en el mar",
    "it": "questa mattina abbiamo parlato a lungo del tempo e delle vacanze al mare",
    "pt": "esta manhã falamos muito do tempo e das férias no mar",
    "ru": "сегодня утром мы долго говорили о погоде и об отпуске на море",
}


def coded(wave_N: np.ndarray, form: str, subtype: str) -> np.ndarray:
    """What a lossy codec leaves of samples."""
    file = io.BytesIO()
    soundfile.write(file, wave_N, SAMPLE_RATE, format=form, subtype=subtype, compression_level=0.8)
    file.seek(0)
    decoded_N, rate = soundfile.read(file, dtype="float32")
    return decoded_N if rate == SAMPLE_RATE else soxr.resample(decoded_N, rate, SAMPLE_RATE)


def at_8khz(wave_N: np.ndarray) -> np.ndarray:
    """Upsampled 8 kHz."""
    return soxr.resample(soxr.resample(wave_N, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE)


def clipped(wave_N: np.ndarray) -> np.ndarray:
    """Recorded 9 dB too loud."""
    return np.clip(wave_N * 2.8 / max(1e-3, np.abs(wave_N).max()), -0.99, 0.99)


def tune(rng: np.random.Generator) -> np.ndarray:
    """Chords of decaying harmonics."""
    chords = []
    for _ in range(12):
        seconds_N = np.arange(int(SAMPLE_RATE * rng.uniform(0.25, 0.6))) / SAMPLE_RATE
        notes = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 3) / 12)
        tones = (np.sin(2 * np.pi * hz * h * seconds_N) / h for hz in notes for h in range(1, 6))
        chords.append(0.05 * sum(tones) * np.exp(-3 * seconds_N))
    return np.concatenate(chords)


def noisy(wave_N: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """White noise against the mean power of the loud frames."""
    power_T = wave_N[: len(wave_N) // 320 * 320].reshape(-1, 320).var(axis=1)
    speech = power_T[power_T > 0.01 * np.percentile(power_T, 95)].mean()
    return wave_N + rng.standard_normal(len(wave_N)) * np.sqrt(speech / 10 ** (snr_db / 10))


def plant(clean: list[Utterance], sounds: list[Path], folder: Path, per_fault: int) -> list[Utterance]:
    """Recordings with faults; `meta.fault` names it, `meta.of` what it was made of."""
    rng = np.random.default_rng(0)
    changes = {
        "copy-opus": lambda w: coded(0.4 * w[4800:], "OGG", "OPUS"),
        "copy-mp3": lambda w: coded(np.clip(1.3 * w[4800:], -1, 1), "MP3", "MPEG_LAYER_III"),
        "copy-8khz": lambda w: at_8khz(0.7 * w[4800:]),
        "exact": lambda w: w,
        "clipped": clipped,
        "clipped-opus": lambda w: coded(clipped(w), "OGG", "OPUS"),
        "8khz": at_8khz,
        "8khz-opus": lambda w: coded(at_8khz(w), "OGG", "OPUS"),
        "8khz-mp3": lambda w: coded(at_8khz(w), "MP3", "MPEG_LAYER_III"),
        "silence": lambda w: np.zeros(len(w)),
        "room": lambda w: 0.001 * rng.standard_normal(len(w)),
        "tune": lambda w: tune(rng),
        **{f"noise-{db}db": lambda w, db=db: noisy(w, db, rng) for db in (0, 5, 10)},
    }
    planted = []

    def add(fault: str, number: int, wave_N: np.ndarray, of: str | None) -> None:
        path = folder / f"{fault}-{number:04d}.flac"
        soundfile.write(path, np.clip(wave_N, -1, 1 - 2**-15), SAMPLE_RATE, subtype="PCM_16")
        seconds = len(wave_N) / SAMPLE_RATE
        planted.append(Utterance(path.stem, str(path), seconds, meta={"fault": fault, "of": of}))

    long_enough = [u for u in clean if u.duration >= 1.0]
    for fault, change in changes.items():
        for number, original in enumerate(random.sample(long_enough, per_fault)):
            of = None if fault in MADE_OF_NOTHING else original.id
            add(fault, number, change(read_audio(original.audio_filepath)), of)
    for number, path in enumerate(sounds):
        add("sound", number, read_audio(path), None)
    return planted


def speak(folder: Path, per_language: int) -> list[Utterance]:
    """espeak-ng's voices of other languages."""
    from asr_kd.corpora.tts import synthesise

    said = []
    for language, text in TEXTS.items():
        for number in range(per_language):
            path = folder / f"language-{language}-{number}.flac"
            wave_N, rate = synthesise(text, language, 140 + 15 * number, 50, 50)
            wave_N = soxr.resample(wave_N, rate, SAMPLE_RATE)
            soundfile.write(path, wave_N, SAMPLE_RATE, subtype="PCM_16")
            meta = {"fault": "language", "of": None, "spoken": language[:2]}
            said.append(Utterance(path.stem, str(path), len(wave_N) / SAMPLE_RATE, meta=meta))
    return said


def readable(paths: list[Path]) -> list[Path]:
    """Those that can be read."""
    found = []
    for path in paths:
        try:
            read_audio(path)
            found.append(path)
        except ValueError:
            pass
    return found


def speeds(utterances: list[Utterance], options: MeasureOptions, names: list[str], folder: Path) -> dict[str, int]:
    """Times real time of processor time of each measure alone, reading left out."""
    waves = [read_audio(u.audio_filepath) for u in utterances]
    seconds = sum(map(len, waves)) / SAMPLE_RATE
    found = {}
    for name in names:
        from asr_kd.cleaning.copies import sketch

        run = sketch if name == "duplicate" else MEASURES[name].load(options)
        run(waves[0])
        start = time.process_time()
        for wave_N in waves:
            run(wave_N)
        found[name] = round(seconds / (time.process_time() - start))
    worker = AnnotateWorker(AnnotateJob(tuple(names), str(folder), options), lambda event: None)
    start = time.process_time()
    for utterance in utterances:
        worker.measure(utterance)
    return found | {"all, with reading": round(seconds / (time.process_time() - start))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=900)
    parser.add_argument("--per-fault", type=int, default=60)
    parser.add_argument("--whisper")
    parser.add_argument("--dnsmos", action="store_true")
    given = parser.parse_args()
    root = Path(os.environ["ASR_KD_DATA"])
    random.seed(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = [p for pattern in SPEECH for p in random.sample(sorted(root.glob(pattern)), given.utterances // 3)]
        clean = [Utterance(p.stem, str(p), len(read_audio(p)) / SAMPLE_RATE, meta={"fault": None}) for p in paths]
        sounds = readable(random.sample(sorted(root.glob("esc10/**/*.opus")), 3 * given.per_fault))
        planted = plant(clean, sounds, folder, given.per_fault)
        planted += speak(folder, 5) if given.whisper else []
        write_manifest(folder / "mixed.jsonl", [*clean, *planted])
        run = AnnotateRun(
            inputs=(folder / "mixed.jsonl",), out=folder / "out", whisper=given.whisper, dnsmos=given.dnsmos, workers=1
        )
        annotate_manifests(run)
        print(json.dumps(told(list(read_manifest(folder / "out/mixed.jsonl"))) | timed(clean, given, folder)))


def timed(clean: list[Utterance], given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Speeds on some of the speech."""
    names = ["level", "bandwidth", "snr", "speech", "tones", "duplicate"]
    options = MeasureOptions("silero", given.whisper)
    found = speeds(clean[::10], options, names, folder)
    for name in ["language"] * bool(given.whisper) + ["dnsmos"] * given.dnsmos:
        found |= {name: speeds(clean[::60], options, [name], folder)[name]}
    return {"times real time, one core": found}


def told(found: list[Utterance]) -> dict[str, object]:
    """Recall of each fault, and the clean speech that each condition drops."""
    clean = [u.meta for u in found if u.meta["fault"] is None]
    results: dict[str, object] = {"clean": len(clean)}
    for fault, text in CONDITIONS.items():
        ill = [u.meta for u in found if u.meta["fault"] == fault]
        if not ill or Condition.parse(text).column not in clean[0]:
            continue
        keeps = Condition.parse(text).holds
        dropped = [m for m in ill if not keeps(m)]
        results[fault] = {
            "by": text,
            "recall": round(len(dropped) / len(ill), 4),
            "of": len(ill),
            "clean dropped": round(sum(not keeps(m) for m in clean) / len(clean), 4),
        }
    copied = [u for u in found if u.meta["duplicate_of"] is not None]
    right = [u for u in copied if u.meta["fault"] is not None]
    results["copies of other speech than they were made of"] = [
        [u.id, u.meta["of"], u.meta["duplicate_of"]] for u in right if u.meta["of"] and not _same(u, found)
    ]
    results["copies among the clean speech"] = [[u.id, u.meta["duplicate_of"]] for u in copied if u not in right]
    if "language" in clean[0]:
        said = [u.meta for u in found if "spoken" in u.meta]
        results["language named rightly"] = [sum(m["language"] == m["spoken"] for m in said), len(said)]
    for column in ("snr_db", "dnsmos"):
        if column in clean[0]:
            by_fault = {f: [u.meta[column] for u in found if u.meta["fault"] == f] for f in (None, *CONDITIONS)}
            medians = {
                str(f): float(np.median([v for v in vs if v is not None] or [np.nan])) for f, vs in by_fault.items()
            }
            results[f"median {column}"] = {f: round(v, 2) for f, v in medians.items() if v == v}
    return results


def _same(copy: Utterance, found: list[Utterance]) -> bool:
    """Whether a copy is one of what it was made of, or of another copy of it."""
    original = next(u for u in found if u.id == copy.meta["duplicate_of"])
    return copy.meta["of"] in (original.id, original.meta.get("of"), original.meta["duplicate_of"])


if __name__ == "__main__":
    main()
