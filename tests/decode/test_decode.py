import json

import jiwer
import numpy as np
import pytest
import soundfile
from decoding import run
from tones import damage

from asr_kd.core.skipped import Skipped
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.decode.recognise import Recogniser
from asr_kd.decode.utterance_search import SearchFactory
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.senones import Senones
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, model_fingerprint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.frame_targets import AlignmentTargets
from asr_kd.targets.sidecar import read_description, sidecar_path
from asr_kd.targets.soft_targets import SoftTargets


def verb(name, shards, trained, out, *more):
    files = ["--model", trained / "model", "--graph", trained / "graph", "--out", out]
    return run(name, *shards, *files, "--device", "cpu", "--threads", 1, *more)


def hypotheses(folder):
    return [json.loads(line) for line in (folder / "hyp.jsonl").read_text().splitlines()]


def test_decode_writes_what_was_said_in_order_of_id(tone_shards, tone_utterances, trained, tmp_path):
    assert verb("decode", tone_shards[::-1], trained, tmp_path) == 0
    found = hypotheses(tmp_path)
    assert [h["id"] for h in found] == [u.id for u in tone_utterances]
    assert [h["seconds"] for h in found] == pytest.approx([u.duration for u in tone_utterances], abs=1e-3)
    assert jiwer.wer([u.text for u in tone_utterances], [h["text"] for h in found]) < 0.1


def test_decode_json_says_how_it_was_made(tone_shards, trained, tmp_path):
    verb("decode", tone_shards, trained, tmp_path, "--beam", 9)
    said = json.loads((tmp_path / "decode.json").read_text())
    assert (said["acoustic_scale"], said["prior_scale"], said["beam"]) == (1.0, 1.0, 9.0)
    assert said["model"] == model_fingerprint(trained / "model")
    assert said["graph"] == load_graph(trained / "graph").fingerprint
    assert said["params"] == load_model(trained / "model").parameter_count
    assert said["utterances"] == 12 and said["threads"] == 1 and said["rtf"] > 0
    assert said["audio_seconds"] == pytest.approx(sum(h["seconds"] for h in hypotheses(tmp_path)))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_quantised_model_decodes_like_any_other(tone_shards, tone_utterances, trained, tmp_path, precision):
    assert run("quantise", trained / "model", "--out", tmp_path / "model") == 0
    folder = tmp_path / "decode"
    options = ["--graph", trained / "graph", "--device", "cpu", "--threads", 1, "--precision", precision]
    assert run("decode", *tone_shards, "--model", tmp_path / "model", "--out", folder, *options) == 0
    assert jiwer.wer([u.text for u in tone_utterances], [h["text"] for h in hypotheses(folder)]) < 0.1
    said = json.loads((folder / "decode.json").read_text())
    assert (said["params"], said["precision"]) == (load_model(trained / "model").parameter_count, precision)
    assert said["model"] == model_fingerprint(tmp_path / "model") != model_fingerprint(trained / "model")


def test_shards_decoded_one_by_one_give_the_same_words(tone_shards, trained, tmp_path):
    verb("decode", tone_shards, trained, tmp_path / "all")
    for shard in tone_shards:
        verb("decode", [shard], trained, tmp_path / shard.stem)
    alone = [h for shard in tone_shards for h in hypotheses(tmp_path / shard.stem)]
    assert sorted(alone, key=lambda h: h["id"]) == hypotheses(tmp_path / "all")


def test_n_best_lists_begin_with_the_hypothesis_and_get_worse(tone_shards, trained, tmp_path):
    (tmp_path / "tune.json").write_text(json.dumps({"acoustic": 0.1, "prior": 0.5}))
    verb("decode", tone_shards, trained, tmp_path, "--nbest", 4, "--decoding-scales", tmp_path)
    lists = [h["nbest"] for h in hypotheses(tmp_path)]
    assert max(map(len, lists)) > 1 and max(map(len, lists)) <= 4
    for hypothesis, nbest in zip(hypotheses(tmp_path), lists, strict=True):
        assert nbest[0]["text"] == hypothesis["text"]
        assert [n["cost"] for n in nbest] == sorted(n["cost"] for n in nbest)
        assert len({n["text"] for n in nbest}) == len(nbest)


