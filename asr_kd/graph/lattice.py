"""Posteriors over all paths of a lattice, which combine the model with lexicon and language model."""

import math
from dataclasses import dataclass

import kaldifst
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


def lattice_arcs(lattice: kaldifst.Lattice) -> LatticeArcs:
    """Read a raw lattice. ValueError when it has a cycle."""
    states = lattice.num_states
    # kaldifst binds no iterator over a lattice's arcs; its text has 4 columns and a pair of weights for an arc
    lines = lattice.to_str(show_weight_one=True).replace(",", " ").splitlines()
    is_arc = [len(line.split(None, 3)) == 4 for line in lines]
    table_A6, end_S3 = (
        np.fromstring(" ".join(line for line, is_one in zip(lines, is_arc, strict=True) if is_one == arcs), sep=" ")
        for arcs in (True, False)
    )
    table_A6, end_S3 = table_A6.reshape(-1, 6), end_S3.reshape(-1, 3)
    number_A4 = table_A6[:, :4].astype(np.int64)
    order_S = _topological(states, number_A4[:, 0], number_A4[:, 1])
    final_S = np.full(states, np.inf)
    final_S[order_S[end_S3[:, 0].astype(np.int64)]] = end_S3[:, 1:].sum(1)
    source_A, target_A = order_S[number_A4[:, 0]], order_S[number_A4[:, 1]]
    by_source = np.argsort(source_A, kind="stable")
    return LatticeArcs(
        source_A[by_source],
        target_A[by_source],
        number_A4[by_source, 2],
        table_A6[by_source, 4:].sum(1),
        final_S,
        number_A4[by_source, 3],
    )


def _topological(states: int, source_A: np.ndarray, target_A: np.ndarray) -> np.ndarray:
    """Number of each state in an order in which all arcs lead onwards. ValueError when there is none."""
    leaving: list[list[int]] = [[] for _ in range(states)]
    for source, target in zip(source_A.tolist(), target_A.tolist(), strict=True):
        leaving[source].append(target)
    entering = np.bincount(target_A, minlength=states).tolist()
    order, ready = [0] * states, [s for s in range(states) if not entering[s]]
    number = 0
    while ready:
        state = ready.pop()
        order[state] = number
        number += 1
        for target in leaving[state]:
            entering[target] -= 1
            if not entering[target]:
                ready.append(target)
    if number < states:
        raise ValueError("the lattice has a cycle")
    return np.array(order, dtype=np.int64)


def forward_backward(lattice: LatticeArcs) -> ArcPosteriors:
    """Posterior of each arc by the forward-backward algorithm. Costs are taken as they are.

    A loop in Python: a lattice of 1,000 arcs has 400 levels, too narrow for numpy's calls to pay.
    """
    states = len(lattice.final_S)
    forward, backward = [-math.inf] * states, (-lattice.final_S).tolist()
    frame = [0] * states
    forward[0] = 0.0
    columns = (lattice.source_A, lattice.target_A, (lattice.label_A > 0).astype(int), lattice.cost_A)
    arcs = list(zip(*(column.tolist() for column in columns), strict=True))
    for source, target, emits, cost in arcs:
        forward[target] = _log_add(forward[target], forward[source] - cost)
        frame[target] = frame[source] + emits
    for source, target, _, cost in reversed(arcs):
        backward[source] = _log_add(backward[source], backward[target] - cost)
    forward_S, backward_S = np.array(forward), np.array(backward)
    log_share_A = forward_S[lattice.source_A] - lattice.cost_A + backward_S[lattice.target_A] - backward_S[0]
    return ArcPosteriors(np.exp(log_share_A), np.array(frame, dtype=np.int64))


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


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)), also where both are -inf."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
