"""SIGINT and SIGTERM as a request to stop at the next safe moment."""

import signal
import threading
from types import FrameType
from typing import Any

from asr_kd.core.signal_stack import enable_sigaltstack


class StopRequest:
    """Within the block the first signal only sets `asked`; a second one acts as it always does."""

    def __init__(self) -> None:
        self.asked: str | None = None
        """Name of the signal that came."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        enable_sigaltstack()
        if threading.current_thread() is threading.main_thread():  # Python lets only that one handle signals
            for which in (signal.SIGINT, signal.SIGTERM):
                self._before[which] = signal.signal(which, self._ask)
        return self

    def __exit__(self, *exc: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number).name
        self.__exit__()
