"""Sharing the words of a text out among the segments of its recording, to judge by what was recognised in each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rapidfuzz.distance import Levenshtein

Cost = Callable[[int, Sequence[str]], float]
"""Number of a segment, words -> nats of their forced alignment in it; infinite where it is not possible."""
CONTEXT_WORDS = 2
"""Recognised words at the edge of a segment that are doubted too, where the edge is in doubt."""
MAX_OPEN_WORDS = 12
"""Between two segments; of more, those in the middle belong to none."""
MAX_SEGMENTS_BETWEEN = 3
"""Segments in a row without a recognised word that may get some of the open ones."""
OMITTED_WORD_COST = 3.0
"""Nats: a word of the text belongs to no segment only where that fits so much better."""


@dataclass(frozen=True)
class Matched:
    """What of the text a segment has."""

    words: list[str]
    why_not: str | None = None
    """Why the segment has no text."""


@dataclass(frozen=True)
class _Range:
    """Words [first, last) of the text."""

    first: int
    last: int


def match_words(
    text: Sequence[str], recognised: Sequence[Sequence[str]], cost: Cost, max_word_errors: float
) -> list[Matched]:
    """The words of each segment, in order; every word of the text is in one segment or in none.

    recognised: words of each segment.  max_word_errors: share of a segment's words that may differ from it.
    """
    exact = _exact_matches(text, recognised)
    ranges = [_Range(min(e), max(e) + 1) if e else None for e in exact]
    anchors = [n for n, r in enumerate(ranges) if r is not None]
    if not anchors:
        return [Matched([], "none of the text was recognised in its recording") for _ in recognised]
    ends: list[int | None] = [None, *anchors, None]
    for left, right in pairwise(ends):
        _settle(text, recognised, exact, ranges, cost, left, right)
    return [_judged(text, recognised[n], ranges[n], max_word_errors) for n in range(len(recognised))]


def _exact_matches(text: Sequence[str], recognised: Sequence[Sequence[str]]) -> list[list[int]]:
    """Numbers of the text's words that were recognised in each segment."""
    said = [word for words in recognised for word in words]
    segment_of = [n for n, words in enumerate(recognised) for _ in words]
    exact: list[list[int]] = [[] for _ in recognised]
    for op in Levenshtein.opcodes(said, text):
        if op.tag == "equal":
            for offset in range(op.src_end - op.src_start):
                exact[segment_of[op.src_start + offset]].append(op.dest_start + offset)
    return exact


def _settle(
    text: Sequence[str],
    recognised: Sequence[Sequence[str]],
    exact: Sequence[Sequence[int]],
    ranges: list[_Range | None],
    cost: Cost,
    left: int | None,
    right: int | None,
) -> None:
    """Share out the words between two neighbours with recognised words (None: begin or end), in place."""
    a, b = (None if n is None else ranges[n] for n in (left, right))
    first_open, last_open = 0 if a is None else a.last, len(text) if b is None else b.first
    between = list(range(0 if left is None else left + 1, len(recognised) if right is None else right))
    if first_open == last_open:
        left_is_sure = left is None or _is_sure(recognised[left], exact[left], text, at_end=True)
        right_is_sure = right is None or _is_sure(recognised[right], exact[right], text, at_end=False)
        if left_is_sure and right_is_sure:
            return
    if a is not None:
        first_open = max(a.first, first_open - CONTEXT_WORDS)
    if b is not None:
        last_open = min(b.last, last_open + CONTEXT_WORDS)
    if len(between) > MAX_SEGMENTS_BETWEEN or (last_open - first_open > MAX_OPEN_WORDS):
        between = []
    segments = [n for n in (left, *between, right) if n is not None]
    options = [_Options(text, ranges[n], first_open, last_open, n == left, n == right) for n in segments]
    for n, found in zip(segments, _best(text, segments, options, cost, first_open, last_open), strict=True):
        ranges[n] = found


@dataclass(frozen=True)
class _Options:
    """Which words of the open ones a segment may take, with those that it has for sure."""

    text: Sequence[str]
    range: _Range | None
    first: int
    last: int
    is_left: bool
    is_right: bool

    def firsts(self) -> list[int]:
        """Where its open words may begin."""
        return [self.first] if self.is_left else list(range(self.first, self.last + 1))

    def lasts(self) -> list[int]:
        return [self.last] if self.is_right else list(range(self.first, self.last + 1))

    def with_sure(self, first: int, last: int) -> _Range:
        if self.is_left and self.range is not None:
            return _Range(self.range.first, last)
        if self.is_right and self.range is not None:
            return _Range(first, self.range.last)
        return _Range(first, last)


def _best(
    text: Sequence[str], segments: Sequence[int], options: Sequence[_Options], cost: Cost, first: int, last: int
) -> list[_Range]:
    """The cheapest way to share the open words [first, last) out in order; omitted ones cost OMITTED_WORD_COST."""
    paths: dict[int, tuple[float, list[_Range]]] = {first: (0.0, [])}
    for segment, option in zip(segments, options, strict=True):
        following: dict[int, tuple[float, list[_Range]]] = {}
        for start in option.firsts():
            reached = [
                (before_cost + OMITTED_WORD_COST * (start - at), path)
                for at, (before_cost, path) in paths.items()
                if at <= start
            ]
            if not reached:
                continue
            before_cost, path = min(reached, key=lambda r: r[0])
            for end in option.lasts():
                if end < start or end - start > MAX_OPEN_WORDS:
                    continue
                words = option.with_sure(start, end)
                total = before_cost + cost(segment, text[words.first : words.last])
                if total < following.get(end, (float("inf"), []))[0]:
                    following[end] = (total, [*path, words])
        paths = following
    if not paths:
        return [_Range(first, first) if o.range is None else o.range for o in options]
    return min(((c + OMITTED_WORD_COST * (last - at), path) for at, (c, path) in paths.items()), key=lambda p: p[0])[1]


def _is_sure(recognised: Sequence[str], exact: Sequence[int], text: Sequence[str], at_end: bool) -> bool:
    """Whether the words at the edge of a segment are beyond doubt: those next to the edge were recognised, in a row."""
    count = min(CONTEXT_WORDS, len(recognised))
    edge = list(exact[-count:] if at_end else exact[:count])
    if len(edge) < count or edge[-1] - edge[0] != count - 1:
        return False
    said = list(recognised[-count:] if at_end else recognised[:count])
    is_first_again = text[edge[0]] == text[edge[-1]] and count > 1  # `ONE ONE`: one of them may be another's
    return said == [text[n] for n in edge] and not is_first_again


def _judged(text: Sequence[str], recognised: Sequence[str], found: _Range | None, max_word_errors: float) -> Matched:
    if found is None or found.first == found.last:
        return Matched([], "none of the text was recognised in it")
    words = list(text[found.first : found.last])
    errors = Levenshtein.distance(list(recognised), words)
    if errors > max_word_errors * len(words):
        said = " ".join(recognised) or "nothing"
        return Matched([], f"recognised was {said[:80]!r}, the text has {' '.join(words)[:80]!r}")
    return Matched(words)
