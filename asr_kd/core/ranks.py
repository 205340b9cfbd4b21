"""Ranks: the processes that train one model together, started by torchrun; without it there is one.

    torchrun --nproc-per-node 4 --no-python asr-kd train ...

Decisions are exchanged between CPUs (gloo), gradients between devices (NCCL where each rank has a GPU of its own, else
gloo).
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from asr_kd.core.processes import rank_and_world
from asr_kd.core.terminal import shorten

R = TypeVar("R")
NOTE_INTERVAL_S = 1.0
"""How far a rank has got is noted for the others at most so often."""

ANSWER_S = 5.0
"""A rank that gives others up waits so long for those that do so too; who is silent then is the one that hangs."""


class Ranks:
    """This process among those that train together."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self.bytes_sent = 0
        """Of gradients and weights that this rank gave away, before any protocol's own."""
        self._noted = 0.0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def sum_later(self, values_N: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin to add float64 values over ranks; what is returned waits for the sum."""
        if self.world == 1:
            return lambda: values_N
        tensor = torch.from_numpy(values_N)
        work = dist.all_reduce(tensor, async_op=True)

        def result() -> np.ndarray:
            self.wait_for(work)
            return values_N

        return result

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begin to add a tensor over ranks, in place; what is returned waits for the sum."""
        self.bytes_sent += tensor.nbytes
        work = dist.all_reduce(tensor, async_op=True)
        return lambda: self.wait_for(work)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add each tensor over ranks, in place."""
        if self.world > 1:
            for wait in [self.begin_sum(tensor) for tensor in tensors]:
                wait()

    def add_of(self, partner: int, tensor: Tensor) -> None:
        """Add the tensor of another rank, which does the same at this moment: both then have the same bits."""
        theirs = torch.empty_like(tensor)
        self.bytes_sent += tensor.nbytes
        # To receive is asked for first: gloo sends when it is asked for, and what asks must not wait behind our tensor.
        works = dist.batch_isend_irecv(
            [dist.P2POp(dist.irecv, theirs, partner), dist.P2POp(dist.isend, tensor, partner)]
        )
        for work in works:
            self.wait_for(work)
        tensor += theirs

    def gather_tensors(self, own_M: Tensor) -> list[Tensor]:
        """The one-dimensional tensor of each rank, of whatever length, on all of them."""
        if self.world == 1:
            return [own_M]
        counts = np.zeros(self.world)
        counts[self.rank] = len(own_M)
        lengths = self.sum_later(counts)().astype(int).tolist()
        padded = own_M.new_zeros(max(lengths))
        padded[: len(own_M)] = own_M
        found = [torch.empty_like(padded) for _ in lengths]
        self.bytes_sent += own_M.nbytes
        self.wait_for(dist.all_gather(found, padded, async_op=True))
        return [theirs[:length] for theirs, length in zip(found, lengths, strict=True)]

    def gather(self, value: R) -> list[R]:
        """The value of each rank, on all of them. For small things that pickle."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        self._told(lambda: dist.all_gather_object(found, value))
        return found

    def on_first(self, work: Callable[[], R]) -> R:
        """What `work` gives on the first rank, on all of them; its ValueError or OSError is raised on all of them."""
        if self.world == 1:
            return work()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer = [work(), None]
            except (ValueError, OSError) as e:
                answer = [None, e]
        self._told(lambda: dist.broadcast_object_list(answer, src=0))
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def check_same(self, values: Mapping[str, Any]) -> None:
        """ValueError naming the first value that some rank has another of than the first rank, and both."""
        first, *others = self.gather(values)
        for rank, theirs in enumerate(others, start=1):
            for what in {**first, **theirs}:
                ours, other = (shorten(side[what]) if what in side else "none" for side in (first, theirs))
                if ours != other:
                    raise ValueError(
                        f"{what}: rank 0 has {ours}, rank {rank} has {other}. "
                        "Start all ranks with the same code, data and options."
                    )

    def note(self, progress: str) -> None:
        """Leave a note how far this rank has got, for the others' messages."""
        now = time.monotonic()
        if self.world > 1 and now - self._noted > NOTE_INTERVAL_S:
            self._noted = now
            _store().set(f"progress/{self.rank}", f"{time.time():.0f} {progress}")

    def wait_for(self, work: Any) -> None:
        """For a collective, or a future of one. ConnectionError when others do not answer."""
        self._told(work.wait)

    def _told(self, wait: Callable[[], Any]) -> None:
        try:
            wait()
        except RuntimeError as e:
            raise ConnectionError(f"no answer from {self._silent()} ({_first_line(e)}). {self._notes()}") from e

    def _silent(self) -> str:
        """Those that do not say, as this rank does, that they have given others up."""
        key, until = "given up by rank", time.monotonic() + ANSWER_S
        silent = []
        try:
            _store().set(f"{key} {self.rank}", "")
            for rank in range(self.world):
                while not _store().check([f"{key} {rank}"]):
                    if time.monotonic() > until:
                        silent.append(f"rank {rank}")
                        break
                    time.sleep(ANSWER_S / 100)
        except RuntimeError:  # the store ended with the first rank
            silent = ["rank 0"]
        return ", ".join(silent) or "the other ranks"

    def _notes(self) -> str:
        """How far each rank had got when it last said so."""
        notes = []
        for rank in range(self.world):
            try:
                key = f"progress/{rank}"
                at, _, progress = _store().get(key).decode().partition(" ") if _store().check([key]) else ("", "", "")
            except RuntimeError:  # the store ended with the first rank
                return "The first rank has ended; see its message."
            notes.append(f"rank {rank}: {progress}, {time.time() - float(at):.0f} s ago" if at else f"rank {rank}: -")
        return f"What each noted last: {'; '.join(notes)}. Start again to go on from the last saved state."


_ALONE = Ranks()
_started: Ranks | None = None


def ranks() -> Ranks:
    """Those that `start_ranks` has joined; this process alone before."""
    return _started or _ALONE


def start_ranks(timeout_s: float) -> Ranks:
    """Join the other ranks of torchrun, once. timeout_s: a rank that does not answer for so long is given up."""
    global _started
    _, world = rank_and_world()
    if _started is None and world > 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        own_gpu = torch.cuda.is_available() and here <= torch.cuda.device_count() and dist.is_nccl_available()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        timeout, backend = timedelta(seconds=timeout_s), "cpu:gloo,cuda:nccl" if own_gpu else "gloo"
        try:
            store, rank, world = next(rendezvous("env://", timeout=timeout))
            if here == world:
                # On one machine torchrun may give the store of the last start again, with addresses of ended ranks.
                store = PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
        except RuntimeError as e:
            raise ConnectionError(f"no answer from other ranks at the start ({_first_line(e)}). Start again.") from e
        _started = Ranks(rank, world)
    return ranks()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()
