"""One TCP connection of the DICOM upper layer: pumps bytes between a transport and a `Connection`.

The receive buffer is one for the whole process: the event loop asks for it, fills it and reports in one
go, and the core's pieces are consumed before the call returns. So a connection that idles costs no buffer.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

from hounsfield.wire.ul.connection import Connection
from hounsfield.wire.ul.events import Event

RECEIVE_BUFFER = 1024 * 1024
#: Above this much unsent data, `drained` waits.
WRITE_HIGH = 2 * 1024 * 1024
#: Between two looks at what is unsent.
_LOOK_SECONDS = 0.01

_buffer = bytearray(RECEIVE_BUFFER)
_view = memoryview(_buffer)
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class _BorrowedSocket(socket.socket):
    """The transport's socket, for its options: a Python one sets them in a third of the time that the
    transport's own takes, and a duplicate would double the descriptors. It is never closed here."""

    def __del__(self) -> None:
        self.detach()


class LinkUser(Protocol):
    """Whoever gets a link's events, in order."""

    def connected(self, link: Link) -> None: ...

    def happened(self, event: Event) -> None: ...

    def idle(self, stalled: bool) -> bool:
        """Nothing came for the idle time or, `stalled`, the peer took nothing of what waits for it. True when
        the connection was ended for that."""
        ...

    def closed(self, error: Exception | None) -> None:
        """The transport is gone; nothing comes after."""
        ...


class Link(asyncio.BufferedProtocol):
    """`artim` and `idle` in seconds: PS3.8 9.1.5, and how long an association may be silent (0: for ever)."""

    def __init__(self, core: Connection, user: LinkUser, *, artim: float, idle: float) -> None:
        self.core = core
        self.user = user
        self.artim = artim
        self.idle = idle
        self.transport: asyncio.Transport | None = None
        self.peer_address = ""
        self.received = 0
        self.first_bytes = b""
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._artim_handle: asyncio.TimerHandle | None = None
        self._idle_handle: asyncio.TimerHandle | None = None
        self._abort_handle: asyncio.TimerHandle | None = None
        self._seen = 0
        self._unsent = 0
        self._drained: asyncio.Future[None] | None = None
        self._writable = True
        self._hold = 0

    # The transport's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        peer = transport.get_extra_info("peername")
        self.peer_address = str(peer[0]) if peer else ""
        wrapped = transport.get_extra_info("socket")
        if wrapped is not None and wrapped.family in (socket.AF_INET, socket.AF_INET6):
            self._socket = _BorrowedSocket(fileno=wrapped.fileno())
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.idle:
            self._idle_handle = self._loop.call_later(self.idle, self._check_idle)
        self.user.connected(self)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._socket is not None and _QUICKACK is not None:
            # A peer with Nagle on holds its next segment back until the last one is acknowledged: without
            # this, which lasts for one receive only, it waits 40 ms for our delayed ACK at every object.
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:  # what TLS still holds is handed over when the connection is gone already
                self._socket = None
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        self.take(_view[:nbytes])

    def take(self, data: memoryview) -> None:
        """What the peer sent."""
        if not self.received:
            self.first_bytes = bytes(data[:16])
        self.received += len(data)
        happened = self.user.happened
        for event in self.core.receive_data(data):
            happened(event)
        self.flush()

    def eof_received(self) -> bool:
        for event in self.core.receive_eof():
            self.user.happened(event)
        self.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        for event in self.core.receive_eof():
            self.user.happened(event)
        self.transport = None
        self._release_writer()
        self._socket = None
        self.user.closed(exc)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._release_writer()

    # The user's side -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the core wants sent; follow its timer and its wish to close."""
        if self.transport is None:
            return
        core = self.core
        pieces = core.data_to_send()
        if pieces:
            self.transport.writelines(pieces)
        if core.artim_running != (self._artim_handle is not None):
            self._follow_artim()
        if core.should_close:
            self._close()

    def _close(self) -> None:
        """Close once all is sent, or after ARTIM at the latest: a peer that reads nothing must not keep the
        connection."""
        assert self.transport is not None
        if not self.transport.is_closing():
            self.transport.close()
            if self.transport is not None and self.transport.get_write_buffer_size():
                self._abort_handle = self._loop.call_later(self.artim, self.abort_transport)

    async def drained(self) -> None:
        """Wait until the transport takes more. Raises ConnectionError when it is gone."""
        if self.transport is None:
            raise ConnectionError("the connection is closed")
        if self._writable:
            return
        if self._drained is None:
            self._drained = self._loop.create_future()
        await asyncio.shield(self._drained)
        if self.transport is None:
            raise ConnectionError("the connection is closed")

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent, in the buffers that were given."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    async def emptied(self) -> None:
        """Wait until the peer took, or will never take, all that was to be sent: rarely for long."""
        while True:
            if not self.unsent:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    @property
    def stuck(self) -> bool:
        """Whether the peer is behind with taking what we send."""
        return not self._writable

    def hold(self) -> None:
        """Read no more until `let_go`: the consumer is behind. Nests."""
        self._hold += 1
        if self._hold == 1 and self.transport is not None:
            self.transport.pause_reading()

    def let_go(self) -> None:
        self._hold -= 1
        if self._hold == 0 and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort_transport(self) -> None:
        """Drop the connection without a word."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def tls(self) -> str:
        """Protocol and peer certificate subject, '' without TLS."""
        ssl = self.transport.get_extra_info("ssl_object") if self.transport else None
        if ssl is None:
            return ""
        certificate = ssl.getpeercert() or {}
        subject = ",".join(f"{k}={v}" for rdn in certificate.get("subject", ()) for k, v in rdn)
        return f"{ssl.version()} {subject}".strip()

    # Timers --------------------------------------------------------------------------------------------

    def _follow_artim(self) -> None:
        if self._artim_handle is not None:
            self._artim_handle.cancel()
            self._artim_handle = None
        else:
            self._artim_handle = self._loop.call_later(self.artim, self._artim_expired)

    def _artim_expired(self) -> None:
        self._artim_handle = None
        for event in self.core.timer_expired():
            self.user.happened(event)
        self.flush()

    def _check_idle(self) -> None:
        unsent = self.unsent
        stalled = unsent > 0 and unsent == self._unsent
        if stalled or (self.received == self._seen and not self._hold and self._writable):
            self._idle_handle = None
            if self.user.idle(stalled):
                return
        self._unsent = unsent
        self._seen = self.received
        self._idle_handle = self._loop.call_later(self.idle, self._check_idle)

    def _cancel_timers(self) -> None:
        for handle in (self._artim_handle, self._idle_handle, self._abort_handle):
            if handle is not None:
                handle.cancel()
        self._artim_handle = self._idle_handle = self._abort_handle = None

    def _release_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
