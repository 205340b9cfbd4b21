"""Hostile messages to `asr-kd serve`: each function makes one from a random generator; `Raw` bytes go to a socket as
they are, `Messages` through a WebSocket that works, `Upload`s as the body of POST /transcribe."""

import gzip
import io
import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import soundfile

UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PATHS = (
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/etc/passwd",
    "page.js/../../../../etc/passwd",
    "..\\..\\..\\etc\\passwd",
    "page.js%00.css",
    "file:///etc/passwd",
    "%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
)


@dataclass
class Raw:
    """Bytes, then waiting for an answer, or going away."""

    data: bytes
    waits: bool = True


@dataclass
class Messages:
    """Of a WebSocket."""

    messages: list[str | bytes]


@dataclass
class Upload:
    """A file."""

    body: bytes
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


Hostile = Raw | Messages | Upload


def frame(opcode: int, payload: bytes, declared: int | None = None, mask: bool = True, bits: int = 0x80) -> bytes:
    """A frame of a WebSocket; its length may be a lie."""
    length = len(payload) if declared is None else declared
    flag = 0x80 if mask else 0
    if length < 126:
        head = bytes([bits | opcode, flag | length])
    elif length < 1 << 16:
        head = bytes([bits | opcode, flag | 126]) + struct.pack(">H", length)
    else:
        head = bytes([bits | opcode, flag | 127]) + struct.pack(">Q", length)
    return head + (b"\0\0\0\0" if mask else b"") + payload


def start_of_another_type(r: random.Random) -> Hostile:
    """JSON, and not what a stream starts with."""
    values = [[], 1, None, "x", {"rate": "x"}, {"rate": -1}, {"rate": 10**30}, {"rate": True}, {"format": 7}, {"x": {}}]
    values += [{"model": path} for path in PATHS] + [{"model": {}}, {"token": []}, {"model": "\ud800"}, {"rate": 1e999}]
    return Messages([json.dumps(r.choice(values)), b"1234"])


def no_json(r: random.Random) -> Hostile:
    """Text that is no JSON, or only for careless parsers."""
    texts = ["{", "[" * 10_000, '{"rate": NaN}', '{"rate": ' + "9" * 5000 + "}", "\0", "{}" * 100, "'", "\ufeff", ""]
    return Messages([r.choice(texts)])


def wrong_samples(r: random.Random) -> Hostile:
    """Audio that is none."""
    values = [np.nan, np.inf, -np.inf, 1e30, 500.0]
    pieces = [
        np.full(r.randrange(1, 9000), r.choice(values), "<f4").tobytes(),
        r.randbytes(2 * r.randrange(1, 4000) + 1),
    ]
    return Messages(["{}", np.zeros(1600, "<f4").tobytes(), r.choice(pieces)])


def wrong_order(r: random.Random) -> Hostile:
    """Samples first, two starts, an end that is none, much after the end."""
    return r.choice(
        [
            Messages([b"\0" * 3200]),
            Messages(["{}", "{}"]),
            Messages(["{}", '{"end": 1}']),
            Messages(["{}", '{"end": true}', *[b"\0" * 3200] * 20, "{}"]),
            Messages(["{}", *[b""] * 200, '{"end": true}']),
        ]
    )


def noise(r: random.Random) -> Hostile:
    """Audio without speech, at any rate, cut at any place."""
    samples_N = np.random.default_rng(r.randrange(1 << 30)).integers(-32768, 32767, r.randrange(1, 16_000), "<i2")
    start = {"format": "int16", "rate": r.choice([4000, 8000, 44_100, 96_000, 192_000])}
    return Messages([json.dumps(start), samples_N.tobytes(), '{"end": true}'])


def huge(r: random.Random) -> Hostile:
    """More than a message may have."""
    return r.choice([Messages(["{}", bytes(1 << 20)]), Messages(['{"token": "' + "x" * (1 << 20) + '"}'])])


def broken_frames(r: random.Random) -> Hostile:
    """What is no WebSocket frame, or half of one."""
    frames = [
        frame(1, b"\xff\xfe\xc3("),
        frame(1, b"{}", mask=False),
        frame(1, b"{}", bits=0xF0),
        frame(3, b""),
        frame(9, b"x" * 500),
        frame(2, b"abc", declared=1 << 62),
        frame(2, b"abc", declared=(1 << 64) - 1),
        frame(2, b"abc", declared=100_000),
        frame(8, b"\x03"),
        frame(0, b"abc"),
        frame(1, b"{", bits=0) * 50,
        frame(1, b"{}") + frame(2, bytes(640)) + os.urandom(200),
    ]
    return Raw(UPGRADE + r.choice(frames), waits=r.random() < 0.5)


def broken_http(r: random.Random) -> Hostile:
    """Bytes that are no request, or an endless one."""
    requests = [
        r.randbytes(500),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost:1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::::\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nOrigin: http://[\r\n\r\n",
        b"DELETE /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /transcribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /transcribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\nx",
        b"POST /transcribe HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"POST /transcribe HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: localhost",
    ]
    return Raw(r.choice(requests), waits=r.random() < 0.5)


def path_tricks(r: random.Random) -> Hostile:
    """Paths that lead out of the page."""
    path = r.choice(PATHS).encode()
    return Raw(b"GET /" + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def wrong_files(r: random.Random) -> Hostile:
    """Files that are no audio, damaged, that lie, that name others, or that unpack to very much."""
    sound = io.BytesIO()
    kind, subtype = r.choice([("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("WAV", "FLOAT")])
    soundfile.write(sound, np.random.default_rng(0).uniform(-1, 1, 8000), 16_000, format=kind, subtype=subtype)
    whole = sound.getvalue()
    cut = whole[: r.randrange(1, len(whole))]
    changed = bytearray(whole)
    for _ in range(8):
        changed[r.randrange(min(200, len(changed)))] = r.randrange(256)
    bodies = [
        b"",
        r.randbytes(5000),
        cut,
        bytes(changed),
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd",
    ]
    query = r.choice([{}, {"format": "../../x"}, {"model": r.choice(PATHS)}, {"format": "srt", "name": "/etc/passwd"}])
    if r.random() < 0.1:
        return Upload(gzip.compress(bytes(50 << 20)), query, {"Content-Encoding": "gzip"})
    return Upload(r.choice(bodies), query)


def gone_at_once(r: random.Random) -> Hostile:
    """A client that goes away in the middle."""
    return Raw(UPGRADE + frame(1, b"{}") + frame(2, bytes(64_000)) * r.randrange(1, 10), waits=False)


KINDS: tuple[Callable[[random.Random], Hostile], ...] = (
    start_of_another_type,
    no_json,
    wrong_samples,
    wrong_order,
    noise,
    huge,
    broken_frames,
    broken_http,
    path_tricks,
    wrong_files,
    gone_at_once,
)
