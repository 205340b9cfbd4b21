"""How much worse does a streaming model get where silence stands before a word?

    python tools/silence.py EXPORT exp/quickstart/shards/dev [--utterances 60]

EXPORT: a folder of `asr-kd export`, or whatever `asr_kd.load` takes. Silence is the quietest 0.1 s of each recording,
forwards and backwards by turns (augment.silence_prob adds another: noise of its spectrum).
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import jiwer
import numpy as np

import asr_kd
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.decode.stream import EndPoints
from asr_kd.frontend.noise import quietest
from asr_kd.shards.reader import find_shards, open_shard


def silence(wave_N: np.ndarray, seconds: float) -> np.ndarray:
    """The quietest stretch of the wave, repeated."""
    quiet_N = quietest(wave_N)
    return np.resize(np.concatenate([quiet_N, quiet_N[::-1]]), int(seconds * SAMPLE_RATE))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of word error rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--utterances", type=int, default=60, help="so many of the first (default: 60)")
    options = parser.parse_args(arguments)
    model = asr_kd.load(options.model)
    rows = (
        (s.audio(i), s.entries[i].text)
        for s in map(open_shard, find_shards(options.shards))
        for i in range(len(s.entries))
    )
    waves, texts = zip(*islice(rows, options.utterances), strict=True)

    def words(wave_N: np.ndarray, end_points: EndPoints | Literal["default"] | None) -> str:
        stream = model.stream(end_points)
        return " ".join(found.text for found in [*stream.accept(wave_N), *stream.finish()])

    def show(what: str, found: list[str], wanted: Sequence[str] = texts) -> None:
        print(f"{100 * jiwer.wer(list(wanted), found):5.1f}  {what}", flush=True)

    show("whole utterances", [words(w, None) for w in waves])
    for seconds in (1, 3):
        show(f"{seconds} s of silence before", [words(np.concatenate([silence(w, seconds), w]), None) for w in waves])
    around = [np.concatenate([silence(w, 1), w, silence(w, 1)]) for w in waves]
    show("1 s before and behind, end points", [words(w, "default") for w in around])
    joined_N, text = np.concatenate(around), " ".join(texts)
    show("these joined, end points", [words(joined_N, "default")], [text])
    show("these joined, taken for one utterance", [words(joined_N, None)], [text])


if __name__ == "__main__":
    main()
