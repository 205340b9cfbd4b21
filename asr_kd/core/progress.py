"""Progress that counts audio: hours done of all, how many times faster than real time, time left."""

import sys
import threading
import time
from typing import Any

from tqdm import tqdm

from asr_kd.core.terminal import printable, say

SECONDS_PER_HOUR = 3600.0
INTERVAL_S = 60.0
"""Between two lines where stderr is no terminal."""


class Progress:
    """Progress over `total_seconds` of audio: a bar on a terminal, elsewhere a line a minute."""

    def __init__(self, what: str, total_seconds: float | None = None, interval_s: float = INTERVAL_S) -> None:
        self.what = printable(what)
        self._total = total_seconds or None
        self._seconds = 0.0
        self._started = time.monotonic()
        self._about: dict[str, Any] = {}
        self._bar = tqdm(
            total=None if self._total is None else self._total / SECONDS_PER_HOUR,
            leave=False,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            bar_format="{bar:20} {desc}" if self._total else "{desc}",
        )
        self._stop = threading.Event()
        self._lines = threading.Thread(target=self._say_now_and_then, args=(interval_s,), daemon=True)
        if self._bar.disable:
            self._lines.start()

    def update(self, audio_seconds: float, **about: Any) -> None:
        """Count `audio_seconds` more; keywords are shown at the end."""
        self._seconds += audio_seconds
        self._about = about
        if not self._bar.disable:
            self._bar.set_description_str(self.line(), refresh=False)
            self._bar.update(audio_seconds / SECONDS_PER_HOUR)

    def line(self) -> str:
        """`label: 0.52 of 3.10 h of audio (17%), 43 x real time, 4 min left`."""
        done, elapsed = self._seconds, time.monotonic() - self._started
        text = f"{self.what}: {done / SECONDS_PER_HOUR:.2f}"
        if self._total:
            text += f" of {self._total / SECONDS_PER_HOUR:.2f} h of audio ({100 * min(done / self._total, 1):.0f}%)"
        else:
            text += " h of audio"
        if done and elapsed:
            text += f", {done / elapsed:.3g} x real time"
            if self._total:
                left = max(self._total - done, 0) / done * elapsed
                text += f", {left / 60:.0f} min left" if left >= 60 else f", {left:.0f} s left"
        return text + "".join(f", {name} {value}" for name, value in self._about.items())

    def close(self) -> None:
        self._stop.set()
        if self._lines.is_alive():
            self._lines.join()
        self._bar.close()

    def _say_now_and_then(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            say(self.line())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
