"""Bytes that no library would send: PDUs, commands and data sets made by hand, over a plain socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
CONTEXTS = ((1, VERIFICATION, EXPLICIT), (3, CT, EXPLICIT), (5, FIND, EXPLICIT), (7, GET, EXPLICIT))
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def context(number: int, abstract: str, *syntaxes: str) -> bytes:
    return item(
        0x20,
        bytes((number, 0, 0, 0))
        + item(0x30, abstract.encode("latin-1"))
        + b"".join(item(0x40, syntax.encode("latin-1")) for syntax in syntaxes),
    )


def associate_rq(
    contexts: Iterable[bytes] = (context(*c) for c in CONTEXTS),
    *,
    calling: bytes = b"HOSTILE",
    called: bytes = b"HOUNSFIELD",
    user: bytes = b"",
    application: str = "1.2.840.10008.3.1.1.1",
    version: int = 1,
) -> bytes:
    user = user or item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
    return pdu(
        ASSOCIATE_RQ,
        struct.pack(">HH", version, 0)
        + called.ljust(16)[:16]
        + calling.ljust(16)[:16]
        + bytes(32)
        + item(0x10, application.encode())
        + b"".join(contexts)
        + item(0x50, user),
    )


RQ = associate_rq([context(*c) for c in CONTEXTS])
RELEASE = pdu(RELEASE_RQ, bytes(4))


def pdv(number: int, control: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">LBB", len(data) + 2 if length is None else length, number, control) + data


def p_data(number: int, control: int, data: bytes) -> bytes:
    """One PDV in one PDU. `control`: 1 command, 2 last."""
    return pdu(P_DATA, pdv(number, control, data))


def implicit(elements: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in elements
    )


def command(elements: Mapping[int, bytes | int | str]) -> bytes:
    """A command set with its group length."""
    encoded = []
    for tag, value in sorted(elements.items()):
        if isinstance(value, int):
            value = struct.pack("<H", value)
        elif isinstance(value, str):
            value = value.encode("latin-1")
            value += b"\0" * (len(value) % 2)
        encoded.append((tag, value))
    body = implicit(encoded)
    return implicit([(0, struct.pack("<L", len(body)))]) + body


def request(field: int, sop_class: str, message_id: int = 1, *, data: bool = True, **more: object) -> bytes:
    """A request's command set. `more`: e000_1000="..." sets (0000,1000)."""
    elements: dict[int, bytes | int | str] = {
        0x0002: sop_class,
        0x0100: field,
        0x0110: message_id,
        0x0700: 0,
        0x0800: 0x0001 if data else 0x0101,
    }
    for name, value in more.items():
        elements[int(name[1:].replace("_", ""), 16)] = value  # type: ignore[assignment]
    return command(elements)


def c_store(uid: str, message_id: int = 1, sop_class: str = CT) -> bytes:
    return request(0x0001, sop_class, message_id, e0000_1000=uid)


C_ECHO = request(0x0030, VERIFICATION, 1, data=False)
C_FIND = request(0x0020, FIND, 1)


def cancel(message_id: int) -> bytes:
    return command({0x0100: 0x0FFF, 0x0120: message_id, 0x0800: 0x0101})


_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Explicit VR Little Endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in _LONG:
        return head + struct.pack("<HL", 0, size) + value
    return head + struct.pack("<H", size) + value


def padded(text: str) -> bytes:
    raw = text.encode("latin-1")
    return raw + b"\0" * (len(raw) % 2)


def data_set(
    uid: str,
    *,
    study: str = "1.2.3.100",
    series: str = "1.2.3.100.1",
    sop_class: str = CT,
    before: bytes = b"",
    after: bytes = b"",
    pixels: bytes | None = bytes(8),
    rows: int = 2,
    columns: int = 2,
    frames: str = "",
) -> bytes:
    """A CT image. `before` stands before its study, `after` behind the image's attributes."""
    return b"".join(
        (
            element(0x00080016, b"UI", padded(sop_class)),
            element(0x00080018, b"UI", padded(uid)),
            element(0x00080060, b"CS", b"CT"),
            before,
            element(0x00100020, b"LO", b"HOSTILE "),
            element(0x0020000D, b"UI", padded(study)),
            element(0x0020000E, b"UI", padded(series)),
            element(0x00280008, b"IS", padded(frames)) if frames else b"",
            element(0x00280010, b"US", struct.pack("<H", rows)),
            element(0x00280011, b"US", struct.pack("<H", columns)),
            element(0x00280100, b"US", struct.pack("<H", 16)),
            after,
            element(0x7FE00010, b"OW", pixels) if pixels is not None else b"",
        )
    )


def identifier(level: str, *elements: bytes) -> bytes:
    return element(0x00080052, b"CS", padded(level)) + b"".join(elements)


class Raw:
    """A socket that says what it is told to, and reads PDUs."""

    def __init__(self, port: int, *, window: int = 0, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(15)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> Raw:
        """What the other side no longer takes is its answer."""
        try:
            for piece in data:
                self.socket.sendall(piece)
        except (ConnectionError, BrokenPipeError):
            pass
        return self

    def associate(self, request: bytes = RQ) -> Raw:
        self.send(request)
        kind, _ = self.read()
        assert kind == ASSOCIATE_AC, f"PDU {kind}"
        return self

    def read(self) -> tuple[int, bytes]:
        """One PDU: its type and body; (0, b"") at the end of the connection."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count and (piece := self.socket.recv(count - len(data))):
                data += piece
        except ConnectionError:
            return b""
        return data

    def end(self) -> list[int]:
        """The types of all PDUs up to the one that ends the association, or to the end of the connection."""
        kinds = []
        while (kind := self.read()[0]) != 0:
            kinds.append(kind)
            if kind in (ASSOCIATE_RJ, RELEASE_RP, ABORT):
                break
        return kinds

    def message(self) -> dict[int, bytes]:
        """The next response's command set; {} where something else came."""
        kind, body = self.read()
        if kind != P_DATA:
            return {}
        found, position = {}, 6
        while position + 8 <= len(body):
            group, number, length = struct.unpack_from("<HHL", body, position)
            found[group << 16 | number] = body[position + 8 : position + 8 + length]
            position += 8 + length
        return found

    def answer(self) -> tuple[int, str]:
        """Status and Error Comment of the next response, (-1, "") where the association ended."""
        found = self.message()
        if 0x0900 not in found:
            return -1, ""
        return struct.unpack("<H", found[0x0900])[0], found.get(0x0902, b"").decode().strip()

    def store(self, uid: str, data: bytes, *, context_id: int = 3, pieces: int = 16000) -> tuple[int, str]:
        self.send(p_data(context_id, 3, c_store(uid)))
        self.send_data(context_id, data, pieces)
        return self.answer()

    def send_data(self, context_id: int, data: bytes, pieces: int = 16000) -> None:
        out = []
        for at in range(0, max(len(data), 1), pieces):
            last = 2 if at + pieces >= len(data) else 0
            out.append(p_data(context_id, last, data[at : at + pieces]))
        self.send(b"".join(out))

    def closed(self, seconds: float = 10.0) -> bool:
        """Whether the other side closes the connection within the time, whatever it says before."""
        self.socket.settimeout(seconds)
        try:
            while self.read()[0] != 0:
                pass
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(15)
        return True


def one_by_one(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
