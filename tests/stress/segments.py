#!/usr/bin/env python3
"""Are words whole in the segments of joined recordings in noise, how much of what is kept is silence, how fast is it?

    .venv/bin/python tests/stress/segments.py exp/segments_stress --data $ASR_KD_DATA

Utterances of AN4 and speechocean762, aligned by `asr-kd align` in the folder given (made once), are joined with pauses
of 0.3 to 3 s in clean and in noise of 10 dB, and cut. Prints a line of JSON for each, and one with the worst; exit code
1 when less than 99% of the words lie whole in a segment, or 5% of what is kept is silence beyond the padding. Real time
is told from the processor time of one worker that reads FLAC, and from the clock: for an idle core, `taskset -c 1`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from joined import Spoken, SpokenWord, aligned_utterances, join, with_noise, write

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.segments import Segment, SegmentConfig
from asr_kd.segment.segment_job import SegmentJob, SegmentWorker

LABELLED = {"an4": "all", "speechocean762": "all"}
NOISES = ("clean", "white", "pink", "002_Rain")
SHORTEST_PAUSE_S = 0.3
"""Between two utterances."""
FRAME_S = 0.03
"""Of the alignments: their edges are not surer than that."""
MS = 1000


def prepared(corpus: str, data: Path, work: Path) -> list[Spoken]:
    """The corpus's utterances, aligned."""
    here = work / corpus
    if not (here / "align/config.yaml").exists():
        for words in (
            ["prepare", corpus, data / corpus, "--labelled", LABELLED[corpus], "--out", here / "manifests"],
            ["shard", here / "manifests/labelled.jsonl", "--out", here / "shards"],
            ["align", here / "shards/labelled", "--lexicon", here / "manifests/lexicon.txt", "--out", here / "align"],
        ):
            subprocess.run([sys.executable, "-m", "asr_kd.cli", *map(str, words)], check=True, stdout=sys.stderr)
    return list(aligned_utterances(here / "shards/labelled", here / "align"))


def measures(spoken: Spoken, segments: Sequence[Segment], padding_s: float) -> dict[str, float]:
    """Shares, as said at the top."""
    length = round(len(spoken.wave_N) / SAMPLE_RATE * MS)
    kept, said, near = (np.zeros(length, dtype=bool) for _ in range(3))
    whole = 0
    starts = np.array([s.start_s for s in segments])
    for word in spoken.words:
        said[round(word.start_s * MS) : round(word.end_s * MS)] = True
        near[max(0, round((word.start_s - padding_s) * MS)) : round((word.end_s + padding_s) * MS)] = True
        n = int(np.searchsorted(starts, word.start_s + FRAME_S, side="right")) - 1
        whole += n >= 0 and segments[n].end_s >= word.end_s - FRAME_S
    for segment in segments:
        kept[round(segment.start_s * MS) : round(segment.end_s * MS)] = True
    lengths = np.array([s.end_s - s.start_s for s in segments])
    return {
        "words": len(spoken.words),
        "whole": whole / len(spoken.words),
        "silence": float((kept & ~said).sum() / kept.sum()),
        "silence_beyond_padding": float((kept & ~near).sum() / kept.sum()),
        "oracle_silence": 1 - said.sum() / sum(s.end_s - s.start_s for s in cut_by_words(spoken.words)) / MS,
        "segments": len(segments),
        "median_s": float(np.median(lengths)),
        "longest_s": float(lengths.max()),
    }


def cut_by_words(words: Sequence[SpokenWord]) -> Iterator[Segment]:
    """What a cutter without padding keeps that knows all words: it cuts wherever two utterances may meet."""
    starts = [0, *(n for n in range(1, len(words)) if words[n].start_s - words[n - 1].end_s >= SHORTEST_PAUSE_S)]
    for first, end in pairwise([*starts, len(words)]):
        yield Segment(words[first].start_s, words[end - 1].end_s)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=list(LABELLED))
    parser.add_argument("--detectors", nargs="+", default=["silero"])
    parser.add_argument("--noises", nargs="+", default=NOISES)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--snr", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="of the cutting")
    args = parser.parse_args()
    config = replace(SegmentConfig(), **{k: float(v) for k, v in (pair.split("=") for pair in args.set)})
    found = []
    for corpus in args.corpora:
        utterances = prepared(corpus, args.data, args.work)
        for noise in args.noises:
            rng = np.random.default_rng(args.seed)
            spoken = with_noise(join(utterances, 60 * args.minutes, rng), noise, args.snr, args.data / "esc10", rng)
            with tempfile.TemporaryDirectory() as folder:
                path, seconds = Path(folder) / "talk.flac", len(spoken.wave_N) / SAMPLE_RATE
                write(spoken, path)
                for detector in args.detectors:
                    worker = SegmentWorker(SegmentJob(detector, folder, config), lambda event: None)
                    began, clock = time.process_time(), time.perf_counter()
                    cut = worker.cut(Utterance("talk", str(path), seconds))
                    spent, waited = time.process_time() - began, time.perf_counter() - clock
                    row = {"corpus": corpus, "noise": noise, "detector": detector, "minutes": seconds / 60}
                    row |= measures(spoken, cut.segments, config.padding_seconds)
                    found.append(row | {"times_real_time": seconds / spent, "times_clock": seconds / waited})
                    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in found[-1].items()}))
    worst = {
        "whole": min(f["whole"] for f in found),
        "silence_beyond_padding": max(f["silence_beyond_padding"] for f in found),
        "times_real_time": min(f["times_real_time"] for f in found),
        "times_clock": min(f["times_clock"] for f in found),
    }
    print(json.dumps({"worst": {k: round(v, 4) for k, v in worst.items()}}))
    sys.exit(not (worst["whole"] >= 0.99 and worst["silence_beyond_padding"] < 0.05))


if __name__ == "__main__":
    main()
