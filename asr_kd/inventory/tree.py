"""Decision trees that tie the states of phones in context by the likelihood of single Gaussians.

Source: Young, Odell and Woodland, "Tree-based state tying for high accuracy acoustic modelling" (1994), with
questions found by clustering the phones, as Kaldi does. `kaldi-hmm-gmm` binds trees but not their building.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import linkage

CONTEXTS = (-1, 0, 1)
"""Left neighbour, the phone itself, right neighbour."""

NO_PHONE = -1
"""The neighbour beyond an utterance's edge."""


@dataclass(frozen=True)
class Stats:
    """Sufficient statistics of frames that share phone, neighbours and state: count, sum and sum of squares."""

    count: float
    sum_F: np.ndarray
    square_F: np.ndarray


@dataclass(frozen=True)
class TreeConfig:
    """How far the states of phones in context are told apart."""

    leaves: int = 200
    """Most tied states, silence apart."""
    min_count: float = 60.0
    """Fewest frames that a tied state is estimated from."""
    min_gain: float = 0.0
    """Smallest gain in log-likelihood (nats) that is worth a split."""

    def __post_init__(self) -> None:
        if self.leaves < 1 or self.min_count <= 0 or self.min_gain < 0:
            raise ValueError("tree.leaves and tree.min_count must be above 0, tree.min_gain must not be negative")


@dataclass(frozen=True)
class Node:
    """One question: is the phone at `context` among `phones`? Then `yes`, else `no`; leaves have `leaf >= 0`."""

    context: int
    phones: tuple[int, ...]
    yes: int
    no: int
    leaf: int


