"""The same speech in every format and in the layout of every corpus that `asr-kd prepare` reads; a tenth damaged."""

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

LANGUAGES = {
    "en": ("en-us", ["turn the light on", "what is the time", "play some music", "set the heating to ten"]),
    "de": ("de", ["schalte das Licht ein", "wie spät ist es", "spiele etwas Musik", "stell die Heizung höher"]),
    "es": ("es", ["enciende la luz", "qué hora es", "pon un poco de música", "sube la calefacción mañana"]),
}
"""Voice and sentences."""
VARIANTS = ("", "+m1", "+m3", "+f2", "+f4", "+m7")
SOUNDFILE = {
    "flac": ("FLAC", "PCM_24"),
    "wav": ("WAV", "PCM_16"),
    "WAV": ("WAV", "FLOAT"),
    "wave": ("WAV", "ULAW"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "ALAW"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "w64": ("W64", "PCM_32"),
    "caf": ("CAF", "PCM_16"),
}
"""Suffix: what soundfile calls format and subtype."""
FFMPEG = {"m4a": "aac", "webm": "libopus", "mkv": "pcm_s16le", "mp4": "aac", "wma": "wmav2", "ac3": "ac3", "tta": "tta"}
"""Suffix: FFmpeg's encoder."""
DAMAGED_EVERY = 10


@dataclass
class Made:
    """A corpus in the layout that `asr-kd prepare READER ROOT` reads."""

    reader: str
    root: Path
    options: list[str] = field(default_factory=list)
    items: set[str] = field(default_factory=set)
    """Audio files by path, or rows of containers."""
    damaged: set[str] = field(default_factory=set)
    key_of: Callable[[dict[str, Any]], str] = lambda row: str(row["audio_filepath"])
    is_long: bool = False
    name: str = ""
    """Of its folder."""

    def key(self, row: dict[str, Any]) -> str:
        """The item that a line of a manifest, or of rejected.jsonl, is about."""
        return self.key_of(row)


@dataclass(frozen=True)
class Spoken:
    """An utterance."""

    text: str
    speaker: str
    wave_N: np.ndarray
    """16 kHz."""


def spoken(language: str, count: int) -> list[Spoken]:
    """Sentences by six speakers in turn. Each is made in a process of its own: espeak-ng is loaded afresh."""
    voice, sentences = LANGUAGES[language]
    program = (
        "import sys,json,numpy as np;from asr_kd.corpora.tts import synthesise;import soxr\n"
        "for n,(text,voice) in enumerate(json.load(sys.stdin)):\n"
        "    x,rate=synthesise(text,voice,160,50,50);np.save(f'{sys.argv[1]}/{n}.npy',soxr.resample(x,rate,16000))"
    )
    said = [(sentences[n // len(VARIANTS) % len(sentences)], voice + VARIANTS[n % len(VARIANTS)]) for n in range(count)]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", program, folder], input=json.dumps(said), text=True, check=True)
        return [
            Spoken(text, f"Sprecher {v.partition('+')[2] or 'ü'}", np.load(f"{folder}/{n}.npy").astype(np.float32))
            for n, (text, v) in enumerate(said)
        ]


def make_language(language: str, root: Path, count: int) -> list[Made]:
    """All corpora of a language below `root`."""
    speech = spoken(language, count)
    makers = (folder, long, kaldi, table, ljspeech, common_voice, huggingface, nemo_tarred, lhotse_cuts, shar)
    made = []
    for maker in makers:
        home = root / maker.__name__
        home.mkdir(parents=True)
        made.append(maker(speech, home, language))
        made[-1].name = home.name
    return made


def _wav(wave_N: np.ndarray, path: Path | io.BytesIO, rate: int = 16000, **form: str) -> None:
    soundfile.write(path, wave_N, rate, **(form or {"format": "WAV", "subtype": "PCM_16"}))


def _damage(path: Path) -> None:
    """Not audio any more, whatever the format: its head is gone."""
    path.write_bytes(b"\0" * 64 + path.read_bytes()[64:200])


def _flac(wave_N: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    _wav(wave_N, buffer, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _encoded(wave_N: np.ndarray, path: Path, encoder: str) -> None:
    """Write with FFmpeg, at the rate of the encoder."""
    import av

    rate = 48000 if encoder == "libopus" else 44100 if encoder in ("aac", "wmav2", "ac3", "mp2") else 16000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=rate, layout="mono")
        if encoder == "wmav2":
            stream.bit_rate = 64000
        pcm = (np.clip(wave_N, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        resampler = av.AudioResampler(
            format=stream.format.name, layout="mono", rate=rate, frame_size=stream.frame_size or 0
        )
        for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))


def folder(speech: list[Spoken], root: Path, language: str) -> Made:
    """Every format, names with blanks and letters of no alphabet in particular, text beside half of them."""
    made = Made("folder", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    forms = [*SOUNDFILE, *FFMPEG]
    for n in range(max(len(speech), 2 * len(forms))):
        said, suffix = speech[n % len(speech)], forms[n % len(forms)]
        path = root / said.speaker / f"größe {n:03d} 语音.{suffix}"
        path.parent.mkdir(exist_ok=True)
        wave_N, rate = said.wave_N, 16000
        if suffix in SOUNDFILE:
            form, subtype = SOUNDFILE[suffix]
            if suffix in ("wav", "aiff"):  # 8 kHz telephone, and six channels
                wave_N, rate = (wave_N[::2], 8000) if suffix == "wav" else (np.stack([wave_N] * 6, 1), 16000)
            _wav(wave_N, path, rate, format=form, subtype=subtype)
        else:
            _encoded(wave_N, path, FFMPEG[suffix])
        if n % 2 == 0:
            path.with_suffix(".txt").write_text(said.text + "\n", encoding="utf-8")
        made.items.add(str(path.resolve()))
        if n % DAMAGED_EVERY == 3:
            _damage(path)
            made.damaged.add(str(path.resolve()))
    (root / "notes.pdf").write_bytes(b"%PDF-1.4 nothing to hear")
    return made


def long(speech: list[Spoken], root: Path, language: str) -> Made:
    """A recording of minutes, without text."""
    path = root / "Besprechung am Montag.m4a"
    pause_N = np.zeros(12800, np.float32)
    _encoded(np.concatenate([x for said in speech for x in (said.wave_N, pause_N)]), path, "aac")
    return Made("folder", root, items={str(path.resolve())}, is_long=True)


def kaldi(speech: list[Spoken], root: Path, language: str) -> Made:
    """wav.scp with files and a command, text, utt2spk."""
    made = Made("kaldi", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    scp, text, utt2spk = [], [], []
    for n, said in enumerate(speech):
        path = root / "wav" / f"u {n}.wav"
        path.parent.mkdir(exist_ok=True)
        _wav(said.wave_N, path)
        speaker = said.speaker.replace(" ", "_")
        scp.append(f"{speaker}-{n:03d} {path.resolve()}\n")
        text.append(f"{speaker}-{n:03d} {said.text}\n")
        utt2spk.append(f"{speaker}-{n:03d} {speaker}\n")
        made.items.add(str(path.resolve()))
        if n % DAMAGED_EVERY == 3:
            _damage(path)
            made.damaged.add(str(path.resolve()))
    for name, lines in (("wav.scp", scp), ("text", text), ("utt2spk", utt2spk)):
        (root / name).write_text("".join(sorted(lines)), encoding="utf-8")
    return made


def _clips(
    speech: list[Spoken], home: Path, made: Made, suffix: str, key: Callable[[Path], str] | None = None
) -> Iterator[tuple[Path, Spoken]]:
    """The utterances as files of one kind."""
    home.mkdir(parents=True, exist_ok=True)
    for n, said in enumerate(speech):
        path = home / f"clip_{n:03d}.{suffix}"
        form, subtype = SOUNDFILE[suffix]
        _wav(said.wave_N, path, format=form, subtype=subtype)
        made.items.add(str(path.resolve()))
        if n % DAMAGED_EVERY == 3:
            _damage(path)
            made.damaged.add(str(path.resolve()))
        yield path, said


def table(speech: list[Spoken], root: Path, language: str) -> Made:
    """A spreadsheet's CSV."""
    made = Made("table", root / "liste.csv", ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    with open(root / "liste.csv", "w", newline="", encoding="utf-8-sig") as f:
        lines = csv.writer(f, delimiter=";")
        lines.writerow(["File name", "Transcript", "Speaker", "Room"])
        for path, said in _clips(speech, root / "audio", made, "flac"):
            lines.writerow([f"audio/{path.name}", said.text, said.speaker, "kitchen; left"])
    return made


def ljspeech(speech: list[Spoken], root: Path, language: str) -> Made:
    """metadata.csv and wavs/."""
    made = Made("ljspeech", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    lines = [f"{path.stem}|{said.text}|{said.text}\n" for path, said in _clips(speech, root / "wavs", made, "wav")]
    (root / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return made


def common_voice(speech: list[Spoken], root: Path, language: str) -> Made:
    """clips/ and the lists of parts; the rest is validated."""
    made = Made("common-voice", root)
    fields = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale"]
    parts: dict[str, list[dict[str, str]]] = {name: [] for name in ("train", "dev", "test", "validated")}
    speakers = sorted({said.speaker for said in speech})
    part_of = dict(zip(speakers, ("dev", "test", "train", "train", "validated", "validated"), strict=False))
    for path, said in _clips(speech, root / "clips", made, "mp3"):
        row = dict.fromkeys(fields, "") | {
            "client_id": said.speaker,
            "path": path.name,
            "sentence": said.text,
            "locale": language,
        }
        for name in {"validated", part_of[said.speaker]}:
            parts[name].append(row)
    for name, found in parts.items():
        with open(root / f"{name}.tsv", "w", newline="", encoding="utf-8") as f:
            lines = csv.DictWriter(f, fields, delimiter="\t")
            lines.writeheader()
            lines.writerows(found)
    return made


def huggingface(speech: list[Spoken], root: Path, language: str) -> Made:
    """Parquet as the hub has it."""
    made = Made("huggingface", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    path = root / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    data = []
    for n, said in enumerate(speech):
        item = f"{path.resolve()}::{n}"
        made.items.add(item)
        audio = _flac(said.wave_N)
        if n % DAMAGED_EVERY == 3:
            audio = audio[: len(audio) // 3]
            made.damaged.add(item)
        data.append({"audio": {"bytes": audio, "path": f"{n}.flac"}, "sentence": said.text, "speaker_id": said.speaker})
    features = {"audio": {"_type": "Audio"}, "sentence": {"dtype": "string", "_type": "Value"}}
    schema = pa.schema(
        [
            ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("sentence", pa.string()),
            ("speaker_id", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    pq.write_table(pa.Table.from_pylist(data, schema), path, row_group_size=5)
    return made


def nemo_tarred(speech: list[Spoken], root: Path, language: str) -> Made:
    """audio_0.tar and its manifest."""
    made = Made("nemo-tarred", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    lines = []
    with tarfile.open(root / "audio_0.tar", "w") as tar:
        for n, said in enumerate(speech):
            audio, item = _flac(said.wave_N), f"{(root / 'audio_0.tar').resolve()}::{n}.flac"
            made.items.add(item)
            if n % DAMAGED_EVERY == 3:
                audio = audio[: len(audio) // 3]
                made.damaged.add(item)
            info = tarfile.TarInfo(f"{n}.flac")
            info.size = len(audio)
            tar.addfile(info, io.BytesIO(audio))
            line = {
                "audio_filepath": f"{n}.flac",
                "duration": len(said.wave_N) / 16000,
                "text": said.text,
                "shard_id": 0,
            }
            lines.append(json.dumps(line | {"speaker": said.speaker}, ensure_ascii=False) + "\n")
    (root / "tarred_audio_manifest.json").write_text("".join(lines), encoding="utf-8")
    return made


def _cuts(speech: list[Spoken], home: Path, made: Made) -> Any:
    """Of lhotse, its own objects."""
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    cuts = []
    for n, said in enumerate(speech):
        path = home / f"c{n}.wav"
        _wav(said.wave_N, path)
        recording = Recording.from_file(path, recording_id=f"c{n}")
        words = SupervisionSegment(f"s{n}", f"c{n}", 0, recording.duration, text=said.text, speaker=said.speaker)
        cuts.append(MonoCut(f"c{n}", 0, recording.duration, 0, supervisions=[words], recording=recording))
    return CutSet.from_cuts(cuts)


def lhotse_cuts(speech: list[Spoken], root: Path, language: str) -> Made:
    """cuts.jsonl.gz beside files."""
    made = Made("lhotse", root / "cuts.jsonl.gz", ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    (root / "wav").mkdir()
    _cuts(speech, root / "wav", made).to_file(root / "cuts.jsonl.gz")
    for n, path in enumerate(sorted((root / "wav").iterdir())):
        made.items.add(str(path.resolve()))
        if n % DAMAGED_EVERY == 3:
            _damage(path)
            made.damaged.add(str(path.resolve()))
    return made


def shar(speech: list[Spoken], root: Path, language: str) -> Made:
    """Cuts and their audio in tars; none is damaged, since lhotse writes them whole."""
    made = Made("shar", root, ["--dev-fraction", "0.2", "--test-fraction", "0.2"])
    wavs = root.with_name("shar-wavs")
    wavs.mkdir()
    _cuts(speech, wavs, made).to_shar(root, fields={"recording": "flac"}, shard_size=5)
    shutil.rmtree(wavs)
    for path in sorted(root.glob("recording.*.tar")):
        with tarfile.open(path) as tar:
            made.items |= {f"{path.resolve()}::{m.name}" for m in tar.getmembers() if not m.name.endswith(".json")}
    return made
