"""The pages of Ogg files, without decoding: several streams, a cut-off end, and Opus whose lengths contradict it.

Source of the formats: RFC 3533 (pages), RFC 6716 section 3.1 and RFC 7845 (Opus packets and positions in Ogg).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CONTINUED, FIRST, LAST = 1, 2, 4
"""Flags of a page: it begins within a packet; it is a stream's first; its last."""
_OPUS_HEAD = ord("O")
"""Begins the first packet of Opus, "OpusHead"; Vorbis, FLAC, Speex and Theora have other letters."""
_HEADER = struct.Struct("<4sBBqIIIB")
_MAX_LACING = 255
_OPUS_48K_SAMPLES = (
    *((480, 960, 1920, 2880) * 3),
    *((480, 960) * 2),
    *((120, 240, 480, 960) * 4),
)
"""Of one frame, at 48 kHz, by the configuration in the upper five bits of a packet's first byte."""


class Page(NamedTuple):
    """A page without its body."""

    flags: int
    position: int
    """Samples at 48 kHz up to its end (Opus); -1 where no packet ends in it."""
    serial: int
    packets: int
    """Packets that end in it."""
    toc: int | None
    """First byte of the first packet that begins in it."""
    end: int
    """Place in the file behind it."""


def ogg_pages(file: BinaryIO, size: int) -> Iterator[Page]:
    """Pages from the start of the file up to what is no page. size: of the file, bytes."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(_HEADER.size + _MAX_LACING)
        if len(head) < _HEADER.size or not head.startswith(b"OggS"):
            return
        _, _, flags, position, serial, _, _, segments = _HEADER.unpack_from(head)
        lacing = head[_HEADER.size : _HEADER.size + segments]
        body = place + _HEADER.size + segments
        begins = [0, *(i + 1 for i, n in enumerate(lacing) if n < _MAX_LACING)][bool(flags & CONTINUED) :]
        toc = None
        if begins and begins[0] < len(lacing):
            file.seek(body + sum(lacing[: begins[0]]))
            toc = next(iter(file.read(1)), None)
        packets = sum(n < _MAX_LACING for n in lacing)
        place = body + sum(lacing)
        yield Page(flags, position, serial, packets, toc, place)


def check_ogg(file: BinaryIO, name: str, size: int) -> bool:
    """Whether the positions of Opus pages fit their packets; True for other codecs.

    FFmpeg writes pages that do not where its input had uneven timestamps. libsndfile then drops samples, or takes the
    file for malformed within. A page's packets are taken to be as long as its first.
    ValueError when streams follow each other, of which only the first would be read, or the last page is cut off.
    """
    links, was_first, end = 0, False, 0
    serial = position = None
    is_even = True
    for page in ogg_pages(file, size):
        is_first = bool(page.flags & FIRST)  # streams begin together or in turn
        links += is_first and not was_first
        if links > 1:
            raise ValueError(
                f"{name}: Ogg of several streams, one after the other, of which only the first would be read. "
                f"Write it again, for example: ffmpeg -i {name} {name}.flac"
            )
        if is_first and serial is None:
            serial = page.serial if page.toc == _OPUS_HEAD else -1
        elif page.serial == serial and page.position > 0:
            if position is not None and page.toc is not None:
                is_even &= _fits(page, page.position - position)
            position = page.position
        was_first, end = is_first, page.end
    if end > size:
        raise ValueError(f"{name}: cut off within its last page. Fetch it again.")
    return is_even


def _fits(page: Page, samples: int) -> bool:
    assert page.toc is not None
    frames = {0: 1, 1: 2, 2: 2}.get(page.toc & 3)
    if frames is None:  # any number, said in the next byte
        return True
    held = page.packets * frames * _OPUS_48K_SAMPLES[page.toc >> 3]
    return samples == held or (bool(page.flags & LAST) and samples < held)  # the end may be trimmed
