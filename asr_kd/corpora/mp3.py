"""Frames of an MP3, counted by their headers alone.

Layout of a frame's header: ISO/IEC 11172-3 (MPEG 1) and 13818-3 (MPEG 2), 2.4.2.3; MPEG 2.5 is Fraunhofer's extension.
"""

from functools import lru_cache
from typing import BinaryIO

HEADER_BYTES = 4
MAX_BYTES = 1 << 24
"""Longer files are not read whole."""
FRAME_SAMPLES = (1152, 576)
"""Of a frame of layer III in MPEG 1, and in MPEG 2 and 2.5."""
FRAMES_FLAG = 1
_VERSION = {3: 0, 2: 1, 0: 2}  # of the two bits for MPEG 1, 2 and 2.5
_RATES = ((44_100, 48_000, 32_000), (22_050, 24_000, 16_000), (11_025, 12_000, 8_000))
_KBITS = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_LAYER_3 = 1
_MONO = 3
_ID3V1, _ID3V1_BYTES = b"TAG", 128


def mp3_tag(head: bytes) -> int:
    """Where the name of an MP3's own header (Xing, Info) stands in its first frame; -1 when there is none."""
    return max(head.find(b"Xing"), head.find(b"Info"))


def has_tagged_length(file: BinaryIO, head: bytes, start: int, rate: int, samples: int, padding: int) -> bool:
    """Whether the file has as many whole frames as its own header says, and nothing behind them, and these are
    `samples` long, or up to `padding` more.

    False proves nothing: the file may be whole but too long, or of another layer, or it is damaged. Nothing is decoded.
    head: its first bytes from `start` on, behind an ID3 tag.
    """
    tag = mp3_tag(head)
    if tag < 0 or not int.from_bytes(head[tag + 4 : tag + 8]) & FRAMES_FLAG:
        return False
    stated = int.from_bytes(head[tag + 8 : tag + 12])
    file.seek(start)
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return False
    kind, frames, end = _frames(data)
    rest = data[end:]
    if rest and not (rest.startswith(_ID3V1) and len(rest) == _ID3V1_BYTES):
        return False
    if kind is None or kind[1] != rate or frames != stated + 1:  # its own header is a frame too
        return False
    return samples <= stated * kind[0] <= samples + padding


def _frames(data: bytes) -> tuple[tuple[int, int, bool] | None, int, int]:
    """Kind of the first frame, number of whole frames of that kind in a row, and where they end."""
    first, _ = _header(data[:HEADER_BYTES])
    place = count = 0
    while place < len(data):
        kind, length = _header(data[place : place + HEADER_BYTES])
        if kind is None or kind != first or place + length > len(data):
            break
        place += length
        count += 1
    return first, count, place


@lru_cache(maxsize=1 << 12)
def _header(header: bytes) -> tuple[tuple[int, int, bool] | None, int]:
    """Samples, rate and whether it is mono, of a frame with this header, and its bytes; None and 0 if it is none."""
    bits = int.from_bytes(header)
    version, layer = _VERSION.get(bits >> 19 & 3), bits >> 17 & 3
    kbits, rate = bits >> 12 & 15, bits >> 10 & 3
    if len(header) < HEADER_BYTES or bits >> 21 != 0x7FF or version is None or layer != _LAYER_3:
        return None, 0
    if not 1 <= kbits <= len(_KBITS[0]) or rate == 3:  # a free bit rate is not told by the header
        return None, 0
    is_low = int(version > 0)
    samples, hertz = FRAME_SAMPLES[is_low], _RATES[version][rate]
    length = samples // 8 * 1000 * _KBITS[is_low][kbits - 1] // hertz + (bits >> 9 & 1)
    return (samples, hertz, bits >> 6 & 3 == _MONO), length
