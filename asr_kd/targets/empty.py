"""No targets: unlabelled audio without soft targets, for an online teacher."""

from collections.abc import Sequence

import numpy as np

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.shards.reader import Shard
from asr_kd.targets.frame_targets import FrameTargets


class NoTargets:
    """Targets that say nothing: every frame of every utterance has one empty slot."""

    def __init__(self, frontend: FrontEndConfig) -> None:
        self._frontend = FrontEnd(frontend)

    def load(self, shard: Shard) -> Sequence[FrameTargets | None]:
        """As many frames as the index says that there is audio."""
        rate = self._frontend.config.sample_rate
        return [_empty_targets(self._frontend.num_frames(round(entry.seconds * rate))) for entry in shard.entries]

    def digest(self, shard: Shard) -> str:
        """As TargetSource says: there is nothing to change."""
        return ""


def _empty_targets(frames: int) -> FrameTargets:
    empty_T1 = np.full((frames, 1), -1, np.int32)
    nothing_T = np.full(frames, -np.inf, np.float32)
    return FrameTargets(empty_T1, nothing_T[:, None], nothing_T)
