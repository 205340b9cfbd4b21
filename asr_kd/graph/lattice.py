"""Posteriors of classes over all paths of a lattice: what is heard once lexicon and language model had their say."""

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


def lattice_arcs(lattice: kaldifst.Lattice) -> LatticeArcs:
    """Read a raw lattice. ValueError when it has a cycle."""
    states = lattice.num_states
    arcs: list[tuple[int, int, int, float]] = []
    ends: list[tuple[int, float]] = []
    for line in lattice.to_str(show_weight_one=True).splitlines():  # kaldifst binds no iterator over a lattice's arcs
        fields = line.split()
        cost = sum(map(float, fields[-1].split(",")))
        if len(fields) == 5:
            arcs.append((int(fields[0]), int(fields[1]), int(fields[2]), cost))
        else:
            ends.append((int(fields[0]), cost))
    leaving: list[list[int]] = [[] for _ in range(states)]
    entering = [0] * states
    for source, target, _, _ in arcs:
        leaving[source].append(target)
        entering[target] += 1
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
    table_A4 = np.array(arcs, dtype=np.float64).reshape(-1, 4)
    order_S = np.array(order)
    final_S = np.full(states, np.inf)
    for state, cost in ends:
        final_S[order[state]] = cost
    source_A, target_A = order_S[table_A4[:, 0].astype(int)], order_S[table_A4[:, 1].astype(int)]
    by_source = np.argsort(source_A, kind="stable")
    return LatticeArcs(
        source_A[by_source],
        target_A[by_source],
        table_A4[by_source, 2].astype(np.int64),
        table_A4[by_source, 3],
        final_S,
    )


def class_posteriors(lattice: LatticeArcs, frames: int, classes: int) -> np.ndarray:
    """Posterior of each class at each frame by the forward-backward algorithm: (T, C) float32, frames sum to 1.

    The lattice's paths have `frames` frames each.  Costs are taken as they are: scale likelihoods before the search.
    """
    states = len(lattice.final_S)
    forward_S, backward_S = np.full(states, -np.inf), -lattice.final_S
    frame_S = np.zeros(states, dtype=np.int64)
    forward_S[0] = 0.0
    arcs = list(
        zip(
            lattice.source_A.tolist(),
            lattice.target_A.tolist(),
            lattice.label_A.tolist(),
            lattice.cost_A.tolist(),
            strict=True,
        )
    )
    forward, backward = forward_S.tolist(), backward_S.tolist()
    for source, target, label, cost in arcs:
        forward[target] = _log_add(forward[target], forward[source] - cost)
        frame_S[target] = frame_S[source] + (label > 0)
    for source, target, _, cost in reversed(arcs):
        backward[source] = _log_add(backward[source], backward[target] - cost)
    forward_S, backward_S = np.array(forward), np.array(backward)
    log_share_A = forward_S[lattice.source_A] - lattice.cost_A + backward_S[lattice.target_A] - backward_S[0]
    emits_A = lattice.label_A > 0
    posterior_TC = np.zeros((frames, classes), dtype=np.float64)
    np.add.at(
        posterior_TC,
        (frame_S[lattice.source_A[emits_A]], lattice.label_A[emits_A] - 1),
        np.exp(log_share_A[emits_A]),
    )
    return (posterior_TC / posterior_TC.sum(1, keepdims=True)).astype(np.float32)


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)), also where both are -inf."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
