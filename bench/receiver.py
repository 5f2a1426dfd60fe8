"""A receiver that throws away what it gets, cheaply: the client of C-GET, the sink of C-MOVE.

It looks at the headers of PDUs and PDVs alone, decodes commands, counts data set bytes, and answers each
C-STORE with success.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass

from bench import pdus

_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")


@dataclass
class Tally:
    objects: int = 0
    bytes: int = 0  # of data sets
    largest_pdu: int = 0


class Stream:
    """PDUs from a socket through one large buffer that is used again and again."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray(2 * pdus.LARGEST_PDU)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def _fill(self, needed: int) -> None:
        """Have at least `needed` bytes from _start on."""
        if self._start + needed > len(self._buffer):
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        while self._end - self._start < needed:
            got = self.sock.recv_into(self._view[self._end :])
            if not got:
                raise pdus.PeerError("the peer closed the connection")
            self._end += got

    def read(self) -> tuple[int, memoryview]:
        """The next PDU: its type and its body, which is good until the next call."""
        if self._start == self._end:
            self._start = self._end = 0
        self._fill(6)
        kind, length = _HEADER.unpack_from(self._buffer, self._start)
        if length > pdus.LARGEST_PDU:
            raise pdus.PeerError(f"PDU of {length} bytes, more than we advertised")
        self._fill(6 + length)
        at = self._start + 6
        self._start = at + length
        return kind, self._view[at : self._start]


def serve_stores(stream: Stream, maximum: int, tally: Tally) -> dict[int, bytes] | None:
    """Take C-STOREs and answer them, until another command comes, which is returned, or the release of the
    association, which is answered with None. `maximum` is the peer's."""
    command = b""
    request: dict[int, bytes] = {}
    while True:
        kind, body = stream.read()
        if kind == 5:
            stream.sock.sendall(pdus.RELEASE_RESPONSE)
            return None
        if kind != 4:
            raise pdus.PeerError(f"expected P-DATA-TF, got PDU type {kind}, {bytes(body).hex()}")
        tally.largest_pdu = max(tally.largest_pdu, len(body))
        at = 0
        while at < len(body):
            length, context, control = _PDV.unpack_from(body, at)
            if control & 1:
                command += body[at + 6 : at + 4 + length]
                if control & 2:
                    request, command = pdus.parse_command(command), b""
                    field = int.from_bytes(request[0x0100], "little")
                    if field != pdus.C_STORE_RQ and request[0x0800] == b"\x01\x01":
                        return request
            elif int.from_bytes(request[0x0100], "little") == pdus.C_STORE_RQ:
                tally.bytes += length - 2
                if control & 2:
                    tally.objects += 1
                    answer = pdus.fragments(context, True, pdus.c_store_response(request), maximum)
                    stream.sock.sendall(b"".join(answer))
            elif control & 2:  # the identifier of a response, such as the Failed SOP Instance UID List
                return request
            at += 4 + length


class Sink:
    """A storage SCP that keeps nothing, on a port of its own, one thread an association."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._tallies: list[Tally] = []  # one an association, each written by its own thread alone
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> tuple[Tally, int]:
        """What came since the last call, and over how many associations. A server may leave an association
        open for a while after its last object, so this does not wait for their end."""
        taken, self._tallies = self._tallies, []
        total = Tally()
        for tally in taken:
            total.objects += tally.objects
            total.bytes += tally.bytes
            total.largest_pdu = max(total.largest_pdu, tally.largest_pdu)
        return total, len(taken)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: that is how it ends
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tally = Tally()
                self._tallies.append(tally)
                threading.Thread(target=self._serve, args=(sock, tally), daemon=True).start()

    def _serve(self, sock: socket.socket, tally: Tally) -> None:
        try:
            with sock:
                stream = Stream(sock)
                kind, body = stream.read()
                if kind != 1:
                    raise pdus.PeerError(f"expected A-ASSOCIATE-RQ, got PDU type {kind}")
                request = bytes(body)
                sock.sendall(pdus.answer_associate(request))
                serve_stores(stream, pdus.parse_accept(request).maximum or pdus.LARGEST_PDU, tally)
        except (OSError, pdus.PeerError) as error:
            self.errors.append(str(error))

    def close(self) -> None:
        self._listener.close()
