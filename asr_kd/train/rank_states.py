"""Saving and restoring a run of several ranks: one state of all, and where the strategy asks for it one of each."""

from pathlib import Path
from typing import Any

from asr_kd.core.terminal import say
from asr_kd.train.state import RunState, drop_rank_states, load_rank_state, load_state, save_rank_state, save_state
from asr_kd.train.strategies.strategy import Strategy


def save_run(out: Path, state: RunState, run: dict[str, Any], parts: dict[str, Any], strategy: Strategy) -> None:
    """Save the state of all ranks; OUT/state.pt comes last and makes it count."""
    ranks = strategy.ranks
    if strategy.is_local:
        own = parts if strategy.has_own_weights else {}
        save_rank_state(out, state.step, ranks.rank, own | {"strategy": strategy.state_dict()})
        ranks.gather(None)  # all have written theirs

    def commit() -> None:
        save_state(out, state, run, parts)
        drop_rank_states(out, but=state.step if strategy.is_local else None)

    ranks.on_first(commit)


def load_run(
    out: Path, run: dict[str, Any], strategy: Strategy
) -> tuple[RunState, dict[str, Any], list[dict[str, Any]]] | None:
    """State, this rank's parts, and the strategy's states that it goes on from; None when the run has not begun.

    Where there are other ranks than then, residuals are taken over, and weights of a block under way are lost.
    ValueError when files are damaged or of another run.
    """
    found = load_state(out, run)
    if found is None:
        return None
    state, parts = found
    ranks = strategy.ranks
    if not strategy.is_local:
        return state, parts, []
    if state.ranks == ranks.world:
        own = load_rank_state(out, state.step, ranks.rank)
        return state, own if strategy.has_own_weights else parts, [own["strategy"]]
    kind = strategy.config.kind
    say(f"{out}: {state.ranks} ranks trained it, {ranks.world} go on; with train.strategy.kind {kind} that matters.")
    if strategy.has_own_weights:
        say(f"{out}: all go on from the block's first weights and the optimiser's moments of the first rank.")
        return state, parts, [load_rank_state(out, state.step, 0)["strategy"]]
    taken = range(ranks.rank, state.ranks, ranks.world)
    return state, parts, [load_rank_state(out, state.step, rank)["strategy"] for rank in taken]
