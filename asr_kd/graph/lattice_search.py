"""Beam search that keeps a lattice: all paths near the best one, as arrays, at a cost that is linear in the frames.

Algorithm: Kaldi's LatticeSimpleDecoder (Povey, Hannemann et al., "Generating exact lattices in the WFST framework",
ICASSP 2012), in the same order and in float32, so its lattices are the same to the last bit.  The order matters: the
beam tightens while tokens are passed on.  It is the order of libstdc++'s hash tables, which `_insert` reproduces.
"""

import numba
import numpy as np

from asr_kd.graph.graph_arrays import GraphArrays
from asr_kd.graph.lattice import LatticeArcs, sorted_arcs
from asr_kd.graph.lattice_memory import INF, NONE, ZERO, allocate, begin, doubled, with_frames, with_room
from asr_kd.graph.lattice_partial import BestPath, PartialPath
from asr_kd.graph.lattice_pruning import finish, prune, read

PRUNE_FRAMES = 25
"""Frames between two prunings of what was kept (Kaldi's default)."""
_TABLE_SIZES = (
    13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229, 172933, 351061, 712697, 1447153, 2938679,
    5967347, 12117689, 24607243, 49969847, 101473717, 206062531, 418454827, 849743003, 1725581029,
)  # fmt: skip
"""Numbers of buckets that a hash table of libstdc++ grows through."""
_SIZES = np.array(_TABLE_SIZES, dtype=np.int64)


class LatticeSearch:
    """Finds the lattices of one graph. Not for two threads at once."""

    def __init__(self, graph: GraphArrays, beam: float, lattice_beam: float) -> None:
        """beam, lattice_beam: as in `SearchConfig`."""
        self._graph, self._beam, self._lattice_beam = graph, np.float32(beam), np.float32(lattice_beam)
        states = len(graph.final_S)
        buckets = next(size for size in _TABLE_SIZES if size >= states)
        self.memory = allocate(states, buckets, tokens=1 << 12, links=1 << 13)
        """Grows with the longest utterance; its ledger tells the latest search's work."""

    def __call__(self, score_TC: np.ndarray) -> LatticeArcs | None:
        """All paths within the lattice beam of the best for the scaled log-likelihoods (T, C) of classes.

        Input labels of the graph are class + 1.  None without frames, and when no path ends in a final state.
        """
        self.start()
        self.advance(score_TC)
        return self.finish()

    def start(self) -> None:
        """Begin an utterance."""
        self._scores: list[np.ndarray] = []
        self._begin()

    def advance(self, score_TC: np.ndarray) -> None:
        """Go on by some frames; in whatever portions they come, the lattice is the same."""
        self._scores.append(np.ascontiguousarray(score_TC, dtype=np.float32))
        waiting = self._scores[-1:]
        while not all(self._pass(score_TC) for score_TC in waiting):
            self.memory = doubled(self.memory)
            self._begin()
            waiting = self._scores

    def partial(self) -> PartialPath:
        """The best path so far, wherever it ends."""
        return self._best_path(self.memory)

    def finish(self) -> LatticeArcs | None:
        """The lattice of the utterance, as `__call__` gives it."""
        if not self._frames:
            return None
        finish(self._graph, self.memory, self._lattice_beam)
        (source_A, target_A, label_A, word_A), cost_A, final_S, start = read(self._graph, self.memory)
        if not np.isfinite(final_S).any():
            return None
        return sorted_arcs(source_A, target_A, label_A, word_A, cost_A, final_S, start)

    def _begin(self) -> None:
        self._frames, self._best_path = 0, BestPath()
        self.memory = begin(self.memory, sum(map(len, self._scores)))
        while not _start(self._graph, self._beam, self.memory):
            self.memory = begin(doubled(self.memory), sum(map(len, self._scores)))

    def _pass(self, score_TC: np.ndarray) -> bool:
        """Pass tokens on through all of these frames. False: the memory is too small."""
        self.memory = with_frames(self.memory, self._frames + len(score_TC))
        first = 0
        while first < len(score_TC):
            since = self._frames % PRUNE_FRAMES
            if not since:
                prune(self.memory, self._lattice_beam)
                self.memory = with_room(self.memory)
            block_TC = score_TC[first : first + PRUNE_FRAMES - since]
            if not _pass_frames(self._graph, block_TC, self._beam, self.memory):
                return False
            first, self._frames = first + len(block_TC), self._frames + len(block_TC)
        return True


