import json
from datetime import UTC, datetime

import pytest
import torch

from asr_kd.bench.model import in_batches, summarise
from asr_kd.cli import main
from asr_kd.evaluation.provenance import commit
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard

INVENTORY = Senones.monophone(["SIL", "A", "B"])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A teacher and a student, as paths."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    big = ModelConfig(num_layers=3, hidden_size=96, bidirectional=True)
    save_model(root / "teacher", build_model(big, INVENTORY, FrontEndConfig()))
    save_model(
        root / "student", build_model(ModelConfig(num_layers=1, hidden_size=8), INVENTORY, FrontEndConfig(mel_bins=20))
    )
    return str(root / "teacher"), str(root / "student")


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("batch", [1, 16])
def test_models_are_compared_with_the_teacher_in_one_line_of_json(models, tone_shards, tmp_path, capsys, batch):
    teacher, student = models
    options = ["--shards", *map(str, tone_shards), "--repeats", "3", "--seconds", "100", "--batch", str(batch)]
    options += ["--out", str(tmp_path / "bench.json")]
    assert main(["bench", "model", student, "--teacher", teacher, *options]) == 0
    result = last_line(capsys)
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    first, second = result["models"]
    assert (first["model"], second["model"]) == (teacher, student)
    assert first["times_as_fast"] == 1 and first["times_as_fast_spread"] == [1, 1]
    ratios = sorted(teacher_s / student_s for teacher_s, student_s in result["measured_s"])
    assert second["times_as_fast"] == ratios[1] and second["times_as_fast_spread"] == [ratios[0], ratios[2]]
    assert min(first["real_time_factor"], second["real_time_factor"]) > 0
    assert second["bytes"] < first["bytes"] and second["parameters"] < first["parameters"]
    assert len(result["measured_s"]) == 3 and all(len(r) == 2 for r in result["measured_s"])
    shards = [open_shard(tar) for tar in tone_shards]
    assert result["utterances"] == sum(len(s.entries) for s in shards) and result["batch"] == batch
    assert result["audio_seconds"] == pytest.approx(sum(s.seconds for s in shards), rel=0.06)  # in whole frames
    assert (result["threads"], result["device"], result["audio"]) == (1, "cpu", "given")


def test_presets_are_measured_on_made_up_audio_and_the_figures_kept_as_a_line(tmp_path, capsys):
    record = tmp_path / "new/benchmarks.jsonl"
    options = ["--seconds", "1", "--repeats", "1", "--classes", "5", "--json", "--append", str(record)]
    assert main(["bench", "model", "student-tiny", "teacher-tiny", *options]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    result = json.loads(shown)
    assert [m["model"] for m in result["models"]] == ["student-tiny", "teacher-tiny"]
    assert result["audio"] == "made up" and result["audio_seconds"] > 0
    with open(record, "a") as f:
        f.write('{"cut": "o')
    assert main(["bench", "model", "student-tiny", *options]) == 0
    first, cut, second = record.read_text().splitlines()
    first, second = json.loads(first), json.loads(second)
    assert first["figures"] == result and second["figures"] == last_line(capsys) and cut == '{"cut": "o'
    assert first.keys() == {"date", "commit", "command", "machine", "torch", "figures"}
    assert datetime.strptime(first["date"], "%Y-%m-%dT%H:%M:%S%z") <= datetime.now(UTC)
    assert first["commit"] == commit() and first["torch"] == torch.__version__
    assert first["machine"]["cores"] >= 1 and first["machine"]["cpu"]


def test_as_much_of_the_shards_is_used_as_was_asked_for(models, tone_shards, capsys):
    options = ["--shards", *map(str, tone_shards), "--repeats", "1", "--seconds", "3"]
    assert main(["bench", "model", models[1], *options]) == 0
    assert 3 <= last_line(capsys)["audio_seconds"] < 5


def test_ratios_are_medians_within_rounds():
    first, second = summarise([(4.0, 1.0), (8.0, 4.0), (6.0, 1.0)], seconds=2.0)
    assert first == {"real_time_factor": 3.0, "times_as_fast": 1.0, "times_as_fast_spread": [1.0, 1.0]}
    assert second == {"real_time_factor": 0.5, "times_as_fast": 4.0, "times_as_fast_spread": [2.0, 6.0]}


def test_batches_hold_every_utterance_once():
    features = [torch.full((n, 3), float(n)) for n in (9, 7, 4)]
    batches = in_batches(features, 2, torch.device("cpu"))
    assert [(tuple(x.shape), n.tolist()) for x, n in batches] == [((2, 9, 3), [9, 7]), ((1, 4, 3), [4])]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--repeats", "0"], "--repeats 0"),
        (["--batch", "0"], "--batch 0"),
        (["--seconds", "0"], "--seconds 0"),
        (["--teacher", "nowhere"], "nowhere: no model there and no preset"),
    ],
)
def test_wrong_options_are_refused_by_name(models, wrong, message, capsys):
    assert main(["bench", "model", models[1], *wrong]) == 2
    assert message in capsys.readouterr().err


def test_a_quantised_model_is_measured_on_eight_bit_kernels_against_a_float_teacher(models, tmp_path, capsys):
    assert main(["quantise", models[0], "--out", str(tmp_path / "small")]) == 0
    options = ["--seconds", "1", "--repeats", "1", "--precision", "int8", "--json"]
    assert main(["bench", "model", str(tmp_path / "small"), "--teacher", models[0], *options]) == 0
    teacher, small = last_line(capsys)["models"]
    assert (teacher["precision"] != "int8", small["precision"]) == (True, "int8")
    assert small["parameters"] == teacher["parameters"] and small["bytes"] < 0.3 * teacher["bytes"]
