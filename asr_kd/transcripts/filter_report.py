"""How much each criterion dropped, as a table for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.files import write_json
from asr_kd.core.progress import SECONDS_PER_HOUR


@dataclass
class Amount:
    """Utterances and their audio."""

    utterances: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.utterances += 1
        self.seconds += seconds

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"utterances": self.utterances, "hours": round(self.seconds / SECONDS_PER_HOUR, 6)}

    def __str__(self) -> str:
        return f"{self.utterances:>11} {self.seconds / SECONDS_PER_HOUR:>9.3f}"


@dataclass
class FilterReport:
    """Of one run: an utterance counts under the first criterion that drops it."""

    criteria: Sequence[str]
    """As the user wrote them, in their order."""
    whole: Amount = field(default_factory=Amount)
    kept: Amount = field(default_factory=Amount)
    dropped: dict[str, Amount] = field(default_factory=dict)
    alone: dict[str, Amount] = field(default_factory=dict)
    """What each would drop without the others."""

    def add(self, failed: Sequence[str], seconds: float) -> None:
        """An utterance.  failed: the criteria that it does not satisfy, in order."""
        self.whole.add(seconds)
        (self.dropped.setdefault(failed[0], Amount()) if failed else self.kept).add(seconds)
        for name in failed:
            self.alone.setdefault(name, Amount()).add(seconds)

    def worst(self) -> str:
        """The criterion that dropped most."""
        return max(self.dropped, key=lambda name: self.dropped[name].utterances)

    def table(self) -> list[str]:
        """For people."""
        width = max([len("criterion"), *map(len, self.criteria)])
        rows = [f"{'criterion':<{width}} {'dropped':>11} {'hours':>9} {'alone':>11} {'hours':>9}"]
        for name in self.criteria:
            dropped, alone = self.dropped.get(name, Amount()), self.alone.get(name, Amount())
            rows.append(f"{name:<{width}} {dropped} {alone}")
        share = self.kept.seconds / max(self.whole.seconds, 1e-9)
        rows.append(
            f"kept {self.kept.utterances} of {self.whole.utterances} utterances, "
            f"{self.kept.seconds / SECONDS_PER_HOUR:.3f} h, {share:.1%}"
        )
        return rows

    def write(self, path: Path) -> None:
        """As JSON: `utterances` and `hours` of `all`, `kept`, and of each criterion `dropped` and `alone`."""
        criteria = [
            {
                "criterion": name,
                "dropped": self.dropped.get(name, Amount()).to_dict(),
                "alone": self.alone.get(name, Amount()).to_dict(),
            }
            for name in self.criteria
        ]
        write_json(path, {"all": self.whole.to_dict(), "kept": self.kept.to_dict(), "criteria": criteria})
