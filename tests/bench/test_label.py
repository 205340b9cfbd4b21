import json

import numpy as np
import pytest
import torch

from asr_kd.bench.even_shards import even_shards
from asr_kd.bench.forward import padded
from asr_kd.bench.label import Round, summarise
from asr_kd.bench.peak import flops_per_frame, peak_flops
from asr_kd.bench.synthetic import made_up_inventory, random_teacher, synthetic_shards
from asr_kd.cli import main
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard

KEYS = {
    "ratio", "ratio_plain", "mb_per_hour", "real_time_factor", "hours_per_second", "ceiling_hours_per_second", "mass",
    "threads", "workers", "device", "precision", "frames_per_batch", "rounds", "ceiling_frames_per_batch",
    "plain_hours_per_second", "start_up_s", "process_start_s", "peak_share",
}  # fmt: skip


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_bench_ends_with_one_line_of_json_that_holds_all_it_measured(tone_shards, tmp_path, capsys):
    torch.manual_seed(0)
    config = ModelConfig(num_layers=1, hidden_size=8, bidirectional=True)
    frontend = random_teacher("teacher-tiny", 5).frontend
    save_model(tmp_path / "teacher", build_model(config, Senones.monophone(["SIL", *"ABCDEFGHIJKLMN"]), frontend))
    shards = [str(tar) for tar in tone_shards]
    options = [
        "--repeats",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--batch-frames",
        "50",
        "400",
        "--precision",
        "float32",
    ]
    options += ["--out", str(tmp_path / "bench.json")]
    assert main(["bench", "label", *shards, "--teacher", str(tmp_path / "teacher"), *options]) == 0
    result = last_line(capsys)
    assert result.keys() >= KEYS
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    assert result["rounds"] == len(result["measured"]) == 2
    assert result["utterances"] == 12 and result["audio_hours"] == pytest.approx(
        sum(open_shard(tar).seconds for tar in tone_shards) / 3600
    )
    assert result["ratio"] == pytest.approx(np.median([r["job"] / r["ceiling"] for r in result["measured"]]))
    assert result["real_time_factor"] * result["hours_per_second"] * 3600 == pytest.approx(1)
    assert {t["frames_per_batch"] for t in result["tried"]} == {50, 400}
    assert result["ceiling_frames_per_batch"] in (50, 400)
    assert 0 < result["mass"] <= 1 and result["mb_per_hour"] > 0 and result["process_start_s"] > 0
    assert (result["threads"], result["workers"], result["device"], result["precision"]) == (1, 1, "cpu", "float32")
    assert result["weights"] == "given" and result["classes"] == 29
    assert main(["plan", "--hours", "100", "--bench", str(tmp_path / "bench.json"), "--json"]) == 0
    inputs = {i["name"]: i for i in last_line(capsys)["inputs"]}
    assert inputs["rate"]["value"] == result["hours_per_second"] and "measured" in inputs["rate"]["source"]
    assert inputs["sidecar_mb_per_hour"]["value"] == result["mb_per_hour"]


@pytest.mark.parametrize(
    "wrong", [["--repeats", "0"], ["--minutes", "0"], ["--preset", "teacher-none"], ["--classes", "2"]]
)
def test_wrong_options_are_refused_by_name(wrong, capsys):
    assert main(["bench", "label", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_three_shards_are_shared_evenly_by_two_workers(tmp_path):
    three = [open_shard(tar) for tar in synthetic_shards(tmp_path, 1.0, shard_seconds=20)[:3]]
    even = even_shards(three, 2, tmp_path / "even")
    assert len(even) == 4 and len({shard.path for shard in even}) == 4
    mean = sum(shard.seconds for shard in three) / 4
    longest = max(entry.seconds for shard in three for entry in shard.entries)
    assert all(abs(shard.seconds - mean) < longest / 2 for shard in even)
    samples = [
        sorted(shard.audio(row).tobytes() for shard in of for row in range(len(shard.entries))) for of in (three, even)
    ]
    assert samples[0] == samples[1]


def test_shards_that_are_even_already_stay(tmp_path):
    shards = [open_shard(tar) for tar in synthetic_shards(tmp_path, 1.0, shard_seconds=20)[:3]]
    assert even_shards(shards, 1, tmp_path / "even") == shards
    assert even_shards(shards[:1] * 2, 2, tmp_path / "even") == shards[:1] * 2
    assert not (tmp_path / "even").exists()


def test_ratios_are_medians_within_rounds():
    rounds = [Round(1.0, 0.9, 0.3, 2.0), Round(0.5, 0.4, 0.1, 4.0), Round(2.0, 2.0, 0.5, 3.0)]
    result = summarise(rounds)
    assert result["ratio"] == 0.9 and result["ratio_spread"] == [0.8, 1.0]
    assert result["ratio_plain"] == pytest.approx(4.0) and result["hours_per_second"] == 0.9
    assert result["start_up_s"] == 3.0


def test_made_up_audio_is_the_same_every_time_and_takes_the_room_of_speech(tmp_path):
    first, again = (synthetic_shards(tmp_path / name, 0.5, shard_seconds=20) for name in ("a", "b"))
    assert [tar.read_bytes() for tar in first] == [tar.read_bytes() for tar in again]
    shards = [open_shard(tar) for tar in first]
    seconds = sum(s.seconds for s in shards)
    assert 30 <= seconds < 51 and len(shards) >= 2
    assert 100 < sum(tar.stat().st_size for tar in first) * 8 / seconds / 1000 < 180  # kbit/s
    waves = [shard.audio(row) for shard in shards for row in range(len(shard.entries))]
    assert 0.1 < max(np.abs(wave_N).max() for wave_N in waves) < 1


@pytest.mark.parametrize("classes", [3, 4, 3183])
def test_a_made_up_inventory_has_the_classes_asked_for(classes):
    assert made_up_inventory(classes).num_classes == classes


def test_the_ceilings_batches_hold_every_frame_and_no_more_than_they_may():
    features = [torch.full((n, 3), float(n)) for n in (9, 7, 7, 4, 2, 1)]
    batches = padded(features, 20, torch.device("cpu"))
    assert [(tuple(x.shape), n.tolist()) for x, n in batches] == [
        ((2, 9, 3), [9, 7]),
        ((2, 7, 3), [7, 4]),
        ((2, 2, 3), [2, 1]),
    ]


def test_arithmetic_of_a_small_model_by_hand():
    model = build_model(
        ModelConfig(num_layers=1, hidden_size=8, bidirectional=True),
        made_up_inventory(5),
        random_teacher("teacher-tiny").frontend,
    )
    assert flops_per_frame(model) == 2 * (2 * (192 * 32 + 8 * 32) + 16 * 5)


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [("NVIDIA H100 80GB HBM3", "bf16", 989.5), ("NVIDIA A100-SXM4-80GB", "float32", 156), ("NVIDIA L4", "bf16", 121)],
)
def test_peaks_are_found_by_the_name_that_the_driver_gives(name, precision, tflops):
    assert peak_flops(name, precision) == tflops * 1e12
    assert peak_flops("NVIDIA GeForce 256", precision) is None
