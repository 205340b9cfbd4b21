import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tones import FRONTEND, INVENTORY, align_tones

from asr_kd.core.files import fingerprint
from asr_kd.data import loader
from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler, Position, TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.targets.alignments import AlignmentFolders, find_inventory
from asr_kd.targets.batch_targets import pad_frames
from asr_kd.targets.frame_targets import FrameTargets, Targets
from asr_kd.targets.text_targets import TextTargets

LOUD = AugmentConfig(speed_perturb=(0.9, 1.0, 1.1), noise_prob=0.8, num_time_masks=1, num_freq_masks=1)


@pytest.fixture(scope="module")
def alignments(tone_shards, tmp_path_factory):
    return align_tones(tone_shards, tmp_path_factory.mktemp("align"), set_aside={"tone-03"})


def plan_of(tone_shards, alignments, augment=None):
    targets = AlignmentFolders([alignments], INVENTORY)
    return BatchSampler(
        TrainingSet("labelled", open_catalogue(*tone_shards), targets, augment or AugmentConfig()), 150, seed=0
    )


def take(count, *arguments, **options):
    stream = batches(*arguments, **options)
    return [next(stream) for _ in range(count)]


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.utterances == b.utterances and a.spec == b.spec
        pairs = zip((a.x_BTF, a.frames_B, *a.targets.frames), (b.x_BTF, b.frames_B, *b.targets.frames), strict=True)
        assert all(one is other is None or torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bits(tone_shards, alignments, workers):
    plan = plan_of(tone_shards, alignments, LOUD)
    assert_same(take(12, plan, FRONTEND), take(12, plan, FRONTEND, workers=workers))


def test_batches_from_the_nth_on_are_those_of_the_whole_run(tone_shards, alignments):
    whole = take(12, plan_of(tone_shards, alignments, LOUD), FRONTEND)
    later = take(
        5,
        plan_of(tone_shards, alignments, LOUD),
        FRONTEND,
        start=Position(whole[6].spec.epoch, whole[6].spec.index + 1),
    )
    assert_same(later, whole[7:])


def test_an_epoch_brings_every_aligned_utterance_and_counts_the_others(tone_shards, alignments):
    got = list(batches(plan_of(tone_shards, alignments), FRONTEND, endless=False))
    assert sorted(u for b in got for u in b.utterances) == [f"tone-{i:02d}" for i in range(12) if i != 3]
    assert [u for b in got for u in b.set_aside] == ["tone-03"]
    assert sum(b.seconds for b in got) == pytest.approx(sum(open_shard(p).seconds for p in tone_shards))


def test_audio_that_fits_is_decoded_once_and_what_does_not_fit_gives_the_same_batches(
    tone_shards, alignments, monkeypatch
):
    decoded = []
    decode = Shard.audio
    monkeypatch.setattr(Shard, "audio", lambda shard, row: decoded.append(row) or decode(shard, row))
    plan = plan_of(tone_shards, alignments, LOUD)
    epochs = 3 * len(list(plan.epoch(0)))
    kept = take(epochs, plan, FRONTEND)
    assert len(decoded) == 11  # tone-03 has no alignment and is never read
    monkeypatch.setattr(loader, "KEPT_SAMPLES", 40_000)
    assert_same(take(epochs, plan, FRONTEND), kept)
    assert 22 < len(decoded) - 11 < 33


def test_behind_an_utterances_end_nothing_is_asked(tone_shards, alignments):
    for batch in batches(plan_of(tone_shards, alignments), FRONTEND, endless=False):
        inside_BT = torch.arange(batch.x_BTF.shape[1]) < batch.frames_B[:, None]
        assert ((batch.targets.frames.ids_BTK[..., 0] >= 0) == inside_BT).all()
        assert (batch.x_BTF[~inside_BT] == 0).all()


def test_targets_follow_the_speed():
    target = FrameTargets.hard(np.arange(20) % INVENTORY.num_classes)
    ids_BTK, log_p_BTK, log_tail_BT = pad_frames([target], [18], steps=20, speed=1.1)
    expected = [round(t * 1.1) % INVENTORY.num_classes for t in range(18)]
    assert ids_BTK[0, :18, 0].tolist() == expected
    assert (ids_BTK[0, 18:] == -1).all() and log_tail_BT is None and (log_p_BTK[0, :18] == 0).all()


def test_hard_and_soft_targets_share_a_batch():
    soft = FrameTargets(
        np.array([[2, 1]], np.int32), np.log(np.array([[0.6, 0.3]], np.float32)), np.log(np.array([0.1], np.float32))
    )
    ids_BTK, log_p_BTK, log_tail_BT = pad_frames([FrameTargets.hard(np.array([4, 4])), soft], [2, 1], steps=2)
    assert ids_BTK.tolist() == [[[4, -1], [4, -1]], [[2, 1], [-1, -1]]]
    assert log_tail_BT[1, 0].exp().item() == pytest.approx(0.1)
    assert log_p_BTK[1, 0].exp().tolist() == pytest.approx([0.6, 0.3])


@pytest.mark.parametrize("workers", [0, 1])
def test_added_silence_is_answered_with_silence_and_all_other_targets_stay(tone_shards, alignments, workers):
    loud = AugmentConfig(speed_perturb=(0.9, 1.0, 1.1), noise_prob=0.8)
    longer = replace(loud, silence_prob=0.6, silence_s=(0.0, 1.0))
    teacher = FrontEndConfig(cmn="utterance", mel_bins=20)
    plain = take(12, plan_of(tone_shards, alignments, loud), FRONTEND)
    silent = take(
        12, plan_of(tone_shards, alignments, longer), FRONTEND, workers=workers, teacher=teacher, silence_class=2
    )
    added = []
    for a, b in zip(plain, silent, strict=True):
        assert a.utterances == b.utterances and b.teacher_features_BTF.shape[:2] == b.x_BTF.shape[:2]
        assert b.targets.frames.ids_BTK.shape[:2] == b.x_BTF.shape[:2]
        for row, (before, now) in enumerate(zip(a.frames_B.tolist(), b.frames_B.tolist(), strict=True)):
            frames = now - before
            added.append(frames)
            assert (b.targets.frames.ids_BTK[row, :frames] == 2).all()
            assert (b.targets.frames.log_p_BTK[row, :frames] == 0).all()
            for then_BTK, now_BTK in zip(a.targets.frames[:2], b.targets.frames[:2], strict=True):
                assert torch.equal(now_BTK[row, frames:now], then_BTK[row, :before])
            assert (b.targets.frames.ids_BTK[row, now:] == -1).all()
    assert 0.4 < np.mean([frames > 0 for frames in added]) < 0.8 and max(added) <= 33


def test_silence_before_soft_targets_is_sure():
    soft = FrameTargets(
        np.array([[2, 1]], np.int32), np.log(np.array([[0.6, 0.3]], np.float32)), np.log(np.array([0.1], np.float32))
    )
    ids_BTK, log_p_BTK, log_tail_BT = pad_frames([soft, soft], [3, 1], steps=3, silent=[2, 0], silence_class=4)
    assert ids_BTK.tolist() == [[[4, -1], [4, -1], [2, 1]], [[2, 1], [-1, -1], [-1, -1]]]
    assert log_p_BTK.exp()[0].flatten().tolist() == pytest.approx([1, 0, 1, 0, 0.6, 0.3])
    assert log_tail_BT.exp()[0].tolist() == pytest.approx([0, 0, 0.1])


def test_tokens_are_the_same_behind_silence(tone_shards):
    targets = TextTargets(Tokens.characters(["AH", "EE", "OH"]))
    plain, silent = (
        next(batches(BatchSampler(TrainingSet("labelled", open_catalogue(*tone_shards), targets, a), 300, 0), FRONTEND))
        for a in (AugmentConfig(), AugmentConfig(silence_prob=1.0, silence_s=(0.6, 0.6)))
    )
    assert torch.equal(plain.targets.tokens_BU, silent.targets.tokens_BU)
    assert torch.equal(plain.frames_B + 20, silent.frames_B)


class BothTargets:
    """Alignments of the utterances together with the tokens of their texts."""

    def __init__(self, alignments, tokens):
        self.sources = AlignmentFolders([alignments], INVENTORY), TextTargets(tokens)

    def load(self, shard):
        pairs = zip(*(source.load(shard) for source in self.sources), strict=True)
        return [None if None in pair else Targets(*pair) for pair in pairs]

    def digest(self, shard):
        return fingerprint([source.digest(shard) for source in self.sources])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_holds_alignment_and_text_together(tone_shards, alignments, workers):
    tokens = Tokens.characters(["AH", "EE", "OH"])
    plan = BatchSampler(
        TrainingSet("labelled", open_catalogue(*tone_shards), BothTargets(alignments, tokens)), 300, seed=0
    )
    batch = next(batches(plan, FRONTEND, workers=workers)).to(torch.device("cpu"))
    assert batch.targets.frames.ids_BTK.shape[:2] == batch.x_BTF.shape[:2]
    assert len(batch.targets.tokens_BU) == len(batch.utterances) > 1
    texts = {entry.id: entry.text for path in tone_shards for entry in open_shard(path).entries}
    said = [tokens.decode(t for t in row if t >= 0) for row in batch.targets.tokens_BU.tolist()]
    assert said == [texts[name] for name in batch.utterances]


def test_damaged_audio_is_set_aside(tone_shards, alignments, tmp_path):
    folder = tmp_path / tone_shards[0].parent.name
    shutil.copytree(tone_shards[0].parent, folder)
    (path, *_) = sorted(folder.glob("*.tar"))
    entry = open_shard(path).entries[0]
    with open(path, "r+b") as f:
        f.seek(entry.audio_offset)
        f.write(b"noise")
    got = list(batches(plan_of([path], alignments), FRONTEND, endless=False))
    assert sorted(u for b in got for u in b.set_aside) == [entry.id, "tone-03"]
    assert entry.id not in [u for b in got for u in b.utterances]


@pytest.mark.parametrize("workers", [0, 1])
def test_targets_of_another_frame_rate_are_refused_in_one_line(tone_shards, alignments, workers):
    with pytest.raises(ValueError, match=r"frames of 20 ms, its targets have \d+\. Make the targets again") as e:
        take(1, plan_of(tone_shards, alignments), FrontEndConfig(mel_bins=20, frame_stacking=2), workers=workers)
    assert "\n" not in str(e.value)


def test_alignments_are_found_by_shard_not_by_name(tone_shards, alignments, tmp_path):
    other = align_tones(tone_shards[1:2], tmp_path / "other")
    (other / tone_shards[0].parent.name / "shard-000001.parquet").rename(other / "shard-000000.parquet")
    folders = AlignmentFolders([other, alignments], INVENTORY)
    folders.check(open_catalogue(*tone_shards))
    assert folders.load(open_shard(tone_shards[0]))[0].frames > 0
    assert find_inventory([alignments / tone_shards[0].parent.name]) == INVENTORY
    with pytest.raises(ValueError, match="another shard of that name"):
        AlignmentFolders([other], INVENTORY).check(open_catalogue(*tone_shards[:1]))
    with pytest.raises(ValueError, match=r"no alignment in .* `asr-kd align` makes one"):
        AlignmentFolders([tmp_path], INVENTORY).check(open_catalogue(*tone_shards[:1]))
    with pytest.raises(ValueError, match=r"holds inventory\.json"):
        find_inventory([tmp_path])


def test_alignments_that_do_not_fit_are_refused_naming_what_was_looked_for(tone_shards, alignments, tmp_path):
    other, name = Senones.monophone(["SIL", "AH", "EE"]), tone_shards[0].parent.name
    told = (
        rf"^{alignments / name / 'shard-000000.parquet'}: aligned to inventory {INVENTORY.fingerprint[:12]}…, the "
        rf"model's is {other.fingerprint[:12]}…\. Align all data with one inventory \(`asr-kd align --model`\)\.$"
    )
    with pytest.raises(ValueError, match=told):
        AlignmentFolders([alignments], other).check(open_catalogue(*tone_shards))
    nowhere = [tmp_path / "a", tmp_path / "b"]
    told = rf"^{tone_shards[0]}: no alignment in {nowhere[0]}, {nowhere[1]}\. `asr-kd align` makes one\.$"
    with pytest.raises(ValueError, match=told):
        AlignmentFolders(nowhere, INVENTORY).check(open_catalogue(*tone_shards))
    both = AlignmentFolders([tmp_path, alignments / name], INVENTORY)
    assert both.load(open_shard(tone_shards[0])) is both.load(open_shard(tone_shards[0]))
    assert find_inventory([alignments, tmp_path]) == INVENTORY
    with pytest.raises(ValueError, match=rf"^{tmp_path}: neither it nor the folder above holds inventory\.json\. Give"):
        find_inventory([tmp_path, alignments])
