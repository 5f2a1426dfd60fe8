"""The TLS port: a connection has its place from its first moment, not from the end of its handshake."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from hounsfield.domain.events import Event
from hounsfield.net.link import Link
from hounsfield.servers.dicom.slots import Slot
from hounsfield.settings import Settings

if TYPE_CHECKING:
    from hounsfield.servers.dicom.server import DicomServer


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


class SecuredLink(Link):
    """A link that may be given bytes before it is told of its transport: those that came with the last
    message of the handshake."""

    early: bytes = b""
    ended_early: bool = False
    lost_early: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        early, self.early = self.early, b""
        if early:
            self.take(memoryview(early))
        if self.ended_early:
            self.eof_received()

    def buffer_updated(self, nbytes: int) -> None:
        if self.transport is None:
            self.early += bytes(self.get_buffer(0)[:nbytes])
        else:
            super().buffer_updated(nbytes)

    def eof_received(self) -> bool:
        self.ended_early = self.transport is None
        return False if self.ended_early else super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is None:
            self.lost_early = True
        else:
            super().connection_lost(exc)


class TlsDoor(asyncio.Protocol):
    """A connection of the TLS port until its handshake is done, when a link takes over."""

    def __init__(self, server: DicomServer, context: ssl.SSLContext, link: SecuredLink) -> None:
        self.server = server
        self.context = context
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.slot = Slot("", self._drop, server.clock.monotonic)
        self._why = ""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()  # the handshake reads, as soon as it begins
        peer = transport.get_extra_info("peername")
        self.slot.address = str(peer[0]) if peer else ""
        self.server.slots.connected(self.slot)
        self._task = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                self.transport,
                self.link,
                self.context,
                server_side=True,
                ssl_handshake_timeout=self.server.settings.artim_seconds,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._refused(self._why or f"the TLS handshake failed: {error}")
            return
        finally:
            self.server.slots.gone(self.slot)
        if secured is None or secured.is_closing() or self.link.lost_early:
            self._refused("the connection was closed after the TLS handshake")
            return
        self.link.connection_made(secured)

    def _drop(self, why: str) -> None:
        self._why = why
        if self.transport is not None:
            self.transport.abort()

    def _refused(self, why: str) -> None:
        payload: dict[str, object] = {"address": self.slot.address, "why": why, "first": ""}
        self.server.note(Event("connection.refused", self.server.clock.now(), payload=payload))
        if self.transport is not None:
            self.transport.abort()
