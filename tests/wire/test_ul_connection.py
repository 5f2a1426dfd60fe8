"""Two connections on a fake wire; data transfer and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hounsfield.wire.ul import events as ev
from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.connection import Connection, Role
from hounsfield.wire.ul.framing import Framing
from hounsfield.wire.ul.items import AnsweredContext, UserInformation
from hounsfield.wire.ul.reasons import AbortReason, AbortSource
from hounsfield.wire.ul.states import State
from support_wire import (
    AC,
    CT,
    EXPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    Wire,
    acceptor,
    chunked,
    give,
    pdata,
    requestor,
    sent,
    whole,
)


def kinds(events: list[ev.Event]) -> list[type]:
    return [type(event) for event in events]


@pytest.mark.parametrize("seed", range(6))
def test_an_association_from_request_to_release(seed: int):
    left, right = Connection(Role.REQUESTOR, max_length=1000), Connection(Role.ACCEPTOR, max_length=300)
    wire = Wire(left, right, seed)
    left.associate(RQ)
    wire.run()
    (asked,) = wire.heard[1]
    assert isinstance(asked, ev.AssociateRequested)
    assert asked.request.user.max_length == 1000
    right.accept(AC)
    wire.run()
    assert kinds(wire.heard[0]) == [ev.AssociateAccepted]
    assert (
        left.contexts == right.contexts == {1: (CT, EXPLICIT), 3: ("1.2.840.10008.1.1", "1.2.840.10008.1.2")}
    )

    command, data = bytes(range(100)), bytes(range(256)) * 9
    left.send_message(1, command, [data[:7], memoryview(data)[7:1500], b"", data[1500:]])
    right.send_message(3, command)
    wire.run()
    assert whole(wire.heard[1][1:]) == [(1, True, True, command), (1, False, True, data)]
    assert whole(wire.heard[0][1:]) == [(3, True, True, command)]

    left.request_release()
    wire.run()
    assert isinstance(wire.heard[1][-1], ev.ReleaseRequested)
    right.send_message(3, command)  # still allowed before the answer (AR-7)
    right.accept_release()
    wire.run()
    assert whole(wire.heard[0][1:-1]) == [(3, True, True, command)] * 2
    assert isinstance(wire.heard[0][-1], ev.Released)
    assert left.should_close
    assert right.should_close
    assert (left.state, right.state) == (State.STA1, State.STA1)


@pytest.mark.parametrize("seed", range(4))
def test_release_collision(seed: int):
    left, right = requestor(), acceptor()
    wire = Wire(left, right, seed)
    left.request_release()
    right.request_release()
    crossing = (sent(left), sent(right))
    wire._hear(1, give(right, crossing[0]))
    wire._hear(0, give(left, crossing[1]))
    assert (left.state, right.state) == (State.STA9, State.STA10)
    assert kinds(wire.heard[0]) == [ev.ReleaseRequested]
    assert kinds(wire.heard[1]) == []
    left.accept_release()
    wire.run()
    (asked,) = wire.heard[1]
    assert isinstance(asked, ev.ReleaseRequested)
    assert asked.collision
    right.accept_release()
    wire.run()
    assert isinstance(wire.heard[0][-1], ev.Released)
    assert (left.state, right.state) == (State.STA1, State.STA1)


@pytest.mark.parametrize("seed", range(3))
def test_reject_and_abort_reach_the_other_side(seed: int):
    left, right = Connection(Role.REQUESTOR), Connection(Role.ACCEPTOR)
    wire = Wire(left, right, seed)
    left.associate(RQ)
    wire.run()
    right.reject(pdus.AssociateReject(1, 1, 3))
    wire.run()
    (rejected,) = wire.heard[0]
    assert isinstance(rejected, ev.AssociateRejected)
    assert rejected.reject == pdus.AssociateReject(1, 1, 3)
    assert left.should_close
    assert right.should_close

    left, right = requestor(), acceptor()
    wire = Wire(left, right, seed)
    left.abort(AbortSource.PROVIDER, AbortReason.UNEXPECTED_PDU)
    wire.run()
    (aborted,) = wire.heard[1]
    assert isinstance(aborted, ev.Aborted)
    assert (aborted.source, aborted.reason) == (2, 2)


# Receiving data.


def test_payload_is_a_view_of_what_was_received():
    connection = acceptor()
    buffer = bytearray(pdata(1, 1, b"abc") + pdata(1, 0, b"x" * 1000)[:500])
    events = connection.receive_data(memoryview(buffer))
    assert [bytes(event.data) for event in events] == [b"abc", b"x" * 488]
    buffer[12] = ord("Z")
    assert bytes(events[0].data) == b"Zbc"
    buffer[100:] = b"y" * (len(buffer) - 100)  # the connection itself holds no view that it needs
    (event,) = give(connection, b"x" * 512)
    assert (len(event.data), event.is_last) == (512, False)


def test_only_the_final_piece_is_last():
    connection = acceptor()
    stream = pdata(1, 2, b"abcdef")
    pieces = [event for chunk in chunked(stream, 0) for event in give(connection, chunk)]
    assert [(bytes(piece.data), piece.is_last) for piece in pieces] == [
        (b"a", False),
        (b"b", False),
        (b"c", False),
        (b"d", False),
        (b"e", False),
        (b"f", True),
    ]


def test_several_pdvs_in_one_pdu_and_empty_ones():
    items = b"".join(pdata(*item)[6:] for item in [(1, 3, b"ab"), (3, 0, b""), (1, 0, b"cdef"), (1, 2, b"")])
    stream = b"\x04\x00" + len(items).to_bytes(4, "big") + items + pdata(1, 2, b"")
    expected = [
        (1, True, True, b"ab"),
        (3, False, False, b""),
        (1, False, False, b"cdef"),
        (1, False, True, b""),
    ]
    got = [(p.context_id, p.is_command, p.is_last, bytes(p.data)) for p in give(acceptor(), stream)]
    assert got == [*expected, (1, False, True, b"")]
    for seed in range(5):
        connection = acceptor()
        pieces = [event for chunk in chunked(stream, seed) for event in give(connection, chunk)]
        assert b"".join(bytes(p.data) for p in pieces) == b"abcdef"
        assert [p.is_command for p in pieces if p.is_last] == [True, False, False]
        assert [p.context_id for p in pieces if not p.data] == [3, 1, 1]
        assert connection.state is State.STA6


def test_reserved_bits_of_the_control_header_mean_nothing():
    (event,) = give(acceptor(), pdata(1, 0xFD, b"ab"))
    assert (event.is_command, event.is_last) == (True, False)


BAD = {
    "over the maximum": b"\x04\x00\x00\x00\x10\x01",
    "4 GiB": b"\x04\x00\xff\xff\xff\xff",
    "no PDV": b"\x04\x00\x00\x00\x00\x00",
    "too short for a PDV": b"\x04\x00\x00\x00\x00\x05",
    "PDV of length 0": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x00\x01\x03",
    "PDV of length 1": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x01\x01\x03",
    "PDV longer than its PDU": b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x05\x01\x03",
    "PDV of 4 GiB": b"\x04\x00\x00\x00\x00\x08\xff\xff\xff\xff\x01\x03",
    "rest too short for a PDV": b"\x04\x00\x00\x00\x00\x0b\x00\x00\x00\x02\x01\x03",
    "context that was refused": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x05\x03",
    "context that was never proposed": b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x63\x03",
}


@pytest.mark.parametrize("seed", [0, 1, 99])
@pytest.mark.parametrize("case", list(BAD))
def test_bad_p_data_is_aborted_with_invalid_parameter_value(case: str, seed: int):
    connection = acceptor(max_length=4096)
    stream = BAD[case] if seed != 99 else pdata(1, 1, b"good") + BAD[case]
    events = [event for chunk in chunked(stream, seed or 0, 20) for event in give(connection, chunk)]
    assert isinstance(events[-1], ev.ProtocolError)
    assert sent(connection) == pdus.encode(pdus.Abort(2, 6))
    assert connection.state is State.STA13
    assert connection.artim_running
    assert give(connection, b"\x04" * 100_000) == []
    assert not sent(connection)


def test_the_maximum_itself_is_allowed_and_none_is_unlimited():
    largest = pdata(1, 2, b"x" * (4096 - 6))
    assert len(give(acceptor(max_length=4096), largest)) == 1
    assert isinstance(give(acceptor(max_length=4095), largest)[0], ev.ProtocolError)
    header = b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xfb\x01\x00"
    connection = acceptor(max_length=0)
    assert sum(len(event.data) for event in give(connection, header + b"x" * 500)) == 500
    assert connection.state is State.STA6


def test_a_long_association_pdu_is_refused_by_its_claim():
    connection = Connection(Role.ACCEPTOR, association_limit=5000)
    (event,) = give(connection, b"\x01\x00\x00\x00\x13\x89")
    assert isinstance(event, ev.ProtocolError)
    assert sent(connection)[0] == 7
    connection = Connection(Role.ACCEPTOR, association_limit=5000)
    assert give(connection, b"\x01\x00\x00\x00\x13\x88") == []


@pytest.mark.parametrize("pdu_type", [3, 5, 6, 7])
@pytest.mark.parametrize("length", [0, 3, 5, 0xFFFFFFFF])
def test_a_short_pdu_of_another_length_is_refused(pdu_type: int, length: int):
    connection = requestor()
    connection.request_release()
    sent(connection)
    if pdu_type == 3:
        connection = Connection(Role.REQUESTOR)
        connection.associate(RQ)
        sent(connection)
    (event,) = give(connection, bytes((pdu_type, 0)) + length.to_bytes(4, "big"))
    assert isinstance(event, ev.ProtocolError)
    assert sent(connection) == pdus.encode(pdus.Abort(2, 6))


def test_a_second_request_inside_a_data_set_is_aborted():
    connection = acceptor()
    give(connection, pdata(1, 3, b"command") + pdata(1, 0, b"part"))
    (event,) = give(connection, pdus.encode(RQ))
    assert isinstance(event, ev.ProtocolError)
    assert event.reason is AbortReason.UNEXPECTED_PDU
    assert sent(connection) == pdus.encode(pdus.Abort(2, 2))


@pytest.mark.parametrize("cut", range(1, 30))
def test_nothing_is_heard_of_data_after_a_local_abort_but_the_peers_abort_is(cut: int):
    connection = acceptor()
    stream = pdata(1, 0, b"x" * 20)
    give(connection, stream[:cut])
    connection.abort()
    assert give(connection, stream[cut:] + stream) == []
    assert not connection.should_close
    give(connection, pdus.encode(pdus.Abort()))
    assert connection.should_close


def test_a_peer_with_a_maximum_too_small_to_work_with_is_refused():
    request = pdus.encode(pdus.AssociateRequest("B", "A", RQ.contexts, UserInformation(max_length=20)))
    connection = Connection(Role.ACCEPTOR)
    (event,) = give(connection, request)
    assert isinstance(event, ev.ProtocolError)
    connection = Connection(Role.REQUESTOR)
    connection.associate(RQ)
    answer = pdus.AssociateAccept("B", "A", AC.contexts, UserInformation(max_length=20))
    (event,) = give(connection, pdus.encode(answer))
    assert isinstance(event, ev.ProtocolError)


def test_answers_to_what_was_not_proposed_do_not_count():
    connection = Connection(Role.REQUESTOR)
    connection.associate(RQ)
    contexts = (AnsweredContext(1, 0, "1.2.3"), AnsweredContext(3, 3, ""), AnsweredContext(77, 0, EXPLICIT))
    give(connection, pdus.encode(pdus.AssociateAccept("", "", contexts)))
    assert connection.state is State.STA6
    assert connection.contexts == {}


# Sending data.


def sizes(connection: Connection) -> list[tuple[int, int, int]]:
    """(PDU length, PDV length, control) of what is sent; every PDU has one PDV."""
    data, found = sent(connection), []
    while data:
        length = int.from_bytes(data[2:6], "big")
        assert data[0] == 4
        found.append((length, int.from_bytes(data[6:10], "big"), data[11]))
        data = data[6 + length :]
    return found


def sender(peer_maximum: int, **limits: int) -> Connection:
    connection = Connection(Role.REQUESTOR, **limits)
    connection.associate(RQ)
    user = UserInformation(max_length=peer_maximum)
    give(connection, pdus.encode(pdus.AssociateAccept("", "", AC.contexts, user)))
    sent(connection)
    return connection


def test_fragments_fill_the_peers_maximum():
    connection = sender(1000)
    connection.send_pdata(1, False, b"x" * 2500, True)
    assert sizes(connection) == [(1000, 996, 0), (1000, 996, 0), (518, 514, 2)]
    connection.send_pdata(1, True, b"x" * 994, False)
    assert sizes(connection) == [(1000, 996, 1)]
    connection.send_message(1, b"c" * 100, [b"x" * 600, b"y" * 600])
    assert sizes(connection) == [(106, 102, 3), (1000, 996, 0), (212, 208, 2)]
    connection.send_pdata(1, False, b"", True)
    assert sizes(connection) == [(6, 2, 2)]
    connection.send_pdata(1, False, b"", False)
    connection.send_message(1, b"c" * 10, [b"", b""])
    assert sizes(connection) == [(16, 12, 3), (6, 2, 2)]


def test_fragments_of_an_odd_maximum_are_even():
    connection = sender(1001)
    connection.send_pdata(1, False, b"x" * 1200, True)
    assert sizes(connection) == [(1000, 996, 0), (212, 208, 2)]


def test_a_peer_without_a_maximum_gets_our_own():
    connection = sender(0, send_limit=5000)
    connection.send_pdata(1, False, b"x" * 6000, True)
    assert [length for length, _, _ in sizes(connection)] == [5000, 1012]
    connection = sender(0xFFFFFFFF, send_limit=5000)
    connection.send_pdata(1, False, b"x" * 6000, True)
    assert [length for length, _, _ in sizes(connection)] == [5000, 1012]


def test_payload_is_sent_without_a_copy():
    connection = sender(0)
    payload = bytearray(b"x" * 100_000)
    connection.send_message(1, b"command", [payload])
    buffers = connection.data_to_send()
    payload[:3] = b"new"
    assert b"".join(buffers)[-100_000:] == payload
    assert connection.data_to_send() == []


@given(st.lists(st.binary(max_size=700), max_size=5), st.integers(128, 400), st.booleans())
def test_any_pieces_arrive_whole(pieces: list[bytes], maximum: int, is_command: bool):
    left, right = sender(maximum), acceptor(max_length=maximum)
    for number, piece in enumerate(pieces):
        left.send_pdata(1, is_command, piece, number == len(pieces) - 1)
    left.send_message(3, b"end", pieces)
    got = whole(give(right, sent(left)))
    data = b"".join(pieces)
    assert got[: len(got) - 1 - bool(pieces)] == ([(1, is_command, True, data)] if pieces else [])
    assert got[-1 - bool(pieces)] == (3, True, True, b"end")
    if pieces:
        assert got[-1] == (3, False, True, data)


# The fast path does what the table does.

pdvs = st.tuples(st.sampled_from([1, 3, 5]), st.integers(0, 3), st.binary(max_size=30))
streams = st.lists(
    st.one_of(
        pdvs.map(lambda item: pdata(*item)),
        pdvs.map(lambda item: pdata(*item)),
        st.lists(pdvs, min_size=2, max_size=3).map(
            lambda items: (lambda body: b"\x04\x00" + len(body).to_bytes(4, "big") + body)(
                b"".join(pdata(*item)[6:] for item in items)
            )
        ),
        st.sampled_from([RELEASE_RQ, RELEASE_RP, pdus.encode(RQ), pdus.encode(pdus.Abort()), *BAD.values()]),
    ),
    max_size=8,
).map(b"".join)


def outcome(stream: bytes, seed: int) -> tuple[list[object], State, bytes]:
    connection = acceptor(max_length=4096)
    told: list[object] = []
    for chunk in chunked(stream, seed):
        for event in give(connection, chunk):
            if isinstance(event, ev.Pdv):
                told.append((event.context_id, event.is_command, event.is_last, bytes(event.data)))
            else:
                told.append((type(event), str(event) if isinstance(event, ev.ProtocolError) else ""))
    return told, connection.state, sent(connection)


@settings(max_examples=300)
@given(streams, st.integers(1, 50))
def test_the_fast_path_is_the_table(stream: bytes, seed: int):
    fast = outcome(stream, seed)
    usual = Framing._usual_pdata
    Framing._usual_pdata = lambda self, data, pos, end, events: pos
    try:
        slow = outcome(stream, seed)
    finally:
        Framing._usual_pdata = usual
    assert fast == slow
