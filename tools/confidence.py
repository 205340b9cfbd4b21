"""How well do the signals of pseudo-transcripts tell right from wrong? Measured where the truth is known after all:

  python tools/confidence.py exp/an4/shards/unlabelled --ref exp/an4/manifests/unlabelled_references.jsonl \\
      --teacher exp/an4/second_teacher exp/an4/teacher --decoding-scales exp/an4/tune/teacher --graph exp/an4/graph

For each signal: Spearman's correlation with the utterance's word error rate, the area under the ROC curve for "has an
error" (0.5 is chance), both with 95% bootstrap intervals, and the WER of the half of the audio that it trusts most.
--loop adds two signals that cost a second search: the words of a search without a language model, and the frames'
phones of a free phone loop. The reference text is looked at here only, never by `asr-kd label` or `asr-kd filter`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, spearmanr

from asr_kd.core.progress import Progress
from asr_kd.core.runtime import set_threads
from asr_kd.core.skipped import Skipped
from asr_kd.decode.recognise import Recogniser, all_shards
from asr_kd.evaluation.hypotheses import read_references
from asr_kd.evaluation.wer import UtteranceErrors, utterance_errors
from asr_kd.graph.confidence import DecodedWord, geometric_mean
from asr_kd.graph.hclg import decoding_graph
from asr_kd.graph.ngram import train_ngram
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import Decoder
from asr_kd.inventory.lexicon import SILENCE, Lexicon
from asr_kd.inventory.senones import Senones
from asr_kd.label.lattices import SEARCH, LatticeConfig, LatticePosteriors

RESAMPLES = 500


@dataclass
class Measured:
    """An utterance: what it was worth in truth, and what each signal says (larger = more to be trusted)."""

    seconds: float
    errors: UtteranceErrors
    words: list[DecodedWord]
    signals: dict[str, float]


def signals_of(lattices: LatticePosteriors, log_p_TC: np.ndarray) -> tuple[list[DecodedWord], dict[str, float]] | None:
    """The words and the signals that come with it; None where no path ends."""
    _, heard = lattices.search(log_p_TC)
    if heard is None:
        return None
    words = heard.words
    each = {
        "words: lattice posterior": [w.posterior for w in words],
        "words: model's posterior of the path": [w.acoustic for w in words],
        "words: clarity (inverse perplexity)": [w.entropy_confidence for w in words],
    }
    signals = {"confidence: geometric mean of all three": heard.confidence}
    signals["confidence of the least sure word"] = min((w.confidence for w in words), default=heard.confidence)
    for name, values in each.items():
        signals[name] = geometric_mean(values) if words else heard.confidence
    signals["agreement: frames' phones, path and arg-max"] = heard.am_agreement
    signals["entropy: mean over all frames"] = -heard.entropy
    return words, signals


def flat_searcher(inventory: Senones, lexicon: Lexicon) -> tuple[Decoder, list[str]]:
    """A search in which all words are as likely anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "flat.arpa"
        train_ngram([[w] for w in lexicon.words], lexicon.words, order=1).write_arpa(arpa)
        fst, words = decoding_graph(inventory, lexicon, arpa)
    return Decoder(fst, SEARCH), words


def auc(score_N: np.ndarray, bad_N: np.ndarray) -> float:
    """Chance that an utterance with an error scores lower than one without (Mann-Whitney, ties count half)."""
    ranks, bad = rankdata(-score_N), int(bad_N.sum())
    return float((ranks[bad_N].sum() - bad * (bad + 1) / 2) / (bad * (len(bad_N) - bad)))


