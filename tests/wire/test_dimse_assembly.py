"""Messages out of PDVs."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.wire.dimse import messages as m
from hounsfield.wire.dimse.assembly import (
    Assembler,
    AssemblyError,
    CommandReceived,
    DataEnd,
    DataPiece,
    Received,
)
from hounsfield.wire.ul.events import Pdv

CT = "1.2.840.10008.5.1.4.1.1.2"
STORE = m.c_store_rq(7, CT, "1.2.3.4")
ECHO = m.c_echo_rq(8)


def pdv(data: bytes, *, command: bool = False, last: bool = False, context: int = 1) -> Pdv:
    return Pdv(context, command, last, memoryview(data))


def play(assembler: Assembler, *pdvs: Pdv) -> list[object]:
    got: list[Received] = [received for one in pdvs for received in assembler.feed(one)]
    return [plain(received) for received in got]


def plain(received: Received) -> object:
    if isinstance(received, CommandReceived):
        return (received.context_id, received.command)
    if isinstance(received, DataPiece):
        return bytes(received.data)
    return "end" if isinstance(received, DataEnd) else f"error: {received}"


def test_messages_one_after_the_other():
    assembler = Assembler()
    got = play(
        assembler,
        pdv(ECHO.encode(), command=True, last=True, context=3),
        pdv(STORE.encode(), command=True, last=True),
        pdv(b"abc"),
        pdv(b""),
        pdv(b"def", last=True),
        pdv(STORE.encode(), command=True, last=True),
        pdv(b"", last=True),
        pdv(m.c_cancel_rq(7).encode(), command=True, last=True, context=5),
    )
    assert got == [(3, ECHO), (1, STORE), b"abc", b"def", "end", (1, STORE), "end", (5, m.c_cancel_rq(7))]
    assert assembler.between_messages


def test_between_messages_tells_where_a_message_is_open():
    assembler = Assembler()
    assert assembler.between_messages
    raw = STORE.encode()
    assembler.feed(pdv(raw[:5], command=True))
    assert not assembler.between_messages
    assembler.feed(pdv(raw[5:], command=True, last=True))
    assert not assembler.between_messages
    assembler.feed(pdv(b"", last=True))
    assert assembler.between_messages


@given(st.lists(st.integers(0, 120), max_size=6).map(sorted))
def test_a_command_in_any_pieces(cuts: list[int]):
    raw = STORE.encode()
    bounds = [0, *(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:stop] for start, stop in pairwise(bounds)]
    assembler = Assembler()
    pdvs = [pdv(piece, command=True, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    assert play(assembler, *pdvs) == [(1, STORE)]


def test_a_command_does_not_live_in_the_received_buffer():
    buffer = bytearray(STORE.encode())
    (received,) = Assembler().feed(Pdv(1, True, True, memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert isinstance(received, CommandReceived)
    assert received.command == STORE


def test_data_pieces_are_views():
    assembler = Assembler()
    assembler.feed(pdv(STORE.encode(), command=True, last=True))
    one = pdv(b"abc")
    (piece,) = assembler.feed(one)
    assert isinstance(piece, DataPiece)
    assert piece.data is one.data


OPEN = pdv(STORE.encode(), command=True, last=True)
NO_DATA = struct.pack("<HHLH", 0, 0x0800, 2, 0x0101)
ANNOUNCED = ECHO.encode().replace(NO_DATA, struct.pack("<HHLH", 0, 0x0800, 2, 1))


@pytest.mark.parametrize(
    ("before", "wrong", "words"),
    [
        ([], pdv(b"abc"), "where a command should be"),
        ([pdv(ECHO.encode(), command=True, last=True)], pdv(b"abc", last=True), "where a command should be"),
        ([OPEN], pdv(ECHO.encode(), command=True, last=True), "where the data set"),
        ([OPEN, pdv(b"abc")], pdv(ECHO.encode(), command=True, last=True), "where the data set"),
        ([OPEN], pdv(b"abc", context=3), "context 3 within a message of context 1"),
        ([pdv(b"", command=True)], pdv(b"", command=True, context=3), "context 3 within"),
        ([pdv(b"abc", command=True)], pdv(b"abc"), "where a command should be"),
        ([], pdv(b"nonsense", command=True, last=True), "claims|group 0000"),
        ([], pdv(b"", command=True, last=True), "Command Field"),
        ([], pdv(ANNOUNCED, command=True, last=True), "cannot have"),
        (
            [],
            pdv(STORE.encode() + struct.pack("<HHL", 0, 0x1030, 0xFFFFFFFF), command=True, last=True),
            "4294967295",
        ),
        ([pdv(bytes(60_000), command=True)], pdv(bytes(10_000), command=True), "65536"),
        ([], pdv(bytes(70_000), command=True, last=True), "65536"),
    ],
)
def test_what_makes_no_message(before: list[Pdv], wrong: Pdv, words: str):
    assembler = Assembler()
    play(assembler, *before)
    (error,) = assembler.feed(wrong)
    assert isinstance(error, AssemblyError)
    assert any(word in error.reason for word in words.split("|"))
    assert play(assembler, OPEN, pdv(b"abc"), pdv(b"", last=True)) == []


def test_a_command_that_never_ends_takes_64_kib_at_most():
    assembler = Assembler()
    errors = []
    for _ in range(1000):
        errors += assembler.feed(pdv(bytes(1000), command=True))
        assert len(assembler._command) <= 65536
    assert len(errors) == 1


def test_an_unknown_command_is_handed_on_with_its_data_set():
    unknown = m.Command.of({0x0100: 0x0777, 0x0110: 5, 0x0800: 1})
    got = play(Assembler(), pdv(unknown.encode(), command=True, last=True), pdv(b"abc", last=True))
    assert got == [(1, unknown), b"abc", "end"]


def test_a_request_without_its_data_set_is_handed_on():
    bare = m.Command.of({0x0002: CT, 0x0100: 1, 0x0110: 5, 0x0800: 0x0101, 0x1000: "1.2"})
    assert play(Assembler(), pdv(bare.encode(), command=True, last=True), OPEN) == [(1, bare), (1, STORE)]


pieces = st.builds(
    Pdv,
    st.sampled_from([1, 1, 1, 3]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([b"", b"abc", STORE.encode(), ECHO.encode(), STORE.encode()[:9], STORE.encode()[9:]]).map(
        memoryview
    ),
)


@given(st.lists(pieces, max_size=12))
def test_any_pdvs_give_messages_in_order_and_at_most_one_error(pdvs: list[Pdv]):
    assembler = Assembler()
    got = [received for one in pdvs for received in assembler.feed(one)]
    errors = [received for received in got if isinstance(received, AssemblyError)]
    assert len(errors) <= 1
    assert not errors or got[-1] is errors[0]
    in_data = False
    for received in got:
        if isinstance(received, CommandReceived):
            assert not in_data
            in_data = received.command.has_data_set
        elif isinstance(received, DataPiece):
            assert in_data
            assert received.data
        elif isinstance(received, DataEnd):
            assert in_data
            in_data = False
