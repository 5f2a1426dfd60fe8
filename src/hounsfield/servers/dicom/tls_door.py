"""The TLS port: a connection has its place from its first moment, not from the end of its handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

from hounsfield.domain.events import Event
from hounsfield.net.link import Link
from hounsfield.servers.dicom.slots import Slot
from hounsfield.settings import Settings

if TYPE_CHECKING:
    from hounsfield.servers.dicom.server import DicomServer

#: After a connection that could not be accepted: most often there is no descriptor left.
PAUSE_SECONDS = 0.1


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The BCP 195 profile (PS3.15 B.9 and following): TLS 1.2 with forward secrecy and AEAD, or 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!DSS")
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    assert settings.tls_certificate is not None
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    if settings.tls_client_ca is not None:
        context.load_verify_locations(settings.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if settings.tls_require_client else ssl.CERT_OPTIONAL
    return context


class TlsDoor:
    """Accepts on the bound sockets of the TLS port. `make_link`: of a connection whose handshake is done."""

    def __init__(self, server: DicomServer, make_link: Callable[[], Link]) -> None:
        self.server = server
        self.make_link = make_link
        self.context = tls_context(server.settings)
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, sock: socket.socket, backlog: int) -> None:
        sock.setblocking(False)
        sock.listen(backlog)
        self._sockets.append(sock)
        self._run(self._accept(sock))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for sock in self._sockets:
            sock.close()

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(sock)
            except OSError as error:  # no descriptor is free, or the connection is gone already
                self.server.trouble("a TLS connection could not be accepted", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._run(self._shake_hands(connection, str(address[0])))

    async def _shake_hands(self, connection: socket.socket, address: str) -> None:
        dropped = ""

        def drop(why: str) -> None:
            nonlocal dropped
            dropped = why
            with suppress(OSError):  # the peer was faster
                connection.shutdown(socket.SHUT_RDWR)

        server = self.server
        slot = Slot(address, drop, server.clock.monotonic)
        server.slots.connected(slot)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self.make_link,
                connection,
                ssl=self.context,
                ssl_handshake_timeout=server.settings.artim_seconds,
            )
        except (OSError, TimeoutError) as error:  # an ssl.SSLError is an OSError
            why = dropped or f"the TLS handshake failed: {error}"
            payload: dict[str, object] = {"address": address, "why": why, "first": ""}
            server.note(Event("connection.refused", server.clock.now(), payload=payload))
        finally:
            server.slots.gone(slot)
