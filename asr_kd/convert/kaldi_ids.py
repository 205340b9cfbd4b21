"""Ids of Kaldi: without blanks, in the order of bytes, speakers in the order of their utterances."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

_NOT_PLAIN = re.compile(r"[\s\x00-\x1f\x7f|]+")


def plain_ids(names: Iterable[str]) -> dict[str, str]:
    """An id for each name: the name itself, or where it has blanks one with `_` in their place, unlike all others."""
    given = list(dict.fromkeys(names))
    taken = {name for name in given if not _NOT_PLAIN.search(name)}
    ids: dict[str, str] = {}
    for name in given:
        new = name
        if name not in taken or _NOT_PLAIN.search(name):
            wanted = new = _NOT_PLAIN.sub("_", name).strip("_") or "_"
            number = 1
            while new in taken:
                number += 1
                new = f"{wanted}-{number}"
            taken.add(new)
        ids[name] = new
    return ids


def in_c_order(names: Iterable[str]) -> list[str]:
    """Sorted as `LC_ALL=C sort` does: by bytes."""
    return sorted(names, key=str.encode)


def sorts_like_speakers(speakers: Mapping[str, str]) -> bool:
    """Whether the speakers of the sorted utterances are sorted as well; Kaldi's tools need it."""
    order = [speakers[name].encode() for name in in_c_order(speakers)]
    return all(a <= b for a, b in pairwise(order))


def with_speakers(speakers: Mapping[str, str]) -> dict[str, str]:
    """New ids of utterances that begin with their speaker: `SPEAKER-ID`, where they do not already."""
    return {name: name if name.startswith(f"{speaker}-") else f"{speaker}-{name}" for name, speaker in speakers.items()}
