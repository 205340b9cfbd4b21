"""What two real ranks make of the gradients of a few steps, whatever lanes are empty and weights unused."""

import pytest
import torch
import torch.multiprocessing as mp
from exchanging import LANES, START_STEP, STEPS, WORLD, batches_of, loss, new_model, run_rank

from asr_kd.train.strategies import buckets


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    mp.spawn(run_rank, (str(folder),), WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def expected():
    """Of each step, what each rank has summed over its lanes; then the mean over all frames."""
    model = new_model()
    for step in range(STEPS):
        batches, sums = batches_of(step), []
        for rank in range(WORLD):
            model.zero_grad()
            for lane in range(rank, LANES, WORLD):
                if lane in batches:
                    loss(model, step, lane, *batches[lane]).backward()
            sums.append([weight.grad for weight in model.parameters()])
        frames = sum(frames for frames, _ in batches.values())
        used = [[grad for grad in grads if grad is not None] for grads in zip(*sums, strict=True)]
        yield [sum(grads[1:], start=grads[0]) / frames if grads else None for grads in used]


def test_allreduce_gives_the_mean_over_all_lanes_and_sends_in_the_backward_pass(ranks):
    for step, means in enumerate(expected()):
        for rank in ranks:
            for ours, mean in zip(rank["allreduce"]["grads"][step], means, strict=True):
                assert (ours is None) == (mean is None)
                assert ours is None or torch.equal(ours, mean)
    parameters = sum(weight.numel() for weight in new_model().parameters())
    for rank in ranks:
        assert rank["allreduce"]["bytes"] == 4 * parameters * STEPS
        sent = rank["allreduce"]["sent_early"]
        assert sent[2 * 1 : 2 * 1 + 2] == [0, 5]  # a full step: nothing before the last lane, everything with it
        assert sent[2 * 2 : 2 * 2 + 2] == [0, 0]  # an empty one


def test_powersgd_sends_in_the_long_run_what_the_gradients_add_up_to_in_fewer_bytes(ranks):
    first, second = (rank["powersgd"] for rank in ranks)
    model = new_model()
    total_N, sent_N = torch.zeros(2, sum(weight.numel() for weight in model.parameters())).unbind()
    for step, means in enumerate(expected()):
        flat = []
        for grads in (means, first["grads"][step], second["grads"][step]):
            pairs = zip(grads, model.parameters(), strict=True)
            flat.append(torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs]))
        assert torch.equal(flat[1], flat[2])
        total_N += flat[0]
        sent_N += flat[1]
        if step <= START_STEP:
            torch.testing.assert_close(sent_N, total_N)
    assert not torch.allclose(sent_N, total_N, rtol=0, atol=1e-4)
    left = [[part for _, part in sorted(rank["state"]["left_over"].items())] for rank in (first, second)]
    in_order = [weight for bucket in buckets.buckets_of(reversed(list(model.parameters()))) for weight in bucket]
    mean_N = (torch.cat(left[0]) + torch.cat(left[1])) / 2
    parts = dict(zip(in_order, mean_N.split([weight.numel() for weight in in_order]), strict=True))
    left_N = torch.cat([parts[weight] for weight in model.parameters()])
    torch.testing.assert_close(sent_N + left_N, total_N, rtol=0, atol=1e-5)
    assert first["bytes"] < 0.7 * ranks[0]["allreduce"]["bytes"]


def test_powersgd_goes_on_with_the_same_bits(ranks):
    for rank in ranks:
        for whole, cut in zip(rank["powersgd"]["grads"], rank["cut"]["grads"], strict=True):
            for ours, theirs in zip(whole, cut, strict=True):
                assert (ours is None and theirs is None) or torch.equal(ours, theirs)