# Arrays are unpacked once a function and handed on one by one to functions that numba inlines: where a tuple is handed
# on, numba counts references at each access, which takes half of the time.


@numba.njit(cache=True)
def _start(graph, beam, m):  # type: ignore[no-untyped-def]
    """The tokens before the first frame. False: memory is short."""
    _arrive(m.tokens, m.token_S, m.bucket_2B, m.newest_T, m.ledger[0], graph.start, ZERO)
    return _pass_epsilons(graph, beam, m)


@numba.njit(cache=True)
def _pass_frames(graph, score_TC, beam, m):  # type: ignore[no-untyped-def]
    """Pass the tokens of the latest frame on through some frames. False: memory is short."""
    for t in range(len(score_TC)):
        if not _pass_frame(graph, score_TC[t], beam, m):
            return False
        _shrink(beam, m)
        if not _pass_epsilons(graph, beam, m):
            return False
    return True


@numba.njit(cache=True)
def _pass_frame(graph, score_C, beam, m):  # type: ignore[no-untyped-def]
    """Pass the tokens of the hash table on along arcs with labels, into the other one. False: memory is short."""
    first_S, epsilon_S, arc_A, _, _ = graph
    tokens, links, token_S, _, bucket_2B, newest_T, _, _ = m
    ledger = m.ledger[0]
    last = ledger.table
    ledger.frame += 1
    ledger.table, ledger.size = 1 - last, 0
    bucket_2B[ledger.table, : ledger.buckets_2[ledger.table]] = NONE
    tokens[ledger.table].after = NONE
    i = tokens[last].after
    while i != NONE:
        token_S[tokens[i].state] = NONE
        i = tokens[i].after
    cutoff = INF
    i = tokens[last].after
    while i != NONE:
        x = tokens[i]
        first, end = first_S[x.state], epsilon_S[x.state]
        if min(ledger.tokens_left, ledger.links_left) < end - first:
            return False
        ledger.tokens_visited += 1
        ledger.links_visited += end - first
        for a in range(first, end):
            arc = arc_A[a]
            acoustic = -score_C[arc.label - 1]
            total = x.cost + acoustic + arc.cost
            if total < cutoff:
                if total + beam < cutoff:
                    cutoff = total + beam
                target, _ = _arrive(tokens, token_S, bucket_2B, newest_T, ledger, arc.target, total)
                _link(tokens, links, ledger, i, target, arc, acoustic)
        i = x.after
    return True


@numba.njit(cache=True)
def _pass_epsilons(graph, beam, m):  # type: ignore[no-untyped-def]
    """Pass the tokens of the hash table on along arcs without labels. False: memory is short."""
    first_S, epsilon_S, arc_A, _, _ = graph
    tokens, links, token_S, stack, bucket_2B, newest_T, _, _ = m
    ledger = m.ledger[0]
    cutoff = INF
    waiting = 0
    i = tokens[ledger.table].after
    while i != NONE:
        x = tokens[i]
        if epsilon_S[x.state] < first_S[x.state + 1]:
            stack[waiting] = i
            waiting += 1
        cutoff = min(cutoff, x.cost)
        i = x.after
    cutoff = np.float32(cutoff + beam)
    while waiting:
        waiting -= 1
        i = stack[waiting]
        x = tokens[i]
        _free_links(tokens, links, ledger, i)
        first, end = epsilon_S[x.state], first_S[x.state + 1]
        if min(ledger.tokens_left, ledger.links_left, len(stack) - waiting) < end - first:
            return False
        ledger.tokens_visited += 1
        ledger.links_visited += end - first
        for a in range(first, end):
            arc = arc_A[a]
            total = x.cost + arc.cost
            if total < cutoff:
                state = arc.target
                target, changed = _arrive(tokens, token_S, bucket_2B, newest_T, ledger, state, total)
                _link(tokens, links, ledger, i, target, arc, ZERO)
                if changed and epsilon_S[state] < first_S[state + 1]:
                    stack[waiting] = target
                    waiting += 1
    return True


