"""The dicom role of one process: listening sockets, sessions, what they share, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from hounsfield.domain.events import Event
from hounsfield.domain.study import StoredInstance
from hounsfield.net.link import Link
from hounsfield.ports.blobs import Blobs, Piece
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.peers import Peers
from hounsfield.ports.pixels import Transcoder
from hounsfield.servers.dicom.negotiation import AcceptPolicy
from hounsfield.servers.dicom.session import Session
from hounsfield.servers.dicom.slots import Slots
from hounsfield.services.accounts import check_password
from hounsfield.services.devices import DeviceBook
from hounsfield.services.reading import Reader
from hounsfield.services.recorder import Recorder
from hounsfield.services.store import Store
from hounsfield.settings import Settings
from hounsfield.wire.ul.connection import Connection, Role

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Threads for the database and for reading pixels: more would only wait for the same disk.
THREADS = 8
LONG_THREADS = 32
BACKLOG = 512


@dataclass(slots=True)
class Services:
    """What the role needs; `main` puts it together."""

    settings: Settings
    clock: Clock
    store: Store
    devices: DeviceBook
    recorder: Recorder
    database: Database
    blobs: Blobs
    peers: Peers
    transcoder: Transcoder


class DicomServer:
    """Runs on one event loop."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self.settings = settings
        self.clock = services.clock
        self.store = services.store
        self.devices = services.devices
        self.recorder = services.recorder
        self.database = services.database
        self.blobs = services.blobs
        self.peers = services.peers
        self.transcoder = services.transcoder
        self.reader = Reader(services.database, services.blobs)
        self.policy = AcceptPolicy(settings.unknown_sop_classes == "accept")
        self.slots = Slots(
            settings.max_associations,
            settings.max_associations_per_device,
            settings.max_pending,
            settings.max_pending_per_address,
            services.clock.monotonic,
        )
        self.sessions: set[Session] = set()
        self.stopping = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dicom")
        self._long_threads = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="query")
        self._servers: list[asyncio.Server] = []

    # For sessions and requests -------------------------------------------------------------------------

    async def beside_loop(self, call: Callable[..., T], *arguments: object) -> T:
        """Run what waits for a database or a disk on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*arguments))

    async def beside_loop_for_long(self, call: Callable[[], T]) -> T:
        """The same for what lasts as long as a peer takes: it never keeps short look-ups waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._long_threads, call)

    def note(self, event: Event) -> None:
        self.recorder.note(event)

    def trouble(self, what: str, error: BaseException) -> None:
        """An error that nobody foresaw: the peer is told that it failed, the log says where."""
        log.error(what, exc_info=error)

    def nearest_title(self, calling: str, called: str) -> str:
        """A known title that looks like the one that was not recognized."""
        ours = self.settings.ae_title
        if called != ours and self.settings.called_ae_titles == "ours":
            return ours
        return self.devices.nearest(calling)

    def passcode_fits(self, name: bytes, passcode: bytes) -> bool:
        """User identity of type 2 (PS3.7 D.3.3.7) against the accounts."""
        with self.database.read() as tx:
            account = tx.accounts.get(name.decode("utf-8", "replace"))
        return check_password(account, passcode.decode("utf-8", "replace"))

    async def open_data_set(self, instance: StoredInstance) -> AsyncIterator[Piece]:
        """The data set of a kept instance, in pieces read beside the loop."""
        chunks = self.reader.data_set_chunks(instance)
        while True:
            piece = await self.beside_loop(next, chunks, None)
            if piece is None:
                return
            yield piece

    # Life ----------------------------------------------------------------------------------------------

    async def listen(self, plain: list[socket.socket], secure: list[socket.socket]) -> None:
        """Serve on bound sockets; `secure` ones with TLS."""
        loop = asyncio.get_running_loop()
        for sock in plain:
            self._servers.append(
                await loop.create_server(lambda: self._link(False), sock=sock, backlog=BACKLOG)
            )
        if secure:
            context = tls_context(self.settings)
            for sock in secure:
                self._servers.append(
                    await loop.create_server(
                        lambda: self._link(True),
                        sock=sock,
                        backlog=BACKLOG,
                        ssl=context,
                        ssl_handshake_timeout=self.settings.artim_seconds,
                    )
                )

    async def stop(self) -> None:
        """No new associations; the running ones get a bounded time; then all ends."""
        self.stopping = True
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.shutdown_seconds
        for session in list(self.sessions):
            if session.association is None:
                session.drop("the archive is stopping")
        while any(s.is_working() for s in self.sessions) and loop.time() < end:
            await asyncio.sleep(0.05)
        for session in list(self.sessions):
            session.drop("the archive is stopping")
        while self.sessions and loop.time() < end + 2:
            await asyncio.sleep(0.01)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._long_threads.shutdown(wait=True, cancel_futures=True)

    def _link(self, tls: bool) -> Link:
        core = Connection(Role.ACCEPTOR, max_length=self.settings.max_pdu)
        return Link(
            core,
            Session(self, tls),
            artim=self.settings.artim_seconds,
            idle=self.settings.idle_seconds,
        )


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
