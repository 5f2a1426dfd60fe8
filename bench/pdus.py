"""The bytes a benchmark sends and the few it has to understand: just enough of PS3.8 and PS3.7.

Kept apart from `hounsfield.wire` so that a load generator measures servers and not our own encoder, and so
that a mistake of ours is not made on both sides.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLEMENTATION = "2.25.325213254217262218421362142114782264612"

LARGEST_PDU = 1 << 20  # what we advertise, and the cap on what we send

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
RESPONSE = 0x8000
PENDING = (0xFF00, 0xFF01)

_PDU = struct.Struct(">BxI")
_PDV = struct.Struct(">BxIIBB")


class PeerError(Exception):
    """The other side did not do what the benchmark needs: what it said is the message."""


class Context(NamedTuple):
    """A presentation context to propose; `scp` proposes the SCP role for it (C-GET)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp: bool = False


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _pdu(kind: int, data: bytes) -> bytes:
    return _PDU.pack(kind, len(data)) + data


def _user_information(contexts: Sequence[Context]) -> bytes:
    parts = [
        _item(0x51, struct.pack(">I", LARGEST_PDU)),
        _item(0x52, IMPLEMENTATION.encode()),
        _item(0x55, b"HOUNSFIELD_BENCH"),
    ]
    for context in contexts:
        if context.scp:
            uid = context.abstract_syntax.encode()
            parts.append(_item(0x54, struct.pack(">H", len(uid)) + uid + b"\x00\x01"))
    return _item(0x50, b"".join(parts))


def _associate(kind: int, calling: str, called: str, items: bytes) -> bytes:
    fixed = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    return _pdu(kind, fixed + _item(0x10, b"1.2.840.10008.3.1.1.1") + items)


def associate_request(calling: str, called: str, contexts: Sequence[Context]) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    items = b""
    for context in contexts:
        inner = _item(0x30, context.abstract_syntax.encode())
        inner += b"".join(_item(0x40, uid.encode()) for uid in context.transfer_syntaxes)
        items += _item(0x20, bytes((context.id, 0, 0, 0)) + inner)
    return _associate(1, calling, called, items + _user_information(contexts))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


class Accepted(NamedTuple):
    """What an A-ASSOCIATE-AC says: maximum length, and the transfer syntax of each context taken."""

    maximum: int  # 0 for no limit
    contexts: dict[int, str]


def parse_accept(body: bytes) -> Accepted:
    maximum, contexts = 0, {}
    for kind, data in _items(body[68:]):
        if kind == 0x21 and data[2] == 0:
            contexts[data[0]] = next(value.decode() for inner, value in _items(data[4:]) if inner == 0x40)
        elif kind == 0x50:
            for inner, value in _items(data):
                if inner == 0x51:
                    maximum = struct.unpack(">I", value)[0]
    return Accepted(maximum, contexts)


def answer_associate(body: bytes) -> bytes:
    """The A-ASSOCIATE-AC that accepts every context of a request, in Explicit VR Little Endian where it is
    proposed, as the objects are stored, else in the first transfer syntax."""
    called, calling = body[4:20].decode().strip(), body[20:36].decode().strip()
    items = b""
    for kind, data in _items(body[68:]):
        if kind == 0x20:
            proposed = [value for inner, value in _items(data[4:]) if inner == 0x40]
            explicit = EXPLICIT_LE.encode()
            chosen = explicit if explicit in proposed else proposed[0]
            items += _item(0x21, bytes((data[0], 0, 0, 0)) + _item(0x40, chosen))
    return _associate(2, calling, called, items + _user_information(()))


RELEASE_REQUEST, RELEASE_RESPONSE = _pdu(5, bytes(4)), _pdu(6, bytes(4))


def fragments(
    context: int, command: bool, data: bytes | memoryview, maximum: int
) -> Iterator[bytes | memoryview]:
    """P-DATA-TF PDUs (PS3.8 9.3.5) of one message part, each with one PDV, as header and slice in turn."""
    step = maximum - 6
    view = memoryview(data)
    for at in range(0, max(len(view), 1), step):
        piece = view[at : at + step]
        last = at + step >= len(view)
        yield _PDV.pack(4, len(piece) + 6, len(piece) + 2, context, command | last << 1)
        yield piece