@numba.njit(cache=True)
def _shrink(beam, m):  # type: ignore[no-untyped-def]
    """Move the tokens within the beam into a new hash table; the others stay in their frame, where no path goes on."""
    tokens, _, token_S, _, bucket_2B, _, _, _ = m
    ledger = m.ledger[0]
    head = ledger.table
    first = tokens[head].after
    if first == NONE:
        return
    best = np.float32(1e10)
    i = first
    while i != NONE:
        best = min(best, tokens[i].cost)
        i = tokens[i].after
    cutoff = best + beam
    ledger.size, ledger.buckets_2[head] = 0, 1
    bucket_2B[head, 0] = tokens[head].after = NONE
    i = first
    while i != NONE:
        following = tokens[i].after
        if tokens[i].cost < cutoff:
            _insert(tokens, bucket_2B, ledger, i)
        else:
            token_S[tokens[i].state] = NONE
        i = following


@numba.njit(cache=True, inline="always")
def _arrive(tokens, token_S, bucket_2B, newest_T, ledger, state, cost):  # type: ignore[no-untyped-def]
    """Make or improve the token of a state. Returns it and whether its cost changed."""
    i = np.int64(token_S[state])
    if i != NONE:
        changed = tokens[i].cost > cost
        if changed:
            tokens[i].cost = cost
        return i, changed
    i = ledger.free_token
    if i == NONE:
        i = ledger.tokens_used
        ledger.tokens_used += 1
    else:
        ledger.free_token = tokens[i].next
    ledger.tokens_left -= 1
    x = tokens[i]
    x.state, x.cost, x.extra, x.link, x.next = state, cost, ZERO, NONE, newest_T[ledger.frame]
    newest_T[ledger.frame] = i
    token_S[state] = i
    _insert(tokens, bucket_2B, ledger, i)
    return i, True


@numba.njit(cache=True, inline="always")
def _link(tokens, links, ledger, source, target, arc, acoustic):  # type: ignore[no-untyped-def]
    """Add a link to those of a token."""
    new = ledger.free_link
    if new == NONE:
        new = ledger.links_used
        ledger.links_used += 1
    else:
        ledger.free_link = links[new].next
    ledger.links_left -= 1
    x = links[new]
    x.target, x.label, x.word, x.graph, x.acoustic = target, arc.label, arc.word, arc.cost, acoustic
    x.next = tokens[source].link
    tokens[source].link = new


@numba.njit(cache=True, inline="always")
def _free_links(tokens, links, ledger, i):  # type: ignore[no-untyped-def]
    """Drop a token's links."""
    a = tokens[i].link
    while a != NONE:
        following = links[a].next
        links[a].next = ledger.free_link
        ledger.free_link = a
        ledger.links_left += 1
        a = following
    tokens[i].link = NONE


@numba.njit(cache=True, inline="always")
def _insert(tokens, bucket_2B, ledger, i):  # type: ignore[no-untyped-def]
    """Put a token into the hash table in use, where libstdc++'s unordered_map puts it; first make the table larger."""
    head, buckets = ledger.table, ledger.buckets_2[ledger.table]
    if ledger.size == buckets or buckets == 1:
        buckets = _SIZES[np.searchsorted(_SIZES, 2 * buckets)]
        ledger.buckets_2[head] = buckets
        bucket_2B[head, :buckets] = NONE
        other = tokens[head].after
        tokens[head].after = NONE
        while other != NONE:
            following = tokens[other].after
            _place(tokens, bucket_2B, ledger, head, buckets, other)
            other = following
    _place(tokens, bucket_2B, ledger, head, buckets, i)
    ledger.size += 1


@numba.njit(cache=True, inline="always")
def _place(tokens, bucket_2B, ledger, head, buckets, i):  # type: ignore[no-untyped-def]
    """To the front of its bucket, or if that is empty to the front of all."""
    bucket = np.uint32(tokens[i].state) % np.uint32(buckets)
    before = bucket_2B[head, bucket]
    if before == NONE:
        before = head
        if tokens[head].after != NONE:
            bucket_2B[head, ledger.first_bucket] = i
        bucket_2B[head, bucket] = head
        ledger.first_bucket = bucket
    tokens[i].after = tokens[before].after
    tokens[before].after = i
