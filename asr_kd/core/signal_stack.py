"""Signals and libraries that move the stack pointer. Imports nothing large: every command begins with it."""

import faulthandler

from asr_kd.core.quiet import STDERR_FD


def enable_sigaltstack() -> None:
    """Keep a signal that arrives within a matrix product from overwriting memory.

    oneDNN's AVX512 kernel behind the LSTM's backward pass (torch 2.11) points the stack register into the middle of the
    heap while it runs; what the kernel of the system puts "on the stack" for a signal then lands in other tensors
    (seen: "corrupted size vs. prev_size", one Ctrl-C in three). Python handles signals on an alternative stack where
    there is one, and enabling the fault handler is how to get one.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable(file=STDERR_FD)  # sys.stderr may be someone's capture without a file behind it
