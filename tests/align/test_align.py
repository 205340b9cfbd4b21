import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from tones import damage

from asr_kd.align.finished import FinishedShards
from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.registry import load_inventory
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import model_fingerprint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.sidecar import read_description, read_sidecar, sidecar_path
from asr_kd.transcripts.pseudo_labels import write_transcripts
from asr_kd.transcripts.recognised import Transcript, Word

SMALL = [
    "flat_start.mono_iterations=8",
    "flat_start.mono_gaussians=160",
    "flat_start.triphone_iterations=2",
    "flat_start.triphone_gaussians=20",
    "flat_start.tree.leaves=12",
    "flat_start.tree.min_count=10",
]


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    path.write_text("AH AH\nEE IY\nOH OW\n")
    return path


def align(shards, lexicon, out, *more):
    paths = ["align", *map(str, shards), "--lexicon", str(lexicon), "--out", str(out), "--device", "cpu"]
    return main([*paths, "--threads", "1", *map(str, more)])


def states_of(folder, shard):
    table, _ = read_sidecar(sidecar_path(folder / shard.path.parent.name, shard), shard)
    return table.column("states").to_pylist()


def digests(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml")  # it names the folder
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def aligned(tone_shards, lexicon, tmp_path_factory):
    out = tmp_path_factory.mktemp("align")
    assert align(tone_shards[:2], lexicon, out, "--align-only", tone_shards[2], "--set", *SMALL) == 0
    return out


def test_every_frame_of_training_and_held_out_shards_gets_a_class(tone_shards, aligned):
    inventory = load_inventory(aligned)
    assert Lexicon.read(aligned / "lexicon.txt").words == ["AH", "EE", "OH"]
    for path in tone_shards:
        shard = open_shard(path)
        description = read_description(sidecar_path(aligned / path.parent.name, shard))
        assert description["kind"] == "alignment" and description["inventory"] == inventory.fingerprint
        for row, states in enumerate(states_of(aligned, shard)):
            assert len(states) == FrontEnd().num_frames(len(shard.audio(row)))
            assert min(states) >= 0 and max(states) < inventory.num_classes


def test_words_are_found_where_they_were_said(tone_shards, aligned):
    """Each word is a tone: the frames of a class are of one tone, and silence is where there is none."""
    counts = np.zeros((load_inventory(aligned).num_classes, 4), dtype=int)
    for path in tone_shards:
        shard = open_shard(path)
        for row, states in enumerate(states_of(aligned, shard)):
            audio_N = shard.audio(row)
            for t, state in enumerate(states):
                wave_N = audio_N[480 * t : 480 * t + 720]
                hertz = np.abs(np.fft.rfft(wave_N)).argmax() * 16000 / len(wave_N)
                loudness = np.abs(wave_N).max()
                if loudness > 0.1:
                    counts[state, 1 + np.abs(np.array([400.0, 900.0, 1600.0]) - hertz).argmin()] += 1
                elif loudness < 0.01:
                    counts[state, 0] += 1  # what lies between belongs to either
    assert counts.max(1).sum() > 0.95 * counts.sum()
    assert set(counts.argmax(1).tolist()) == {0, 1, 2, 3}


def test_the_same_speech_gives_the_same_bytes(tone_shards, lexicon, aligned, tmp_path):
    align(tone_shards[:2], lexicon, tmp_path, "--align-only", tone_shards[2], "--set", *SMALL)
    assert digests(tmp_path) == digests(aligned)


def test_a_model_aligns_in_its_own_inventory(tone_shards, lexicon, aligned, tmp_path):
    torch.manual_seed(0)
    inventory = load_inventory(aligned)
    save_model(tmp_path / "model", build_model(ModelConfig(num_layers=1, hidden_size=8), inventory, FrontEndConfig()))
    assert align(tone_shards, lexicon, tmp_path / "out", "--model", tmp_path / "model") == 0
    assert load_inventory(tmp_path / "out") == inventory
    for path in tone_shards:
        shard = open_shard(path)
        description = read_description(sidecar_path(tmp_path / "out" / path.parent.name, shard))
        assert description["model"] == model_fingerprint(tmp_path / "model")
        assert description["inventory"] == inventory.fingerprint
        assert None not in states_of(tmp_path / "out", shard)


def test_text_that_does_not_fit_is_set_aside_and_told(tone_utterances, lexicon, tmp_path, capsys):
    odd = [
        dataclasses.replace(tone_utterances[0], text=" ".join(["AH EE"] * 60)),
        dataclasses.replace(tone_utterances[1], text=None),
        dataclasses.replace(tone_utterances[2], text="?"),
        Utterance("blip", tone_utterances[0].audio_filepath, duration=0.02, text="AH"),
    ]
    (path,) = write_shards([*odd, *tone_utterances[3:]], tmp_path / "odd")
    assert align([path], lexicon, tmp_path / "out", "--set", *SMALL) == 0
    shard = open_shard(path)
    aside = [e.id for e, states in zip(shard.entries, states_of(tmp_path / "out", shard), strict=True) if not states]
    assert aside == ["tone-00", "tone-01", "tone-02", "blip"]
    told = capsys.readouterr().err
    assert "9 of 13 utterances aligned" in told
    assert "2 have no text" in told
    assert "2 of 11 utterances with text skipped (2 x the text does not fit the audio, first blip)" in told


def test_words_that_the_lexicon_lacks_are_told_with_their_source(tone_shards, tmp_path, capsys):
    (tmp_path / "lexicon.txt").write_text("AH AH\nEE IY\n")
    assert align(tone_shards, tmp_path / "lexicon.txt", tmp_path / "out", "--set", *SMALL) == 0
    assert "1 words pronounced by cmudict, 0 by their letters" in capsys.readouterr().err
    assert Lexicon.read(tmp_path / "out" / "lexicon.txt").pronunciations["OH"] == [("OW",)]


def test_shards_without_text_are_refused(tone_utterances, lexicon, tmp_path, capsys):
    shards = write_shards(tone_utterances[:2], tmp_path / "unlabelled", strip_text=True)
    assert align(shards, lexicon, tmp_path / "out") == 2
    assert f"{shards[0]}: no utterance has text" in capsys.readouterr().err


def test_two_shards_that_would_share_a_sidecar_are_refused(tone_utterances, lexicon, tmp_path, capsys):
    shards = [write_shards(tone_utterances[:2], tmp_path / name / "labelled")[0] for name in "ab"]
    assert align(shards, lexicon, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert str(shards[0]) in told and str(shards[1]) in told and "Rename one of their folders" in told


def test_other_frames_than_those_of_the_gaussians_are_refused(tone_shards, lexicon, tmp_path, capsys):
    assert align(tone_shards, lexicon, tmp_path / "out", "--set", "frontend.frame_stacking=4") == 2
    assert "frontend: 4 frames stacked, one every 40 ms; Gaussians need 3" in capsys.readouterr().err


def test_without_a_lexicon_words_come_from_cmudict(tone_shards, tmp_path):
    out = tmp_path / "out"
    assert main(["align", *map(str, tone_shards), "--out", str(out), "--threads", "1", "--set", *SMALL]) == 0
    assert Lexicon.read(out / "lexicon.txt").words == ["AH", "EE", "OH"]


@pytest.fixture
def heard(tone_utterances, aligned, tmp_path):
    """A model, a shard without text, and what a teacher heard in it: the reference, but for what the lines show."""
    torch.manual_seed(0)
    save_model(
        tmp_path / "model",
        build_model(ModelConfig(num_layers=1, hidden_size=8), load_inventory(aligned), FrontEndConfig()),
    )
    (path,) = write_shards(tone_utterances[:5], tmp_path / "unlabelled", strip_text=True)
    shard = open_shard(path)
    said = [Transcript([Word(w, 0, 0, 0.9) for w in u.text.split()], 0.9) for u in tone_utterances[:5]]
    said[1] = dataclasses.replace(said[1], confidence=0.3)
    said[2] = Transcript([Word("ЭХО", 0, 0, 0.9)], 0.9)  # no phones of English say it
    said[3] = "Whisper hears no speech"
    write_transcripts(tmp_path / "hyp", shard, said)
    return tmp_path, shard


def test_a_model_aligns_speech_without_text_to_what_was_heard_and_says_so(heard, lexicon, tone_shards, capsys):
    folder, shard = heard
    options = ["--model", folder / "model", "--transcripts", folder / "hyp", "--min-confidence", 0.5]
    assert align([shard.path], lexicon, folder / "out", *options, "--max-skipped", 0.5) == 0
    states = states_of(folder / "out", shard)
    assert [row is None for row in states] == [False, True, True, True, False]
    description = read_description(sidecar_path(folder / "out" / "unlabelled", shard))
    assert description["pseudo_text"]["least_confidence"] == 0.5 and description["kind"] == "alignment"
    told = capsys.readouterr().err
    assert "1 words have no pronunciation in the inventory's phones: ЭХО" in told
    assert "2 have no transcript, or one the teacher is not sure enough of" in told
    assert "1 of 3 utterances with text skipped (1 x ЭХО has no pronunciation" in told
    assert align(tone_shards, lexicon, folder / "true", "--model", folder / "model") == 0
    reference = open_shard(tone_shards[0])
    assert states[0] == states_of(folder / "true", reference)[0]  # the text is the same
    assert "pseudo_text" not in read_description(sidecar_path(folder / "true" / reference.path.parent.name, reference))


def test_transcripts_of_other_shards_or_without_a_model_are_refused(heard, lexicon, tone_shards, capsys):
    folder, shard = heard
    options = ["--model", folder / "model", "--transcripts", folder / "hyp"]
    assert align(tone_shards, lexicon, folder / "out", *options) == 2
    assert f"of 1 shards, none of them {tone_shards[0]}" in capsys.readouterr().err
    assert align([shard.path], lexicon, folder / "out", *options[2:]) == 2
    assert "--transcripts: only used with --model" in capsys.readouterr().err
    assert align([shard.path], lexicon, folder / "out", *options[:2], "--min-confidence", 0.5) == 2
    assert "--min-confidence: only used with --transcripts" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize("with_model", [False, True])
def test_damaged_audio_is_skipped_and_the_rest_is_aligned(
    tone_utterances, lexicon, aligned, tmp_path, capsys, with_model
):
    torch.manual_seed(0)
    save_model(
        tmp_path / "model",
        build_model(ModelConfig(num_layers=1, hidden_size=8), load_inventory(aligned), FrontEndConfig()),
    )
    how = ["--model", tmp_path / "model"] if with_model else ["--set", *SMALL]
    (path,) = write_shards(tone_utterances, tmp_path / "labelled")
    damage(path, "tone-03", "tone-08")
    assert align([path], lexicon, tmp_path / "out", *how) == 0
    told = capsys.readouterr().err
    assert "10 of 12 utterances aligned" in told and "2 of 12 utterances with text skipped (2 x damaged audio" in told
    states = states_of(tmp_path / "out", open_shard(path))
    assert [i for i, row in enumerate(states) if row is None] == [3, 8]
    listed = [json.loads(line)["id"] for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(listed) == ["tone-03", "tone-08"]
    assert align([path], lexicon, tmp_path / "out", *how, "--max-skipped", 0.1) == 2
    assert "accept it with --max-skipped 0.17" in capsys.readouterr().err


def test_an_interrupted_flat_start_is_gone_on_from_and_leaves_nothing(tone_shards, lexicon, aligned, tmp_path, capsys):
    out, more = tmp_path / "out", ("--align-only", tone_shards[2], "--set", *SMALL)
    (out / "inventory.json").mkdir(parents=True)  # stops it right after the flat start
    assert align(tone_shards[:2], lexicon, out, *more) == 2
    assert (out / "flat_start.npz").exists()
    (out / "inventory.json").rmdir()
    capsys.readouterr()
    assert align(tone_shards[:2], lexicon, out, *more) == 0
    told = capsys.readouterr().err
    assert "goes on after round 2 of the second stage" in told and "round 5/8" not in told
    assert digests(out) == digests(aligned)


def test_finished_shards_are_kept_unless_they_were_made_of_something_else(
    tone_shards, lexicon, aligned, tmp_path, capsys
):
    out, more = tmp_path / "out", ("--align-only", tone_shards[2], "--set", *SMALL)
    last = (
        aligned.joinpath(tone_shards[2].parent.name, tone_shards[2].stem).relative_to(aligned).with_suffix(".parquet")
    )
    (out / last).mkdir(parents=True)  # the last cannot be written
    assert align(tone_shards[:2], lexicon, out, *more) == 2
    done = [p for p in out.rglob("*.parquet") if p.is_file()]
    assert len(done) == 2 and (out / "finished.jsonl").exists()
    inodes = [p.stat().st_ino for p in done]
    done[0].write_bytes(done[0].read_bytes()[:-1])
    (out / last).rmdir()
    assert align(tone_shards[:2], lexicon, out, *more) == 0
    assert [p.stat().st_ino == i for p, i in zip(done, inodes, strict=True)] == [False, True], "the damaged one anew"
    assert digests(out) == digests(aligned)


@pytest.mark.parametrize("line", [b"[1]", b"{}", b'{"sidecar": 1}', b"\xff", b"[" * 100_000, b"1" * 400])
def test_a_damaged_record_of_finished_shards_costs_their_work_alone(line: bytes, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"rows")
    FinishedShards(tmp_path / "finished").add(tmp_path / "a.parquet", "x", {})
    with open(tmp_path / "finished", "ab") as f:
        f.write(line + b"\n")
    assert FinishedShards(tmp_path / "finished").find(tmp_path / "a.parquet", "x") == {}
