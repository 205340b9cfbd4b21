import hashlib
import json
import shutil
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from webdataset import TarWriter

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.label.posteriors import LabelConfig, label_shard
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, model_fingerprint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import flac_bytes, write_shards
from asr_kd.targets.codec import FORMAT
from asr_kd.targets.sidecar import read_description, sidecar_path, write_sidecar
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.targets.topk import SelectionConfig
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.registry import models_fingerprint

INVENTORY = Senones.monophone(["SIL", *"ABCDEFGHIJ"])


def noise(seed, seconds):
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


def write_teacher(folder, seed):
    torch.manual_seed(seed)
    model = build_model(ModelConfig(num_layers=1, hidden_size=16, bidirectional=True), INVENTORY, FrontEndConfig())
    model.output.weight.data.mul_(20)  # an opinion on each frame
    save_model(folder, model)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"), seed=0)


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    utterances = []
    for i, seconds in enumerate([0.9, 0.4, 1.3, 0.6, 0.75, 1.1]):
        soundfile.write(folder / f"{i}.wav", noise(i, seconds), 16000)
        utterances.append(Utterance(id=f"u{i}", audio_filepath=str(folder / f"{i}.wav"), duration=seconds))
    tars = write_shards(utterances, folder / "shards", shard_seconds=2.0)
    assert len(tars) >= 2
    return tars


def label(tars, teacher, out, *more):
    return main(["label", *map(str, tars), "--teacher", str(teacher), "--out", str(out), "--threads", "1", *more])


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}


def dense(tar, row, teacher):
    """The teacher's posteriors of one utterance on its own, (T, C)."""
    inference = Inference(load_model(teacher), torch.device("cpu"), "float32")
    x_BTF, frames_B = inference.features([open_shard(tar).audio(row)])
    return inference.log_posteriors(x_BTF, frames_B)[0].numpy()


def test_sidecars_give_back_the_teachers_posteriors(tars, teacher, tmp_path):
    assert label(tars, teacher, tmp_path, "--top-k", "5", "--precision", "float32") == 0
    targets = SoftTargets(tmp_path, INVENTORY, model_fingerprint(teacher))
    for tar in tars:
        rows = targets.load(open_shard(tar))
        for row, got in enumerate(rows):
            p_TC = np.exp(dense(tar, row, teacher))
            kept_TK = np.take_along_axis(p_TC, got.ids_TK, 1)
            kept_TK[got.ids_TK < 0] = 0
            likeliest_TK = -np.sort(-p_TC, 1)[:, : got.k]
            np.testing.assert_allclose(-np.sort(-kept_TK, 1), likeliest_TK * (got.ids_TK >= 0), atol=1e-6)
            np.testing.assert_allclose(np.exp(got.log_p_TK), kept_TK, atol=0.12)  # 16 levels of the fourth root
            np.testing.assert_allclose(np.exp(got.log_tail_T), 1 - kept_TK.sum(1), atol=0.12)
            np.testing.assert_allclose(np.exp(got.log_p_TK).sum(1) + np.exp(got.log_tail_T), 1, atol=1e-5)


def test_several_teachers_label_with_their_mean(tars, teacher, tmp_path):
    other = write_teacher(tmp_path / "other", seed=1)
    assert main(["label", str(tars[0]), "--teacher", str(teacher), str(other), "--out", str(tmp_path / "out")]) == 0
    targets = SoftTargets(tmp_path / "out", INVENTORY, models_fingerprint([other, teacher]))
    for row, got in enumerate(targets.load(open_shard(tars[0]))):
        mean_TC = (np.exp(dense(tars[0], row, teacher)) + np.exp(dense(tars[0], row, other))) / 2
        kept_TK = np.take_along_axis(mean_TC, got.ids_TK, 1) * (got.ids_TK >= 0)
        np.testing.assert_allclose(np.exp(got.log_p_TK), kept_TK, atol=0.12)


def test_hard_targets_are_the_arg_max_and_k_cuts_further(tars, teacher, tmp_path):
    label(tars, teacher, tmp_path, "--precision", "float32")  # in bf16 near ties change places
    shard = open_shard(tars[0])
    hard = SoftTargets(tmp_path, INVENTORY, hard=True).load(shard)
    few = SoftTargets(tmp_path, INVENTORY, k=2).load(shard)
    for row in range(len(shard.entries)):
        best_T = dense(tars[0], row, teacher).argmax(1)
        np.testing.assert_array_equal(hard[row].ids_TK, best_T[:, None])
        assert (hard[row].log_p_TK == 0).all() and np.isneginf(hard[row].log_tail_T).all()
        assert few[row].k == 2 and (few[row].ids_TK[:, 0] == best_T).all()
    with pytest.raises(ValueError, match="holds 40 classes a frame, 50 are asked for"):
        SoftTargets(tmp_path, INVENTORY, k=50).load(shard)


