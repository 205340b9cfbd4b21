"""`asr-kd export`: a folder that needs nothing else, and says what is known of the model."""

import json
from dataclasses import replace

import jiwer
import numpy as np
import onnx
import pytest
import soundfile
from decoding import run

import asr_kd
from asr_kd.corpora.manifest import write_manifest
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.transcripts.formats import FORMATS

LOG_P_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """Everything of the model that knows the tones."""
    out = tmp_path_factory.mktemp("export") / "student"
    assert run("export", trained / "model", "--graph", trained / "graph", "--licence", "CC0-1.0", "--out", out) == 0
    return out


def test_the_folder_needs_nothing_else_and_says_the_same(folder, trained, tone_utterances):
    ours = asr_kd.load(trained / "model", graph=trained / "graph", precision="float32")  # as exported
    exported, int8 = asr_kd.load(folder), asr_kd.load(folder / "model.int8.onnx")
    for utterance in tone_utterances:
        wave_N, _ = soundfile.read(utterance.audio_filepath, dtype="float32")
        expected, found = ours.transcribe(wave_N), exported.transcribe(wave_N)
        assert [(w.word, w.start_s, w.end_s) for w in found.words] == [
            (w.word, w.start_s, w.end_s) for w in expected.words
        ]
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)
        assert int8.transcribe(wave_N).text == utterance.text


def test_a_stream_of_the_folder_says_the_same_in_pieces_of_any_size(folder, tone_utterances):
    exported = asr_kd.load(folder)
    waves = [soundfile.read(u.audio_filepath, dtype="float32")[0] for u in tone_utterances]
    rng = np.random.default_rng(0)
    pauses = [(0.001 * rng.standard_normal(16_000)).astype(np.float32) for _ in waves]
    wave_N = np.concatenate([part for pair in zip(waves, pauses, strict=True) for part in pair])
    assert exported.is_live
    found = []
    for size in (len(wave_N), 160, 7_777):
        stream = exported.stream()
        pieces = [wave_N[start : start + size] for start in range(0, len(wave_N), size)]
        found.append([t for piece in pieces for t in stream.accept(piece)] + stream.finish())
    assert found[0] == found[1] == found[2]
    said = " ".join(t.text for t in found[0])
    assert jiwer.wer(" ".join(u.text for u in tone_utterances), said) < 0.2  # silence before words costs some


def test_transcribe_takes_the_folder(folder, tone_utterances, tmp_path, capsys):
    files = [u.audio_filepath for u in tone_utterances[:3]]
    assert run("transcribe", folder, files[0]) == 0
    assert capsys.readouterr().out.split() == tone_utterances[0].text.split()
    assert run("transcribe", folder, *files, "--out", tmp_path / "out", "--format", "jsonl") == 0
    outputs = sorted(tmp_path.glob(f"out/tone*{FORMATS['jsonl'].suffix}"))
    assert len(outputs) == 3
    assert run("transcribe", folder, *files, "--out", tmp_path / "out", "--format", "jsonl", "--dry-run") == 0
    assert "0 of 3 files" in capsys.readouterr().err


def test_decode_and_score_measure_the_exported_model(folder, trained, tone_shards, tmp_path):
    for name, model in (("torch", trained / "model"), ("int8", folder / "model.int8.onnx")):
        shards = [*tone_shards, "--model", model, "--graph", trained / "graph"]
        assert run("decode", *shards, "--out", tmp_path / name, "--device", "cpu", "--threads", 1) == 0
    texts = [(tmp_path / name / "hyp.jsonl").read_text() for name in ("torch", "int8")]
    assert [json.loads(line)["text"] for line in texts[0].splitlines()] == [
        json.loads(line)["text"] for line in texts[1].splitlines()
    ]


