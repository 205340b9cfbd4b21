"""A found teacher's posteriors over the student's own tokens and frames."""

import json
import math

import numpy as np
import pytest
import torch
from bundles import small_bundle

from asr_kd.cli import main
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import SPACE, Tokens
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import read_description, sidecar_path
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.token_mapper import TokenMapper
from asr_kd.teachers.wav2vec2_files import save_bundle

GIVEN = Tokens((SPACE, "'", "A", "B"), frame_shift_s=0.02)


def log(rows):
    return torch.tensor(rows, dtype=torch.float32).clamp(min=1e-30).log()[None]


def test_frames_of_30_ms_are_means_by_overlap_worked_out_by_hand():
    mapping = TokenMapper(GIVEN, Tokens((SPACE, "'", "A", "B"), frame_shift_s=0.03), "teacher")
    p_TC = np.zeros((4, 5))  # 80 ms: two frames of 30 ms, and 20 ms that do not fill a third
    p_TC[0, 2], p_TC[1, 3], p_TC[2, 4], p_TC[3, 0] = 1, 1, 1, 1
    mapped_BUC, frames_B = mapping(log(p_TC), torch.tensor([4]))
    assert frames_B.tolist() == [2] == [mapping.frames(4)]
    wanted = [[0, 0, 2 / 3, 1 / 3, 0], [0, 0, 0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(mapped_BUC[0].exp(), wanted, atol=1e-6)


@pytest.mark.parametrize(("shift", "first"), [(0.02, [(0, 1)]), (0.01, [(0, 1)]), (0.04, [(0, 0.5), (1, 0.5)]),
                                              (0.05, [(0, 0.4), (1, 0.4), (2, 0.2)])])  # fmt: skip
def test_any_frame_shift_is_reached_and_mass_is_kept(shift, first):
    mapping = TokenMapper(GIVEN, Tokens(GIVEN.units, frame_shift_s=shift), "teacher")
    at_UK, weight_UK = mapping.overlaps(10)
    assert len(at_UK) == mapping.frames(10) == math.floor(0.2 / shift + 1e-9)
    found = [(t, w) for t, w in zip(at_UK[0].tolist(), weight_UK[0].tolist(), strict=True) if w]
    np.testing.assert_allclose(found, first, atol=1e-6)
    np.testing.assert_allclose(weight_UK.sum(1), 1, atol=1e-6)
    assert at_UK.max() < 10


def test_units_are_matched_by_name_and_what_is_not_wanted_goes_to_the_blank():
    mapping = TokenMapper(GIVEN, Tokens(("B", SPACE, "A"), frame_shift_s=0.02), "teacher")
    mapped_BUC, _ = mapping(log([[0.1, 0.2, 0.3, 0.15, 0.25]]), torch.tensor([1]))
    np.testing.assert_allclose(mapped_BUC[0].exp(), [[0.1 + 0.3, 0.25, 0.2, 0.15]], atol=1e-6)
    assert mapping.describe()["to_blank"] == ["'"] and mapping.describe()["from"] == GIVEN.fingerprint


def test_what_does_not_fit_is_refused_naming_both_sides():
    with pytest.raises(ValueError, match=r"holds 2 of 4 units that bundle:X does not know: Q Z\. It knows ▁ ' A B\."):
        TokenMapper(GIVEN, Tokens((SPACE, "Q", "A", "Z")), "bundle:X")
    with pytest.raises(ValueError, match="of kind senones, bundle:X answers over tokens"):
        TokenMapper(GIVEN, Senones.monophone(["SIL", "A"]), "bundle:X")


def label(shards, out, *more):
    return main(["label", *map(str, shards), "--out", str(out), "--threads", "1", "--device", "cpu", *map(str, more)])


@pytest.mark.parametrize("mode", ["layer_norm", "group_norm"])
def test_a_bundle_labels_shards_for_a_student_of_other_tokens_and_frames(tone_shards, mode, tmp_path):
    model = small_bundle(mode)
    save_bundle(tmp_path / "w.safetensors", model)
    wanted = Tokens((SPACE, "T", "E", "A"), frame_shift_s=0.03)
    wanted.save(tmp_path / "inventory.json")
    teacher = f"bundle:{tmp_path / 'w.safetensors'}"
    options = ["--teacher", teacher, "--inventory", tmp_path, "--precision", "float32", "--workers", "1"]
    assert label(tone_shards[:1], tmp_path / "out", *options) == 0
    shard = open_shard(tone_shards[0])
    rows = SoftTargets(tmp_path / "out", wanted, model.fingerprint).load(shard)
    inference = Inference(model, torch.device("cpu"), "float32")
    for row, got in enumerate(rows):
        x_BTF, frames_B = inference.features([shard.audio(row)])
        p_TC = inference.log_posteriors(x_BTF, frames_B)[0].exp().numpy()
        ours_TC = p_TC[:, [0, 1, 5, 4, 3]]  # from <blank> ▁ ' A E T
        ours_TC[:, 0] += p_TC[:, 2]
        frames = [(2 * a + b, b + 2 * c) for a, b, c in zip(*(ours_TC[i::3] for i in range(3)), strict=False)]
        wanted_UC = np.array([f / 3 for pair in frames for f in pair])[: len(got.ids_TK)]
        kept_UK = np.take_along_axis(wanted_UC, got.ids_TK[: len(wanted_UC)], 1) * (got.ids_TK[: len(wanted_UC)] >= 0)
        np.testing.assert_allclose(np.exp(got.log_p_TK[: len(wanted_UC)]), kept_UK, atol=0.12)
        assert abs(got.frames - (len(shard.audio(row)) - 400) // 160 // 3) <= 1
    description = read_description(sidecar_path(tmp_path / "out", shard))
    assert description["inventory"] == wanted.fingerprint and description["frame_shift_s"] == 0.03
    assert description["mapping"]["to_blank"] == ["'"] and description["teacher"] == model.fingerprint


def test_a_bundle_labels_in_its_own_tokens_without_an_inventory(tone_shards, tmp_path):
    save_bundle(tmp_path / "w.safetensors", small_bundle())
    teacher = f"bundle:{tmp_path / 'w.safetensors'}"
    assert label(tone_shards[:1], tmp_path / "out", "--teacher", teacher) == 0
    description = json.loads((tmp_path / "out" / "label.json").read_text())
    assert description["mapping"] is None and description["frame_shift_s"] == 0.02
    assert description["inventory"] == small_bundle().inventory.fingerprint


def test_vocabularies_that_do_not_fit_are_refused_before_work_begins(tone_shards, tmp_path, capsys):
    save_bundle(tmp_path / "w.safetensors", small_bundle())
    Tokens((SPACE, "Q")).save(tmp_path / "inventory.json")
    teacher = f"bundle:{tmp_path / 'w.safetensors'}"
    assert label(tone_shards, tmp_path / "out", "--teacher", teacher, "--inventory", tmp_path) == 2
    assert "holds 1 of 2 units" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert label(tone_shards, tmp_path / "out", "--teacher", teacher, "--language", "en") == 2
    assert "--language: only used with a teacher whisper:" in capsys.readouterr().err
