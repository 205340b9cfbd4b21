"""An exported model in an unmodified sherpa-onnx against ours, on shards with references:

    python tests/stress/sherpa.py EXPORT_DIR SHARDS [--utterances 100] [--tail 0.5]

For the torch model's twin in onnxruntime (`asr_kd.load(EXPORT_DIR)`) and for sherpa-onnx in float32 and int8, greedily
and through the graph where there is one: WER, how many utterances have the same words, and how far the times of the
first tokens of words lie apart. Each recording is followed by `--tail` seconds of zeros, as sherpa-onnx needs. Prints
one line of JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import sherpa_onnx

import asr_kd
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.transcripts.recognised import Transcript

SPACE = "▁"


class Sherpa:
    """One recogniser of sherpa-onnx."""

    def __init__(self, folder: Path, model: str, has_graph: bool) -> None:
        graph = {"ctc_graph": str(folder / "TLG.fst")} if has_graph else {}
        self._recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
            tokens=str(folder / "tokens.txt"), model=str(folder / model), feature_dim=80, num_threads=1, **graph
        )

    def __call__(self, wave_N: np.ndarray) -> tuple[str, list[float]]:
        """Words, and of each the time of its first token in seconds."""
        stream = self._recognizer.create_stream()
        stream.accept_waveform(SAMPLE_RATE, wave_N)
        stream.input_finished()
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        found = self._recognizer.get_result_all(stream)
        spelt: list[tuple[str, float]] = []  # a word begins with the token of the space before it, as with ours
        for token, time in zip(found.tokens, found.timestamps, strict=True):
            token = token.replace(" ", SPACE)
            if spelt and not token.startswith(SPACE):
                spelt[-1] = spelt[-1][0] + token, spelt[-1][1]
            else:
                spelt.append((token, time))
        words = [(text.replace(SPACE, ""), time) for text, time in spelt if text.replace(SPACE, "")]
        return " ".join(text for text, _ in words), [time for _, time in words]


def main() -> int:
    """Compare; exit code 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--utterances", type=int, default=10**9)
    parser.add_argument("--tail", type=float, default=0.5)
    args = parser.parse_args()
    has_graph = (args.export / "graph").is_dir()
    waves, references = [], []
    for path in find_shards(args.shards):
        shard = open_shard(path)
        for row, entry in enumerate(shard.entries):
            waves.append(np.concatenate([shard.audio(row), np.zeros(int(args.tail * SAMPLE_RATE), np.float32)]))
            references.append(entry.text or "")
    waves, references = waves[: args.utterances], references[: args.utterances]
    ours = asr_kd.load(args.export)
    expected = [ours.transcribe(wave_N) for wave_N in waves]
    out = {"ours": {"wer": jiwer.wer(references, [t.text for t in expected])}}
    for model in ("model.onnx", "model.int8.onnx"):
        out[f"sherpa-onnx {model}"] = compare(
            Sherpa(args.export / "sherpa-onnx", model, has_graph), waves, references, expected
        )
    print(json.dumps({"utterances": len(waves), "graph": has_graph, **out}))
    return 0


def compare(
    recognise: Callable[[np.ndarray], tuple[str, list[float]]],
    waves: list[np.ndarray],
    references: list[str],
    expected: list[Transcript],
) -> dict[str, float]:
    """Figures of one recogniser."""
    found = [recognise(wave_N) for wave_N in waves]
    same = [(starts, t) for (text, starts), t in zip(found, expected, strict=True) if text == t.text]
    apart = [abs(a - w.start_s) for starts, t in same for a, w in zip(starts, t.words, strict=True)]
    return {
        "wer": jiwer.wer(references, [text for text, _ in found]),
        "same_words": len(same),
        "median_apart_s": float(np.median(apart)),
        "most_apart_s": max(apart),
    }


if __name__ == "__main__":
    sys.exit(main())