def test_decode_uses_the_scales_that_tune_chose(tone_shards, trained, tmp_path, capsys):
    tries = ["--acoustic-scales", 0.02, 0.5, "--prior-scales", 0, 1]
    assert verb("tune", tone_shards, trained, tmp_path / "tune", *tries) == 0
    tuned = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert len(tuned["trials"]) == 4 and tuned["utterances"] == 12
    assert tuned["acoustic"] == 0.5, "almost without the acoustic model, hardly a word is right"
    assert {k: tuned[k] for k in ("acoustic", "prior", "word_insertion_penalty", "wer")} in tuned["trials"]
    assert "acoustic scale 0.5" in capsys.readouterr().err
    verb("decode", tone_shards, trained, tmp_path, "--decoding-scales", tmp_path / "tune")
    said = json.loads((tmp_path / "decode.json").read_text())
    assert (said["acoustic_scale"], said["prior_scale"]) == (tuned["acoustic"], tuned["prior"])


def test_a_cost_for_each_word_is_tuned_and_used_by_all_that_recognise(tone_shards, trained, tmp_path, capsys):
    tries = ["--acoustic-scales", 0.5, "--prior-scales", 1, "--word-insertion-penalties", 0, 1000]
    assert verb("tune", tone_shards, trained, tmp_path / "tune", *tries) == 0
    tuned = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert tuned["word_insertion_penalty"] == 0, "a cost that no word is worth"
    assert tuned["trials"][1]["word_insertion_penalty"] == 1000 and tuned["trials"][1]["wer"] > tuned["wer"]
    assert "prior share 1.0, 0.0 a word" in capsys.readouterr().err
    (tmp_path / "dear").mkdir()
    (tmp_path / "dear" / "tune.json").write_text(json.dumps({**tuned, "word_insertion_penalty": 1000}))
    verb("decode", tone_shards, trained, tmp_path, "--decoding-scales", tmp_path / "dear")
    assert json.loads((tmp_path / "decode.json").read_text())["word_insertion_penalty"] == 1000
    shortest = [h["text"] for h in hypotheses(tmp_path)]
    assert max(len(text.split()) for text in shortest) <= 1
    scales = DecodingScales.load(tmp_path / "dear")
    recogniser = Recogniser([trained / "model"], trained / "graph", "cpu", "float32")
    inventory, log_prior_C = recogniser.inventory, recogniser.log_prior_C
    live = SearchFactory(recogniser.graph, inventory, log_prior_C, scales, 0.03)()
    lattices = LatticePosteriors(recogniser.graph, log_prior_C, LatticeConfig(scales), inventory)
    for scored in recogniser.score(tone_shards, Skipped()):
        live.start()
        live.advance(scored.log_p_TC)
        assert len(live.finish().words) <= 1
        assert len(lattices.search(scored.log_p_TC)[1].words) <= 1
    assert lattices.description["word_insertion_penalty"] == 1000


@pytest.mark.parametrize(("option", "value"), [("--acoustic-scales", 0), ("--max-minutes", 0), ("--max-minutes", -1)])
def test_scales_and_minutes_must_be_above_0(tone_shards, trained, tmp_path, capsys, option, value):
    assert verb("tune", tone_shards, trained, tmp_path, option, value) == 2
    assert "must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--acoustic-scales", "--word-insertion-penalties"])
def test_without_a_scale_to_try_it_says_so(tone_shards, trained, tmp_path, capsys, option):
    assert verb("tune", tone_shards, trained, tmp_path, option) == 2
    assert f"{option}: give one number or more" in capsys.readouterr().err


def test_scores_are_weighed_as_the_scales_say(tone_shards, trained):
    recogniser = Recogniser([trained / "model"], trained / "graph", "cpu", "float32")
    scored = next(recogniser.score(tone_shards, Skipped()))
    assert np.exp(scored.log_p_TC).sum(1) == pytest.approx(1)
    log_prior_C = load_model(trained / "model").log_prior_C.numpy()
    expected_TC = 0.5 * (scored.log_p_TC - 0.25 * log_prior_C)
    np.testing.assert_allclose(recogniser.scaled(scored.log_p_TC, DecodingScales(0.5, 0.25)), expected_TC, rtol=1e-5)


def test_a_part_of_the_utterances_is_taken_evenly_from_all_shards(tone_shards, trained):
    recogniser = Recogniser([trained / "model"], trained / "graph", "cpu", "float32")
    ids = [scored.id for scored in recogniser.score(tone_shards, Skipped())]
    assert [scored.id for scored in recogniser.score(tone_shards, Skipped(), every=5)] == ids[::5]


