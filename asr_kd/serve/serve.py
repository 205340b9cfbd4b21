"""Serves a model to many clients at once, and a page that shows its words as they are spoken.

  asr-kd serve exp/student --graph exp/graph --decoding-scales exp/student/tune
  asr-kd serve exp/student --graph exp/graph --teacher exp/teacher     # the page shows both on the same audio

Then open http://127.0.0.1:8765/ and speak, or drop a file. For programs (docs/serve.md):

  WebSocket /stream    one JSON message, then samples as binary messages; partial and final results come back
  POST /transcribe     an audio file; ?format=json, text, srt, vtt, ctm, ...
  GET /health, /metrics, /models

  curl --data-binary @talk.flac 'http://127.0.0.1:8765/transcribe?format=srt'

By default only programs of this machine reach the server. For others give --host and --token, and put a reverse proxy
with TLS before it: browsers give the microphone to https pages (and localhost) only. SIGTERM and Ctrl-C end it: running
streams get the words of the audio that is there.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.extras import how_to_install
from asr_kd.core.options import DEVICE_HELP, argument, option

TOKEN_VARIABLE = "ASR_KD_SERVE_TOKEN"
MIN_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServeRun:
    """What `asr-kd serve` is given."""

    model: Path = argument("model: its folder or .safetensors file; clients know it as `model`")
    graph: Path | None = option(
        "decoding graph: output folder of `asr-kd graph` (default: greedy CTC decoding, models of tokens only)",
        None,
        metavar="DIR",
    )
    decoding_scales: Path | None = option(
        "tune.json of `asr-kd tune`, or its folder (default: acoustic 1; prior 1 for senones, 0 for tokens)",
        None,
        metavar="DIR",
    )
    teacher: Path | None = option("a second model, which clients know as `teacher`", None, metavar="MODEL")
    teacher_graph: Path | None = option("its decoding graph (default: that of --graph)", None, metavar="DIR")
    teacher_scales: Path | None = option("its tune.json, or the folder of it", None, metavar="DIR")
    host: str = option("address to listen on; 0.0.0.0 for all (needs --token)", "127.0.0.1")
    port: int = option("port to listen on; 0 takes a free one", 8765)
    token: str | None = option(
        f"what clients have to send, at least {MIN_TOKEN} characters (default: ${TOKEN_VARIABLE})", None
    )
    workers: int | None = option(
        "processes that recognise, for MODEL (default: one per GPU or core); the teacher has one", None, metavar="N"
    )
    device: str = option(DEVICE_HELP, "auto")
    max_streams: int = option("streams and files at once; more are refused", 20, metavar="N")
    max_message_kb: int = option("largest message of a stream, in kB", 256, metavar="KB")
    max_upload_mb: int = option("largest file, in MB", 100, metavar="MB")
    idle_s: float = option("a client from which nothing comes for so many seconds is let go", 30.0, metavar="S")


@command()
def serve(config: ServeRun) -> None:
    """Serve until SIGTERM or Ctrl-C. ValueError when a model cannot be loaded or the options do not fit together."""
    try:
        from asr_kd.serve.server import Limits, run_server
    except ModuleNotFoundError as e:
        if e.name != "aiohttp":
            raise
        raise ValueError(f"the library aiohttp is missing. {how_to_install('serve')}") from None
    from asr_kd.jobs.process_pool import workers_here
    from asr_kd.serve.access import is_loopback
    from asr_kd.serve.worker import ServedModel

    token = config.token or os.environ.get(TOKEN_VARIABLE) or None
    _check(config, token, is_loopback(config.host))
    limits = Limits(config.max_streams, config.max_message_kb, config.max_upload_mb, config.idle_s)
    student = ServedModel("model", str(config.model), _text(config.graph), _text(config.decoding_scales), config.device)
    models = [(student, config.workers or workers_here(config.device))]
    if config.teacher is not None:
        graph, scales = config.teacher_graph or config.graph, config.teacher_scales
        models.append((ServedModel("teacher", str(config.teacher), _text(graph), _text(scales), config.device), 1))
    asyncio.run(run_server(models, config.host, config.port, limits, token))


def _check(config: ServeRun, token: str | None, is_local: bool) -> None:
    if token is None and not is_local:
        raise ValueError(
            f"--host {config.host}: others can reach it, so clients need a token. Give --token, or ${TOKEN_VARIABLE}."
        )
    if token is not None and len(token) < MIN_TOKEN:
        raise ValueError(f"--token: {len(token)} characters can be guessed. Give at least {MIN_TOKEN}.")
    for name in ("workers", "max_streams", "max_message_kb", "max_upload_mb", "idle_s"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: must be above 0")
    if not 0 <= config.port < 1 << 16:
        raise ValueError(f"--port {config.port}: 0 to 65535 are ports")
    for name in ("teacher_graph", "teacher_scales"):
        if getattr(config, name) is not None and config.teacher is None:
            raise ValueError(f"--{name.replace('_', '-')}: is for --teacher, which is not given")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
