"""What two real ranks make of the gradients of a few steps, whatever lanes are empty and weights unused."""

import io
import random

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies import buckets
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.registry import STRATEGIES
from asr_kd.train.strategies.strategy import StepFrames

WORLD, LANES, HEADS, STEPS, CUT = 2, 4, 4, 40, 20
START_STEP = 3


def new_model():
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(6, 12), *(nn.Linear(12, 10) for _ in range(HEADS))])


def batches_of(step):
    """By lane its frames and the heads that it uses. One step in four is full, one in eight empty."""
    rng = random.Random(step)
    share = {1: 1.0, 2: 0.0}.get(step % 8, 1.0 if step % 4 == 1 else 0.6)
    heads = {lane: [head for head in range(HEADS) if rng.random() < share] for lane in range(LANES)}
    return {lane: (rng.randint(1, 9), heads[lane]) for lane in range(LANES) if rng.random() < share}


def loss(model, step, lane, frames, heads):
    x_BD = torch.randn(3, 6, generator=torch.Generator().manual_seed(100 * step + lane))
    hidden_BD = model[0](x_BD).tanh()
    return frames * (hidden_BD.square().mean() + sum(model[1 + head](hidden_BD).square().mean() for head in heads))


def run_rank(rank, folder):
    """For each kind of strategy, the gradients that each step's update would use; then a run that is cut."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    buckets.BUCKET_BYTES = 600  # five of them
    found = {"allreduce": train("allreduce", rank), "powersgd": train("powersgd", rank)}
    torch.save(found | {"cut": train("powersgd", rank, cut=CUT)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def train(kind, rank, cut=None):
    model = new_model()
    begin = lambda: STRATEGIES[kind](
        list(model.parameters()), LANES, Ranks(rank, WORLD), StrategyConfig(kind=kind, start_step=START_STEP)
    )
    strategy, grads, sent_early = begin(), [], []
    for step in range(STEPS):
        if step == cut:
            file = io.BytesIO()
            torch.save(strategy.state_dict(), file)
            file.seek(0)
            strategy = begin()
            strategy.take_over([torch.load(file, weights_only=True)], same_ranks=True)
        batches = batches_of(step)
        for lane in strategy.own_lanes:
            if lane in batches:
                loss(model, step, lane, *batches[lane]).backward()
            sent_early.append(len(getattr(strategy, "sent", [])))
            strategy.after_lane()
        strategy.after_backward(StepFrames(sum(frames for frames, _ in batches.values()), 0))
        grads.append([weight.grad for weight in model.parameters()])
        model.zero_grad()
    return {
        "grads": grads,
        "sent_early": sent_early,
        "bytes": strategy.ranks.bytes_sent,
        "state": strategy.state_dict(),
    }


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
    for rank in ranks:
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
