"""A model of tokens through the whole chain: tokens, train, tune, decode, label. Its labels are nothing but text."""

import json

import jiwer
import numpy as np
import pytest

import asr_kd
from asr_kd.cli import main
from asr_kd.decode.word_decoder import GreedyDecoder
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import model_fingerprint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import read_description, sidecar_path
from asr_kd.targets.soft_targets import SoftTargets

SETTINGS = (
    "model.preset=teacher-tiny",
    "model.hidden_size=24",
    "model.num_layers=1",
    "model.dropout=0",
    "frontend.mel_bins=20",
    "epochs=60",
    "augment.speed_perturb=[1.0]",
    "train.max_frames_per_batch=300",
    "train.optim.lr=0.02",
    "train.ema_decay=0.9",
    "train.num_workers=0",
)


def run(*args):
    return main([str(a) for a in args])


@pytest.fixture(scope="module")
def trained(tone_shards, tone_utterances, tmp_path_factory):
    """A folder with tokens/, a teacher of them that knows the tones (teacher/) and a graph of their words (graph/)."""
    root = tmp_path_factory.mktemp("tokens")
    (root / "text.txt").write_text("".join(f"{u.text}\n" for u in tone_utterances))
    assert run("tokens", root / "text.txt", "--type", "characters", "--out", root / "tokens") == 0
    assert run("graph", root / "text.txt", "--inventory", root / "tokens", "--out", root / "graph", "--order", 1) == 0
    shards = [*tone_shards, "--dev", *tone_shards, "--device", "cpu", "--threads", 1]
    assert run("train", *shards, "--tokens", root / "tokens", "--out", root / "teacher", "--set", *SETTINGS) == 0
    return root


def verb(name, shards, trained, out, *more):
    return run(name, *shards, "--model", trained / "teacher", "--out", out, "--device", "cpu", "--threads", 1, *more)


def hypotheses(folder):
    return [json.loads(line) for line in (folder / "hyp.jsonl").read_text().splitlines()]


def errors(folder, utterances):
    found = hypotheses(folder)
    assert [h["id"] for h in found] == [u.id for u in utterances]
    return jiwer.wer([u.text for u in utterances], [h["text"] for h in found])


def test_words_are_read_greedily_and_better_through_a_graph(tone_shards, tone_utterances, trained, tmp_path):
    assert verb("decode", tone_shards, trained, tmp_path / "greedy", "--nbest", 3) == 0
    greedy = errors(tmp_path / "greedy", tone_utterances)
    assert greedy < 0.3
    assert all(h["nbest"][0]["text"] == h["text"] for h in hypotheses(tmp_path / "greedy"))
    said = json.loads((tmp_path / "greedy" / "decode.json").read_text())
    assert said["graph"] is None and (said["acoustic_scale"], said["prior_scale"]) == (1.0, 0.0)
    assert said["model"] == model_fingerprint(trained / "teacher")
    graph = ["--graph", trained / "graph"]
    assert verb("tune", tone_shards, trained, tmp_path / "tune", *graph, "--acoustic-scales", 0.5, 1) == 0
    tuned = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert {t["prior"] for t in tuned["trials"]} == {0.0, 0.3, 0.6, 1.0}
    assert verb("decode", tone_shards, trained, tmp_path / "graph", *graph, "--decoding-scales", tmp_path / "tune") == 0
    assert errors(tmp_path / "graph", tone_utterances) <= min(greedy, 0.1)


def label(shards, trained, out, *more):
    return run("label", *shards, "--teacher", trained / "teacher", "--out", out, "--threads", 1, *more)


def test_soft_targets_of_tokens_are_those_of_any_inventory(tone_shards, trained, tmp_path):
    assert label(tone_shards, trained, tmp_path / "plain") == 0
    graph = ["--graph", trained / "graph", "--write-transcripts"]
    assert label(tone_shards, trained, tmp_path / "graph", *graph) == 0
    tokens = load_inventory(trained / "tokens")
    for folder in ("plain", "graph"):
        targets = SoftTargets(tmp_path / folder, tokens, model_fingerprint(trained / "teacher"))
        rows = [t for path in tone_shards for t in targets.load(open_shard(path))]
        assert len(rows) == 12 and all(t.ids_TK[:, 0].max() < tokens.num_classes for t in rows)
    said = read_description(sidecar_path(tmp_path / "graph", open_shard(tone_shards[0])))
    assert said["inventory"] == tokens.fingerprint
    assert (said["lattices"]["prior"], said["lattices"]["decoded"]) == (0.0, True)


