import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import FRONTEND

from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.inventory.tokens import Tokens, ctc_collapse
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.frame_targets import TokenTargets
from asr_kd.targets.text_targets import TextTargets
from asr_kd.train.ctc import ctc_loss, ctc_losses
from asr_kd.train.evaluate import evaluate
from asr_kd.train.objective import FrameObjective, batch_loss
from asr_kd.transcripts.pseudo_labels import write_transcripts
from asr_kd.transcripts.recognised import Transcript, Word
from asr_kd.transcripts.transcript_sources import PseudoLabels, ReferenceText

TOKENS = Tokens.characters(["AH", "EE", "OH"])


def test_hand_computed_case():
    q_TC = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    logits_BTC = torch.stack([q_TC, q_TC]).log()
    frames_B, tokens_BU = torch.tensor([2, 2]), torch.tensor([[1, -1], [1, 2]])
    one = 0.5 * 0.3 + 0.5 * 0.6 + 0.2 * 0.3  # AA, A and a blank, a blank and A
    both = 0.5 * 0.1
    losses_B = ctc_losses(logits_BTC, frames_B, tokens_BU)
    assert losses_B.tolist() == pytest.approx([-math.log(one), -math.log(both)])
    assert ctc_loss(logits_BTC, frames_B, tokens_BU).mean.item() == pytest.approx(-math.log(one * both) / 4)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 2), max_size=3), st.integers(1, 5), st.integers(0, 99))
def test_the_loss_is_that_of_all_paths_that_say_the_tokens(tokens, frames, seed):
    logits_1TC = torch.randn(1, frames + 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q_TC = logits_1TC[0].softmax(-1)
    paths = [p for p in itertools.product(range(3), repeat=frames) if ctc_collapse(p) == tuple(tokens)]
    tokens_1U = torch.tensor([[*tokens, -1]])
    loss = ctc_losses(logits_1TC, torch.tensor([frames]), tokens_1U).item()
    if not paths:
        assert loss == math.inf
        assert TokenTargets(np.array(tokens)).min_frames > frames
        return
    total = sum(math.prod(q_TC[t, c].item() for t, c in enumerate(path)) for path in paths)
    assert loss == pytest.approx(-math.log(total))
    assert TokenTargets(np.array(tokens)).min_frames <= frames


def test_its_gradient_is_its_slope_and_stops_at_an_utterances_end():
    logits_BTC = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    frames_B, tokens_BU = torch.tensor([5, 3]), torch.tensor([[1, 1, 3], [2, -1, -1]])
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x, frames_B, tokens_BU).mean, logits_BTC)
    (slope_BTC,) = torch.autograd.grad(ctc_losses(logits_BTC, frames_B, tokens_BU).sum(), logits_BTC)
    assert (slope_BTC[1, 3:] == 0).all() and (slope_BTC[1, :3] != 0).all()


def test_half_precision_is_computed_on_in_float32():
    logits_BTC = torch.randn(1, 40, 4).bfloat16()
    frames_B, tokens_BU = torch.tensor([40]), torch.tensor([[1, 2]])
    loss_B = ctc_losses(logits_BTC, frames_B, tokens_BU)
    assert loss_B.dtype == torch.float32
    assert torch.equal(loss_B, ctc_losses(logits_BTC.float(), frames_B, tokens_BU))


def stream_of(shards, tokens=TOKENS, augment=None):
    return TrainingSet("labelled", open_catalogue(*shards), TextTargets(tokens), augment or AugmentConfig())


def all_batches(stream):
    return list(batches(BatchSampler(stream, 150, seed=0), FRONTEND, endless=False))


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 1.1)])
def test_batches_carry_the_spelt_text_at_whatever_speed(tone_shards, tone_utterances, speeds):
    texts = {u.id: u.text for u in tone_utterances}
    got = all_batches(stream_of(tone_shards, augment=AugmentConfig(speed_perturb=speeds)))
    assert sorted(u for b in got for u in b.utterances) == sorted(texts)
    for batch in got:
        assert batch.targets.frames is None
        for id_, tokens_U in zip(batch.utterances, batch.targets.tokens_BU.tolist(), strict=True):
            assert TOKENS.decode(t for t in tokens_U if t >= 0) == texts[id_]
            assert tokens_U == sorted(tokens_U, key=lambda t: t < 0)


