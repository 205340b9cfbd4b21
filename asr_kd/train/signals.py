"""SIGINT and SIGTERM as a request to stop at the next safe moment."""

import faulthandler
import signal
import threading
from types import FrameType
from typing import Any

STDERR_FD = 2  # sys.stderr may be someone's capture without a file behind it


class StopRequest:
    """Within the block the first signal only sets `asked`; a second one acts as it always does."""

    def __init__(self) -> None:
        self.asked: str | None = None
        """Name of the signal that came."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        handle_signals_on_their_own_stack()
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


def handle_signals_on_their_own_stack() -> None:
    """Keep a signal that arrives within a matrix product from overwriting memory.

    oneDNN's AVX512 kernel behind the LSTM's backward pass (torch 2.11) points the stack register into the middle of the
    heap while it runs; what the kernel of the system puts "on the stack" for a signal then lands in other tensors
    (seen: "corrupted size vs. prev_size", one Ctrl-C in three). Python handles signals on an alternative stack where
    there is one, and enabling the fault handler is how to get one.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable(file=STDERR_FD)