def command(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A command set (PS3.7 6.3.1) of (element number in group 0000, value) in order."""
    body = b"".join(
        struct.pack("<HHI", 0, number, len(value) + (len(value) & 1)) + value + b"\0" * (len(value) & 1)
        for number, value in elements
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def c_store_request(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    return command(
        (
            (0x0002, sop_class.encode()),
            (0x0100, us(C_STORE_RQ)),
            (0x0110, us(message_id)),
            (0x0700, us(0)),
            (0x0800, us(0x0001)),
            (0x1000, sop_instance.encode()),
        )
    )


def c_store_response(request: dict[int, bytes]) -> bytes:
    return command(
        (
            (0x0002, request[0x0002]),
            (0x0100, us(C_STORE_RQ | RESPONSE)),
            (0x0120, request[0x0110]),
            (0x0800, us(0x0101)),
            (0x0900, us(0)),
            (0x1000, request[0x1000]),
        )
    )


def query_request(field: int, message_id: int, sop_class: str, destination: str = "") -> bytes:
    """C-FIND-RQ, C-GET-RQ or C-MOVE-RQ."""
    elements = [(0x0002, sop_class.encode()), (0x0100, us(field)), (0x0110, us(message_id))]
    if destination:
        elements.append((0x0600, destination.encode()))
    return command([*elements, (0x0700, us(0)), (0x0800, us(0x0001))])


def parse_command(data: bytes) -> dict[int, bytes]:
    """Element number -> value as sent."""
    at, found = 0, {}
    while at + 8 <= len(data):
        _, number, length = struct.unpack_from("<HHI", data, at)
        found[number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def identifier(elements: Iterable[tuple[int, str, str]], explicit: bool) -> bytes:
    """A data set of short text elements (tag, VR, value), in order of tag."""
    out = []
    for tag, vr, value in elements:
        raw = value.encode()
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) & 1)
        group = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        size = vr.encode() + us(len(raw)) if explicit else struct.pack("<I", len(raw))
        out.append(group + size + raw)
    return b"".join(out)


def data_set_of(part10: bytes) -> tuple[memoryview, str, str]:
    """(data set, SOP class UID, SOP instance UID) of a Part 10 object."""
    length = struct.unpack_from("<I", part10, 140)[0]
    end, at, found = 144 + length, 144, {}
    while at < end:
        number, vr, size = struct.unpack_from("<2xH2sH", part10, at)
        at += 8
        if vr in (b"OB", b"UN"):
            size = struct.unpack_from("<I", part10, at)[0]
            at += 4
        found[number] = part10[at : at + size]
        at += size
    return memoryview(part10)[end:], found[2].strip(b"\0").decode(), found[3].strip(b"\0").decode()


def receive_exactly(sock: socket.socket, view: memoryview) -> None:
    while view:
        got = sock.recv_into(view)
        if not got:
            raise PeerError("the peer closed the connection")
        view = view[got:]


class Association:
    """An association as requestor over a blocking socket with TCP_NODELAY."""

    def __init__(
        self, address: tuple[str, int], called: str, contexts: Sequence[Context], calling: str = "BENCH"
    ) -> None:
        self.sock = socket.create_connection(address, 30)
        self.sock.settimeout(300)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(associate_request(calling, called, contexts))
        kind, body = self.read_pdu()
        if kind != 2:
            raise PeerError(f"association not accepted: PDU type {kind}, {body.hex()}")
        accepted = parse_accept(body)
        self.contexts = accepted.contexts
        self.maximum = min(accepted.maximum or LARGEST_PDU, LARGEST_PDU)

    def read_pdu(self) -> tuple[int, bytes]:
        header = bytearray(6)
        receive_exactly(self.sock, memoryview(header))
        kind, length = _PDU.unpack(header)
        body = bytearray(length)
        receive_exactly(self.sock, memoryview(body))
        return kind, bytes(body)

    def read_command(self) -> dict[int, bytes]:
        """The next command, which is one PDV in one PDU in every server that we measure; data set PDVs (the
        identifier of a response) are passed over."""
        data = b""
        while True:
            kind, body = self.read_pdu()
            if kind != 4:
                raise PeerError(f"expected P-DATA-TF, got PDU type {kind}, {body.hex()}")
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                if control & 1:
                    data += body[at + 6 : at + 4 + length]
                    if control & 2:
                        return parse_command(data)
                at += 4 + length

    def send(self, context: int, request: bytes, data: bytes = b"") -> None:
        parts = list(fragments(context, True, request, self.maximum))
        if data:
            parts += fragments(context, False, data, self.maximum)
        self.sock.sendall(b"".join(parts))

    def release(self) -> None:
        self.sock.sendall(RELEASE_REQUEST)
        while self.read_pdu()[0] != 6:
            pass
        self.sock.close()
