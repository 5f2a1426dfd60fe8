"""One HTTP connection, with the bounds that uvicorn's own protocol does not have: size of a request's head,
time for it, progress of a body and of an answer, connections of one address."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

#: Bytes that have to come, or go, in the time of `http_stall_seconds`.
PROGRESS = 4096
#: Bytes of one read at most.
RECEIVE = 256 * 1024


class Bounds:
    """What the connections of one server share. Times in seconds, `head` in bytes."""

    def __init__(
        self, *, head: int, head_seconds: float, stall_seconds: float, per_address: int, proxies: Any
    ) -> None:
        self.head = head
        self.head_seconds = head_seconds
        self.stall_seconds = stall_seconds
        self.per_address = per_address
        self.proxies = proxies
        self.addresses: Counter[str] = Counter()


class _Untold(int):
    """The length of an answer that the end of the connection tells: whatever is taken from it, it fits."""

    def __lt__(self, other: object) -> bool:
        return False

    def __sub__(self, other: object) -> _Untold:
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with `bounds`, which `bounded` sets on a subclass for each server."""

    bounds: Bounds

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._in_head = True
        self._in_body = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._progress_timer: asyncio.TimerHandle | None = None
        self._came = 0  # bytes of the body since the timer was set
        self._beside = 0  # bytes behind the last ones of the body: sizes of chunks, trailers
        self._looks = 0  # at this body
        self._waiting = 0  # bytes that the client had not taken at the last look
        self._resumed = self._resumed_then = 0  # how often it took enough that more could be written
        self._address = ""

    # The transport's calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self.bounds.proxies.trusts(address):
            self._address = address
            self.bounds.addresses[address] += 1
            if self.bounds.addresses[address] > self.bounds.per_address:
                self._refuse(503, b"Too many connections from this address")
                return
        self._time_head()
        self._progress_timer = self.loop.call_later(self.bounds.stall_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address:
            self.bounds.addresses[self._address] -= 1
            if not self.bounds.addresses[self._address]:
                del self.bounds.addresses[self._address]
        self._stop_timing_head()
        if self._progress_timer is not None:
            self._progress_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes | memoryview) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif self._in_body:
            self._came += len(data)
            self._beside += len(data)
        super().data_received(data)  # type: ignore[arg-type]  # the parser takes any buffer
        if self._in_body and self._beside > self.bounds.head and not self.transport.is_closing():
            self._refuse(431, b"What stands beside the body of the request is too large")
            return
        if self._in_head and self._head_bytes > self.bounds.head:
            self._refuse(431, b"The head of the request is too large")

    def resume_writing(self) -> None:
        self._resumed += 1
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    # The parser's calls --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head, self._in_body = True, False
        if self._head_timer is None:
            self._time_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        self._came = self._looks = self._beside = 0
        self._stop_timing_head()
        if len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > self.bounds.head:
            self._refuse(431, b"The head of the request is too large")
            raise ValueError("head too large")  # the parser stops here
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            # uvicorn would send chunks, which HTTP/1.0 does not know (RFC 9112 section 6.1)
            self.cycle.chunked_encoding, self.cycle.expected_content_length = False, _Untold()

    def on_body(self, body: bytes) -> None:
        self._beside = 0
        cycle = self.cycle
        if len(body) <= HIGH_WATER_LIMIT or cycle.body or cycle.response_complete:
            super().on_body(body)
            return
        cycle.body = _Piece(body)  # type: ignore[assignment]  # as much of a bytearray as uvicorn makes use of
        self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_head, self._in_body = True, False
        super().on_message_complete()

    # Bounds --------------------------------------------------------------------------------------------

    def _time_head(self) -> None:
        self._head_timer = self.loop.call_later(self.bounds.head_seconds, self._head_late)

    def _stop_timing_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(408, b"The head of the request did not come in time")
        else:  # it came behind a request that is being answered, and its turn is not yet
            self._time_head()

    def _look(self) -> None:
        """Every so often: has the client sent, or taken, anything?"""
        if self.transport.is_closing():
            return
        if self._in_body and self._awaits_body():
            self._looks += 1
            if self._looks > 1 and self._came < PROGRESS:
                self._refuse(408, b"The body of the request did not come in time")
                return
        waiting = self.transport.get_write_buffer_size()
        if waiting and (waiting, self._resumed) == (self._waiting, self._resumed_then):
            self.transport.abort()
            return
        self._came, self._waiting, self._resumed_then = 0, waiting, self._resumed
        self._progress_timer = self.loop.call_later(self.bounds.stall_seconds, self._look)

    def _awaits_body(self) -> bool:
        """Whether it is the client that we wait for, and not the handler, or a client that waits for us."""
        cycle = self.cycle
        return (
            cycle.more_body
            and not cycle.body
            and not cycle.response_complete
            and not cycle.waiting_for_100_continue
            and not self.flow.read_paused
        )

    def _refuse(self, status: int, why: bytes) -> None:
        """Say why, where no answer has begun, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = STATUS_LINE[status] + b"content-type: text/plain\r\nconnection: close\r\n"
            self.transport.write(head + b"content-length: %d\r\n\r\n" % len(why) + why)
        self.transport.close()


class _Piece:
    """A large piece of a body that the handler gets as it is; uvicorn would copy it twice."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return self._data

    def __iadd__(self, more: bytes) -> bytearray:
        return bytearray(self._data) + more


#: Where all connections of this process receive: each hands on what came before another reads.
_received = memoryview(bytearray(RECEIVE))


class Receiving(asyncio.BufferedProtocol):
    """What the transport talks to, for `Protocol`: large reads, where uvicorn's own are of 64 KiB at most."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(_received[:nbytes])


def bounded(bounds: Bounds) -> type[asyncio.Protocol]:
    """What makes the protocol of each connection of one server."""
    protocol = type("BoundedProtocol", (Protocol,), {"bounds": bounds})

    def make(**arguments: Any) -> Receiving:
        return Receiving(protocol(**arguments))

    return cast(type[asyncio.Protocol], make)
