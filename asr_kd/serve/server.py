"""The server: its routes, its limits, and how it ends."""

import asyncio
import logging
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from aiohttp import web

from asr_kd import export
from asr_kd.core.terminal import say
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.serve.access import check_origin, check_token
from asr_kd.serve.connections import IdleConnections
from asr_kd.serve.metrics import Metrics
from asr_kd.serve.protocol import CLOSE_CODES, Refusal, Start
from asr_kd.serve.session import Session, read_start
from asr_kd.serve.uploads import received, recognise_file
from asr_kd.serve.worker import ServedModel
from asr_kd.serve.workers import Workers, WorkerStream
from asr_kd.transcripts.formats import FormatName, formatted

GRACE_S = 5.0
"""How long the last results of running streams may take when the server ends."""
OWN, SHARED = Path(__file__).parent / "page", Path(export.__file__).parent / "page"
PAGE_FILES = {
    "": (OWN / "index.html", "text/html"),
    "page.css": (OWN / "page.css", "text/css"),
    "page.js": (OWN / "page.js", "text/javascript"),
    "stream.js": (OWN / "stream.js", "text/javascript"),
    "style.css": (SHARED / "style.css", "text/css"),
    **{
        f"{name}.js": (SHARED / f"{name}.js", "text/javascript")
        for name in ("words", "audio", "audio-worklet", "resampler", "samples")
    },
}
"""By their paths below /: file and type; some belong to the page of `asr-kd export` too. Nothing else is served."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "worker-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """Of what clients may ask for."""

    max_streams: int
    max_message_kb: int
    max_upload_mb: int
    idle_s: float


class Server:
    """Answers clients; the workers recognise."""

    def __init__(self, workers: Workers, titles: dict[str, str], limits: Limits, token: str | None) -> None:
        """titles: of each model, for people."""
        self._workers, self._titles, self._limits, self._token = workers, titles, limits, token
        self._metrics = Metrics()
        self._sessions: set[Session] = set()
        self._files = ThreadPoolExecutor(limits.max_streams)
        self._page = {path: (file.read_bytes(), kind) for path, (file, kind) in PAGE_FILES.items()}
        app = web.Application(middlewares=[self._answer])
        app.add_routes(
            [
                web.get("/stream", self._stream),
                web.post("/transcribe", self._transcribe),
                web.get("/models", self._models),
                web.get("/health", self._health),
                web.get("/metrics", self._show_metrics),
                *(web.get(f"/{path}", self._show_page) for path in PAGE_FILES),
            ]
        )
        silent = logging.Logger("aiohttp", logging.CRITICAL + 1)  # else each request that is none is a traceback
        self.runner = web.AppRunner(
            app, handler_cancellation=True, auto_decompress=False, access_log=None, logger=silent
        )

    async def start(self, host: str, port: int) -> str:
        """Listen; gives the URL. OSError when the address cannot be had."""
        await self.runner.setup()
        assert self.runner.server is not None
        self._idle = IdleConnections(self.runner.server)
        self._closing = asyncio.create_task(self._idle.close_them())
        self._site = web.TCPSite(self.runner, host, port)
        await self._site.start()
        address = self.runner.addresses[0]
        return f"http://[{address[0]}]:{address[1]}/" if ":" in address[0] else f"http://{address[0]}:{address[1]}/"

    async def stop(self) -> None:
        """Running streams get the results of the audio that is there."""
        await self._site.stop()
        for session in self._sessions:
            session.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while self._sessions:
                    await asyncio.sleep(0.05)
        self._closing.cancel()
        await self.runner.cleanup()
        self._files.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with self._idle.busy(request):
            try:
                check_origin(request, self._token is not None)
                response = await handler(request)
            except Refusal as e:
                self._refused(e)
                response = web.json_response({"error": str(e)}, status=e.status)
            except web.HTTPException as e:  # no such path, or another method
                response = web.json_response({"error": e.reason}, status=e.status)
            except ConnectionError:  # the client has gone
                response = web.Response()
            except Exception:
                self._metrics.errors_total += 1
                say("serve: an error of ours", *traceback.format_exc().split("\n"))
                response = web.json_response({"error": "an error of the server"}, status=500)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refused(self, refusal: Refusal) -> None:
        if refusal.status == 500:
            self._metrics.errors_total += 1
            say(f"serve: {refusal}")
        else:
            self._metrics.rejected_total += 1

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._metrics.streams >= self._limits.max_streams:
            raise Refusal(503, f"the server has its {self._limits.max_streams} streams. Try again later.")
        self._metrics.streams += 1
        self._metrics.streams_total += 1
        try:
            yield
        finally:
            self._metrics.streams -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(max_msg_size=self._limits.max_message_kb << 10, compress=False, timeout=2.0)
        await ws.prepare(request)
        try:
            start = await read_start(ws)
            check_token(self._token, request, start.token)
            with self._slot():
                await self._recognise(ws, self._workers.open(start.model, start.rate), start)
        except Refusal as e:
            self._refused(e)
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(self._limits.idle_s):
                    await ws.send_json({"type": "error", "message": str(e)})
                    await ws.close(code=CLOSE_CODES[e.status])
        except ConnectionError:
            if request.transport is not None:
                request.transport.abort()
        return ws

    async def _recognise(self, ws: web.WebSocketResponse, stream: WorkerStream, start: Start) -> None:
        session = Session(ws, stream, start, self._limits.idle_s, self._metrics)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            stream.close()

    async def _transcribe(self, request: web.Request) -> web.Response:
        check_token(self._token, request)
        form: FormatName = request.query.get("format", "json")  # type: ignore[assignment]  # checked below
        if form not in get_args(FormatName):
            raise Refusal(400, f"format {form!r:.20} is not known. Give one of: {', '.join(get_args(FormatName))}.")
        with self._slot():
            async with received(request, self._limits.max_upload_mb, self._limits.idle_s) as file:
                stream = self._workers.open(request.query.get("model"), SAMPLE_RATE)
                try:
                    recording = await recognise_file(file, stream, self._files, self._metrics)
                finally:
                    stream.close()
        kind = "application/json" if form == "json" else "text/plain"
        return web.Response(text=formatted(form, recording), content_type=kind)

    async def _models(self, request: web.Request) -> web.Response:
        check_token(self._token, request)
        live = self._workers.is_live
        return web.json_response([{"name": n, "title": self._titles[n], "is_live": live[n]} for n in live])

    async def _health(self, request: web.Request) -> web.Response:
        if not self._workers.are_ready:
            raise Refusal(503, "a model is being loaded again")
        return web.json_response({"status": "ok", "needs_token": self._token is not None})

    async def _show_metrics(self, request: web.Request) -> web.Response:
        check_token(self._token, request)
        return web.Response(text=self._metrics.text())

    async def _show_page(self, request: web.Request) -> web.Response:
        body, kind = self._page[request.path.removeprefix("/")]
        return web.Response(body=body, content_type=kind, charset="utf-8")


async def run_server(
    models: Sequence[tuple[ServedModel, int]], host: str, port: int, limits: Limits, token: str | None
) -> None:
    """Serve until SIGTERM or SIGINT. models: with their workers. ValueError as of `Workers.ready`, or for the port."""
    workers = Workers(models)
    try:
        await workers.ready()
        server = Server(workers, {model.name: Path(model.path).name for model, _ in models}, limits, token)
        try:
            url = await server.start(host, port)
        except OSError as e:
            raise ValueError(f"{host}, port {port}: {e.strerror}. Give another --port; 0 takes a free one.") from None
        stop = asyncio.Event()
        for which in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(which, stop.set)
        say(f"serve: {url}")
        await stop.wait()
        say("serve: ending")
        await server.stop()
    finally:
        workers.close()
