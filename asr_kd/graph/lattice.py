"""Posteriors over all paths of a lattice, which combine the model with lexicon and language model."""

import math
from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True)
class LatticeArcs:
    """A lattice as arrays, one entry an arc; states are numbered in topological order."""

    source_A: np.ndarray
    target_A: np.ndarray
    label_A: np.ndarray
    """Class + 1, or 0 where no frame passes."""
    cost_A: np.ndarray
    """Graph cost minus scaled log-likelihood, nats."""
    final_S: np.ndarray
    """Cost of ending in a state, inf where paths do not end."""
    word_A: np.ndarray
    """Word that begins, or 0. The graph decides where: as a rule a phone early, late where words begin alike."""


@dataclass(frozen=True)
class ArcPosteriors:
    """How likely each arc is to be passed, of all paths of the lattice: the forward-backward algorithm's result."""

    posterior_A: np.ndarray
    """In [0, 1]."""
    frame_S: np.ndarray
    """Frames passed before a state."""


def sorted_arcs(
    source_A: np.ndarray,
    target_A: np.ndarray,
    label_A: np.ndarray,
    word_A: np.ndarray,
    cost_A: np.ndarray,
    final_S: np.ndarray,
    start: int,
) -> LatticeArcs:
    """A lattice whose states come in any order. Arcs are sorted by their sources. ValueError when it has a cycle."""
    order_S = _topological(len(final_S), source_A, target_A, start)
    if not len(order_S):
        raise ValueError("the lattice has a cycle")
    source_A, target_A = order_S[source_A], order_S[target_A]
    sorted_S = np.empty_like(final_S)
    sorted_S[order_S] = final_S
    arcs = np.argsort(source_A, kind="stable")
    return LatticeArcs(source_A[arcs], target_A[arcs], label_A[arcs], cost_A[arcs], sorted_S, word_A[arcs])


@numba.njit(cache=True)
def _topological(states, source_A, target_A, start):  # type: ignore[no-untyped-def]
    """Number of each state, int64 (S,), such that all arcs lead onwards from `start`, number 0. Empty: a cycle."""
    first_S, entering_S = np.zeros(states + 1, np.int64), np.zeros(states, np.int64)
    for a in range(len(source_A)):
        first_S[source_A[a] + 1] += 1
        entering_S[target_A[a]] += 1
    first_S = np.cumsum(first_S)
    place_S, leaving_A = first_S[:-1].copy(), np.empty(len(source_A), np.int64)
    for a in range(len(source_A)):
        leaving_A[place_S[source_A[a]]] = target_A[a]
        place_S[source_A[a]] += 1
    order_S, ready_S = np.empty(states, np.int64), np.empty(states, np.int64)
    number = waiting = 0
    for s in range(states):
        if not entering_S[s] and s != start:
            ready_S[waiting] = s
            waiting += 1
    if not entering_S[start]:
        ready_S[waiting] = start
        waiting += 1
    while waiting:
        waiting -= 1
        s = ready_S[waiting]
        order_S[s] = number
        number += 1
        for a in range(first_S[s], first_S[s + 1]):
            target = leaving_A[a]
            entering_S[target] -= 1
            if not entering_S[target]:
                ready_S[waiting] = target
                waiting += 1
    return order_S if number == states else order_S[:0]


def forward_backward(lattice: LatticeArcs) -> ArcPosteriors:
    """Posterior of each arc by the forward-backward algorithm. Costs are taken as they are."""
    arcs = lattice.source_A, lattice.target_A, lattice.label_A, lattice.cost_A
    return ArcPosteriors(*_forward_backward(*arcs, lattice.final_S))


@numba.njit(cache=True)
def _forward_backward(source_A, target_A, label_A, cost_A, final_S):  # type: ignore[no-untyped-def]
    """Posteriors of the arcs, float64 (A,), and frames passed before the states, int64 (S,)."""
    forward_S, backward_S = np.full(len(final_S), -np.inf), -final_S
    frame_S = np.zeros(len(final_S), np.int64)
    forward_S[0] = 0.0
    for a in range(len(source_A)):
        source, target = source_A[a], target_A[a]
        forward_S[target] = _log_add(forward_S[target], forward_S[source] - cost_A[a])
        frame_S[target] = frame_S[source] + (label_A[a] > 0)
    for a in range(len(source_A) - 1, -1, -1):
        source = source_A[a]
        backward_S[source] = _log_add(backward_S[source], backward_S[target_A[a]] - cost_A[a])
    posterior_A = np.empty(len(source_A), np.float64)
    for a in range(len(source_A)):
        log_share = forward_S[source_A[a]] - cost_A[a] + backward_S[target_A[a]] - backward_S[0]
        posterior_A[a] = math.exp(log_share)
    return posterior_A, frame_S


def class_posteriors(
    lattice: LatticeArcs, frames: int, classes: int, passed: ArcPosteriors | None = None
) -> np.ndarray:
    """Posterior of each class at each frame by the forward-backward algorithm: (T, C) float32, frames sum to 1.

    The lattice's paths have `frames` frames each.  Costs are taken as they are: scale likelihoods before the search.
    passed: `passage(lattice)` where it is known already.
    """
    passed = passed or forward_backward(lattice)
    emits_A = lattice.label_A > 0
    posterior_TC = np.zeros((frames, classes), dtype=np.float64)
    np.add.at(
        posterior_TC,
        (passed.frame_S[lattice.source_A[emits_A]], lattice.label_A[emits_A] - 1),
        passed.posterior_A[emits_A],
    )
    return (posterior_TC / posterior_TC.sum(1, keepdims=True)).astype(np.float32)


@numba.njit(cache=True)
def _log_add(a, b):  # type: ignore[no-untyped-def]
    """log(exp(a) + exp(b)), also where both are -inf."""
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + math.log1p(math.exp(b - a))
