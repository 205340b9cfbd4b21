#!/usr/bin/env python3
"""Does a stream have the words of the whole? Real speech in pieces of random sizes, 1 ms to 5 s.

    .venv/bin/python tests/stress/streaming.py exp/quickstart/student_distilled $ASR_KD_DATA/{an4,speechocean762} \\
        --graph exp/quickstart/graph --decoding-scales exp/quickstart/tune/student_distilled --utterances 100

Of each folder, so many utterances drawn at random. As one utterance each: the words, times and confidences of
`transcribe`. With end points, all of them as one recording with pauses between: two ways to cut it, the same bits.
Prints one line of JSON a folder; exit code 1 when words or times differ.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import asr_kd
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.found_audio import audio_files
from asr_kd.decode.stream import Stream
from asr_kd.decode.transcriber import Transcriber
from asr_kd.transcripts.recognised import Transcript

SHORTEST, LONGEST = SAMPLE_RATE // 1000, 5 * SAMPLE_RATE
"""Samples of a piece."""


def pieces(wave_N: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The waveform, in pieces whose sizes are log-uniform: many short ones, some of seconds."""
    first = 0
    while first < len(wave_N):
        size = int(np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST))))
        yield wave_N[first : first + size]
        first += size


def fed(stream: Stream, wave_N: np.ndarray, rng: np.random.Generator) -> list[Transcript]:
    """What the stream says to the waveform, cut at random."""
    ended = [transcript for piece_N in pieces(wave_N, rng) for transcript in stream.accept(piece_N)]
    return ended + stream.finish()


def times(transcript: Transcript) -> list[tuple[float, float]]:
    """Begin and end of each word, seconds."""
    return [(word.start_s, word.end_s) for word in transcript.words]


def compare(transcriber: Transcriber, waves: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Streams without end points against `transcribe`: how many utterances differ, and by how much."""
    words = other_words = other_times = 0
    most_time = most_confidence = 0.0
    for wave_N in waves:
        whole, found = transcriber.transcribe(wave_N), fed(transcriber.stream(None), wave_N, rng)
        streamed = found[0] if found else Transcript([], 0.0)
        words += len(whole.words)
        if whole.text != streamed.text:
            other_words += 1
            print(f"whole {whole.text!r}, streamed {streamed.text!r}", file=sys.stderr)
            continue
        a_W2, b_W2 = np.array(times(whole)), np.array(times(streamed))
        other_times += times(whole) != times(streamed)
        most_time = max(most_time, float(np.abs(a_W2 - b_W2).max(initial=0)))
        for a, b in zip(whole.words, streamed.words, strict=True):
            most_confidence = max(most_confidence, abs(a.confidence - b.confidence))
    return {
        "utterances": len(waves),
        "words": words,
        "utterances_with_other_words": other_words,
        "utterances_with_other_times": other_times,
        "largest_difference_s": most_time,
        "largest_difference_of_confidence": most_confidence,
    }


def with_end_points(transcriber: Transcriber, waves: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """One recording of all of them, cut in two ways."""
    parts = [part for wave_N in waves for part in (wave_N, pause(rng))]
    recording_N = np.concatenate(parts)
    one, other = (fed(transcriber.stream(), recording_N, rng) for _ in range(2))
    pairs = itertools.zip_longest(one, other)
    return {
        "recording_s": round(len(recording_N) / SAMPLE_RATE),
        "utterances_found": len(one),
        "of_them_other_bits": sum(a != b for a, b in pairs),
    }


def pause(rng: np.random.Generator) -> np.ndarray:
    """0.2 to 2 s of faint noise."""
    return (0.001 * rng.standard_normal(int(SAMPLE_RATE * rng.uniform(0.2, 2)))).astype(np.float32)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folders", nargs="+", type=Path, help="of audio")
    parser.add_argument("--graph")
    parser.add_argument("--decoding-scales")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    transcriber = asr_kd.load(args.model, args.graph, args.decoding_scales, device="cpu")
    differs = False
    for folder in args.folders:
        rng = np.random.default_rng(args.seed)
        paths = sorted(audio_files(folder)[0])
        drawn = rng.choice(len(paths), min(args.utterances, len(paths)), replace=False)
        waves = [read_audio(paths[n]) for n in drawn]
        found = compare(transcriber, waves, rng) | with_end_points(transcriber, waves, rng)
        differs |= any(found[name] for name in found if "_other_" in name)
        print(json.dumps({"folder": folder.name, **found}), flush=True)
    sys.exit(differs)


if __name__ == "__main__":
    main()