def test_scales_come_from_a_file_or_its_folder_and_nothing_else(tmp_path):
    file = tmp_path / "tune.json"
    file.write_text(json.dumps({"acoustic": 0.5, "prior": 0.25, "wer": 0.1}))
    assert DecodingScales.load(file) == DecodingScales.load(tmp_path) == DecodingScales(0.5, 0.25)
    for wrong in ("{}", "[]", '{"acoustic": "x", "prior": 1}'):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"tune\.json: not written by `asr-kd tune`"):
            DecodingScales.load(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        DecodingScales.load(tmp_path / "other.json")


@pytest.mark.parametrize("name", ["decode", "tune"])
def test_a_graph_of_another_inventory_is_refused_with_both_names(tone_shards, trained, tmp_path, capsys, name):
    mine, other = load_inventory(trained / "align"), Senones.monophone(["SIL", "AH", "IY", "OW"])
    save_model(tmp_path / "model", build_model(ModelConfig(num_layers=1, hidden_size=4), other, FrontEndConfig()))
    files = ["--model", tmp_path / "model", "--graph", trained / "graph", "--out", tmp_path / "out"]
    assert run(name, *tone_shards, *files) == 2
    told = capsys.readouterr().err
    assert mine.fingerprint[:8] in told and other.fingerprint[:8] in told and str(tmp_path / "model") in told
    assert not (tmp_path / "out").exists()


def test_tuning_needs_text(tone_utterances, trained, tmp_path, capsys):
    shards = write_shards(tone_utterances[:2], tmp_path / "unlabelled", strip_text=True)
    assert verb("tune", shards, trained, tmp_path / "out") == 2
    assert f"{shards[0]}: no utterance has text" in capsys.readouterr().err
    assert verb("decode", shards, trained, tmp_path / "out") == 0, "decoding does not"


def test_utterances_shorter_than_a_frame_have_an_empty_text(tone_utterances, trained, tmp_path):
    audio = tone_utterances[0].audio_filepath
    blips = [Utterance(f"blip-{i}", audio, duration=0.02, text="AH") for i in range(2)]
    for utterances in (blips, [*blips, tone_utterances[1]]):
        shards = write_shards(utterances, tmp_path / f"shards-{len(utterances)}")
        assert verb("decode", shards, trained, tmp_path / "out", "--nbest", 2) == 0
        found = hypotheses(tmp_path / "out")
        assert [h["id"] for h in found] == [u.id for u in utterances]
        assert [(h["text"], h["nbest"]) for h in found[:2]] == [("", [])] * 2
    assert found[2]["text"]


def test_two_utterances_of_one_id_are_refused(tone_utterances, trained, tmp_path, capsys):
    shards = [write_shards(tone_utterances[:1], tmp_path / name)[0] for name in "ab"]
    assert verb("decode", shards, trained, tmp_path / "out") == 2
    assert "tone-00: two utterances have this id" in capsys.readouterr().err


def test_noise_is_no_reason_to_stop(trained, tmp_path):
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-1, 1, 32000), 16000)
    shards = write_shards([Utterance("noise", str(tmp_path / "noise.wav"), duration=2.0)], tmp_path / "shards")
    assert verb("decode", shards, trained, tmp_path / "out", "--beam", 0.5) == 0
    assert [h["id"] for h in hypotheses(tmp_path / "out")] == ["noise"]


def frames_right(folder, shards, inventory, alignments):
    targets = SoftTargets(folder, inventory)
    reference = [
        t.ids_TK[:, 0] for s in shards for t in AlignmentTargets(alignments / s.path.parent.name, inventory).load(s)
    ]
    found = [t.ids_TK[:, 0] for s in shards for t in targets.load(s)]
    return np.mean(np.concatenate(reference) == np.concatenate(found))


def test_soft_targets_through_a_graph_are_corrected_by_what_can_be_said(tone_shards, trained, tmp_path, capsys):
    common = ["--teacher", trained / "model", "--device", "cpu", "--threads", 1]
    assert run("label", *tone_shards, *common, "--out", tmp_path / "plain") == 0
    graph = ["--graph", trained / "graph", "--lattice-weight", 1]
    assert run("label", *tone_shards, *common, *graph, "--out", tmp_path / "graph") == 0
    shards, inventory = [open_shard(s) for s in tone_shards], load_inventory(trained / "align")
    plain = frames_right(tmp_path / "plain", shards, inventory, trained / "align")
    corrected = frames_right(tmp_path / "graph", shards, inventory, trained / "align")
    assert corrected > max(plain, 0.9)
    said = read_description(sidecar_path(tmp_path / "graph", shards[0]))["lattices"]
    assert said == {
        "graph": load_graph(trained / "graph").fingerprint,
        "acoustic": 1.0,
        "prior": 1.0,
        "weight": 1.0,
        "decoded": False,
    }
    capsys.readouterr()
    assert run("label", *tone_shards, *common, "--out", tmp_path / "graph") == 2
    assert "lattices" in capsys.readouterr().err


