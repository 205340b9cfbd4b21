"""Ranks in processes of their own that exchange the gradients of a few steps. Apart from the tests: a process that is
spawned imports it by name."""

import io
import random

import torch
import torch.distributed as dist
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