def test_what_a_token_teacher_hears_has_times_and_confidences(tone_shards, tone_utterances, trained, tmp_path):
    assert label(tone_shards, trained, tmp_path, "--graph", trained / "graph", "--write-transcripts") == 0
    lines = [json.loads(x) for path in sorted(tmp_path.glob("*.hyp.jsonl")) for x in path.read_text().splitlines()]
    texts = {u.id: u.text for u in tone_utterances}
    assert jiwer.wer([texts[h["id"]] for h in lines], [h["text"] for h in lines]) < 0.1
    for line in lines:
        times = [t for _, start, end, _ in line["words"] for t in (start, end)]
        assert [w for w, *_ in line["words"]] == line["text"].split()
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= line["duration"]
        assert line["phones"] == len(Tokens.characters(["AH", "EE", "OH"]).encode(line["text"]))
        assert all(0 < confidence <= 1 for *_, confidence in line["words"])


def test_streams_through_a_graph_make_no_words_of_pauses(tone_shards, tone_utterances, trained, tmp_path):
    """Its words leave the graph after their sounds, and it has no empty sentence."""
    small = [*SETTINGS, "model.preset=student-tiny", "frontend.cmn=causal"]
    options = ["--tokens", trained / "tokens", "--out", tmp_path, "--device", "cpu", "--threads", 1, "--set", *small]
    assert run("train", *tone_shards, "--dev", *tone_shards, *options) == 0
    student, rng = asr_kd.load(tmp_path, graph=trained / "graph"), np.random.default_rng(0)
    assert student.is_live
    waves = [shard.audio(row) for shard in map(open_shard, tone_shards) for row in range(len(shard.entries))]
    pause_N = (0.001 * rng.standard_normal(24_000)).astype(np.float32)
    stream = student.stream()
    found = [t for wave_N in waves for part_N in (wave_N, pause_N) for t in stream.accept(part_N)] + stream.finish()
    assert jiwer.wer(" ".join(u.text for u in tone_utterances), " ".join(t.text for t in found)) < 0.25
    assert len(found) == len(waves)
    assert student.stream().accept(np.tile(pause_N, 3)) == []


def test_what_needs_senones_says_so(tone_shards, trained, tmp_path, capsys):
    (tmp_path / "lexicon.txt").write_text("AH AH\nEE IY\nOH OW\n")
    options = ["--model", trained / "teacher", "--lexicon", tmp_path / "lexicon.txt", "--out", tmp_path / "out"]
    assert run("align", *tone_shards, *options) == 2
    told = capsys.readouterr().err
    assert f"{trained / 'teacher'}: its inventory is of kind tokens; this needs senones" in told
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_senones_say_no_words_without_a_graph(tone_shards, tmp_path, capsys):
    model = build_model(ModelConfig(num_layers=1, hidden_size=4), Senones.monophone(["SIL", "A"]), FrontEndConfig())
    save_model(tmp_path / "model", model)
    assert run("decode", *tone_shards, "--model", tmp_path / "model", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'model'}: its inventory is of kind senones, which says no words without a graph" in told
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_greedy_search_reads_whatever_is_spelt():
    tokens = Tokens.characters(["AB"])
    search = GreedyDecoder(tokens)
    assert (
        search.best(np.zeros((0, tokens.num_classes))) is None
        and search.n_best(np.zeros((0, tokens.num_classes)), 2) == []
    )
    score_TC = np.log(np.array([[0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.2, 0.6], [0.9, 0.1, 0.0, 0.0]]) + 1e-9)
    found = search.best(score_TC)
    assert found.words == ["B"] and found.cost == pytest.approx(-np.log(0.6 * 0.6 * 0.9), abs=1e-5)
