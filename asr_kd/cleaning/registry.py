"""The measures of `asr-kd annotate` by name: their columns, and what makes each ready."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from asr_kd.cleaning import bandwidth, copies, level, quality, snr, speech, text, tones
from asr_kd.cleaning.measure import Measure, MeasureOptions


@dataclass(frozen=True)
class MeasureEntry:
    """One measure."""

    columns: Mapping[str, str]
    """What each holds, with its unit."""
    load: Callable[[MeasureOptions], Measure] | None = None
    """ValueError when what it needs is not installed. None: it is found when all utterances are known."""


def _language(options: MeasureOptions) -> Measure:
    from asr_kd.cleaning.language import Language  # imports torch

    return Language(options.whisper, options.device)


MEASURES: dict[str, MeasureEntry] = {
    "level": MeasureEntry(level.COLUMNS, lambda options: level.Level()),
    "bandwidth": MeasureEntry(bandwidth.COLUMNS, lambda options: bandwidth.Bandwidth()),
    "snr": MeasureEntry(snr.COLUMNS, lambda options: snr.Snr()),
    "speech": MeasureEntry(speech.COLUMNS, lambda options: speech.Speech(options.detector)),
    "tones": MeasureEntry(tones.COLUMNS, lambda options: tones.SteadyTones()),
    "duplicate": MeasureEntry(copies.COLUMNS),
    "text": MeasureEntry(text.COLUMNS),
    "language": MeasureEntry(
        {
            "language": "the likeliest of Whisper's languages, a code such as en",
            "language_probability": "its probability, in [0, 1]",
        },
        _language,
    ),
    "dnsmos": MeasureEntry(quality.COLUMNS, lambda options: quality.Dnsmos()),
}
DEFAULT = ("level", "bandwidth", "snr", "speech", "tones", "duplicate")
"""Those that need no model."""


def load_measures(names: Iterable[str], options: MeasureOptions) -> list[Measure]:
    """Those that look at one utterance at a time, ready."""
    return [entry.load(options) for name in names if (entry := MEASURES[name]).load is not None]


def columns_of(names: Iterable[str]) -> list[str]:
    """Names of the columns of measures, in order."""
    return [column for name in names for column in MEASURES[name].columns]
