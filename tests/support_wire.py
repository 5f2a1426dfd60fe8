"""What the tests of `wire.ul` and `wire.dimse` share: connections in every state, and a wire between two."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.connection import Connection, Role
from hounsfield.wire.ul.events import Event, Pdv
from hounsfield.wire.ul.items import AnsweredContext, ProposedContext, UserInformation
from hounsfield.wire.ul.pdu import AssociateAccept, AssociateRequest
from hounsfield.wire.ul.states import Evt, State

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

RQ = AssociateRequest(
    "ARCHIVE",
    "SCANNER",
    (ProposedContext(1, CT, (IMPLICIT, EXPLICIT)), ProposedContext(3, VERIFICATION, (IMPLICIT,))),
)
AC = AssociateAccept(
    "ARCHIVE",
    "SCANNER",
    (AnsweredContext(1, 0, EXPLICIT), AnsweredContext(3, 0, IMPLICIT)),
    UserInformation(),
)
RELEASE_RQ = pdus.encode(pdus.ReleaseRequest())
RELEASE_RP = pdus.encode(pdus.ReleaseResponse())
ABORT = pdus.encode(pdus.Abort())
REJECT = pdus.encode(pdus.AssociateReject(1, 1, 7))
UNKNOWN = b"GET / HTTP/1.1\r\n\r\n"


def give(connection: Connection, data: bytes) -> list[Event]:
    """Bytes from the peer in one chunk."""
    return connection.receive_data(memoryview(data))


def sent(connection: Connection) -> bytes:
    """Everything the connection wants written."""
    return b"".join(connection.data_to_send())


def pdata(context_id: int, control: int, payload: bytes) -> bytes:
    """A P-DATA-TF PDU of one PDV, by hand."""
    item = (len(payload) + 2).to_bytes(4, "big") + bytes((context_id, control)) + payload
    return b"\x04\x00" + len(item).to_bytes(4, "big") + item


def acceptor(**limits: int) -> Connection:
    """An acceptor in Sta6 with nothing left to send."""
    connection = Connection(Role.ACCEPTOR, **limits)
    give(connection, pdus.encode(RQ))
    connection.accept(AC)
    connection.data_to_send()
    return connection


def requestor(**limits: int) -> Connection:
    """A requestor in Sta6 with nothing left to send."""
    connection = Connection(Role.REQUESTOR, **limits)
    connection.associate(RQ)
    give(connection, pdus.encode(AC))
    connection.data_to_send()
    return connection


def in_state(state: State) -> Connection:
    """A connection that came to `state` by the events that lead there, with nothing left to send."""
    connection = _MAKERS[state]()
    connection.data_to_send()
    assert connection.state is state
    return connection


def _sta3() -> Connection:
    connection = Connection(Role.ACCEPTOR)
    give(connection, pdus.encode(RQ))
    return connection


def _sta4() -> Connection:
    connection = Connection(Role.REQUESTOR)
    connection._fire(Evt.A_ASSOCIATE_REQUEST)  # associate() passes through Sta4 at once
    return connection


def _sta5() -> Connection:
    connection = Connection(Role.REQUESTOR)
    connection.associate(RQ)
    return connection


def _releasing(make: Callable[[], Connection], *steps: bytes | None) -> Callable[[], Connection]:
    """request_release, then each step: bytes from the peer, or None for accept_release."""

    def made() -> Connection:
        connection = make()
        connection.request_release()
        for step in steps:
            if step is None:
                connection.accept_release()
            else:
                give(connection, step)
        return connection

    return made


def _sta8() -> Connection:
    connection = acceptor()
    give(connection, RELEASE_RQ)
    return connection


def _sta13() -> Connection:
    connection = acceptor()
    connection.abort()
    return connection


_MAKERS: dict[State, Callable[[], Connection]] = {
    State.STA1: lambda: Connection(Role.REQUESTOR),
    State.STA2: lambda: Connection(Role.ACCEPTOR),
    State.STA3: _sta3,
    State.STA4: _sta4,
    State.STA5: _sta5,
    State.STA6: acceptor,
    State.STA7: _releasing(requestor),
    State.STA8: _sta8,
    State.STA9: _releasing(requestor, RELEASE_RQ),
    State.STA10: _releasing(acceptor, RELEASE_RQ),
    State.STA11: _releasing(requestor, RELEASE_RQ, None),
    State.STA12: _releasing(acceptor, RELEASE_RQ, RELEASE_RP),
    State.STA13: _sta13,
}


def whole(events: Sequence[Event]) -> list[object]:
    """Events with the pieces of each PDV joined: (context id, is_command, is_last, bytes) for those."""
    joined: list[object] = []
    open_piece: tuple[int, bool, bytes] | None = None
    for event in events:
        if not isinstance(event, Pdv):
            if open_piece:
                joined.append((open_piece[0], open_piece[1], False, open_piece[2]))
                open_piece = None
            joined.append(event)
            continue
        before = open_piece[2] if open_piece else b""
        data = before + bytes(event.data)
        if event.is_last:
            joined.append((event.context_id, event.is_command, True, data))
            open_piece = None
        else:
            open_piece = (event.context_id, event.is_command, data)
    if open_piece:
        joined.append((open_piece[0], open_piece[1], False, open_piece[2]))
    return joined


def chunked(data: bytes, seed: int, largest: int = 40) -> list[bytes]:
    """`data` cut at random; `seed` 0 cuts it into single bytes."""
    if not seed:
        return [data[i : i + 1] for i in range(len(data))]
    dice = random.Random(seed)
    chunks, start = [], 0
    while start < len(data):
        stop = start + dice.randint(1, largest)
        chunks.append(data[start:stop])
        start = stop
    return chunks


class Wire:
    """Two connections joined; bytes travel in the chunks that `seed` makes. Payloads are copied at once."""

    def __init__(self, left: Connection, right: Connection, seed: int) -> None:
        self.sides = (left, right)
        self.heard: tuple[list[Event], list[Event]] = ([], [])
        self._seed = seed

    def run(self) -> None:
        """Carry bytes until both are silent; pass a close on."""
        moving = True
        while moving:
            moving = False
            for me in (0, 1):
                data = sent(self.sides[me])
                moving = moving or bool(data)
                for chunk in chunked(data, self._seed):
                    self._hear(1 - me, give(self.sides[1 - me], chunk))
                if self.sides[me].should_close:
                    self._hear(1 - me, self.sides[1 - me].receive_eof())

    def _hear(self, side: int, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Pdv):
                event.data = memoryview(bytes(event.data))
            self.heard[side].append(event)
