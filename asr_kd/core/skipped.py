"""What a command leaves out: how many, why, which of them, and when that is too much to go on."""

import json
from collections import Counter
from dataclasses import dataclass

from asr_kd.core.options import option
from asr_kd.core.storage import PathOrUrl, delete, write_bytes
from asr_kd.core.terminal import say

MAX_SKIPPED = 0.2
"""More is a fault of the whole set, not of single items; sets of five may still lose one."""
MAX_SKIPPED_HELP = "fail when more than this share of the utterances is skipped as damaged or unusable"
REASONS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class SkippedOptions:
    """Of every command that skips."""

    max_skipped: float = option(
        MAX_SKIPPED_HELP,
        MAX_SKIPPED,
        metavar="SHARE",
        is_shared=True,
    )


class Skipped:
    """Items that a command leaves out, each with its reason."""

    def __init__(self, what: str = "utterances", max_share: float = MAX_SKIPPED) -> None:
        """max_share: of all items that may be skipped, in [0, 1]. ValueError when it is out of it."""
        if not 0 <= max_share <= 1:
            raise ValueError(f"--max-skipped {max_share}: it must lie in [0, 1]")
        self.what, self.max_share = what, max_share
        self.reasons: dict[str, str] = {}
        """Of each item's id, in the order in which they were met."""
        self.sources: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, item: str, reason: str, source: str | None = None) -> None:
        """Note that `item` is left out. The first reason of an item stays.

        source: the file that messages name instead of the item.
        """
        self.reasons.setdefault(item, reason)
        if source is not None:
            self.sources.setdefault(item, source)

    def finish(self, total: int, file: PathOrUrl) -> None:
        """Write `file` and `check`."""
        self.write(file)
        self.check(total, file)

    def write(self, file: PathOrUrl) -> None:
        """Write `file` with {"id", "reason"} a line; without skipped items an older one is removed."""
        if not self.reasons:
            delete(file)
            return
        lines = [json.dumps({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in self.reasons.items()]
        write_bytes(file, "".join(lines).encode())

    def check(self, total: int, file: PathOrUrl | None) -> None:
        """Say how many of `total` are skipped and why; all of them stand in `file`. Without skipped items, nothing.

        ValueError when all are skipped, or more than `max_share`.
        """
        if not self.reasons:
            return
        told = f"{len(self)} of {total} {self.what} skipped ({self._summary()})"
        told += f", all in {file}" if file is not None else ""
        if len(self) >= total:
            raise ValueError(f"{told}. None is left.")
        if len(self) > self.max_share * total:
            raise ValueError(
                f"{told}: more than a share of {self.max_share:g}. Mend them, or accept it with "
                f"--max-skipped {_rounded_up(len(self) / total)}."
            )
        say(told)

    def _summary(self) -> str:
        """`2 x damaged audio, first u4; ...`: the reasons, the most frequent first."""
        first: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for item, reason in self.reasons.items():
            name = self.sources.get(item, item)
            short = (reason.partition(f"{name}: ")[2] or reason).rstrip(
                "."
            )  # errors of audio name the file, or tar and utterance
            first.setdefault(short, name)
            counts[short] += 1
        shown = [f"{n} x {reason}, first {first[reason]}" for reason, n in counts.most_common(REASONS_SHOWN)]
        return "; ".join(shown) + ("; ..." if len(counts) > REASONS_SHOWN else "")


def _rounded_up(share: float) -> float:
    return min(1.0, int(share * 100 + 1) / 100)
