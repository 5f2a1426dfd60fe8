"""The HTTP server of one process: uvicorn, with our bounds, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from hounsfield.servers.web.protocol import Bounds, bounded
from hounsfield.servers.web.proxies import Proxies
from hounsfield.settings import Settings
from hounsfield.settings_web import split_list

BACKLOG = 512
#: libuv takes one connection from a listening socket in each turn of its loop, however many wait: where turns
#: are long, the last of a crowd would wait for hundreds of them.
ACCEPTORS = 16
#: Invalid requests are the clients' matter; whoever scans us must not fill the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class WebServer(uvicorn.Server):
    """`serve(sockets)` runs until `stop`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.bounds = Bounds(
            head=settings.http_max_header << 10,
            head_seconds=settings.http_header_seconds,
            stall_seconds=settings.http_stall_seconds,
            per_address=settings.http_connections_per_address,
            proxies=Proxies(split_list(settings.trusted_proxies)),
        )
        config = uvicorn.Config(
            app,
            http=bounded(self.bounds),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.http_connections,
            backlog=BACKLOG,
            timeout_keep_alive=settings.http_idle_seconds,
            timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds)),
            ssl_certfile=settings.http_certificate,
            ssl_keyfile=settings.http_key,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the role's own to handle."""
        yield

    def stop(self) -> None:
        """No new connections; requests that run get `shutdown_seconds`."""
        self.should_exit = True

    async def until_listening(self, sockets: list[socket.socket]) -> asyncio.Task[None]:
        """Begin to serve; returns, with the task that does, when connections are taken. What keeps it from
        listening is raised here."""
        more = [sock.dup() for sock in sockets for _ in range(ACCEPTORS - 1)]
        task = asyncio.create_task(self.serve([*sockets, *more]))
        while not self.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        return task
