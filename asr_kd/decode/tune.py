"""Chooses the acoustic scale and the prior scale with the fewest word errors on held-out data and writes OUT/tune.json,
for --decoding-scales of `asr-kd decode` and `asr-kd label`. Do not tune on test data:

  asr-kd tune exp/shards/dev --model exp/student --graph exp/graph --out exp/student/tune

A general language model makes weak models put in short words. --word-insertion-penalties tries a penalty for each word:

  asr-kd tune exp/shards/dev --model exp/student --graph exp/graph --word-insertion-penalties 0 2 4 6 --out exp/tune
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer

from asr_kd.core.commands import command
from asr_kd.core.files import write_json
from asr_kd.core.options import argument, option
from asr_kd.core.progress import Progress
from asr_kd.core.runtime import set_threads
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say
from asr_kd.corpora.text import normalise
from asr_kd.decode.recognise import Recogniser, RecogniserOptions, all_shards
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import SearchConfig
from asr_kd.teachers.registry import models_fingerprint

ACOUSTIC_SCALES = (0.4, 0.55, 0.75, 1.0, 1.3, 1.7)
SMALLEST, LARGEST = 0.1, 3.4
"""Between these, scales beyond the ones above are tried while the best is at their end: weak models want small ones."""
NEXT = 1.4
PRIOR_SCALES = (0.3, 0.6, 1.0)
"""And the inventory's own share, where that is another."""
DEFAULT_SCALES = DecodingScales(acoustic=0.75, prior=1.0)
"""What suits most models of senones; preferred unless the held-out data speak clearly for something else."""
PENALTY_WEIGHT = 0.2
"""A nat a word counts as so much of an e-fold of the acoustic scale, in the distance from what is usual."""
FAST_SEARCH = SearchConfig(beam=9.0, max_active=1000)
"""Enough to rank settings, and much faster than the full search."""


@dataclass(frozen=True, kw_only=True)
class TuneRun(RecogniserOptions):
    """What `asr-kd tune` is given."""

    shards: tuple[Path, ...] = argument("labelled held-out shards or folders of shards")
    graph: Path = option("decoding graph: output folder of `asr-kd graph`", metavar="DIR")
    acoustic_scales: tuple[float, ...] = option(
        "acoustic scales to try; of the default ones, also those beyond an end that is the best",
        ACOUSTIC_SCALES,
        metavar="X",
    )
    prior_scales: tuple[float, ...] = option(
        f"scales of the log-priors to try (default: {' '.join(map(str, PRIOR_SCALES))}; with tokens also 0)",
        (),
        metavar="X",
    )
    word_insertion_penalties: tuple[float, ...] = option(
        "penalties to try for each word of a hypothesis, in nats: larger ones make hypotheses shorter",
        (0.0,),
        metavar="X",
    )
    max_minutes: float = option("audio decoded for tuning, at most, in minutes", 20.0)


