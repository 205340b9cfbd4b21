"""Connections on which nothing is asked: they are closed after a while, and the oldest of too many at once."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

IDLE_S = 10.0
"""How long a connection may take to ask for something."""
MAX_IDLE = 256
LOOK_S = 1.0


class IdleConnections:
    """Those of a server."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._busy: set[object] = set()

    @contextmanager
    def busy(self, request: web.BaseRequest) -> Iterator[None]:
        """While the request is answered, its connection is not idle."""
        self._busy.add(request.protocol)
        try:
            yield
        finally:
            self._busy.discard(request.protocol)

    async def close_them(self) -> None:
        """For ever."""
        since: dict[web.RequestHandler, float] = {}
        while True:
            now = time.monotonic()
            since = {c: since.get(c, now) for c in self._server.connections if c not in self._busy}
            oldest = sorted(since, key=lambda c: since[c])
            for number, connection in enumerate(oldest):
                is_old = now - since[connection] > IDLE_S
                if (is_old or number < len(oldest) - MAX_IDLE) and connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(LOOK_S)
