import json
import sys

import pytest

from asr_kd.bench.loader import summarise
from asr_kd.bench.synthetic import made_up_inventory, synthetic_alignments
from asr_kd.cli import main
from asr_kd.shards.reader import open_shard


def test_loaders_are_measured_side_by_side_also_where_a_peer_cannot_be_had(tmp_path, capsys):
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)  # an environment without lhotse
    options = ["--minutes", "0.2", "--repeats", "2", "--peers-venv", str(tmp_path / "venv"), "--json"]
    assert main(["bench", "loader", *options, "--out", str(tmp_path / "bench.json")]) == 0
    shown = capsys.readouterr()
    assert "lhotse is not measured" in shown.err and "--peers-venv" in shown.err
    result = json.loads(shown.out)
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    assert result["what"] == "asr-kd bench loader" and result["best_peer"] == "webdataset"
    assert result["times_real_time"].keys() == result["versions"].keys() == {"loader", "decoding", "webdataset"}
    assert len(result["measured"]) == 2 and result["audio_hours"] * 3600 >= 12
    assert result["real_time_factor"] * result["times_real_time"]["loader"] == pytest.approx(1)


def test_shards_with_alignments_are_loaded_by_all(tone_shards, tmp_path, capsys):
    alignments = synthetic_alignments(tone_shards, made_up_inventory(5), tmp_path / "alignments")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    options = ["--alignments", str(alignments), "--repeats", "1", "--peers-venv", str(tmp_path), "--json"]
    assert main(["bench", "loader", *map(str, tone_shards), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["audio_hours"] * 3600 == pytest.approx(sum(open_shard(tar).seconds for tar in tone_shards))
    assert result["audio"] == "given"


def test_shards_without_alignments_are_refused(tone_shards, capsys):
    assert main(["bench", "loader", *map(str, tone_shards)]) == 2
    assert "--alignments" in capsys.readouterr().err


def test_the_loader_is_compared_with_the_best_peer_within_rounds():
    rounds = [
        {"loader": 30.0, "decoding": 90.0, "webdataset": 20.0, "lhotse": 10.0},
        {"loader": 20.0, "decoding": 80.0, "webdataset": 5.0, "lhotse": 10.0},
        {"loader": 60.0, "decoding": 70.0, "webdataset": 20.0, "lhotse": 40.0},
    ]
    result = summarise(rounds)
    assert result["best_peer"] == "webdataset" and result["ratio"] == 3.0 and result["ratio_spread"] == [1.5, 4.0]
    assert result["ratios"]["decoding"] == pytest.approx(1 / 3) and result["real_time_factor"] == 1 / 30
