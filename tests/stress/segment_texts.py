#!/usr/bin/env python3
"""Of joined recordings with their text, how many words get into the segment in which they were said?

    .venv/bin/python tests/stress/segment_texts.py exp/teacher exp/align/lexicon.txt \\
        --shards exp/shards/test --alignments exp/test_alignments

Utterances with alignments (`asr-kd align --model`) are joined with pauses of 0.3 to 3 s, and cut with all of their
words as text. Prints a line of JSON: share of the words that are in the text of the segment in which they were said
(`recovered`), and words of segments that were not said in them (`wrong`); exit code 1 below 95% and above 0.5%.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from joined import aligned_utterances, join, with_noise, write
from rapidfuzz.distance import Levenshtein

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.manifest import Utterance
from asr_kd.segment.segment_job import SegmentJob, SegmentWorker
from asr_kd.segment.text_aligner_config import TextAlignerConfig


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("lexicon", nargs="?")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--alignments", type=Path, required=True)
    parser.add_argument("--noise", default="clean")
    parser.add_argument("--snr", type=float, default=10.0)
    parser.add_argument("--data", type=Path, help="for noises of ESC-10: the folder that holds esc10/")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--recordings", type=int, default=1)
    parser.add_argument("--max-word-errors", type=float, default=TextAlignerConfig.max_word_errors)
    parser.add_argument("--decoding-scales", type=Path, help="of `asr-kd tune`")
    parser.add_argument("--drop", type=float, default=0.0, help="share of the text's words that it lacks")
    parser.add_argument("--show", action="store_true", help="what went wrong")
    args = parser.parse_args()
    utterances = list(aligned_utterances(args.shards, args.alignments))
    scales = None if args.decoding_scales is None else str(args.decoding_scales)
    config = TextAlignerConfig((args.model,), args.lexicon, scales, max_word_errors=args.max_word_errors)
    words = recovered = wrong = segments = unmatched = 0
    spent = audio = 0.0
    with tempfile.TemporaryDirectory() as folder:
        worker = SegmentWorker(SegmentJob("silero", folder, text=config), lambda event: None)
        for seed in range(args.recordings):
            rng = np.random.default_rng(seed)
            joined = join(utterances, 60 * args.minutes, rng)
            spoken = with_noise(joined, args.noise, args.snr, Path(args.data or ".") / "esc10", rng)
            path, seconds = Path(folder) / "talk.flac", len(spoken.wave_N) / SAMPLE_RATE
            write(spoken, path)
            text = " ".join(w.word for w in spoken.words if rng.random() >= args.drop)
            began = time.process_time()
            found = worker.cut(Utterance("talk", str(path), seconds, text=text))
            spent, audio = spent + time.process_time() - began, audio + seconds
            assert found.texts is not None, found.error
            for segment, matched in zip(found.segments, found.texts, strict=True):
                middles = ((w.word, (w.start_s + w.end_s) / 2) for w in spoken.words)
                said = [word for word, at in middles if segment.start_s <= at < segment.end_s]
                right = len(said) + len(matched.words) - Levenshtein.distance(said, matched.words, weights=(1, 1, 2))
                recovered += right // 2
                wrong += len(matched.words) - right // 2
                segments += 1
                unmatched += matched.why_not is not None
                if args.show and said != matched.words:
                    print(segment, "said", said, "text", matched.words, matched.why_not, file=sys.stderr)
            words += len(spoken.words)
    share = {"recovered": recovered / words, "wrong": wrong / words}
    counts = {"words": words, "segments": segments, "unmatched": unmatched}
    print(json.dumps({**counts, **{k: round(v, 4) for k, v in share.items()}, "times_real_time": audio / spent}))
    sys.exit(not (share["recovered"] >= 0.95 and share["wrong"] <= 0.005))


if __name__ == "__main__":
    main()