def interval(values: Sequence[float]) -> str:
    """The middle 95% of the values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return f"[{low:5.3f}, {high:5.3f}]"


def table(measured: Sequence[Measured]) -> str:
    """One line a signal."""
    errors_N = np.array([m.errors.errors for m in measured])
    words_N = np.array([m.errors.words for m in measured])
    seconds_N = np.array([m.seconds for m in measured])
    rate_N, bad_N = errors_N / np.maximum(words_N, 1), errors_N > 0
    lines = [
        f"{len(measured)} utterances, {seconds_N.sum() / 3600:.2f} h, WER {errors_N.sum() / words_N.sum():.1%}, "
        f"{bad_N.mean():.1%} have an error",
        f"{'signal':<50} {'Spearman':>8} {'':<14} {'AUC':>6} {'':<14} WER of the surest 75%, 50%, 25%",
    ]
    draws = [np.random.default_rng(i).integers(0, len(measured), len(measured)) for i in range(RESAMPLES)]
    for name in measured[0].signals:
        score_N = np.array([m.signals[name] for m in measured])
        correlation = -spearmanr(score_N, rate_N).statistic
        again = [-spearmanr(score_N[d], rate_N[d]).statistic for d in draws]
        aucs = [auc(score_N[d], bad_N[d]) for d in draws if 0 < bad_N[d].sum() < len(d)]
        order = np.argsort(-score_N, kind="stable")
        held_N = np.cumsum(seconds_N[order]) / seconds_N.sum()
        kept = [order[: max(int(np.searchsorted(held_N, share)), 1)] for share in (0.75, 0.5, 0.25)]
        rates = "  ".join(f"{errors_N[k].sum() / max(words_N[k].sum(), 1):5.1%}" for k in kept)
        lines.append(
            f"{name:<50} {correlation:8.3f} {interval(again)} {auc(score_N, bad_N):6.3f} {interval(aucs)} {rates}"
        )
    return "\n".join(lines)


def word_table(measured: Sequence[Measured]) -> str:
    """Of each number of a word, the area under the ROC curve for "is wrong" (substituted or inserted)."""
    pairs = [
        (word, symbol != "=")
        for m in measured
        for word, symbol in zip(m.words, m.errors.path.replace("D", ""), strict=True)
    ]
    wrong_N = np.array([wrong for _, wrong in pairs])
    lines = [f"{len(pairs)} words, {wrong_N.mean():.1%} wrong; AUC for that a word is wrong"]
    for name in ("confidence", "posterior", "acoustic", "clarity"):
        lines.append(f"{name:<50} {auc(np.array([getattr(word, name) for word, _ in pairs]), wrong_N):.3f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Score the shards, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", type=Path)
    parser.add_argument("--ref", required=True, type=Path, metavar="MANIFEST", help="the shards' true text")
    parser.add_argument("--teacher", required=True, nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--graph", required=True, type=Path)
    parser.add_argument("--decoding-scales", type=Path)
    parser.add_argument("--loop", action="store_true", help="also search without a language model")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th utterance only")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args(argv)
    set_threads(args.threads)
    scales = DecodingScales.load(args.scales) if args.scales else DecodingScales()
    recogniser = Recogniser(args.teacher, args.graph, args.device)
    inventory, graph = recogniser.inference.model.inventory, recogniser.graph
    lattices = LatticePosteriors(graph, recogniser.log_prior_C, LatticeConfig(scales, 0.0), inventory)
    if args.loop:
        assert graph.lexicon is not None
        no_lm, no_lm_words = flat_searcher(inventory, graph.lexicon)
        loop, _ = flat_searcher(inventory, Lexicon({p: [(p,)] for p in graph.lexicon.phones if p != SILENCE}))
        with_lm = Decoder(graph.fst, SEARCH)
    phones_CP, silence = inventory.phones_of_class_CP, list(inventory.silence_classes)
    references = {u.id: u.text or "" for u in read_references(args.ref)}
    shards, seconds = all_shards(args.shards)
    measured, lost, skipped = [], 0, Skipped()
    with Progress("confidence", seconds / args.every) as progress:
        for scored in recogniser.score(shards, skipped, progress, args.every):
            found = signals_of(lattices, scored.log_p_TC)
            if found is None:
                lost += 1
                continue
            words, signals = found
            text = " ".join(w.word for w in words)
            if args.loop:
                score_TC = recogniser.scaled(scored.log_p_TC, scales)
                paths = [searcher.best(score_TC) for searcher in (with_lm, no_lm, loop)]
                assert all(paths), "the beam lost all paths"
                alone = " ".join(no_lm_words[w] for w in paths[1].words)
                edits = utterance_errors([alone], [text])[0]
                signals["words with and without LM (2nd search)"] = -edits.errors / max(len(text.split()), 1)
                mine_T, theirs_T = paths[0].classes, paths[2].classes
                speech_T = ~(np.isin(mine_T, silence) & np.isin(theirs_T, silence))
                same_T = (phones_CP[mine_T] & phones_CP[theirs_T]).any(1)
                signals["frames' phones, path and phone loop (2nd search)"] = same_T[speech_T].mean()
            errors = utterance_errors([references[scored.id]], [text])[0]
            measured.append(Measured(scored.seconds, errors, words, signals))
    for name, reason in skipped.reasons.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    if lost:
        print(f"{lost} utterances without a whole path are left out", file=sys.stderr)
    print(table(measured))
    print(word_table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
