import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.train.loss_sum import LossSum
from asr_kd.train.losses import LossConfig, apply_temperature, frame_losses, renormalise, sparse_kl

NEG_INF = -math.inf


def random_target(seed, batch=2, frames=3, classes=9, k=4, spread=2.0, dtype=torch.float64):
    """Teacher log-posteriors (dense), their top k and the tail."""
    generator = torch.Generator().manual_seed(seed)
    log_p_BTC = (spread * torch.randn(batch, frames, classes, generator=generator, dtype=dtype)).log_softmax(-1)
    log_p_BTK, ids_BTK = log_p_BTC.topk(k, dim=-1)
    if k == classes:
        log_tail_BT = torch.full((batch, frames), NEG_INF, dtype=dtype)
    else:
        log_tail_BT = log_p_BTC.scatter(-1, ids_BTK, NEG_INF).logsumexp(-1)
    logits_BTC = (spread * torch.randn(batch, frames, classes, generator=generator, dtype=dtype)).requires_grad_()
    return log_p_BTC, ids_BTK, log_p_BTK, log_tail_BT, logits_BTC


def grad_of(losses_BT, logits_BTC):
    return torch.autograd.grad(losses_BT.sum(), logits_BTC, retain_graph=True)


def test_hand_computed_case():
    q = torch.tensor([[[0.5, 0.2, 0.2, 0.1]]]).log()
    ids, log_p, log_tail = torch.tensor([[[1, 0]]]), torch.tensor([[[0.6, 0.3]]]).log(), torch.tensor([[0.1]]).log()
    expected = 0.6 * math.log(0.6 / 0.2) + 0.3 * math.log(0.3 / 0.5) + 0.1 * math.log(0.1 / 0.3)
    assert sparse_kl(q, ids, log_p, log_tail).item() == pytest.approx(expected, abs=1e-6)
    renormalised = 2 / 3 * math.log(2 / 3 / 0.2) + 1 / 3 * math.log(1 / 3 / 0.5)
    assert sparse_kl(q, ids, renormalise(log_p), None).item() == pytest.approx(renormalised, abs=1e-6)


def test_one_class_with_probability_one_is_cross_entropy_with_its_gradient():
    logits = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    states = torch.randint(7, (2, 5))
    hard = sparse_kl(logits.log_softmax(-1), states[..., None], torch.zeros(2, 5, 1), torch.full((2, 5), NEG_INF))
    reference = F.cross_entropy(logits.flatten(0, 1), states.flatten(), reduction="none").view(2, 5)
    torch.testing.assert_close(hard, reference)
    (got,), (want,) = grad_of(hard, logits), grad_of(reference, logits)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0])
def test_the_loss_softens_teacher_and_student_alike(temperature):
    log_p_BTC, ids, log_p, log_tail, logits = random_target(5, classes=6, k=6)
    dense_p, dense_log_q = (log_p_BTC / temperature).softmax(-1), (logits / temperature).log_softmax(-1)
    want = temperature**2 * F.kl_div(dense_log_q, dense_p, reduction="none").sum(-1)
    got = frame_losses(logits, ids, log_p, log_tail, LossConfig(temperature=temperature))
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([1.0, 2.0, 0.5]))
def test_all_classes_kept_is_the_dense_kl_at_any_temperature(seed, classes, temperature):
    log_p_BTC, ids, log_p, log_tail, logits = random_target(seed, classes=classes, k=classes)
    dense_p = (log_p_BTC / temperature).softmax(-1)
    dense_log_q = (logits / temperature).log_softmax(-1)
    dense = temperature**2 * F.kl_div(dense_log_q, dense_p, reduction="none").sum(-1)
    log_p, log_tail = apply_temperature(ids, log_p, log_tail, temperature, classes)
    got = temperature**2 * sparse_kl(dense_log_q, ids, log_p, log_tail)
    torch.testing.assert_close(got, dense)
    if classes > 1:
        (got_grad,), (want_grad,) = grad_of(got, logits), grad_of(dense, logits)
        torch.testing.assert_close(got_grad, want_grad)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.sampled_from([1.0, 2.0, 0.5]))
def test_a_tail_of_one_class_is_that_class(seed, classes, temperature):
    config = LossConfig(temperature=temperature)
    log_p_BTC, ids, log_p, log_tail, logits = random_target(seed, classes=classes, k=classes - 1)
    all_ids = torch.arange(classes).expand_as(log_p_BTC)
    torch.testing.assert_close(
        frame_losses(logits, ids, log_p, log_tail, config), frame_losses(logits, all_ids, log_p_BTC, None, config)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.floats(0.1, 20))
