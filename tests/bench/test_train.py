import json

import pytest

from asr_kd.bench.synthetic import made_up_inventory, synthetic_alignments, synthetic_shards
from asr_kd.bench.train import STRATEGIES, summarise
from asr_kd.bench.train_rank import RankResult, RankRun, measure
from asr_kd.cli import main
from asr_kd.frontend.fbank import FrontEnd
from asr_kd.models.config import PRESETS
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.targets.alignments import AlignmentFolders, find_inventory
from asr_kd.train.config import TrainConfig
from asr_kd.train.strategies.registry import STRATEGIES as REGISTERED

RUN_KEYS = {
    "ranks", "strategy", "lanes", "threads", "parameters", "audio_hours_per_step", "frames_per_step", "step_s",
    "bare_step_s", "bare_step_with_update_s", "update_s", "exchange_s", "exchange_every_steps", "bytes_per_exchange",
    "bytes_per_step", "latency_s", "link_bytes_per_second", "ratio", "hours_per_second",
}  # fmt: skip


def test_loops_of_one_rank_and_of_two_are_measured_with_the_bytes_that_are_sent(tmp_path, capsys):
    options = ["--preset", "student-tiny", "--classes", "5", "--minutes", "0.7", "--repeats", "1", "--json"]
    options += ["--threads", "1", "--ranks", "1", "2", "--strategies", "bmuf", "--device", "cpu"]
    options += ["--set", "train.max_frames_per_batch=100", "--out", str(tmp_path / "bench.json")]
    assert main(["bench", "train", *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    one, two = result["runs"]
    assert [(run["ranks"], run["strategy"]) for run in result["runs"]] == [(1, "bmuf"), (2, "bmuf")]
    assert result["what"] == "asr-kd bench train" and result["ratio"] == one["ratio"] > 0
    assert all(run.keys() >= RUN_KEYS and len(run["measured"]) == 1 for run in result["runs"])
    weights = 4 * result["parameters"]
    assert one["bytes_per_step"] == 0 and one["latency_s"] is None
    assert two["bytes_per_exchange"] == weights and two["bytes_per_step"] == weights / 50
    assert two["latency_s"] > 0 and two["link_bytes_per_second"] > 0
    for run in result["runs"]:
        assert run["ratio"] == run["bare_step_s"] / run["step_s"]
        assert run["hours_per_second"] == pytest.approx(run["audio_hours_per_step"] / run["step_s"])
        assert run["audio_hours_per_step"] * 3600 == pytest.approx(0.03 * run["frames_per_step"], rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--preset", "none"], "--preset none"),
        (["--ranks", "0"], "--ranks 0"),
        (["--repeats", "0"], "--repeats 0"),
        (["--alignments", "exp/align"], "--alignments"),
    ],
)
def test_wrong_options_are_refused_by_name(wrong, named, capsys):
    assert main(["bench", "train", "--classes", "5", *wrong]) == 2
    assert named in capsys.readouterr().err


def test_too_little_audio_is_refused(tmp_path):
    shards = synthetic_shards(tmp_path, 0.05)
    alignments = synthetic_alignments(shards, made_up_inventory(5), tmp_path / "alignments")
    run = RankRun(
        shards=tuple(shards), alignments=(alignments,), out=tmp_path / "result.json", threads=1,
        model=PRESETS["student-tiny"], train=TrainConfig(device="cpu"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^1 steps; at least \d+ are needed\. Give more --minutes\.$"):
        measure(run)


def test_all_strategies_can_be_measured():
    assert set(STRATEGIES) == set(REGISTERED)


def test_ratios_are_medians_within_rounds():
    def measured(bare_s, step_s):
        parts = {"update": step_s / 10}
        return RankResult(7, 3, 0.5, 900.0, bare_s, 1.1 * bare_s, 0.1, step_s, 0.2, parts, 0.0, 1, 0.0, 0.0, None, None)

    result = summarise([measured(1.0, 2.0), measured(3.0, 4.0), measured(0.8, 1.0)])
    assert result["ratio"] == 0.75 and result["ratio_spread"] == [0.5, 0.8]
    assert result["step_s"] == 2.0 and result["parts_s"] == {"update": 0.2} and result["latency_s"] is None
    assert result["hours_per_second"] == 0.25 and result["parameters"] == 7


def test_synthetic_alignments_are_read_as_those_of_align(tmp_path):
    shards = synthetic_shards(tmp_path, 0.2, shard_seconds=6)
    folder = synthetic_alignments(shards, made_up_inventory(7), tmp_path / "alignments")
    found = AlignmentFolders([folder], find_inventory([folder]))
    found.check(open_catalogue(*shards))
    shard = open_shard(shards[0])
    for row, entry in zip(found.load(shard), shard.entries, strict=True):
        assert row.frames == FrontEnd().num_frames(round(entry.seconds * 16000)) and row.ids_TK.max() < 7
