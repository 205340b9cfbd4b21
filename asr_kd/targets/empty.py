"""No targets: unlabelled audio without soft targets, for an online teacher."""

from collections.abc import Sequence

from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.targets.frame_targets import Targets


class NoTargets:
    """Every utterance is trained on, and nothing is known of it."""

    def load(self, shard: Shard) -> Sequence[Targets]:
        """As TargetSource says."""
        return [Targets()] * len(shard.entries)

    def digest(self, shard: ShardKey) -> str:
        """As TargetSource says: there is nothing to change."""
        return ""
