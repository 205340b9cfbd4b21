"""A teacher's posteriors over another inventory: the wanted units, at the wanted frame shift.

Frames. Frame t of either side stands for the time from t to t + 1 of its shifts. A wanted frame is the mean of the
teacher's posteriors over its time: with 30 ms wanted and 20 ms given, frame 0 is 2/3 of frame 0 and 1/3 of frame 1,
frame 1 is 1/3 of frame 1 and 2/3 of frame 2, and so on. Only frames that the teacher answers for wholly are made.
A CTC teacher emits a unit in one or two frames, with the blank around it. What it emits within 20 ms weighs 2/3, or
twice 1/3, after that: as exact in time as the student's frames can be. An arg-max (`distill --hard-labels`) loses the
units that fall between two frames. A student with frames of 20 ms (frontend.frame_stacking: 2) loses nothing.

Units are matched by name. What the teacher spends on units that are not wanted goes to the blank: a path of frames then
stands for the same text without these units, since CTC reads a blank as nothing. Scaling up what is left instead would
insert text that the teacher did not recognise.
"""

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.tokens import Tokens

FINEST_S = 1e-6
"""Frame shifts are whole microseconds."""
SHOWN = 12


class TokenMapper:
    """From posteriors over one inventory of tokens to those over another."""

    def __init__(self, given: Inventory, wanted: Inventory, teacher: str) -> None:
        """teacher: what errors call it. ValueError when the units of the two do not fit."""
        if not isinstance(given, Tokens) or not isinstance(wanted, Tokens):
            raise ValueError(
                f"--inventory: of kind {wanted.kind}, {teacher} answers over {given.kind}. Only tokens are matched by "
                "name; label with a teacher of that inventory."
            )
        lacking = [unit for unit in wanted.units if unit not in given.units]
        if lacking:
            more = " ..." if len(lacking) > SHOWN else ""
            raise ValueError(
                f"--inventory: holds {len(lacking)} of {len(wanted.units)} units that {teacher} does not know: "
                f"{' '.join(lacking[:SHOWN])}{more}. It knows {' '.join(given.units)}. "
                "Make tokens of these units alone (`asr-kd tokens`)."
            )
        self.given, self.wanted = given, wanted
        numbers = {name: number for number, name in enumerate(wanted.symbols)}
        self.target_C = torch.tensor([numbers.get(name, 0) for name in given.symbols])
        """The wanted class of each given one."""
        self.dropped = [name for name in given.units if name not in numbers]

    def frames(self, given: int) -> int:
        """Wanted frames of an utterance with so many given ones."""
        return int(given * self._ratio)

    def __call__(self, log_p_BTC: Tensor, frames_B: Tensor) -> tuple[Tensor, Tensor]:
        """Natural-log posteriors (B, U, wanted classes) and frames (B,); what lies behind an utterance is undefined.

        log_p_BTC, frames_B: the teacher's.
        """
        p_BTC = log_p_BTC.exp()
        mapped_BTC = p_BTC.new_zeros(*p_BTC.shape[:2], self.wanted.num_classes)
        mapped_BTC.index_add_(2, self.target_C.to(p_BTC.device), p_BTC)
        at_UK, weight_UK = self.overlaps(p_BTC.shape[1])
        mean_BUC = mapped_BTC.new_zeros(len(p_BTC), len(at_UK), self.wanted.num_classes)
        for at_U, weight_U in zip(at_UK.T.to(p_BTC.device), weight_UK.T.to(mapped_BTC), strict=True):
            mean_BUC += mapped_BTC[:, at_U] * weight_U[:, None]
        frames_B = torch.tensor([self.frames(n) for n in frames_B.tolist()], dtype=frames_B.dtype)
        return mean_BUC.clamp_(min=torch.finfo(mean_BUC.dtype).tiny).log_(), frames_B

    def overlaps(self, given: int) -> tuple[Tensor, Tensor]:
        """Of each wanted frame the given frames (U, K) that it lies over, and their shares (U, K), which sum to 1."""
        step = 1 / self._ratio  # given frames in a wanted one
        rows = []
        for u in range(self.frames(given)):
            begin, end = u * step, (u + 1) * step
            inside = range(math.floor(begin), math.ceil(end))
            rows.append([(t, (min(end, Fraction(t + 1)) - max(begin, Fraction(t))) / step) for t in inside])
        most = max(map(len, rows), default=0)
        padded = [row + [(0, Fraction(0))] * (most - len(row)) for row in rows]
        at_UK = torch.tensor([[t for t, _ in row] for row in padded], dtype=torch.int64).reshape(len(rows), most)
        weight_UK = torch.tensor([[float(w) for _, w in row] for row in padded]).reshape(len(rows), most)
        return at_UK, weight_UK

    @property
    def _ratio(self) -> Fraction:
        """Wanted frames in a given one."""
        return Fraction(round(self.given.frame_shift_s / FINEST_S), round(self.wanted.frame_shift_s / FINEST_S))

    def describe(self) -> dict[str, Any]:
        """What a sidecar says of it."""
        return {
            "from": self.given.fingerprint,
            "frame_shift_s": self.given.frame_shift_s,
            "frames": "mean by overlap in time",
            "to_blank": self.dropped,
        }
