import json

import pytest
import torch
from tones import INVENTORY, align_tones

from asr_kd.cli import main
from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.checkpoint import load_model

TINY = (
    "--set",
    "model.hidden_size=8",
    "model.num_layers=1",
    "model.preset=student-tiny",
    "frontend.mel_bins=20",
    "epochs=2",
    "train.max_frames_per_batch=150",
)


@pytest.fixture(scope="module")
def alignments(tone_shards, tmp_path_factory):
    return align_tones(tone_shards, tmp_path_factory.mktemp("align"))


def train(shards, alignments, out, *more):
    paths = ["train", *map(str, shards[:2]), "--dev", str(shards[2])]
    return main([*paths, "--alignments", str(alignments), "--out", str(out), "--device", "cpu", *more])


def test_a_model_comes_out_that_knows_its_inventory_and_priors(tone_shards, alignments, tmp_path, capsys):
    assert train(tone_shards, alignments, tmp_path, *TINY, "--seed", "3") == 0
    model = load_model(tmp_path)
    assert (model.config.hidden_size, model.config.lookahead, model.inventory) == (8, 5, INVENTORY)
    assert model.log_prior_C.exp().sum().item() == pytest.approx(1)
    assert not torch.allclose(model.log_prior_C, model.log_prior_C.mean())
    assert not torch.equal(model.feature_mean_F, torch.zeros(60))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = {
        "step",
        "sub_epoch",
        "stream",
        "loss",
        "dev_loss",
        "dev_frame_accuracy",
        "lr",
        "losses",
        "grad_norm",
        "skipped",
        "hours_per_second",
        "seconds",
        "bytes_sent",
    }
    assert len(lines) == 2 and set(lines[0]) == expected
    assert list((tmp_path / "tb").glob("events*"))
    assert "best at step" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_model_and_running_again_changes_nothing(tone_shards, alignments, tmp_path):
    files = [tmp_path / name / "model.safetensors" for name in ("a", "b", "c")]
    for file, seed, workers in zip(files, "112", "021", strict=True):
        assert train(tone_shards, alignments, file.parent, *TINY, "--seed", seed, "--num-workers", workers) == 0
    a, b, c = (file.read_bytes() for file in files)
    assert a == b != c
    assert train(tone_shards, alignments, files[0].parent, *TINY, "--seed", "1") == 0
    assert files[0].read_bytes() == a


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tone_shards, alignments, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(tone_shards, alignments, out, *TINY, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "parameters" in said and "2 epochs, about" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs=0", "epochs is 0"),
        ("model.preset=none", "model.preset is none; known: teacher-tiny"),
        ("train.optim.rate=1", "unknown key train.optim.rate"),
    ],
)
def test_a_wrong_setting_is_one_line(tone_shards, alignments, tmp_path, capsys, change, message):
    assert train(tone_shards, alignments, tmp_path, "--set", change) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def tokens_of_tones(tmp_path):
    Tokens.characters(["AH", "EE", "OH"]).save(tmp_path / "tokens" / "inventory.json")
    return tmp_path / "tokens"


CONFORMER = ("model.preset=student-conformer", "model.hidden_size=8", "model.num_layers=1", "model.num_heads=2")


@pytest.mark.parametrize("changes", [TINY, (*TINY, *CONFORMER)], ids=["lstm", "conformer"])
def test_text_alone_trains_a_model_of_tokens(tone_shards, tmp_path, capsys, changes):
    tokens, out = tokens_of_tones(tmp_path), tmp_path / "out"
    paths = [*map(str, tone_shards[:2]), "--dev", str(tone_shards[2]), "--tokens", str(tokens), "--out", str(out)]
    assert main(["train", *paths, "--device", "cpu", *changes]) == 0
    model = load_model(out)
    assert model.inventory == load_inventory(tokens)
    assert model.log_prior_C.exp().sum().item() == pytest.approx(1)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["dev_loss"] < lines[0]["dev_loss"]
    assert "token accuracy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--alignments and --tokens: give one of them"),
        (["--tokens", "{tokens}", "--alignments", "{align}"], "--alignments and --tokens: give one of them"),
        (["--tokens", "{tokens}", "--dev-alignments", "{align}"], "--dev-alignments: with --tokens"),
        (["--tokens", "{align}"], "its inventory is of kind senones; this needs tokens (`asr-kd tokens`)"),
        (["--alignments", "{tokens}"], "no alignment in"),
        (["--alignments", "{align}", "--transcripts", "{tokens}"], "--transcripts: only used with --tokens"),
        (["--tokens", "{tokens}", "--min-confidence", "0.5"], "--min-confidence: only used with --transcripts"),
        (["--tokens", "{tokens}", "--transcripts", "{tokens}"], "holds no transcripts (*.hyp.jsonl)"),
    ],
)
def test_the_truth_is_alignments_or_tokens(tone_shards, alignments, tmp_path, capsys, options, message):
    places = {"tokens": tokens_of_tones(tmp_path), "align": alignments}
    given = [option.format(**places) for option in options]
    command = ["train", str(tone_shards[0]), "--dev", str(tone_shards[2]), "--out", str(tmp_path / "out"), *given]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