def test_the_card_has_what_is_known_and_no_more(folder, trained, tone_shards, tone_utterances, tmp_path, capsys):
    text = (folder / "README.md").read_text()
    assert "CC0-1.0" in text
    assert "None were given" in text
    for name in ("model.onnx", "model.int8.onnx"):
        assert f"| `{name}` | {(folder / name).stat().st_size / 1e6:.2f} |" in text
    manifest = tmp_path / "test.jsonl"
    write_manifest(manifest, tone_utterances)
    shards = [*tone_shards, "--graph", trained / "graph", "--device", "cpu", "--threads", 1]
    assert run("decode", *shards, "--model", trained / "model", "--out", tmp_path / "decoded") == 0
    assert run("score", "--ref", manifest, "--hyp", f"mine={tmp_path / 'decoded'}", "--out", tmp_path / "scores") == 0
    more = ["--graph", trained / "graph", "--scores", tmp_path / "scores"]
    assert run("export", trained / "model", *more, "--out", tmp_path / "again") == 0
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    card = (tmp_path / "again/README.md").read_text()
    assert f"(`mine`) | 12 | WER | {100 * scores['systems']['mine']['wer']:.1f} |" in card
    assert scores["command"] in card
    scores["systems"]["mine"]["decode"]["model"] = "0" * 64
    (tmp_path / "scores/scores.json").write_text(json.dumps(scores))
    capsys.readouterr()
    assert run("export", trained / "model", *more, "--out", tmp_path / "third") == 2
    assert "none of its systems is" in capsys.readouterr().err
    assert not (tmp_path / "third/model.onnx").exists()


def test_a_second_export_leaves_nothing_of_the_first(folder, trained, tmp_path):
    out = tmp_path / "out"
    assert run("export", trained / "model", "--graph", trained / "graph", "--out", out) == 0
    (out / "graph/lm.arpa").write_text("old")
    (out / "sherpa-onnx").mkdir()
    (out / "sherpa-onnx/model.onnx").write_text("old")
    assert run("export", trained / "model", "--graph", trained / "graph", "--out", out) == 0
    assert not (out / "graph/lm.arpa").exists()
    assert not (out / "sherpa-onnx").exists()


def test_models_that_cannot_be_exported_are_told_what_to_train(trained, teacher, tmp_path, capsys):
    assert run("export", teacher, "--graph", trained / "graph", "--out", tmp_path / "a") == 2
    assert "Train a student with model.encoder=lstm" in capsys.readouterr().err
    assert run("export", trained / "model", "--out", tmp_path / "b") == 2
    assert "Give one with --graph" in capsys.readouterr().err
    assert run("export", trained / "model", "--graph", trained / "graph", "--chunk", 0, "--out", tmp_path / "c") == 2
    assert "--chunk 0" in capsys.readouterr().err


@pytest.fixture(scope="module")
def teacher(trained, tmp_path_factory):
    """A model that needs whole utterances."""
    model = load_model(trained / "model")
    config, frontend = replace(model.config, bidirectional=True, lookahead=0), replace(model.frontend, cmn="utterance")
    path = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    save_model(path, build_model(config, model.inventory, frontend))
    return path


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "onnxruntime cannot read it"),
        (lambda path: _without_metadata(path), "has no description of asr_kd"),
        (lambda path: _described(path, lambda d: {**d, "chunk": 5}), "its description is damaged"),
        (lambda path: _described(path, lambda d: {**d, "inventory": 7}), "its description is damaged"),
        (lambda path: _described(path, lambda d: {**d, "version": 99}), "Export again"),
        (lambda path: _weights_elsewhere(path), "onnxruntime cannot read it"),
        (lambda path: path.unlink(), "no model there"),
    ],
    ids=["cut off", "no metadata", "another chunk", "no inventory", "version", "weights in another file", "missing"],
)
def test_damaged_exports_are_one_clear_line(damage, said, folder, tone_utterances, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    damage(tmp_path / "model.onnx")
    assert run("transcribe", tmp_path, tone_utterances[0].audio_filepath) == 2
    assert said in capsys.readouterr().err


def _described(path, change):
    model = onnx.load(path)
    (entry,) = model.metadata_props
    entry.value = json.dumps(change(json.loads(entry.value)))
    onnx.save(model, path)


def _weights_elsewhere(path):
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (path.parent / "weights.bin").is_file()


def _without_metadata(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
