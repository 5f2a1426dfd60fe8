"""The dicom role of one process: listening sockets, sessions, what they share, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from hounsfield.domain.events import Event
from hounsfield.net.link import Link
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.peers import Peers
from hounsfield.ports.pixels import Transcoder
from hounsfield.servers.dicom.negotiation import AcceptPolicy
from hounsfield.servers.dicom.session import Session
from hounsfield.servers.dicom.slots import SILENT_SECONDS, Slots, share
from hounsfield.servers.dicom.tls_door import TlsDoor
from hounsfield.services.datasets import DataSets
from hounsfield.services.devices import DeviceBook
from hounsfield.services.passwords import check_password
from hounsfield.services.reading import Reader
from hounsfield.services.recorder import Recorder
from hounsfield.services.store import Store
from hounsfield.services.zones import zone_of
from hounsfield.settings import Settings
from hounsfield.wire.ul.connection import Connection, Role

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Threads for the database and for reading pixels: more would only wait for the same disk.
THREADS = 8
LONG_THREADS = 32
#: Queries of one device that are answered at one time: a peer that does not read keeps its thread.
LONG_PER_DEVICE = 8
#: Passcodes checked at one time.
PASSCODES = 2
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


#: Objects in a row from one association, after which it counts as the only one that sends.
ALONE_AFTER = 8


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
        self.timezone = zone_of(settings.timezone)
        self.policy = AcceptPolicy(settings.unknown_sop_classes == "accept")
        places = self.share(settings.max_associations)
        self.slots = Slots(
            places,
            self.share(settings.max_associations_per_device),
            self.share(settings.max_pending),
            self.share(settings.max_pending_per_address),
            services.clock.monotonic,
            reserved=places * settings.reserved_percent // 100,
            silent=min(SILENT_SECONDS, settings.idle_seconds / 2),
        )
        self.sessions: set[Session] = set()
        #: Requests of all associations that were begun and are not answered.
        self.outstanding = 0
        #: Who sent the last object, and how many it sent since somebody else did.
        self._storing: Session | None = None
        self._in_a_row = 0
        self.stopping = False
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dicom")
        self.data_sets = DataSets(Reader(services.database, services.blobs), self._threads)
        self._long_threads = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="query")
        self._finishing: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._door: TlsDoor | None = None
        self._passcodes = asyncio.Semaphore(PASSCODES)
        self._long_places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    # For sessions and requests -------------------------------------------------------------------------

    def share(self, total: int) -> int:
        """This process's part of a limit of all that share the port."""
        return share(total, self.settings.dicom_workers)

    def is_alone(self, session: Session) -> bool:
        """Whether nothing is under way but the object that `session` has sent, nor likely to be in a moment.
        Asked once for each object."""
        if session is not self._storing:
            self._storing, self._in_a_row = session, 0
        self._in_a_row += 1
        return self._in_a_row > ALONE_AFTER and self.outstanding == 1

    async def beside_loop(self, call: Callable[..., T], *arguments: object) -> T:
        """Run what waits for a database or a disk on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*arguments))

    async def beside_loop_for_long(self, device: str, call: Callable[[], T]) -> T:
        """The same for what lasts as long as a peer takes: it keeps neither short look-ups nor other devices
        waiting."""
        places = self._long_places.get(device)
        if places is None:
            places = self._long_places[device] = asyncio.Semaphore(LONG_PER_DEVICE)
        await places.acquire()
        running = self._long_threads.submit(call)
        running.add_done_callback(lambda _: self._soon(places.release))
        return await asyncio.wrap_future(running)

    def finish(self, what: str, work: Coroutine[object, object, None]) -> None:
        """Do `work` to its end, whatever becomes of the association that it belongs to."""
        task = asyncio.get_running_loop().create_task(work)
        self._finishing.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._finishing.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.trouble(what, error)

        task.add_done_callback(ended)

    def _soon(self, call: Callable[[], None]) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass  # the loop is closed: the server has stopped

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

    async def passcode_fits(self, name: bytes, passcode: bytes) -> bool:
        """User identity of type 2 (PS3.7 D.3.3.7) against the accounts. A few at a time: each check takes its
        64 MiB on purpose."""
        async with self._passcodes:
            return await self.beside_loop(self._passcode_fits, name, passcode)

    def _passcode_fits(self, name: bytes, passcode: bytes) -> bool:
        with self.database.read() as tx:
            account = tx.accounts.get(name.decode("utf-8", "replace"))
        return check_password(account, passcode.decode("utf-8", "replace"))

    # Life ----------------------------------------------------------------------------------------------

    async def listen(self, plain: list[socket.socket], secure: list[socket.socket]) -> None:
        """Serve on bound sockets; `secure` ones with TLS."""
        loop = asyncio.get_running_loop()
        for sock in plain:
            self._servers.append(await loop.create_server(self._link, sock=sock, backlog=BACKLOG))
        if secure:
            self._door = TlsDoor(self, lambda: self._link(tls=True))
            for sock in secure:
                self._door.open(sock, BACKLOG)

    async def stop(self) -> None:
        """No new associations; the running ones get a bounded time; then all ends."""
        self.stopping = True
        for server in self._servers:
            server.close()
        if self._door is not None:
            self._door.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.shutdown_seconds
        for session in list(self.sessions):
            if session.association is None:
                session.drop("the archive is stopping")
        await _until(lambda: not any(s.is_working() for s in self.sessions), end)
        for session in list(self.sessions):
            session.drop("the archive is stopping")
        await _until(lambda: not self.sessions and not self._finishing, end + 2)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._long_threads.shutdown(wait=True, cancel_futures=True)

    def _link(self, *, tls: bool = False) -> Link:
        core = Connection(Role.ACCEPTOR, max_length=self.settings.max_pdu)
        return Link(
            core,
            Session(self, tls),
            artim=self.settings.artim_seconds,
            idle=self.settings.idle_seconds,
        )


async def _until(condition: Callable[[], bool], end: float) -> None:
    """Until it holds, or until `end` on the loop's clock."""
    loop = asyncio.get_running_loop()
    while True:
        if condition() or loop.time() >= end:
            return
        await asyncio.sleep(0.02)