def test_labelling_goes_on_where_it_was_stopped_to_the_same_bytes(tars, teacher, tmp_path, capsys):
    label(tars, teacher, tmp_path / "whole")
    label(tars[:1], teacher, tmp_path / "cut")
    done = sidecar_path(tmp_path / "cut", tars[0]).stat()
    label(tars, teacher, tmp_path / "cut", "--dry-run")
    assert f"{len(tars) - 1} of {len(tars)} shards to label" in capsys.readouterr().err
    label(tars, teacher, tmp_path / "cut")
    assert sidecar_path(tmp_path / "cut", tars[0]).stat().st_mtime_ns == done.st_mtime_ns
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_labelling_resumes_to_the_same_bytes_after_sigkill(tars, teacher, tmp_path):
    label(tars, teacher, tmp_path / "whole")
    command = [sys.executable, "-m", "asr_kd.cli", "label", *map(str, tars), "--teacher", str(teacher)]
    with subprocess.Popen([*command, "--out", str(tmp_path / "cut")], stderr=subprocess.PIPE, text=True) as run:
        assert "shards to label" in run.stderr.readline()  # from here on it is at work
        run.kill()
    label(tars, teacher, tmp_path / "cut")
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_batching_does_not_change_what_is_kept(tars, teacher):
    inference = Inference(load_model(teacher), torch.device("cpu"), "float32")
    shard = open_shard(tars[0])
    one_by_one = label_shard(shard, inference, LabelConfig(max_frames_per_batch=1))
    together = label_shard(shard, inference, LabelConfig())
    assert one_by_one.column("packed") == together.column("packed")
    assert one_by_one.column("id").to_pylist() == [e.id for e in shard.entries]


def test_a_sidecar_says_what_it_is_and_opens_in_other_tools(tars, teacher, tmp_path):
    label(tars, teacher, tmp_path, "--top-k", "4", "--top-p", "0.9")
    path = sidecar_path(tmp_path, tars[0])
    description = read_description(path)
    assert description["kind"] == "posteriors" and description["selection"] == {
        "top_k": 4,
        "top_p": 0.9,
        "min_prob": 0.0006,
    }
    assert description["teacher"] == model_fingerprint(teacher) and description["inventory"] == INVENTORY.fingerprint
    assert description["shard"] == open_shard(tars[0]).digest and description["frame_shift_s"] == 0.03
    assert description["format"] == FORMAT and description["quantisation"]["levels"] == 16
    assert description["precision"] in ("float32", "bf16")
    table = pq.read_table(path)
    mass_T = np.repeat(table.column("mass").to_numpy(), table.column("frames").to_numpy())
    assert description["mass_kept"] == pytest.approx(mass_T.mean(), abs=1e-5)
    query = "select count(*), sum(frames), sum(kept) from read_parquet(?) where mass > 0.5"
    found = duckdb.execute(query, [str(path)]).fetchone()
    assert found == (table.num_rows, description["frames"], description["classes_kept"])


def test_sidecars_of_an_older_format_are_refused_with_a_way_out(tars, teacher, tmp_path, capsys):
    label(tars[:1], teacher, tmp_path)
    path = sidecar_path(tmp_path, tars[0])
    old = {key: value for key, value in read_description(path).items() if key not in ("format", "mass_kept")}
    write_sidecar(path, pq.read_table(path), old)  # format 1 did not say so
    before = path.read_bytes()
    for command in ([], ["--dry-run"]):
        assert label(tars[:1], teacher, tmp_path, *command) == 2
        assert "posteriors in format 1, this asr_kd reads format 2. Make it again" in capsys.readouterr().err
    with pytest.raises(ValueError, match="format 1"):
        SoftTargets(tmp_path, INVENTORY).load(open_shard(tars[0]))
    with pytest.raises(ValueError, match="format 1"):
        SoftTargets(tmp_path, INVENTORY).check(open_catalogue(*tars[:1]))
    assert path.read_bytes() == before


def test_inspect_says_what_sidecars_hold_in_how_many_bytes(tars, teacher, tmp_path, capsys):
    label(tars, teacher, tmp_path)
    capsys.readouterr()
    assert main(["inspect", "--json", str(sidecar_path(tmp_path, tars[0])), str(tmp_path)]) == 0
    one, all_of_them = map(json.loads, capsys.readouterr().out.splitlines())
    paths = [sidecar_path(tmp_path, tar) for tar in tars]
    descriptions = [read_description(path) for path in paths]
    frames, kept = (sum(d[key] for d in descriptions) for key in ("frames", "classes_kept"))
    hours = sum(d["seconds"] for d in descriptions) / 3600
    assert one["format"] == all_of_them["format"] == str(FORMAT)
    assert all_of_them["classes_per_frame"] == pytest.approx(kept / frames, abs=1e-3)
    size = sum(path.stat().st_size for path in paths)
    assert all_of_them["mb_per_hour"] == pytest.approx(size / 1e6 / hours, rel=0.01)
    assert one["mass_kept"] == descriptions[0]["mass_kept"] and 0.9 < all_of_them["mass_kept"] <= 1


