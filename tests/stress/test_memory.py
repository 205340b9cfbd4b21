"""The larger corpus of tests/stress/memory.py is the given one several times over, as shards like any others."""

from pathlib import Path

import memory
import numpy as np

from asr_kd.shards.reader import find_shards, open_shard


def test_copied_shards_have_the_same_audio_under_new_ids(tone_shards: list[Path], tmp_path: Path) -> None:
    memory.copy_shards(tone_shards, tmp_path / "copies", times=2)

    given = [open_shard(p) for p in tone_shards]
    copies = [open_shard(p) for p in find_shards(tmp_path / "copies")]
    assert len(copies) == 2 * len(given)
    assert len({e.id for s in copies for e in s.entries}) == 2 * sum(len(s.entries) for s in given)
    for copy, source in zip(copies, [*given, *given], strict=True):
        assert [e.text for e in copy.entries] == [e.text for e in source.entries]
        np.testing.assert_array_equal(copy.audio(0), source.audio(0))