class Tree:
    """One tree for one HMM state, shared by all phones; `nodes[0]` is the root."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)
        self._sets = [frozenset(n.phones) for n in self.nodes]

    def leaf(self, window: tuple[int, int, int]) -> int:
        """The leaf of (left, centre, right) phone numbers; NO_PHONE beyond the edges."""
        i = 0
        while self.nodes[i].leaf < 0:
            node = self.nodes[i]
            i = node.yes if window[node.context + 1] in self._sets[i] else node.no
        return self.nodes[i].leaf

    def centres(self, phones: Iterable[int]) -> dict[int, frozenset[int]]:
        """Of each leaf the phones, of those given, that reach it in one context or another."""
        reached: dict[int, frozenset[int]] = {}
        open_ = [(0, frozenset(phones))]
        while open_:
            i, here = open_.pop()
            node, asked = self.nodes[i], self._sets[i]
            if node.leaf >= 0:
                reached[node.leaf] = reached.get(node.leaf, frozenset()) | here
            elif node.context == 0:
                open_ += [(node.yes, here & asked), (node.no, here - asked)]
            else:
                open_ += [(node.yes, here), (node.no, here)]
        return reached

    @property
    def leaves(self) -> int:
        return sum(n.leaf >= 0 for n in self.nodes)

    def to_list(self) -> list[list[Any]]:
        return [[n.context, list(n.phones), n.yes, n.no, n.leaf] for n in self.nodes]

    @classmethod
    def from_list(cls, rows: Sequence[Sequence[Any]]) -> "Tree":
        """ValueError or TypeError when the rows are no tree."""
        nodes = [Node(int(c), tuple(map(int, p)), int(y), int(n), int(leaf)) for c, p, y, n, leaf in rows]
        for here, node in enumerate(nodes):
            if node.leaf < 0 and not (-1 <= node.context <= 1 and here < min(node.yes, node.no)):
                raise ValueError(f"node {here} of a tree leads back, or asks for context {node.context}")
            if max(node.yes, node.no) >= len(nodes):
                raise ValueError(f"node {here} of a tree leads out of it")
        if not nodes or max(node.leaf for node in nodes) < 0:
            raise ValueError("a tree without leaves")
        return cls(nodes)


def phone_tree(centres: Sequence[int]) -> Tree:
    """The tree without context: one leaf for each phone of `centres`, in their order; the last takes all others."""
    nodes: list[Node] = []
    for leaf, phone in enumerate(centres[:-1]):
        here = len(nodes)
        nodes.append(Node(0, (phone,), here + 1, here + 2, -1))
        nodes.append(Node(0, (), -1, -1, leaf))
    nodes.append(Node(0, (), -1, -1, len(centres) - 1))
    return Tree(nodes)


def phone_questions(stats: Mapping[int, Stats]) -> list[tuple[int, ...]]:
    """Sets of phones to ask for: each phone, and each cluster of phones that sound alike.

    `stats`: one entry a phone.  Ward's clustering of the phones' means, every cluster is a question.
    """
    phones = sorted(stats)
    questions: list[tuple[int, ...]] = [(p,) for p in phones]
    if len(phones) > 2:
        total = sum(stats[p].count for p in phones)
        mean_F = sum(stats[p].sum_F for p in phones) / total
        std_F = np.sqrt(np.maximum(sum(stats[p].square_F for p in phones) / total - mean_F**2, 1e-8))
        means = np.stack([stats[p].sum_F / max(stats[p].count, 1e-8) for p in phones])
        merges = linkage((means - mean_F) / std_F, method="ward")
        clusters = [{p} for p in phones]
        for a, b, *_ in merges:
            clusters.append(clusters[int(a)] | clusters[int(b)])
        questions += [tuple(sorted(c)) for c in clusters[len(phones) : -1]]
    return questions


def build_trees(
    stats: Sequence[Mapping[tuple[int, int, int], Stats]], questions: Sequence[tuple[int, ...]], config: TreeConfig
) -> list[Tree]:
    """Grow one tree per HMM state, always splitting the leaf with the largest gain over all of them.

    `stats[position]` maps (left, centre, right) to the statistics of that state.  Leaves are numbered through the
    trees: tree 0 has leaves 0..n0-1, tree 1 n0..n0+n1-1, ...
    """
    growers = [_Grower(s, questions, config) for s in stats]
    candidates: list[tuple[float, int, int]] = []
    leaves = 0
    for position, grower in enumerate(growers):
        leaves += 1
        if grower.gain(0) > config.min_gain:
            heapq.heappush(candidates, (-grower.gain(0), position, 0))
    while candidates and leaves < config.leaves:
        _, position, node = heapq.heappop(candidates)
        leaves += 1
        for child in growers[position].split(node):
            gain = growers[position].gain(child)
            if gain > config.min_gain:
                heapq.heappush(candidates, (-gain, position, child))
    trees, first = [], 0
    for grower in growers:
        tree = grower.finish(first)
        first += tree.leaves
        trees.append(tree)
    return trees


class _Grower:
    """A tree in growth: the rows (contexts) of each node and its best question."""

    def __init__(
        self, stats: Mapping[tuple[int, int, int], Stats], questions: Sequence[tuple[int, ...]], config: TreeConfig
    ) -> None:
        assert stats, "a state without a single frame"
        self.config = config
        self.windows_N3 = np.array(sorted(stats), dtype=np.int64)
        rows = [stats[tuple(w)] for w in self.windows_N3.tolist()]
        self.count_N = np.array([r.count for r in rows])
        self.sum_NF = np.stack([r.sum_F for r in rows])
        self.square_NF = np.stack([r.square_F for r in rows])
        total_F = self.square_NF.sum(0) / self.count_N.sum() - (self.sum_NF.sum(0) / self.count_N.sum()) ** 2
        self.floor_F = np.maximum(0.01 * total_F, 1e-6)
        phones = max(max(q) for q in questions) + 1
        phones = max(phones, int(self.windows_N3.max()) + 1)
        members_QP = np.zeros((len(questions), phones + 1), dtype=bool)  # the last column is NO_PHONE
        for q, members in enumerate(questions):
            members_QP[q, list(members)] = True
        self.questions = [(context, q) for context in CONTEXTS for q in questions]
        self.answers_QN = np.concatenate([members_QP[:, self.windows_N3[:, context + 1]] for context in CONTEXTS])
        self.nodes: list[Node] = [Node(0, (), -1, -1, 0)]
        self.rows: list[np.ndarray] = [np.arange(len(rows))]
        self.best: list[tuple[float, int]] = [self._best(self.rows[0])]

    def _log_likelihood(self, count_Q: np.ndarray, sum_QF: np.ndarray, square_QF: np.ndarray) -> np.ndarray:
        """Log-likelihood of frames under their own maximum-likelihood Gaussian, constants left out."""
        safe_Q1 = np.maximum(count_Q, 1e-8)[:, None]
        variance_QF = np.maximum(square_QF / safe_Q1 - (sum_QF / safe_Q1) ** 2, self.floor_F)
        return -0.5 * count_Q * np.log(variance_QF).sum(1)

    def _best(self, rows: np.ndarray) -> tuple[float, int]:
        """(gain, question number) of the best allowed split of these rows; gain 0 when there is none."""
        count_N, sum_NF, square_NF = self.count_N[rows], self.sum_NF[rows], self.square_NF[rows]
        yes_QN = self.answers_QN[:, rows].astype(np.float64)
        count_Q = yes_QN @ count_N
        total = count_N.sum()
        allowed = (count_Q >= self.config.min_count) & (total - count_Q >= self.config.min_count)
        if not allowed.any():
            return 0.0, -1
        sum_QF, square_QF = yes_QN @ sum_NF, yes_QN @ square_NF
        whole = self._log_likelihood(np.array([total]), sum_NF.sum(0)[None], square_NF.sum(0)[None])
        gain_Q = (
            self._log_likelihood(count_Q, sum_QF, square_QF)
            + self._log_likelihood(total - count_Q, sum_NF.sum(0) - sum_QF, square_NF.sum(0) - square_QF)
            - whole
        )
        gain_Q[~allowed] = 0.0
        best = int(np.argmax(gain_Q))
        return float(gain_Q[best]), best

    def gain(self, node: int) -> float:
        return self.best[node][0]

    def split(self, node: int) -> tuple[int, int]:
        """Split `node` at its best question; returns the numbers of the two new leaves."""
        context, phones = self.questions[self.best[node][1]]
        yes_N = self.answers_QN[self.best[node][1], self.rows[node]]
        first = len(self.nodes)
        for rows in (self.rows[node][yes_N], self.rows[node][~yes_N]):
            self.nodes.append(Node(0, (), -1, -1, 0))
            self.rows.append(rows)
            self.best.append(self._best(rows))
        self.nodes[node] = Node(context, phones, first, first + 1, -1)
        return first, first + 1

    def finish(self, first_leaf: int) -> Tree:
        numbered = []
        leaf = first_leaf
        for node in self.nodes:
            if node.leaf >= 0:
                node, leaf = Node(0, (), -1, -1, leaf), leaf + 1
            numbered.append(node)
        return Tree(numbered)