@command()
def tune_scales(config: TuneRun) -> None:
    """Choose the scales, and the penalty, of a model and a graph."""
    for name, values in (
        ("--acoustic-scales", config.acoustic_scales),
        ("--word-insertion-penalties", config.word_insertion_penalties),
    ):
        if not values:
            raise ValueError(f"{name}: give one number or more")
    if min(config.acoustic_scales) <= 0:
        raise ValueError(f"--acoustic-scales {min(config.acoustic_scales)}: they must be above 0")
    if not config.max_minutes > 0:
        raise ValueError(f"--max-minutes {config.max_minutes}: it must be above 0")
    set_threads(config.threads)
    recogniser = Recogniser(config.model, config.graph, config.device)
    language = recogniser.inventory.language
    shards, seconds = all_shards(config.shards)
    every = max(1, math.ceil(seconds / 60 / config.max_minutes))
    skipped = Skipped(max_share=config.max_skipped)
    found = list(recogniser.score(shards, skipped, every=every))
    skipped.finish(len(found) + len(skipped), config.out / "skipped.jsonl")
    scored = [item for item in found if normalise(item.text or "", language)]
    if not scored:
        raise ValueError(f"{config.shards[0]}: no utterance has text. Scales are tuned on labelled held-out data.")
    assert recogniser.graph is not None
    usual = replace(DEFAULT_SCALES, prior=recogniser.inventory.default_prior_scale)
    references = [normalise(s.text or "", language) for s in scored]
    trials: list[dict[str, float]] = []
    priors = config.prior_scales or sorted({*PRIOR_SCALES, usual.prior})
    penalties = sorted(set(config.word_insertion_penalties))
    acoustics = list(config.acoustic_scales)
    with Progress(
        "tune, all scales", len(penalties) * len(priors) * len(acoustics) * sum(s.seconds for s in scored)
    ) as progress:
        while acoustics:
            for penalty in penalties:
                searcher = recogniser.searcher(FAST_SEARCH, penalty)
                for prior, acoustic in itertools.product(priors, acoustics):
                    hypotheses = []
                    for s in scored:
                        words = recogniser.search(searcher, s.log_p_TC, DecodingScales(acoustic, prior))
                        hypotheses.append(normalise(" ".join(words), language))
                        progress.update(s.seconds)
                    wer = jiwer.wer(references, hypotheses)
                    trials.append({"acoustic": acoustic, "prior": prior, "word_insertion_penalty": penalty, "wer": wer})
            further = beyond(trials) if config.acoustic_scales == ACOUSTIC_SCALES else None
            acoustics = [] if further is None else [further]
    best = choose(trials, sum(len(r.split()) for r in references), usual)
    made = {"model": models_fingerprint(config.model), "graph": recogniser.graph.fingerprint, "utterances": len(scored)}
    write_json(config.out / "tune.json", {**best, **made, "trials": trials})
    of_words = f", {best['word_insertion_penalty']} a word" if config.word_insertion_penalties != (0.0,) else ""
    say(
        f"acoustic scale {best['acoustic']}, prior share {best['prior']}{of_words}: WER {best['wer']:.1%} on "
        f"{len(scored)} held-out utterances",
    )
    if len(penalties) > 1 and best["word_insertion_penalty"] == penalties[-1]:
        say("the largest of --word-insertion-penalties is the best: try larger ones too")


def beyond(trials: Sequence[dict[str, float]]) -> float | None:
    """The next acoustic scale, where the lowest WER is at an end of those that were tried; None where none is left."""
    tried = sorted({t["acoustic"] for t in trials})
    lowest = min(t["wer"] for t in trials)
    best = {t["acoustic"] for t in trials if t["wer"] == lowest}
    if best == {tried[0]} and (smaller := round(tried[0] / NEXT, 2)) >= SMALLEST:
        return smaller
    if best == {tried[-1]} and (larger := round(tried[-1] * NEXT, 2)) <= LARGEST:
        return larger
    return None


def choose(trials: list[dict[str, float]], words: int, usual: DecodingScales = DEFAULT_SCALES) -> dict[str, float]:
    """The trial nearest to `usual` among those whose WER is within one standard error of the lowest.

    A few hundred held-out words cannot tell neighbouring settings apart, and the luckiest of them is a bad choice; with
    many words the interval shrinks and the lowest WER decides.  words: of the references.
    Source: the one-standard-error rule of Breiman et al., "Classification and regression trees" (1984).
    """
    lowest = min(t["wer"] for t in trials)
    error = math.sqrt(min(lowest, 1.0) * (1 - min(lowest, 1.0)) / max(words, 1))
    good = [t for t in trials if t["wer"] <= lowest + error + 1e-9]  # rounding noise must not break ties
    return min(
        good, key=lambda t: (_distance(t, usual), t["wer"], t["acoustic"], t["prior"], t["word_insertion_penalty"])
    )


def _distance(trial: dict[str, float], usual: DecodingScales) -> float:
    scales = abs(math.log(trial["acoustic"] / usual.acoustic)) + abs(trial["prior"] - usual.prior)
    return round(scales + PENALTY_WEIGHT * abs(trial["word_insertion_penalty"] - usual.word_insertion_penalty), 9)