def test_what_cannot_be_spelt_or_does_not_fit_is_set_aside_and_told(tone_utterances, tmp_path, capsys):
    long, unspelt, silent = (u for u in tone_utterances[:3])
    changed = [
        type(long)(long.id, long.audio_filepath, long.duration, text="AH " * 60),
        type(long)(unspelt.id, unspelt.audio_filepath, unspelt.duration, text="AH UH"),
        type(long)(silent.id, silent.audio_filepath, silent.duration),
        tone_utterances[3],
    ]
    shards = write_shards(changed, tmp_path)
    got = all_batches(stream_of(shards))
    assert sorted(u for b in got for u in b.set_aside) == [long.id, unspelt.id, silent.id]
    assert [u for b in got for u in b.utterances] == [tone_utterances[3].id]
    TextTargets(TOKENS).check(open_catalogue(*shards))
    assert f"2 of 4 utterances are set aside; the first, {unspelt.id}: UH: cannot be spelt" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no utterance has text that the tokens can spell.*`asr-kd tokens`"):
        TextTargets(Tokens.characters(["XYZ"])).check(open_catalogue(*shards))


def test_what_a_teacher_heard_is_the_text_of_its_shards_and_others_keep_their_own(tone_utterances, tmp_path, capsys):
    (own,) = write_shards(tone_utterances[:3], tmp_path / "labelled")
    (heard,) = write_shards(tone_utterances[3:6], tmp_path / "unlabelled")  # their text is there, but not to be seen
    said = [Transcript([Word("AH", 0, 1, c), Word("OH", 1, 2, c)], c) for c in (0.9, 0.3)]
    write_transcripts(tmp_path / "hyp", open_shard(heard), [*said, "too short"])
    source = TextTargets(TOKENS, PseudoLabels([tmp_path / "hyp"], 0.5, ReferenceText()))
    source.check(open_catalogue(own, heard))
    assert "2 of 6 utterances are set aside; the first, tone-04: it has no text" in capsys.readouterr().err
    rows = [row for path in (own, heard) for row in source.load(open_shard(path))]
    texts = [None if row is None else TOKENS.decode(row.tokens_U.tolist()) for row in rows]
    assert texts == [*(u.text for u in tone_utterances[:3]), "AH OH", None, None]
    with pytest.raises(ValueError, match=rf"none of them {own}.*Give the shards that were labelled"):
        source.check(open_catalogue(own))


def test_a_text_that_fits_only_when_slow_is_set_aside_at_every_speed(tone_utterances, tmp_path):
    first = tone_utterances[0]
    (path,) = write_shards([first], tmp_path / "whole")
    frames = all_batches(stream_of([path]))[0].frames_B.item()
    text = "E" * (frames // 2 - 1)  # SPACE, and two frames for each E but the first
    shards = write_shards([type(first)(first.id, first.audio_filepath, first.duration, text=text)], tmp_path / "full")
    assert TextTargets(TOKENS).load(open_shard(shards[0]))[0].min_frames in (frames - 1, frames - 2)
    assert all_batches(stream_of(shards))[0].utterances == [first.id]
    (batch, *_) = all_batches(stream_of(shards, augment=AugmentConfig(speed_perturb=(0.9, 1.1))))
    assert batch.set_aside == {first.id: "it is too short for its tokens"}


def test_held_out_data_is_judged_by_loss_per_frame_and_token_errors(tone_shards):
    torch.manual_seed(0)
    model = build_model(ModelConfig(num_layers=1, hidden_size=8), TOKENS, FRONTEND)
    got = all_batches(stream_of(tone_shards))
    deaf = evaluate(model, got, "float32")
    frames = sum(int(b.frames_B.sum()) for b in got)
    total = sum(
        float(ctc_losses(model(b.x_BTF, b.frames_B), b.frames_B, b.targets.tokens_BU).sum().detach()) for b in got
    )
    assert deaf.loss == pytest.approx(total / frames, rel=1e-5)
    model.output.weight.data.zero_()
    model.output.bias.data = torch.eye(TOKENS.num_classes)[0]
    assert evaluate(model, got, "float32").frame_accuracy == 0, "nothing said: all tokens are missing"
    model.output.bias.data = torch.eye(TOKENS.num_classes)[TOKENS.tokenise_word("AH")[0]]
    texts = [e.text for path in tone_shards for e in open_shard(path).entries]
    tokens = sum(len(TOKENS.encode(text)) for text in texts)
    assert evaluate(model, got, "float32").frame_accuracy == pytest.approx(len(texts) / tokens)


def test_tokens_are_hard_targets_and_frames_are_not_touched(tone_shards):
    model = build_model(ModelConfig(num_layers=1, hidden_size=8), TOKENS, FRONTEND)
    batch = all_batches(stream_of(tone_shards))[0]
    logits_BTC = model(batch.x_BTF, batch.frames_B)
    expected = ctc_loss(logits_BTC, batch.frames_B, batch.targets.tokens_BU).mean
    torch.testing.assert_close(batch_loss(logits_BTC, batch).mean, expected)
    (name, term), *others = FrameObjective().losses(model, batch).items()
    assert name == "labelled" and not others and term.mean.requires_grad