def test_damaged_audio_is_skipped_listed_and_scored_as_deletions(tone_utterances, trained, tmp_path, capsys):
    shards = write_shards(tone_utterances, tmp_path / "test", shard_seconds=4.0)
    verb("decode", shards, trained, tmp_path / "whole")
    damage(shards[0], "tone-01")
    assert verb("decode", shards, trained, tmp_path / "out") == 0
    assert "1 of 12 utterances skipped (1 x damaged audio" in capsys.readouterr().err
    found = hypotheses(tmp_path / "out")
    assert [h["id"] for h in found] == [u.id for u in tone_utterances]
    assert "text" not in found[1] and "damaged audio" in found[1]["reason"]
    whole = hypotheses(tmp_path / "whole")
    assert [h["text"] for h in found if "text" in h] == [h["text"] for h in whole if h["id"] != "tone-01"]
    assert json.loads((tmp_path / "out" / "decode.json").read_text())["skipped"] == 1
    write_manifest(tmp_path / "test.jsonl", tone_utterances)
    hyps = ["--hyp", f"a={tmp_path / 'out'}", f"b={tmp_path / 'whole'}"]
    assert run("score", "--ref", tmp_path / "test.jsonl", *hyps, "--out", tmp_path / "scores") == 0
    shown = capsys.readouterr().out
    assert (
        "a: decoding skipped 1 of 12 utterances; their words are counted as deletions" in shown
        and "b: dec" not in shown
    )
    systems = json.loads((tmp_path / "scores" / "scores.json").read_text())["systems"]
    assert systems["a"]["skipped"] == ["tone-01"] and "skipped" not in systems["b"]
    lost = len(tone_utterances[1].text.split())
    assert systems["a"]["deletions"] >= lost and systems["a"]["words"] == systems["b"]["words"]


def test_what_sharding_could_not_read_is_a_skipped_hypothesis(tone_utterances, trained, tmp_path):
    (tmp_path / "bad.flac").write_bytes(b"no audio")
    bad = Utterance("bad", str(tmp_path / "bad.flac"), 1.0, text="AH")
    shards = write_shards([*tone_utterances, bad], tmp_path / "test")
    assert verb("decode", shards, trained, tmp_path / "out") == 0
    assert hypotheses(tmp_path / "out")[0]["id"] == "bad" and "reason" in hypotheses(tmp_path / "out")[0]


@pytest.mark.parametrize(
    ("layer", "value", "reason"),
    [
        ("encoder", float("nan"), "holds weights that are not finite"),
        ("output", 3e38, "12 x the model's posteriors are not finite"),
    ],
)
def test_a_model_of_nan_has_no_hypotheses(layer, value, reason, tone_shards, trained, tmp_path, capsys):
    model = load_model(trained / "model")
    next(getattr(model, layer).parameters()).data.fill_(value)
    save_model(tmp_path / "model", model)
    files = ["--model", tmp_path / "model", "--graph", trained / "graph", "--out", tmp_path / "out"]
    for name in ("decode", "tune"):
        assert run(name, *tone_shards, *files) == 2
        told = capsys.readouterr().err
        assert reason in told and (layer == "encoder" or "None is left" in told)
    assert not (tmp_path / "out" / "hyp.jsonl").exists()


def test_more_than_the_stated_share_is_an_error_unless_it_is_accepted(tone_utterances, trained, tmp_path, capsys):
    shards = write_shards(tone_utterances, tmp_path / "test")
    damage(shards[0], "tone-00", "tone-03", "tone-07")
    for name in ("decode", "tune"):
        assert verb(name, shards, trained, tmp_path / name) == 2
        assert "accept it with --max-skipped 0.26" in capsys.readouterr().err
        assert len((tmp_path / name / "skipped.jsonl").read_text().splitlines()) == 3
        assert verb(name, shards, trained, tmp_path / name, "--max-skipped", 0.26) == 0
