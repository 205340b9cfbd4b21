"""A progress bar that counts audio: hours done, hours of audio per second, time left."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS_PER_HOUR = 3600.0


class Progress:
    """Progress over `total_seconds` of audio; silent when stderr is not a terminal."""

    def __init__(self, what: str, total_seconds: float | None = None) -> None:
        self.what = what
        self._bar = tqdm(
            desc=what,
            total=None if total_seconds is None else total_seconds / SECONDS_PER_HOUR,
            unit="h",
            leave=False,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h, {elapsed} < {remaining}{postfix}"
            if total_seconds
            else "{desc}: {n:.2f} h of audio, {elapsed}{postfix}",
        )
        self._seconds = 0.0

    def update(self, audio_seconds: float, **postfix: Any) -> None:
        """Count `audio_seconds` more; keywords are shown behind the bar."""
        self._seconds += audio_seconds
        elapsed = self._bar.format_dict["elapsed"]
        rate = self._seconds / SECONDS_PER_HOUR / elapsed if elapsed else 0.0
        self._bar.set_postfix({"h/s": f"{rate:.3f}", **postfix}, refresh=False)
        self._bar.update(audio_seconds / SECONDS_PER_HOUR)

    def close(self) -> None:
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
