"""Pruning of what a lattice search kept, and reading off the lattice that remains. The algorithm is Kaldi's."""

import numba
import numpy as np

from asr_kd.graph.lattice_memory import INF, NONE, ZERO

_SCALE = np.float32(0.1)
"""Times the lattice beam: smaller changes of extra costs are not followed further into the past (Kaldi's default)."""
_TOLERANCE = np.float32(1e-5)


@numba.njit(cache=True)
def prune(m, lattice_beam):  # type: ignore[no-untyped-def]
    """Drop links and tokens of the past, as if all tokens of this frame were equally good ends."""
    now = m.ledger[0].frame
    for t in range(now - 1, -1, -1):
        if m.stale_T2[t, 0]:
            changed, dropped = _prune_links(m, t, lattice_beam, lattice_beam * _SCALE)
            if changed and t:
                m.stale_T2[t - 1, 0] = True
            if dropped:
                m.stale_T2[t, 1] = True
            m.stale_T2[t, 0] = False
        elif not m.stale_T2[t + 1, 1]:
            break  # neither did anything earlier change
        if t + 1 < now and m.stale_T2[t + 1, 1]:
            _drop_tokens(m, t + 1)
            m.stale_T2[t + 1, 1] = False


@numba.njit(cache=True)
def finish(graph, m, lattice_beam):  # type: ignore[no-untyped-def]
    """Drop all that is not on a path within the lattice beam of the best that ends in a final state."""
    last = m.ledger[0].frame
    _prune_last(graph, m, lattice_beam)
    for t in range(last - 1, -1, -1):
        _prune_links(m, t, lattice_beam, ZERO)
        _drop_tokens(m, t + 1)
    _drop_tokens(m, 0)


@numba.njit(cache=True)
def _prune_links(m, t, lattice_beam, delta):  # type: ignore[no-untyped-def]
    """Extra costs of a frame's tokens from those of the next; drop what is too dear. Whether any changed, were dropped.

    Links within the frame are in no order, hence the repetition.
    """
    tokens, links, ledger = m.tokens, m.links, m.ledger[0]
    any_changed = any_dropped = False
    changed = True
    while changed:
        changed = False
        i = m.newest_T[t]
        while i != NONE:
            extra, dropped = _prune_token(tokens, links, ledger, i, INF, lattice_beam)
            any_dropped |= dropped
            changed |= abs(extra - tokens[i].extra) > delta
            tokens[i].extra = extra
            i = tokens[i].next
        any_changed |= changed
    return any_changed, any_dropped


@numba.njit(cache=True, inline="always")
def _prune_token(tokens, links, ledger, i, extra, lattice_beam):  # type: ignore[no-untyped-def]
    """A token's extra cost, at most `extra`; drops its links that are too dear. Returns it and whether any were."""
    ledger.tokens_visited += 1
    cost, before, dropped = tokens[i].cost, NONE, False
    a = tokens[i].link
    while a != NONE:
        ledger.links_visited += 1
        x = links[a]
        following, target = x.next, tokens[x.target]
        own = target.extra + ((cost + x.acoustic + x.graph) - target.cost)
        if own > lattice_beam:
            if before == NONE:
                tokens[i].link = following
            else:
                links[before].next = following
            x.next = ledger.free_link
            ledger.free_link = a
            ledger.links_left += 1
            dropped = True
        else:
            extra = min(extra, max(own, ZERO))  # rounding may take it below 0
            before = a
        a = following
    return extra, dropped


@numba.njit(cache=True)
def _drop_tokens(m, t):  # type: ignore[no-untyped-def]
    """Drop a frame's tokens that lead nowhere."""
    ledger = m.ledger[0]
    i, before = m.newest_T[t], NONE
    while i != NONE:
        ledger.tokens_visited += 1
        following = m.tokens[i].next
        if m.tokens[i].extra == INF:
            if before == NONE:
                m.newest_T[t] = following
            else:
                m.tokens[before].next = following
            m.tokens[i].next = ledger.free_token
            ledger.free_token = i
            ledger.tokens_left += 1
        else:
            before = i
        i = following


@numba.njit(cache=True)
def _prune_last(graph, m, lattice_beam):  # type: ignore[no-untyped-def]
    """As `_prune_links` in the last frame, where paths end in final states; all is dropped when none does."""
    tokens, links, ledger = m.tokens, m.links, m.ledger[0]
    t, best = ledger.frame, INF
    i = tokens[ledger.table].after
    while i != NONE:
        best = min(best, tokens[i].cost + graph.final_S[tokens[i].state])
        i = tokens[i].after
    changed = True
    while changed:
        changed = False
        i = m.newest_T[t]
        while i != NONE:
            x = tokens[i]
            ends = best < INF and m.token_S[x.state] == i
            extra = x.cost + graph.final_S[x.state] - best if ends else INF
            extra, _ = _prune_token(tokens, links, ledger, i, extra, lattice_beam)
            if extra > lattice_beam:
                extra = INF
            difference = abs(extra - x.extra)  # not a number where both are infinite
            changed |= difference == INF or difference > _TOLERANCE * (abs(extra) + abs(x.extra))
            x.extra = extra
            i = x.next


@numba.njit(cache=True)
def read(graph, m):  # type: ignore[no-untyped-def]
    """Sources, targets, labels and words of all links; their costs; tokens' costs of ending; the first token's number.

    Tokens are numbered in order of their frames, in a frame from the newest; links are in the order of their sources.
    """
    last = m.ledger[0].frame
    tokens = links = start = 0
    for t in range(last + 1):
        i = m.newest_T[t]
        while i != NONE:
            m.tokens[i].after = tokens
            tokens += 1
            a = m.tokens[i].link
            while a != NONE:
                links += 1
                a = m.links[a].next
            i = m.tokens[i].next
        if not t:
            start = tokens - 1
    arc_4A, cost_A, final_S = np.empty((4, links), np.int64), np.empty(links, np.float64), np.full(tokens, np.inf)
    n = 0
    for t in range(last + 1):
        i = m.newest_T[t]
        while i != NONE:
            number = m.tokens[i].after
            if t == last:
                final_S[number] = _six_digits(graph.final_S[m.tokens[i].state])
            a = m.tokens[i].link
            while a != NONE:
                x = m.links[a]
                arc_4A[0, n], arc_4A[1, n], arc_4A[2, n] = number, m.tokens[x.target].after, x.label
                arc_4A[3, n], cost_A[n] = x.word, _six_digits(x.graph) + _six_digits(x.acoustic)
                n += 1
                a = x.next
            i = m.tokens[i].next
    return arc_4A, cost_A, final_S, start


@numba.njit(cache=True)
def _six_digits(cost):  # type: ignore[no-untyped-def]
    """A float32 as a float64 of six decimal digits, as in OpenFst's text format.

    Lattices were read from that format once; targets made then and now are the same bytes.
    """
    x = np.float64(cost)
    if x == 0 or not np.isfinite(x):
        return x
    scale = 10.0 ** (5 - np.floor(np.log10(abs(x))))
    return np.rint(x * scale) / scale
