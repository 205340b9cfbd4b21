"""Word error rates of one or more systems on one test set, with intervals and paired comparisons.

Example:

    asr-kd score --ref exp/manifests/test.jsonl --hyp student=exp/student/test --hyp teacher=exp/teacher/test \\
        --baseline teacher --by snr --out exp/scores

writes exp/scores/scores.json and prints a table. Texts are normalised first. Intervals are 95% bootstrap intervals;
all systems share the resamples, so differences are paired. Where decoding skipped an utterance (its line has a reason
instead of text), all its words are deletions and the table says so; an utterance without a line is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_kd.core.commands import command, command_line
from asr_kd.core.files import atomic_path, sha256_file, write_json
from asr_kd.core.options import option
from asr_kd.core.terminal import show
from asr_kd.corpora.languages import language_code
from asr_kd.corpora.text import NORMALISER_VERSION
from asr_kd.evaluation.bootstrap import BootstrapConfig
from asr_kd.evaluation.hypotheses import (
    check_decoded_in,
    hypotheses_file,
    match,
    read_decode_notes,
    read_hypotheses,
    read_references,
    reference_language,
)
from asr_kd.evaluation.provenance import commit, versions
from asr_kd.evaluation.scores import score_systems
from asr_kd.evaluation.table import table


@dataclass(frozen=True, kw_only=True)
class ScoreRun:
    """What `asr-kd score` is given."""

    ref: Path = option("manifest with the reference text", metavar="MANIFEST")
    hyp: tuple[str, ...] = option(
        "name and hypotheses of each system: hyp.jsonl or its folder",
        metavar="NAME=PATH",
    )
    baseline: str | None = option(
        "system that the relative WER reduction (WERR) and the paired tests compare with", None, metavar="NAME"
    )
    oracle: str | None = option("system trained with all hidden text, for the WER recovery rate", None, metavar="NAME")
    by: tuple[str, ...] = option(
        "break the WER down by these fields of the references' `meta` (or by `speaker`)", (), metavar="FIELD"
    )
    bootstrap_unit: Literal["auto", "utterance", "speaker"] = option(
        "unit of the bootstrap; auto: speakers where there are at least 20, else utterances", "auto"
    )
    bootstrap_samples: int = option("bootstrap resamples", BootstrapConfig.resamples, metavar="N")
    seed: int = option("random seed of the bootstrap", BootstrapConfig.seed)
    language: str | None = option(
        "language of the texts, as a code such as de (default: what the references name as lang, else en); "
        "without spaces between words the measure is the character error rate (CER)",
        None,
        metavar="CODE",
        parse=language_code,
    )
    out: Path = option("output folder: scores.json")
    variants_of: str | None = option(
        "the systems are variants that COMMAND made: also write OUT/ablation.json, for `asr-kd results`",
        None,
        metavar="COMMAND",
    )
    run_seed: int | None = option("with --variants-of: seed that the variants were trained with", None, metavar="SEED")


@command()
def score_hypotheses(config: ScoreRun) -> None:
    """Score the hypotheses of systems against references, and print the table."""
    bootstrap = BootstrapConfig(unit=config.bootstrap_unit, resamples=config.bootstrap_samples, seed=config.seed)
    hyps = named_paths("--hyp", config.hyp)
    scores = score(
        config.ref, hyps, config.baseline, config.oracle, list(dict.fromkeys(config.by)), bootstrap, config.language
    )
    write_scores(config.out / "scores.json", scores)
    if config.variants_of:
        origin = {"seed": config.run_seed, "command": config.variants_of, "commit": scores["commit"]}
        rows = [{"name": n, "wer": s["wer"], "ci95": s["ci95"]} | origin for n, s in scores["systems"].items()]
        write_json(config.out / "ablation.json", rows)
    show(*table(scores))


def named_paths(option: str, pairs: Sequence[str]) -> dict[str, Path]:
    """`NAME=PATH` arguments as a dict. ValueError when one has no name or a name comes twice."""
    named: dict[str, Path] = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not (name and separator and path):
            raise ValueError(f"{option} {pair}: a name and a path are needed. Write it as NAME=PATH.")
        if name in named:
            raise ValueError(f"{option} {pair}: {name} is already {named[name]}. Give each system its own name.")
        named[name] = Path(path)
    return named


def score(
    ref: Path,
    hyps: Mapping[str, Path],
    baseline: str | None = None,
    oracle: str | None = None,
    by: Sequence[str] = (),
    config: BootstrapConfig | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """What `scores.json` holds; see `scores.score_systems` for the figures.

    language: of the texts; None: what the references name. ValueError when a system was decoded in another.
    """
    references = read_references(ref)
    language = reference_language(references, ref, language)
    for name, path in hyps.items():
        check_decoded_in(language, path, ref, name)
    found = {name: match(references, read_hypotheses(path), path, ref) for name, path in hyps.items()}
    texts = {name: [text or "" for text in matched] for name, matched in found.items()}
    scored = score_systems(references, texts, baseline, oracle, by, config, language)
    for name, path in hyps.items():
        skipped = [u.id for u, text in zip(references, found[name], strict=True) if text is None]
        if skipped:
            scored["systems"][name]["skipped"] = skipped
        scored["systems"][name] |= {"hypotheses": str(hypotheses_file(path)), "decode": read_decode_notes(path)}
    origin = {
        "format": 1,
        "command": command_line(),
        "commit": commit(),
        "versions": versions(("jiwer", "rapidfuzz", "numpy")),
        "normaliser": NORMALISER_VERSION,
        "reference": {"manifest": str(ref), "sha256": sha256_file(ref)},
    }
    return origin | scored


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """Write `scores.json`: indented, but each utterance on one line so that it can be grepped."""
    head = json.dumps({k: v for k, v in scores.items() if k != "per_utterance"}, indent=1, ensure_ascii=False)
    lines = ",\n  ".join(json.dumps(u, ensure_ascii=False) for u in scores["per_utterance"])
    with atomic_path(path) as temporary:
        temporary.write_text(f'{head[:-2]},\n "per_utterance": [\n  {lines}\n ]\n}}\n', encoding="utf-8")
