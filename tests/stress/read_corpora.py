#!/usr/bin/env python3
"""How fast are a Common Voice folder and a Kaldi folder read into shards, beside lhotse, on one core?

    .venv/bin/python tests/stress/read_corpora.py $ASR_KD_DATA/an4 [--copies 1] [--rounds 3] [--only kaldi]

AN4's speech as MP3 at 32 kHz in a Common Voice folder, and joined to recordings of 20 utterances with segments in a
Kaldi directory. Ours: `asr-kd prepare` and `asr-kd shard`. Theirs: lhotse's readers (without its pool of processes,
which only costs on one core), resampling to 16 kHz, and Shar with FLAC. Both from start to end of the process, in
turn, on the same core; lhotse believes reco2dur and headers, we count. Prints one line of JSON with medians.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile

from asr_kd.corpora.an4 import read_an4
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.manifest import Utterance

MP3_RATE = 32_000
PER_RECORDING = 20
PAUSE_N = np.zeros(SAMPLE_RATE // 2, dtype=np.float32)
PARTS = ("train", "dev", "test")
COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "variant", "locale")
OURS = "import sys; from asr_kd.cli import main; sys.exit(main())"


def common_voice(folder: Path, utterances: list[Utterance], copies: int) -> float:
    """Write folder/en; seconds of audio."""
    clips = folder / "en" / "clips"
    clips.mkdir(parents=True)
    speakers = sorted({u.speaker or "" for u in utterances})
    part_of = {s: "test" if i % 10 == 0 else "dev" if i % 10 == 1 else "train" for i, s in enumerate(speakers)}
    rows: dict[str, list[str]] = {part: ["\t".join(COLUMNS)] for part in PARTS}
    seconds = 0.0
    for u in utterances:
        wave_N = librosa.resample(heard(u), orig_sr=SAMPLE_RATE, target_sr=MP3_RATE, res_type="soxr_hq")
        soundfile.write(clips / "one.mp3", wave_N, MP3_RATE, format="MP3")
        data = (clips / "one.mp3").read_bytes()
        for copy in range(copies):
            name = f"{u.id}-{copy}.mp3"
            (clips / name).write_bytes(data)
            values = (u.speaker or "", name, u.text or "", "2", "0", "", "", "", "", "en")
            rows[part_of[u.speaker or ""]].append("\t".join(values))
            seconds += len(wave_N) / MP3_RATE
    (clips / "one.mp3").unlink()
    for part, lines in rows.items():
        (folder / "en" / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    return seconds


def kaldi(folder: Path, utterances: list[Utterance], copies: int) -> float:
    """Write a data directory of recordings of PER_RECORDING utterances; seconds of its utterances."""
    folder.mkdir(parents=True)
    tables: dict[str, list[str]] = {name: [] for name in ("wav.scp", "segments", "text", "utt2spk", "reco2dur")}
    seconds = 0.0
    for first in range(0, len(utterances), PER_RECORDING):
        own = utterances[first : first + PER_RECORDING]
        waves = [heard(u) for u in own]
        wave_N = np.concatenate([x for wave_N in waves for x in (wave_N, PAUSE_N)])
        for copy in range(copies):
            recording = f"rec-{first:05d}-{copy}"
            path = folder / f"{recording}.wav"
            soundfile.write(path, wave_N, SAMPLE_RATE, subtype="PCM_16")
            tables["wav.scp"].append(f"{recording} {path}")
            tables["reco2dur"].append(f"{recording} {len(wave_N) / SAMPLE_RATE}")
            start = 0.0
            for u, own_N in zip(own, waves, strict=True):
                length = len(own_N) / SAMPLE_RATE
                name = f"{u.speaker}-{u.id}-{copy}"
                tables["segments"].append(f"{name} {recording} {start:.4f} {start + length:.4f}")
                tables["text"].append(f"{name} {u.text}")
                tables["utt2spk"].append(f"{name} {u.speaker}")
                start += length + len(PAUSE_N) / SAMPLE_RATE
                seconds += length
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(sorted(lines)) + "\n")
    return seconds


def heard(u: Utterance) -> np.ndarray:
    """Its samples."""
    return read_audio(u.audio_filepath, u.offset, u.duration)


def ours(kind: str, folder: Path, out: Path) -> None:
    """Prepare and shard."""
    reader = ["common-voice", str(folder / "en")] if kind == "common-voice" else ["kaldi", str(folder)]
    call([sys.executable, "-c", OURS, "prepare", *reader, "--out", str(out / "manifests")])
    manifests = [str(path) for path in (out / "manifests").glob("*.jsonl")]
    call([sys.executable, "-c", OURS, "shard", *manifests, "--out", str(out / "shards")])


def theirs(kind: str, folder: Path, out: Path) -> None:
    """lhotse's readers and Shar, in a process of its own."""
    call([sys.executable, __file__, "--lhotse", kind, str(folder), str(out)])


def with_lhotse(kind: str, folder: Path, out: Path) -> None:
    """What `theirs` runs."""
    import csv

    import torch
    from lhotse import CutSet, RecordingSet, SupervisionSet
    from lhotse.kaldi import load_kaldi_data_dir
    from lhotse.recipes.commonvoice import _parse_utterance

    torch.set_num_threads(1)
    sets: dict[str, CutSet] = {}
    if kind == "common-voice":
        for part in PARTS:
            with open(folder / "en" / f"{part}.tsv") as f:
                rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
            found = [_parse_utterance(folder / "en", "en", row) for row in rows]
            recordings = RecordingSet.from_recordings(r for r, _ in found).resample(SAMPLE_RATE)
            supervisions = SupervisionSet.from_segments(s for _, s in found)
            sets[part] = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    else:
        recordings, supervisions, _ = load_kaldi_data_dir(folder, SAMPLE_RATE)
        sets["train"] = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions()
    for part, cuts in sets.items():
        (out / part).mkdir()
        cuts.to_shar(str(out / part), fields={"recording": "flac"}, shard_size=200)


def call(command: list[str]) -> None:
    """Run it; its output is shown when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def measured(run: Any, kind: str, folder: Path) -> tuple[float, float]:
    """CPU seconds and seconds of a run, its children together."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run(kind, folder, Path(out))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cpu, time.perf_counter() - started


def main() -> None:
    """Make the folders, measure in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("an4", type=Path, help="folder of AN4")
    parser.add_argument("--copies", type=int, default=1, help="how often each utterance is there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("common-voice", "kaldi"))
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    corpus = read_an4(args.an4, labelled="all")
    utterances = [u for part in (corpus.labelled, corpus.dev, corpus.test) for u in part]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in (("common-voice", common_voice), ("kaldi", kaldi)):
            if args.only not in (None, kind):
                continue
            root = Path(folder) / kind / "data"
            seconds = make(root, utterances, args.copies)
            figures: dict[str, list[tuple[float, float]]] = {"asr_kd": [], "lhotse": []}
            for _ in range(args.rounds):
                figures["asr_kd"].append(measured(ours, kind, root))
                figures["lhotse"].append(measured(theirs, kind, root))
            result[kind] = {"audio_s": round(seconds)}
            for name, runs in figures.items():
                cpu, wall = (statistics.median(values) for values in zip(*runs, strict=True))
                result[kind][name] = {
                    "cpu_s": round(cpu, 1),
                    "wall_s": round(wall, 1),
                    "x_real_time": round(seconds / cpu),
                }
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--lhotse"]:
        with_lhotse(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
