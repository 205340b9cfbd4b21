"""All figures of `scores.json`: totals, conditions and pairs of systems, each with its interval."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.text import has_spaces
from asr_kd.evaluation.bootstrap import (
    CONFIDENCE,
    BootstrapConfig,
    choose_unit,
    estimate,
    interval,
    p_value,
    ratio,
    recovery_rate,
    relative_reduction,
    resampled_sums,
    sum_by_unit,
)
from asr_kd.evaluation.wer import UtteranceErrors, utterance_errors

NO_CONDITION = "(none)"
"""The condition of utterances whose manifest line does not name one."""
ALL = ("", "")
"""The slice that holds every utterance; other slices are (field, value), for instance ("snr", "5")."""


class _Sums:
    """Resampled sums of named columns, drawn once so that everything computed from them is paired."""

    def __init__(self, columns: Mapping[tuple[Any, ...], np.ndarray], units: Sequence[str], config: BootstrapConfig):
        values_NK = np.stack(list(columns.values()), axis=1).astype(np.float64)
        sums_RK = resampled_sums(sum_by_unit(values_NK, units), config.resamples, config.seed)
        self._sums = dict(zip(columns, sums_RK.T, strict=True))

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        return self._sums[key]

    def count(self, key: tuple[Any, ...]) -> int:
        return int(self._sums[key][0])

    def with_interval(self, name: str, value_R: np.ndarray) -> dict[str, Any]:
        low_high = interval(value_R)
        return {name: estimate(value_R), "ci95" if name == "wer" else f"{name}_ci95": low_high}


def score_systems(
    references: Sequence[Utterance],
    texts: Mapping[str, Sequence[str]],
    baseline: str | None = None,
    oracle: str | None = None,
    by: Sequence[str] = (),
    config: BootstrapConfig | None = None,
    language: str = ENGLISH,
) -> dict[str, Any]:
    """Score the systems' texts, which are in the order of the references.

    baseline: system that WERR (relative reduction) is measured from.  oracle: system whose gain over the baseline is
    a recovery of 1.  by: fields of `meta` (or `speaker`) to break the WER down by.  language: of all texts; without
    spaces between words, `wer` is the character error rate and `measure` says so.
    ValueError when a name or field is unknown, or the references have no word.
    """
    config = config or BootstrapConfig()
    for option, name in (("--baseline", baseline), ("--oracle", oracle)):
        if name is not None and name not in texts:
            raise ValueError(f"{option} {name}: not among the systems scored ({', '.join(texts)})")
    if oracle is not None and baseline is None:
        raise ValueError(f"--oracle {oracle}: recovery is measured from a baseline. Name one with --baseline.")
    systems = {
        name: utterance_errors([u.text or "" for u in references], hypotheses, language)
        for name, hypotheses in texts.items()
    }
    first = next(iter(systems.values()))
    if not any(e.words for e in first):
        raise ValueError("the references hold no words once normalised; a WER is not defined")

    slices = _slices(references, by)
    unit = choose_unit(config, [u.speaker for u in references])
    keys = [u.speaker or "" for u in references] if unit == "speaker" else [u.id for u in references]
    sums = _Sums(_columns(systems, slices), keys, config)
    scored: dict[str, Any] = {
        "language": language,
        "measure": "WER" if has_spaces(language) else "CER",
        "utterances": len(references),
        "speakers": len({u.speaker for u in references} - {None}) or None,
        "words": sums.count((ALL, "words")),
        "chars": sums.count((ALL, "chars")),
        "bootstrap": {
            "unit": unit,
            "units": len(set(keys)),
            "resamples": config.resamples,
            "seed": config.seed,
            "confidence": CONFIDENCE,
        },
        "baseline": baseline,
        "oracle": oracle,
        "systems": {},
    }
    for name, errors in systems.items():
        entry = _slice_figures(sums, ALL, name, baseline, oracle) | _edit_counts(errors)
        entry |= sums.with_interval("cer", ratio(sums[ALL, "char_errors", name], sums[ALL, "chars"]))
        entry["char_errors"] = sums.count((ALL, "char_errors", name))
        entry["by"] = {field: {} for field in by}
        for field, value in list(slices)[1:]:
            figures = _slice_figures(sums, (field, value), name, baseline, oracle)
            entry["by"][field][value] = figures | {"utterances": int(slices[field, value].sum())}
        scored["systems"][name] = entry
    scored["pairs"] = [_pair(sums, a, b) for a, b in combinations(systems, 2)]
    scored["per_utterance"] = [_utterance(u, {n: s[i] for n, s in systems.items()}) for i, u in enumerate(references)]
    return scored


def _slices(references: Sequence[Utterance], by: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """Which utterances belong to each condition, as masks (N,); numbers in their order, then text."""
    slices = {ALL: np.ones(len(references), dtype=bool)}
    for field in by:
        values = [u.speaker if field == "speaker" else u.meta.get(field) for u in references]
        if all(v is None for v in values):
            known = sorted({k for u in references for k in u.meta} | {"speaker"})
            raise ValueError(f"--by {field}: no reference has it. Its fields are {', '.join(known)}.")
        named = np.array([NO_CONDITION if v is None else str(v) for v in values])
        for value in sorted(set(named.tolist()), key=_natural):
            slices[field, value] = named == value
    return slices


def _natural(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _columns(
    systems: Mapping[str, Sequence[UtteranceErrors]], slices: Mapping[tuple[str, str], np.ndarray]
) -> dict[tuple[Any, ...], np.ndarray]:
    first = next(iter(systems.values()))
    columns: dict[tuple[Any, ...], np.ndarray] = {(ALL, "chars"): np.array([e.chars for e in first])}
    for name, errors in systems.items():
        columns[ALL, "char_errors", name] = np.array([e.char_errors for e in errors])
    for key, mask_N in slices.items():
        columns[key, "words"] = mask_N * np.array([e.words for e in first])
        for name, errors in systems.items():
            columns[key, "errors", name] = mask_N * np.array([e.errors for e in errors])
    return columns


def _slice_figures(
    sums: _Sums, key: tuple[str, str], name: str, baseline: str | None, oracle: str | None
) -> dict[str, Any]:
    errors_R, words_R = sums[key, "errors", name], sums[key, "words"]
    figures = sums.with_interval("wer", ratio(errors_R, words_R))
    figures |= {"errors": sums.count((key, "errors", name)), "words": sums.count((key, "words"))}
    # reference words are the same for every system, so they cancel in relative figures
    if baseline is not None and name != baseline:
        baseline_R = sums[key, "errors", baseline]
        figures |= sums.with_interval("werr", relative_reduction(baseline_R, errors_R))
        if oracle is not None and name != oracle and key == ALL:
            oracle_R = sums[key, "errors", oracle]
            figures |= sums.with_interval("recovery", recovery_rate(baseline_R, errors_R, oracle_R))
    return figures


def _edit_counts(errors: Sequence[UtteranceErrors]) -> dict[str, int]:
    path = "".join(e.path for e in errors)
    return {
        "hits": path.count("="),
        "substitutions": path.count("S"),
        "deletions": path.count("D"),
        "insertions": path.count("I"),
        "utterances_with_errors": sum(e.errors > 0 for e in errors),
    }


def _pair(sums: _Sums, a: str, b: str) -> dict[str, Any]:
    words_R = sums[ALL, "words"]
    difference_R = ratio(sums[ALL, "errors", a], words_R) - ratio(sums[ALL, "errors", b], words_R)
    return {"a": a, "b": b} | sums.with_interval("difference", difference_R) | {"p": p_value(difference_R)}


def _utterance(reference: Utterance, systems: Mapping[str, UtteranceErrors]) -> dict[str, Any]:
    text = next(iter(systems.values())).reference
    return {
        "id": reference.id,
        "speaker": reference.speaker,
        "meta": reference.meta,
        "reference": text,
        "systems": {
            name: {"text": e.hypothesis, "path": e.path, "errors": e.errors, "char_errors": e.char_errors}
            for name, e in systems.items()
        },
    }
