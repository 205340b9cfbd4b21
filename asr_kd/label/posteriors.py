"""One shard on its way from audio to soft targets: read in batches, through the teacher, selected, as a table.

Batches depend on the shard and the config alone, so labelling a shard again, anywhere, gives the same table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from asr_kd.graph.confidence import NO_PATH, DecodedUtterance
from asr_kd.label.lattices import LatticePosteriors
from asr_kd.shards.reader import Shard
from asr_kd.targets.codec import ProbabilityQuantiser, encode_table
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.targets.topk import SelectionConfig, select_top_k_batch
from asr_kd.teachers.inference import Inference, pad_waves
from asr_kd.teachers.token_mapper import TokenMapper
from asr_kd.transcripts.recognised import Transcript


@dataclass(frozen=True)
class LabelConfig:
    """How shards are labelled."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    quantiser: ProbabilityQuantiser = field(default_factory=ProbabilityQuantiser)
    max_frames_per_batch: int = 16000
    """Frames of a batch at the model's frame shift, padding included (16000 of 30 ms: 8 minutes)."""

    def __post_init__(self) -> None:
        if self.max_frames_per_batch < 1:
            raise ValueError(f"--max-frames-per-batch {self.max_frames_per_batch}: at least one frame is needed")


@dataclass
class Features:
    """A batch on the way to the teacher."""

    rows: list[int]
    x_BTF: Tensor
    frames_B: Tensor
    seconds: float
    """Of audio, that of rows set aside included."""


class ShardLabels:
    """The labels of one shard in the making. `read` may run ahead of `label` in another thread."""

    def __init__(
        self,
        shard: Shard,
        teacher: Inference,
        config: LabelConfig,
        lattices: LatticePosteriors | None = None,
        mapping: TokenMapper | None = None,
    ) -> None:
        """lattices: what posteriors are put through first.  mapping: to the inventory that is wanted, after that."""
        self.shard, self.teacher, self.config = shard, teacher, config
        self.lattices, self.mapping = lattices, mapping
        self._results: list[FrameTargets | str] = ["not labelled"] * len(shard.entries)
        self._decoded: list[DecodedUtterance | None] = [None] * len(shard.entries)

    def batches(self) -> list[list[int]]:
        """Rows of each batch, longest first, at most `max_frames_per_batch` with padding (or one row)."""
        seconds = [e.seconds for e in self.shard.entries]
        most = self.config.max_frames_per_batch * self.teacher.frontend.frame_shift_s
        batches: list[list[int]] = []
        for row in sorted(range(len(seconds)), key=lambda r: (-seconds[r], r)):
            longest = seconds[batches[-1][0]] if batches else seconds[row]
            if batches and (len(batches[-1]) + 1) * longest <= most:
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    def read(self, rows: list[int]) -> Features:
        """Audio and features of a batch; what cannot be used is left out and set aside with its reason."""
        good, waves = [], []
        for row in rows:
            try:
                wave = self.shard.audio(row)
            except ValueError as e:
                self._results[row] = str(e)
                continue
            if not np.isfinite(wave).all():
                self._results[row] = "the audio holds samples that are not finite"
            elif not self._frames(len(wave)):
                self._results[row] = f"{len(wave)} samples are too short for one frame"
            else:
                good.append(row)
                waves.append(wave)
        seconds = sum(self.shard.entries[row].seconds for row in rows)
        if not good:
            return Features([], torch.empty(0), torch.empty(0), seconds)
        wave_BN, samples_B = pad_waves(waves)
        if self.teacher.device.type == "cuda":
            wave_BN = wave_BN.pin_memory()
        x_BTF, frames_B = self.teacher.frontend(wave_BN.to(self.teacher.device, non_blocking=True), samples_B)
        return Features(good, x_BTF, frames_B.cpu(), seconds)

    def _frames(self, samples: int) -> int:
        frames = self.teacher.frontend.num_frames(samples)
        return frames if self.mapping is None else self.mapping.frames(frames)

    @torch.inference_mode()
    def process(self, batch: Features) -> None:
        """Put a batch through the teacher and keep its targets."""
        if batch.rows:
            for row, (result, decoded) in zip(batch.rows, self._targets(batch), strict=True):
                self._results[row], self._decoded[row] = result, decoded

    def table(self) -> pa.Table:
        """The sidecar table, one row per utterance in the shard's order, when all batches are labelled."""
        return encode_table([e.id for e in self.shard.entries], self._results, self.config.quantiser)

    def transcripts(self) -> list[Transcript | str]:
        """The decoded words of each row, or why there are none."""
        shift = self.teacher.frontend.frame_shift_s
        pairs = zip(self._results, self._decoded, strict=True)
        return [r if isinstance(r, str) else NO_PATH if h is None else h.transcript(shift) for r, h in pairs]

    def _targets(self, batch: Features) -> Iterator[tuple[FrameTargets | str, DecodedUtterance | None]]:
        """Of each utterance of the batch its targets, or why there are none, and its decoded words."""
        selection = self.config.selection
        log_p_BTC = self.teacher.log_posteriors(batch.x_BTF, batch.frames_B)
        decoded: list[DecodedUtterance | None] = [None] * len(batch.rows)
        if self.lattices is not None:
            for row, n in enumerate(batch.frames_B.tolist()):
                log_p_TC = log_p_BTC[row, :n]
                if not torch.isnan(log_p_TC).any():
                    mixed_TC, decoded[row] = self.lattices.search(log_p_TC.cpu().numpy())
                    log_p_TC.copy_(torch.from_numpy(mixed_TC))
        frames_B = batch.frames_B
        if self.mapping is not None:
            log_p_BTC, frames_B = self.mapping(log_p_BTC, frames_B)
        for targets, found in zip(select_top_k_batch(log_p_BTC, frames_B, selection), decoded, strict=True):
            yield "the teacher's posteriors are not finite" if targets is None else targets, found


def label_shard(
    shard: Shard, teacher: Inference, config: LabelConfig, lattices: LatticePosteriors | None = None
) -> pa.Table:
    """The sidecar table of a shard, step after step in one thread. Nothing is written."""
    labels = ShardLabels(shard, teacher, config, lattices)
    for rows in labels.batches():
        labels.process(labels.read(rows))
    return labels.table()
