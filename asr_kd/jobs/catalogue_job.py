"""The job of `asr-kd catalogue`: a shard is done when it was opened, which gives it an index where it had none."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from asr_kd.jobs.job import Job, ShardProcessor
from asr_kd.shards.catalogue_writer import CatalogueRow
from asr_kd.shards.reader import Shard


@dataclass(frozen=True)
class CatalogueJob(Job):
    """Nothing decides the rows but the shards."""

    checks_tars: ClassVar[bool] = False

    def processor(self) -> ShardProcessor:
        """As `Job` says; there is no model."""
        return _Opener()


@dataclass
class _Opener:
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    def task(self, shard: Shard) -> "_Opened":
        return _Opened(shard)

    def write(self, task: Any) -> dict[str, Any]:
        """The row is among the figures: whoever runs the job writes all rows into one file."""
        shard: Shard = task.shard
        return {"seconds": shard.seconds, "row": CatalogueRow.of(shard, str(shard.path))}


@dataclass
class _Opened:
    shard: Shard

    def batches(self) -> list[list[int]]:
        return []

    def read(self, rows: list[int]) -> Any:
        raise AssertionError("no rows are read")

    def process(self, item: Any) -> None:
        raise AssertionError("no rows are read")
