"""Strategies against their formulas, on one rank: what several ranks make of them is in test_ranks.py."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.bmuf import Bmuf
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.registry import STRATEGIES
from asr_kd.train.strategies.strategy import StepFrames
from asr_kd.train.strategies.threshold import compress, expand
from asr_kd.train.strategies.tree import Tree


def weights(*values):
    return [nn.Parameter(torch.tensor(value)) for value in values]


def step(strategy, lane_gradients, frames):
    """Give each lane's gradients (sums over its frames) to a strategy; the gradients that the update would use."""
    for grads in lane_gradients:
        for weight, grad in zip(strategy.trained, grads, strict=True):
            if grad is not None:
                weight.grad = torch.tensor(grad) if weight.grad is None else weight.grad + torch.tensor(grad)
        strategy.after_lane()
    strategy.after_backward(StepFrames(frames, frames))
    found = [None if weight.grad is None else weight.grad.tolist() for weight in strategy.trained]
    for weight in strategy.trained:
        weight.grad = None
    return found


@pytest.mark.parametrize("kind", ["allreduce", "tree", "bmuf"])
def test_the_gradient_is_the_mean_over_the_frames_of_all_lanes(kind):
    strategy = STRATEGIES[kind](weights([1.0, 2.0], [0.0], [5.0]), 2, Ranks(), StrategyConfig(kind=kind))
    lanes = [[[1.0, 2.0], None, None], [[3.0, -2.0], [6.0], None]]
    assert step(strategy, lanes, 4) == [[1.0, 0.0], [1.5], None]  # what nobody used stays without


@given(
    lanes=st.sampled_from([2, 4, 8, 16]),
    seed=st.integers(0, 100),
)
def test_a_rank_adds_its_lanes_as_the_tree_over_all_lanes_does(lanes, seed):
    grads = np.random.default_rng(seed).normal(size=(lanes, 5)).astype(np.float32)

    def tree(first, stride):
        """Of lanes first, first + stride, ...: halves that lie stride apart are added last."""
        if stride == lanes:
            return grads[first]
        return tree(first, 2 * stride) + tree(first + stride, 2 * stride)

    for world in (1, 2, 4):
        if world > lanes:
            continue
        sums = []
        for rank in range(world):
            strategy = Tree(weights([0.0] * 5), lanes, Ranks(rank, world), StrategyConfig(kind="tree"))
            for lane in strategy.own_lanes:
                strategy.trained[0].grad = torch.from_numpy(grads[lane].copy())
                strategy.after_lane()
            ((count, total_N),) = strategy._sums
            assert count == lanes // world
            sums.append(total_N.numpy())
        for rank, total_N in enumerate(sums):
            np.testing.assert_array_equal(total_N, tree(rank, world))


def test_bmuf_filters_the_change_of_each_block():
    config = StrategyConfig(kind="bmuf", block_steps=2, block_momentum=0.5, block_lr=0.8, nesterov=True)
    (weight,) = weights([1.0])
    strategy = Bmuf([weight], 1, Ranks(), config)
    before, change = 1.0, 0.0
    for block in range(3):
        for _ in range(2):
            with torch.no_grad():
                weight += 0.25 * (block + 1)
            strategy.after_step()
            last = weight.item()
        begun = before + 0.5 * change
        change = 0.5 * change + 0.8 * (begun + 0.5 * (block + 1) - begun)
        before += change
        assert last == pytest.approx(before + 0.5 * change)


def test_bmuf_of_one_rank_without_momentum_is_plain_training():
    (weight,) = weights([1.0, -3.0])
    strategy = Bmuf([weight], 1, Ranks(), StrategyConfig(kind="bmuf", block_steps=1, block_momentum=0.0))
    for _ in range(5):
        with torch.no_grad():
            weight += 0.125
        strategy.after_step()
    assert weight.tolist() == [1.625, -2.375]
    assert strategy.momentum == 0 and Bmuf([weight], 1, Ranks(), StrategyConfig(kind="bmuf")).momentum == 0


@given(st.lists(st.lists(st.floats(-4, 4, width=16), min_size=6, max_size=6), min_size=1, max_size=8))
def test_what_was_sent_and_the_residual_together_are_the_gradient(gradients):
    residual_N, sent_N = torch.zeros(6), torch.zeros(6)
    for values in gradients:
        entries_M = compress(residual_N, torch.tensor(values), 0.5)
        assert entries_M.dtype == torch.int32
        before_N = sent_N.clone()
        expand(entries_M, 0.5, sent_N)
        assert set((sent_N - before_N).abs().tolist()) <= {0.0, 0.5}
    torch.testing.assert_close(sent_N + residual_N, torch.tensor(gradients).sum(0), rtol=0, atol=1e-5)


def test_an_entry_is_sent_once_its_residual_is_above_the_threshold():
    residual_N = torch.zeros(3)
    assert compress(residual_N, torch.tensor([0.3, -0.6, 0.0]), 0.5).tolist() == [~1]
    assert compress(residual_N, torch.tensor([0.3, 0.0, 0.0]), 0.5).tolist() == [0]
    torch.testing.assert_close(residual_N, torch.tensor([0.1, -0.1, 0.0]))


def test_lanes_and_ranks_that_do_not_fit_are_refused_with_what_would():
    given = weights([0.0])
    with pytest.raises(ValueError, match=r"train.lanes is 6, which 4 ranks cannot share evenly.*1, 2, 3, 6"):
        STRATEGIES["allreduce"](given, 6, Ranks(0, 4), StrategyConfig())
    with pytest.raises(ValueError, match=r"train.lanes is 6; train.strategy tree needs a power of two"):
        Tree(given, 6, Ranks(0, 1), StrategyConfig(kind="tree"))
