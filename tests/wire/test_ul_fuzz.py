"""Whatever comes, a connection neither raises nor loops, and keeps little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hounsfield.wire.dimse.assembly import Assembler
from hounsfield.wire.dimse.messages import c_store_rq
from hounsfield.wire.ul import events as ev
from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.connection import Connection, Role
from hounsfield.wire.ul.states import State
from support_wire import (
    AC,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    acceptor,
    chunked,
    give,
    in_state,
    pdata,
    requestor,
    sent,
)

COMMAND = c_store_rq(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4").encode()
DIALOGUE = (
    pdus.encode(RQ)
    + pdata(1, 3, COMMAND)
    + pdata(1, 0, b"x" * 100)
    + pdata(1, 2, b"y" * 31)
    + pdata(1, 1, COMMAND[:20])
    + pdata(1, 3, COMMAND[20:])
    + pdata(1, 2, b"")
    + RELEASE_RQ
)


def feed(connection: Connection, chunks: list[bytes]) -> list[ev.Event]:
    """Play an acceptor that accepts all, with an assembler behind it, and check the bounds at each step."""
    heard: list[ev.Event] = []
    assembler = Assembler()
    for chunk in chunks:
        for event in give(connection, chunk):
            heard.append(event)
            if isinstance(event, ev.AssociateRequested) and connection.state is State.STA3:
                connection.accept(AC)
            elif isinstance(event, ev.ReleaseRequested) and connection.state is State.STA8:
                connection.accept_release()
            elif isinstance(event, ev.Pdv):
                assembler.feed(event)
        framing = connection._framing
        assert len(framing._partial) < 6
        assert len(framing._body) <= 1 << 20
        assert len(assembler._command) <= 64 * 1024
    assert len(sent(connection)) < 2000
    return heard


def test_the_dialogue_itself_is_understood():
    for seed in range(10):
        connection = Connection(Role.ACCEPTOR)
        # The answer has to be given before data comes: the request ends where a chunk ends.
        rq = len(pdus.encode(RQ))
        heard = feed(connection, chunked(DIALOGUE[:rq], seed) + chunked(DIALOGUE[rq:], seed))
        assert not any(isinstance(event, ev.ProtocolError) for event in heard)
        assert connection.state is State.STA13


@settings(max_examples=300)
@given(st.sampled_from(list(State)), st.binary(max_size=300), st.integers(0, 20))
def test_random_bytes_in_every_state(state: State, noise: bytes, seed: int):
    feed(in_state(state), chunked(noise, seed))


@settings(max_examples=300)
@given(st.data(), st.integers(0, 20))
def test_changed_dialogues(data: st.DataObject, seed: int):
    stream = bytearray(DIALOGUE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(stream) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "repeat", "insert"]))
        if change == "set":
            stream[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del stream[at : at + data.draw(st.integers(1, 20))]
        elif change == "repeat":
            stream[at:at] = stream[at : at + data.draw(st.integers(1, 200))]
        else:
            stream[at:at] = data.draw(st.binary(max_size=12))
        if not stream:
            return
    feed(Connection(Role.ACCEPTOR), chunked(bytes(stream), seed, 200))


@settings(max_examples=100)
@given(st.lists(st.sampled_from(range(1, 9)), max_size=12), st.integers(0, 9), st.booleans())
def test_any_order_of_pdus(kinds: list[int], seed: int, requesting: bool):
    samples = {
        1: pdus.encode(RQ),
        2: pdus.encode(AC),
        3: pdus.encode(pdus.AssociateReject(1, 1, 1)),
        4: pdata(1, 3, COMMAND),
        5: RELEASE_RQ,
        6: RELEASE_RP,
        7: pdus.encode(pdus.Abort()),
        8: b"\x08\x00\x00\x00\x00\x01x",
    }
    stream = b"".join(samples[kind] for kind in kinds)
    connection = requestor() if requesting else acceptor()
    feed(connection, chunked(stream, seed))


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 1000,
        b"\xff" * 1000,
        b"\x0bMSH|^~\\&|A|B\r\x1c\r",
    ],
)
@pytest.mark.parametrize("seed", [0, 3])
def test_what_is_not_dicom_is_aborted_at_once(noise: bytes, seed: int):
    connection = Connection(Role.ACCEPTOR)
    heard = feed(connection, chunked(noise, seed))
    assert [type(event) for event in heard] == [ev.ProtocolError]
    assert connection.state is State.STA13


def test_a_megabyte_of_tiny_pdvs_in_any_chunks():
    item = pdata(1, 0, b"")[6:]
    body = item * 20_000
    pdu = b"\x04\x00" + len(body).to_bytes(4, "big") + body
    for size in (1, 4096, len(pdu)):
        connection = acceptor()
        count = 0
        for start in range(0, len(pdu), size):
            count += len(give(connection, pdu[start : start + size]))
        assert count == 20_000
        assert connection.state is State.STA6


def test_the_work_for_a_buffer_grows_with_its_length_only():
    """Slices of the received buffer are the only copies: no chunk is ever joined to a longer one."""
    connection = acceptor(max_length=0)
    give(connection, b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xfb\x01\x00")
    dice = random.Random(1)
    for _ in range(2000):
        (event,) = give(connection, bytes(dice.randint(1, 5000)))
        assert event.data.obj is not None
    assert not connection._framing._body
    assert not connection._framing._partial