def test_a_flipped_bit_is_found(tars, teacher, tmp_path):
    label(tars[:1], teacher, tmp_path)
    path, shard = sidecar_path(tmp_path, tars[0]), open_shard(tars[0])
    whole = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(pq.read_schema(path).names.index("packed"))
    for offset in np.linspace(40, column.total_compressed_size - 1, 12).astype(int):
        place = column.data_page_offset + int(offset)
        path.write_bytes(bytes(whole[:place]) + bytes([whole[place] ^ 4]) + bytes(whole[place + 1 :]))
        with pytest.raises(ValueError, match="damaged"):
            SoftTargets(tmp_path, INVENTORY).load(shard)


def test_targets_of_another_teacher_or_selection_are_refused_and_kept(tars, teacher, tmp_path, capsys):
    label(tars, teacher, tmp_path / "targets")
    before = digests(tmp_path / "targets")
    other = write_teacher(tmp_path / "other", seed=1)
    assert label(tars, other, tmp_path / "targets") == 2
    assert "is there already with teacher" in capsys.readouterr().err
    assert label(tars, teacher, tmp_path / "targets", "--top-k", "3") == 2
    assert 'with selection {"min_prob": 0.0006, "top_k": 40' in capsys.readouterr().err
    assert digests(tmp_path / "targets") == before
    with pytest.raises(ValueError, match=r"made by teacher .*, this run distils from .*"):
        SoftTargets(tmp_path / "targets", INVENTORY, model_fingerprint(other)).load(open_shard(tars[0]))
    with pytest.raises(ValueError, match="inventory is"):
        SoftTargets(tmp_path / "targets", Senones.monophone(["SIL", "A"])).load(open_shard(tars[0]))


def test_unusable_audio_is_set_aside_with_its_reason_and_the_rest_labelled(teacher, tmp_path, capsys):
    tar = tmp_path / "shard-000000.tar"
    good = flac_bytes(noise(0, 0.8))
    broken = good[:200] + bytes(len(good) - 200)
    with TarWriter(str(tar)) as writer:
        for key, audio in (("good", good), ("broken", broken), ("short", flac_bytes(noise(1, 0.02))), ("fine", good)):
            writer.write({"__key__": key, "flac": audio, "json": {"duration": 0.8}})
    for options, code in (((), 2), (("--max-skipped", "0.4"), 0)):  # of a job that is done, as of one that is not
        assert label([tar], teacher, tmp_path / "targets", *options) == code
        told = capsys.readouterr().err
        assert "1 of 3 utterances skipped (1 x 320 samples are too short" in told
        assert ("accept it with --max-skipped 0.34" in told) == bool(code)
        if code:
            assert "1 samples set aside" in told and "broken" in told, "what is no audio never becomes a row"
        (listed,) = [json.loads(line) for line in (tmp_path / "targets" / "skipped.jsonl").read_text().splitlines()]
        assert listed["id"] == "short" and "too short" in listed["reason"]
    shutil.rmtree(tmp_path / "targets" / ".work")  # as in an object store: the sidecars tell
    assert label([tar], teacher, tmp_path / "targets", "--max-skipped", "0.4") == 0
    assert "1 of 3 utterances skipped" in capsys.readouterr().err
    assert label([tar], teacher, tmp_path / "targets", "--status") == 0
    assert "1 utterances skipped; the first: 320 samples" in capsys.readouterr().out
    rows = SoftTargets(tmp_path / "targets", INVENTORY).load(open_shard(tar))
    assert [row is None for row in rows] == [False, True, False]
    np.testing.assert_array_equal(rows[0].ids_TK, rows[2].ids_TK)
    reasons = pq.read_table(sidecar_path(tmp_path / "targets", tar)).column("reason").to_pylist()
    assert "too short" in reasons[1]


def test_a_teacher_that_gives_nan_sets_aside_instead_of_writing_it(tars, teacher):
    inference = Inference(load_model(teacher), torch.device("cpu"), "float32")
    inference.model.output.bias.data[0] = torch.nan
    table = label_shard(open_shard(tars[0]), inference, LabelConfig(SelectionConfig(top_k=3)))
    assert table.column("frames").null_count == table.num_rows
    assert set(table.column("reason").to_pylist()) == {"the teacher's posteriors are not finite"}


def test_status_needs_no_teacher_and_counts_what_is_done(tars, teacher, tmp_path, capsys):
    label(tars[:1], teacher, tmp_path)
    assert label(tars, tmp_path / "nowhere", tmp_path, "--status") == 0
    assert f"1 of {len(tars)} shards labelled" in capsys.readouterr().out


def test_shards_whose_sidecars_would_collide_are_refused(tars, teacher, tmp_path, capsys):
    twin = tmp_path / tars[0].name
    twin.write_bytes(tars[0].read_bytes())
    assert label([tars[0], twin], teacher, tmp_path / "targets") == 2
    assert "would collide" in capsys.readouterr().err
