"""Bootstrap over utterances or speakers: intervals, and paired comparisons of systems on the same test set.

Every quantity is computed on the same resamples, so differences between systems are paired by construction
(Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004).

A resample draws as many units as there are, with replacement. The unit is the utterance, or the speaker with all of
its utterances (cluster bootstrap). Utterances of one speaker err together, so resampling them one by one gives
intervals that are too narrow for speakers at large; yet a handful of speakers are too few to bootstrap. Hence
`auto`: by speaker from `MIN_SPEAKERS` speakers on, else by utterance, where the interval speaks of more utterances
of the same speakers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_SPEAKERS = 20
"""Below this, percentile intervals from a cluster bootstrap are known to be too narrow."""
CONFIDENCE = 0.95
"""Coverage of every interval."""
BLOCK = 2**22
"""Most weights (resamples x units) held at a time: 32 MB."""


@dataclass(frozen=True)
class BootstrapConfig:
    """How uncertainty is estimated."""

    unit: str = "auto"
    """What is drawn: `utterance`, `speaker`, or `auto` (speakers where there are at least 20, else utterances)."""
    resamples: int = 10_000
    """Bootstrap resamples."""
    seed: int = 0
    """Seed of the draws: same seed and data, same intervals."""

    def __post_init__(self) -> None:
        if self.unit not in ("auto", "utterance", "speaker"):
            raise ValueError(f"bootstrap.unit is {self.unit}; it must be auto, utterance or speaker")
        if self.resamples < 100:
            raise ValueError(f"bootstrap.resamples is {self.resamples}; at least 100 are needed for an interval")


def choose_unit(config: BootstrapConfig, speakers: Sequence[str | None]) -> str:
    """`utterance` or `speaker`. ValueError when speakers are asked for and some utterance has none."""
    known = {s for s in speakers if s is not None}
    complete = None not in speakers
    if config.unit == "speaker" and not complete:
        raise ValueError("--bootstrap-unit speaker: some references have no speaker. Use --bootstrap-unit utterance.")
    if config.unit == "auto":
        return "speaker" if complete and len(known) >= MIN_SPEAKERS else "utterance"
    return config.unit


def sum_by_unit(values_NK: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Sum the rows that share a key; (units, K), units in the order in which they first appear."""
    order = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    sums_UK = np.zeros((len(order), values_NK.shape[1]))
    np.add.at(sums_UK, [order[key] for key in keys], values_NK)
    return sums_UK


def resampled_sums(values_UK: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Column sums over the units: row 0 is the test set itself, rows 1 to `resamples` are bootstrap draws of it.

    values_UK: counts of each unit (errors, words, ...), whole numbers, so the sums are exact.
    """
    units = len(values_UK)
    rng = np.random.default_rng(seed)
    sums_RK = np.empty((1 + resamples, values_UK.shape[1]))
    sums_RK[0] = values_UK.sum(axis=0)
    rows = max(1, BLOCK // units)
    for start in range(1, 1 + resamples, rows):
        stop = min(start + rows, 1 + resamples)
        weights_BU = rng.multinomial(units, np.full(units, 1 / units), size=stop - start)
        sums_RK[start:stop] = weights_BU @ values_UK
    return sums_RK


def ratio(numerator_R: np.ndarray, denominator_R: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN (undefined) where the denominator is not positive."""
    defined = denominator_R > 0
    return np.divide(numerator_R, denominator_R, out=np.full(len(numerator_R), np.nan), where=defined)


def relative_reduction(baseline_R: np.ndarray, system_R: np.ndarray) -> np.ndarray:
    """WERR: the share of the baseline's errors that the system does not make."""
    return ratio(baseline_R - system_R, baseline_R)


def recovery_rate(baseline_R: np.ndarray, system_R: np.ndarray, oracle_R: np.ndarray) -> np.ndarray:
    """(baseline - system) / (baseline - oracle); undefined where the oracle is no better than the baseline."""
    return ratio(baseline_R - system_R, baseline_R - oracle_R)


def estimate(value_R: np.ndarray) -> float | None:
    """The statistic on the test set itself, None where undefined."""
    return None if np.isnan(value_R[0]) else float(value_R[0])


def interval(value_R: np.ndarray) -> list[float] | None:
    """Percentile interval [low, high] of a statistic over its resamples.

    Resamples where it is undefined could lie anywhere: they count as -inf for the low end and +inf for the high end.
    None when that leaves an end without bound (more than 2.5% undefined), or when the estimate is undefined.
    """
    if np.isnan(value_R[0]):
        return None
    draws_R = value_R[1:]
    unknown_R = np.isnan(draws_R)
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(np.where(unknown_R, -np.inf, draws_R), tail, method="inverted_cdf")
    high = np.quantile(np.where(unknown_R, np.inf, draws_R), 1 - tail, method="inverted_cdf")
    return [float(low), float(high)] if np.isfinite([low, high]).all() else None


def p_value(difference_R: np.ndarray) -> float | None:
    """Two-sided paired bootstrap test that the difference is 0: twice the smaller share of resamples on either side.

    Agrees with `interval` (p < 0.05 where the 95% interval leaves 0 out) and never is 0: at best 2 / (resamples + 1).
    """
    draws_R = difference_R[1:]
    if np.isnan(difference_R[0]) or np.isnan(draws_R).any():
        return None
    smaller = min(np.count_nonzero(draws_R <= 0), np.count_nonzero(draws_R >= 0))
    return min(1.0, 2 * (smaller + 1) / (len(draws_R) + 1))
