"""Messages of the WebSocket /stream: what a client may say, and what it is told (docs/serve.md)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from asr_kd.core.text_files import parse_json
from asr_kd.corpora.audio import INT16_SCALE, MIN_INT16_PEAK, SAMPLE_RATE
from asr_kd.corpora.audio_file import MAX_RATE, MIN_RATE

SampleFormat = Literal["float32", "int16"]
DTYPES: dict[SampleFormat, str] = {"float32": "<f4", "int16": "<i2"}
CLOSE_CODES = {400: 1007, 401: 1008, 403: 1008, 404: 1008, 408: 1008, 413: 1009, 500: 1011, 503: 1013}
"""Of WebSockets (RFC 6455), by the HTTP status that says the same."""


class Refusal(ValueError):
    """What a client asked for and does not get: one line for it, and the HTTP status that fits."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def plain_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What tasks that ran together end with: a lost connection, else a refusal; the group where another error is in it.

    For `except BaseExceptionGroup`: what is raised in an `except*` comes as a group again before Python 3.11.4.
    """
    known, others = group.split((ConnectionError, Refusal))
    if known is None or others is not None:
        return group
    return min(known.exceptions, key=lambda error: not isinstance(error, ConnectionError))


@dataclass(frozen=True)
class Start:
    """The first message of a stream."""

    model: str | None = None
    """None: the first one that is served."""
    rate: int = SAMPLE_RATE
    """Of the samples that follow, in Hz."""
    format: SampleFormat = "float32"
    token: str | None = None
    """For browsers, which cannot send it in a header."""


def parse_start(text: str) -> Start:
    """The first message. Refusal where it is not as docs/serve.md says."""
    message = _object(text)
    if unknown := message.keys() - {"model", "rate", "format", "token"}:
        raise Refusal(400, f"start: {min(unknown)!r:.40} is not known. Give model, rate, format and token.")
    start = Start(**message)
    for name, value in (("model", start.model), ("token", start.token)):
        if not isinstance(value, str | None):
            raise Refusal(400, f"start: {name} is not text")
    if type(start.rate) is not int or not MIN_RATE <= start.rate <= MAX_RATE:
        raise Refusal(400, f"start: rate is {start.rate!r:.20}; {MIN_RATE} to {MAX_RATE} Hz are read")
    if start.format not in ("float32", "int16"):
        raise Refusal(400, f"start: format is {start.format!r:.20}; give float32 or int16")
    return start


def check_end(text: str) -> None:
    """Refusal where a text message after the first is not the one that ends the stream."""
    if _object(text) != {"end": True}:
        raise Refusal(400, 'after the start come samples as binary messages, and {"end": true} as the last message')


def parse_samples(data: bytes, format: SampleFormat) -> np.ndarray:
    """(N,) float32 in [-1, 1). Refusal where they are none."""
    dtype = np.dtype(DTYPES[format])
    if len(data) % dtype.itemsize:
        raise Refusal(400, f"audio: {len(data)} bytes are not whole samples of {format}")
    samples_N = np.frombuffer(data, dtype)
    if format == "int16":
        return samples_N.astype(np.float32) / np.float32(INT16_SCALE)
    peak = float(np.abs(samples_N).max(initial=0.0))
    if not peak < MIN_INT16_PEAK:  # NaN is not either
        raise Refusal(400, f"audio: samples reach {peak:g}; float32 samples lie in [-1, 1]")
    return samples_N.astype(np.float32)


def _object(text: str) -> dict[str, Any]:
    try:
        message = parse_json(text, "message")
    except ValueError as e:
        raise Refusal(400, str(e)) from None
    if not isinstance(message, dict):
        raise Refusal(400, "message: a JSON object is needed")
    return message
