"""What the header of a WAV says about how its samples are encoded."""

PLAIN_TAGS = (0x0001, 0x0003, 0xFFFE)
"""Integers, floating point, and an extensible header, which libsndfile always knows."""
TAG_AT = 8
"""Of the encoding's number, from the name of the chunk `fmt ` on."""


def is_foreign_wav(head: bytes) -> bool:
    """Whether the samples of a WAV are encoded in a way that libsndfile may not know. head: the first bytes."""
    if not head.startswith((b"RIFF", b"RF64")) or head[8:12] != b"WAVE":
        return False
    place = head.find(b"fmt ") + TAG_AT
    return place > TAG_AT and int.from_bytes(head[place : place + 2], "little") not in PLAIN_TAGS