def test_kl_is_not_negative_at_most_the_dense_kl_and_zero_at_the_teacher(seed, k, spread):
    log_p_BTC, ids, log_p, log_tail, logits = random_target(seed, k=k, spread=spread)
    kl = sparse_kl(logits.log_softmax(-1), ids, log_p, log_tail)
    dense = (log_p_BTC.exp() * (log_p_BTC - logits.log_softmax(-1))).sum(-1)
    assert (kl >= -1e-9).all()
    assert (kl <= dense + 1e-9).all()  # merging classes can only lose information
    torch.testing.assert_close(sparse_kl(log_p_BTC, ids, log_p, log_tail), torch.zeros_like(kl), atol=1e-9, rtol=0)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_gradient_is_right(k):
    _, ids, log_p, log_tail, logits = random_target(1, k=k)
    ids[0, 0, 1:], log_p[0, 0, 1:] = -1, NEG_INF  # a frame that kept fewer classes
    assert torch.autograd.gradcheck(lambda z: sparse_kl(z.log_softmax(-1), ids, log_p, log_tail), logits)
    assert torch.autograd.gradcheck(lambda log_q: sparse_kl(log_q, ids, log_p, log_tail), logits)


def test_empty_slots_change_nothing():
    _, ids, log_p, log_tail, logits = random_target(2, k=3)
    padded_ids = F.pad(ids, (0, 4), value=-1)
    padded_log_p = F.pad(log_p, (0, 4), value=NEG_INF)
    for config in (LossConfig(), LossConfig(temperature=3.0), LossConfig(residual="renormalise")):
        torch.testing.assert_close(
            frame_losses(logits, padded_ids, padded_log_p, log_tail, config),
            frame_losses(logits, ids, log_p, log_tail, config),
        )


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(temperature=4.0), LossConfig(residual="renormalise")])
def test_padded_frames_and_utterly_sure_students_give_finite_loss_and_gradient(config):
    _, ids, log_p, log_tail, _ = random_target(3, k=2, dtype=torch.float32)
    logits = torch.full((2, 3, 9), -300.0)
    logits.scatter_(-1, ids, 300.0)  # the kept classes hold all of the student's mass, to the last bit
    logits.requires_grad_()
    ids[1, 1:], log_p[1, 1:], log_tail[1, 1:] = -1, NEG_INF, NEG_INF
    losses = frame_losses(logits, ids, log_p, log_tail, config)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    assert (losses[1, 1:] == 0).all() and (logits.grad[1, 1:] == 0).all()
    assert logits.grad.abs().max() <= max(1.0, config.temperature) + 1e-5


def test_temperature_spreads_the_tail_evenly():
    ids, log_p, log_tail = torch.tensor([[[0]]]), torch.tensor([[[0.64]]]).log(), torch.tensor([[0.36]]).log()
    soft_p, soft_tail = apply_temperature(ids, log_p, log_tail, temperature=2.0, classes=5)
    total = 0.8 + 4 * 0.3  # square roots of 0.64 and of four times 0.09
    assert soft_p.exp().item() == pytest.approx(0.8 / total)
    assert soft_tail.exp().item() == pytest.approx(1.2 / total)


def test_temperature_and_soft_options_leave_hard_targets_alone():
    logits, states = torch.randn(1, 4, 6), torch.randint(6, (1, 4, 1))
    hard = (states, torch.zeros(1, 4, 1), None)
    plain = frame_losses(logits, *hard, LossConfig())
    torch.testing.assert_close(frame_losses(logits, *hard, LossConfig(temperature=5.0, residual="renormalise")), plain)


def test_mean_is_over_real_frames_only():
    _, ids, log_p, log_tail, logits = random_target(4)
    losses = frame_losses(logits, ids, log_p, log_tail, LossConfig())
    mean = LossSum.over(losses, torch.arange(3) < torch.tensor([[3], [1]])).mean
    torch.testing.assert_close(mean, (losses[0].sum() + losses[1, 0]) / 4)


def test_a_student_trained_on_top_k_with_tail_reaches_the_kept_posteriors():
    _, ids, log_p, log_tail, _ = random_target(5, k=3, dtype=torch.float32)
    logits = torch.zeros(2, 3, 9, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.2)
    for _ in range(200):
        optimiser.zero_grad()
        frame_losses(logits, ids, log_p, log_tail, LossConfig()).sum().backward()
        optimiser.step()
    torch.testing.assert_close(logits.softmax(-1).gather(-1, ids), log_p.exp(), atol=5e-3, rtol=0)


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(ValueError, match=r"loss\.temperature"):
        LossConfig(temperature=0)
