"""Audio of rows of a shard, damaged ones left out."""

from collections.abc import Sequence

import numpy as np

from asr_kd.core.skipped import Skipped
from asr_kd.shards.reader import Shard


def readable(shard: Shard, rows: Sequence[int], skipped: Skipped) -> tuple[list[int], list[np.ndarray]]:
    """The rows whose audio can be read, and their samples; the others are noted in `skipped` with their reason.

    OSError when the tar itself cannot be read: that is no fault of an utterance.
    """
    good, waves = [], []
    for row in rows:
        try:
            waves.append(shard.audio(row))
        except ValueError as e:
            skipped.add(shard.entries[row].id, str(e))
        else:
            good.append(row)
    return good, waves
