"""Several ranks on one GPU: whether `tree` gives the same bits on 1 and 2, and how fast each strategy trains."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from asr_kd.bench.gpu.sections import Report, Setup
from asr_kd.bench.synthetic import made_up_inventory, synthetic_alignments, synthetic_shards
from asr_kd.bench.train import BenchTrainRun, describe, measure
from asr_kd.models.checkpoint import MODEL_FILE
from asr_kd.train.config import TrainConfig

LANES = 4


def ranks(setup: Setup, report: Report) -> dict[str, Any]:
    """Bits of `tree` on 1 and 2 ranks; bare step, loop and bytes of each strategy (not in the tiny mode)."""
    weights = {world: _tree(setup, world) for world in (1, 2)}
    same = weights[1] == weights[2]
    if not same:
        report.wrong.append("train.strategy.kind tree does not give the same bits on 1 and 2 ranks")
    report.add(f"tree on 1 and 2 ranks: {'the same bits' if same else 'NOT the same bits'}")
    if setup.tiny:
        return {"tree_bit_for_bit": same}
    train = TrainConfig(device=str(setup.device), num_workers=2)
    config = BenchTrainRun(classes=setup.classes, minutes=8.0, ranks=(1, 2, 4), repeats=1, train=train)
    found = measure(config, setup.folder / "ranks")
    for line in describe(found):
        report.add(line)
    return {"tree_bit_for_bit": same, **found}


def _tree(setup: Setup, world: int) -> bytes:
    """The weights that `asr-kd train` ends with on so many ranks."""
    folder = setup.folder / f"tree-{world}"
    shards = synthetic_shards(folder, 0.5, shard_seconds=7.0)
    alignments = synthetic_alignments(shards, made_up_inventory(41), folder / "alignments")
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(world), "-m"] if world > 1 else []
    words = [sys.executable, "-m", *launcher, "asr_kd.cli", "train", *map(str, shards), "--alignments", str(alignments)]
    words += ["--dev", str(shards[0]), "--out", str(folder / "out"), "--device", str(setup.device), "--threads", "1"]
    words += ["--set", "model.preset=student-tiny", "epochs=2", "train.max_frames_per_batch=100"]
    words += [f"train.lanes={LANES}", "train.strategy.kind=tree"]
    ended = subprocess.run(words, capture_output=True, text=True)
    if ended.returncode:
        raise ValueError(f"tree on {world} ranks: {ended.stderr.strip()[-500:]}")
    return Path(folder / "out" / MODEL_FILE).read_bytes()
