"""What a lattice search works on: tokens and links in arrays, whose places are used again once they are pruned.

A token is a state of the graph after 0 to T frames; a link leads from a token to one of the next frame, or of the same
frame where it has no label.  One frame's tokens are a list from the newest to the oldest, and so are a token's links.
"""

from typing import Any, NamedTuple

import numpy as np

NONE = -1
INF, ZERO = np.float32(np.inf), np.float32(0)
TOKEN = np.dtype([("state", "i4"), ("cost", "f4"), ("extra", "f4"), ("link", "i4"), ("next", "i4"), ("after", "i4")])
"""cost: of the best path to it.  extra: how much worse the best path through it is than the best of all.  link: its
newest.  next: the next older token of the frame, or the next free one.  after: the next token in the hash table."""
LINK = np.dtype(
    [("target", "i4"), ("label", "i4"), ("word", "i4"), ("graph", "f4"), ("acoustic", "f4"), ("next", "i4")]
)
"""graph: cost of the arc.  acoustic: negative scaled log-likelihood.  next: the token's next older link, or the next
free one."""
LEDGER = np.dtype(
    [(name, "i8") for name in ("frame", "table", "size", "free_token", "free_link", "tokens_used", "links_used")]
    + [(name, "i8") for name in ("tokens_left", "links_left", "tokens_visited", "links_visited", "first_bucket")]
    + [("buckets_2", "i8", 2)]
)
"""frame: the latest.  table: the hash table in use, 0 or 1, and how many tokens it has.  free: first place that was
given back.  used: places that were ever taken.  left: places that can be taken.  visited: the work done.
first_bucket: of the hash table's first token.  buckets_2: of both hash tables."""


class Memory(NamedTuple):
    """Arrays of one search. The first two tokens only precede the first ones of the two hash tables."""

    tokens: Any
    links: Any
    token_S: Any
    """Each state's token in the hash table in use."""
    stack: Any
    """Tokens whose arcs without a label are yet to be followed."""
    bucket_2B: Any
    """Of each bucket of both hash tables, the token before its first."""
    newest_T: Any
    """Of each frame, 0 to T, the newest token."""
    stale_T2: Any
    """Of each frame, whether its links and its tokens are to be pruned next time."""
    ledger: Any
    """One record."""


def allocate(states: int, buckets: int, tokens: int, links: int) -> Memory:
    """Memory for searches of a graph of so many states; `begin` makes it fit for an utterance."""
    nothing = np.empty(0, np.int32)
    return Memory(
        np.empty(tokens, TOKEN),
        np.empty(links, LINK),
        np.empty(states, np.int32),
        np.empty(tokens, np.int32),
        np.empty((2, buckets), np.int32),
        nothing,
        nothing,
        np.zeros(1, LEDGER),
    )


def begin(memory: Memory, frames: int) -> Memory:
    """The same memory, empty, for an utterance of so many frames."""
    ledger = memory.ledger
    ledger[:] = 0
    ledger["free_token"] = ledger["free_link"] = NONE
    ledger["tokens_used"] = 2
    ledger["tokens_left"], ledger["links_left"] = len(memory.tokens) - 2, len(memory.links)
    ledger["buckets_2"] = 1
    memory.tokens["after"][:2] = NONE
    memory.token_S[:] = NONE
    memory.bucket_2B[:, 0] = NONE
    newest_T, stale_T2 = np.full(frames + 1, NONE, np.int32), np.ones((frames + 1, 2), np.bool_)
    return memory._replace(newest_T=newest_T, stale_T2=stale_T2)


def with_frames(memory: Memory, frames: int) -> Memory:
    """The same memory with room for so many frames of the utterance."""
    missing = frames + 1 - len(memory.newest_T)
    if missing <= 0:
        return memory
    missing = max(missing, len(memory.newest_T))  # an utterance that comes in small portions is not copied each time
    newest_T = np.concatenate([memory.newest_T, np.full(missing, NONE, np.int32)])
    return memory._replace(
        newest_T=newest_T, stale_T2=np.concatenate([memory.stale_T2, np.ones((missing, 2), np.bool_)])
    )


def with_room(memory: Memory) -> Memory:
    """The same memory, doubled in the midst of an utterance where less than half of it is left."""
    ledger = memory.ledger[0]
    short = 2 * ledger["tokens_left"] < len(memory.tokens) or 2 * ledger["links_left"] < len(memory.links)
    return doubled(memory) if short else memory


def doubled(memory: Memory) -> Memory:
    """The same memory with twice the room; what is there stays where it is."""
    memory.ledger["tokens_left"] += len(memory.tokens)
    memory.ledger["links_left"] += len(memory.links)
    names = ("tokens", "links", "stack")
    arrays = {name: getattr(memory, name) for name in names}
    return memory._replace(**{name: np.concatenate((a, np.empty_like(a))) for name, a in arrays.items()})
