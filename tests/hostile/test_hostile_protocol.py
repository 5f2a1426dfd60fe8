"""Protocol: bytes that are not DICOM, PDUs and commands where they do not belong, aborts at every step."""

from __future__ import annotations

import random
import struct

import pytest

from support_hostile import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    C_ECHO,
    C_FIND,
    COMMITMENT,
    CT,
    EXPLICIT,
    FIND,
    GET,
    P_DATA,
    RELEASE,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    VERIFICATION,
    Raw,
    associate_rq,
    c_store,
    cancel,
    command,
    context,
    data_set,
    element,
    identifier,
    item,
    p_data,
    pdu,
    pdv,
    request,
)
from support_server import Archive, study, wait_for

NOISE = random.Random(7).randbytes(4096)
NOT_DICOM = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "MLLP": b"\x0bMSH|^~\\&|A|B|C|D\r\x1c\r",
    "zeros": bytes(1000),
    "noise": NOISE,
    "nothing": b"",
}


@pytest.mark.parametrize("kind", NOT_DICOM)
def test_bytes_that_are_not_dicom(target: Archive, kind: str) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.send(NOT_DICOM[kind])
        if kind == "nothing":
            raw.socket.close()
        else:
            assert raw.end() in ([ABORT], [])
    refused = target.event("connection.refused", since)
    assert refused.payload["address"] == "127.0.0.1" and refused.payload["why"]
    assert str(refused.payload["first"]) == NOT_DICOM[kind][:16].hex()


PDUS = {
    "associate-rq": RQ,
    "associate-ac": pdu(ASSOCIATE_AC, RQ[6:]),
    "associate-rj": pdu(ASSOCIATE_RJ, bytes((0, 1, 1, 1))),
    "p-data": p_data(1, 3, C_ECHO),
    "release-rq": RELEASE,
    "release-rp": pdu(RELEASE_RP, bytes(4)),
    "abort": pdu(ABORT, bytes(4)),
    "unknown": pdu(0x4F, bytes(10)),
    "empty p-data": pdu(P_DATA, b""),
    "release of the wrong length": pdu(RELEASE_RQ, bytes(40)),
}
#: What brings the archive into a state: Sta2 of a new connection, the others with an association.
STATES = {
    "Sta2": b"",
    "Sta6": b"",
    "Sta6, within a command": p_data(3, 1, c_store("1.2.3")[:20]),
    "Sta6, within a data set": p_data(3, 3, c_store("1.2.3")) + p_data(3, 0, bytes(100)),
    "Sta13": pdu(0x4F, b""),
    "after release": RELEASE,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", PDUS)
def test_any_pdu_in_any_state(target: Archive, state: str, what: str) -> None:
    """The connection ends or goes on in good order, for every PDU in every state."""
    since = target.mark()
    with Raw(target.port) as raw:
        if state != "Sta2":
            raw.associate()
        raw.send(STATES[state] + PDUS[what])
        if state == "Sta6" and what == "p-data":
            assert raw.answer() == (0, "")
            return
        if state == "Sta2" and what == "associate-rq":
            assert raw.read()[0] == ASSOCIATE_AC
            return
        kinds = raw.end()
        assert kinds[-1:] in ([ABORT], [RELEASE_RP], []), kinds
    if state != "Sta2":
        target.event("association.ended", since)
    else:
        target.event("connection.refused", since)


def test_a_connection_is_closed_by_artim_where_the_peer_does_not(target: Archive) -> None:
    with Raw(target.port) as raw:
        raw.associate().send(PDUS["unknown"])
        assert raw.closed()


def test_a_request_within_a_data_set_ends_the_association(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 3, c_store("1.2.3.4")), p_data(3, 0, bytes(1000)), RQ)
        assert raw.end() == [ABORT]
    assert target.event("association.ended", since).payload["how"] == "aborted-by-us"


CONTEXT_IDS = {
    "even": ([(2, CT), (1, VERIFICATION)], {1}),
    "zero": ([(0, CT), (1, VERIFICATION)], {1}),
    "twice": ([(3, CT), (3, VERIFICATION), (1, VERIFICATION)], {1}),
    "unordered": ([(9, CT), (5, VERIFICATION), (7, FIND)], {5, 7, 9}),
}


@pytest.mark.parametrize("kind", CONTEXT_IDS)
def test_context_ids(target: Archive, kind: str) -> None:
    proposed, accepted = CONTEXT_IDS[kind]
    since = target.mark()
    with Raw(target.port) as raw:
        raw.send(associate_rq([context(n, c, EXPLICIT) for n, c in proposed]))
        pdu_type, _ = raw.read()
        assert pdu_type == ASSOCIATE_AC
        told = target.event("association.accepted", since)
        assert {c[0] for c in told.payload["contexts"]} == accepted
        number = next(n for n in accepted if (n, VERIFICATION) in proposed)
        raw.send(p_data(number, 3, C_ECHO))
        assert raw.answer() == (0, "")


REQUESTS = {
    "no contexts": associate_rq([]),
    "no abstract syntax": associate_rq([item(0x20, bytes((1, 0, 0, 0)))]),
    "no transfer syntax": associate_rq([context(1, CT)]),
    "abstract syntax of 4 KiB": associate_rq([context(1, "1" * 4096, EXPLICIT)]),
    "another application context": associate_rq(application="1.2.3"),
    "another version": associate_rq(version=2),
    "blank titles": associate_rq(calling=b"", called=b""),
    "NUL in the title": associate_rq(calling=b"A\0../../x"),
    "bytes beyond ASCII in the title": associate_rq(calling=b"\xff\xfe\x80" * 5),
    "items cut short": pdu(ASSOCIATE_RQ, RQ[6:-7]),
    "user information of a tiny length": associate_rq(user=item(0x51, b"\0")),
    "a maximum length of 1": associate_rq(user=item(0x51, struct.pack(">L", 1))),
    "role selection cut short": associate_rq(user=item(0x54, b"\0\xff1.2")),
    "identity cut short": associate_rq(user=item(0x58, bytes((2, 1, 255, 255)))),
    "an unknown item": associate_rq([item(0x77, bytes(100)), context(1, CT, EXPLICIT)]),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_malformed_association_requests(target: Archive, kind: str) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.send(REQUESTS[kind])
        answer, _ = raw.read()
        assert answer in (ASSOCIATE_AC, ASSOCIATE_RJ, ABORT), answer
    told = wait_for(
        lambda: target.events(
            "association.accepted", "association.rejected", "connection.refused", since=since
        ),
        "no entry in the ledger",
    )
    expected = {ASSOCIATE_AC: "association.accepted", ASSOCIATE_RJ: "association.rejected"}
    if kind != "another version":  # answered by the upper layer alone
        assert told[0].type == expected.get(answer, "connection.refused")


NO_SUCH_COMMAND = {
    "no command field": command({0x0002: VERIFICATION, 0x0110: 1, 0x0800: 0x0101}),
    "no data set type": command({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 1}),
    "no message id": command({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0800: 0x0101}),
    "no SOP class": command({0x0100: 0x0001, 0x0110: 1, 0x0800: 0x0001}),
    "nothing": b"",
    "noise": NOISE[:200],
    "a length beyond the end": C_ECHO[:-6] + struct.pack("<L", 0xFFFFFFF0) + bytes(2),
    "a group length that is wrong": struct.pack("<HHLL", 0, 0, 4, 0xFFFF) + C_ECHO[12:],
    "elements of other groups": element(0x00080016, b"UI", b"1.2.3.4.") + C_ECHO,
    "a SOP class of 4 KiB": request(0x0030, "1" * 4096, data=False),
    "a command of 100 KiB": request(0x0030, VERIFICATION, data=False, e0000_0902="x" * 100_000),
    "C-ECHO with a data set": request(0x0030, VERIFICATION),
}


@pytest.mark.parametrize("kind", NO_SUCH_COMMAND)
def test_malformed_commands(target: Archive, kind: str) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate()
        sent = NO_SUCH_COMMAND[kind]
        for at in range(0, max(len(sent), 1), 16000):
            raw.send(p_data(1, 3 if at + 16000 >= len(sent) else 1, sent[at : at + 16000]))
        raw.send(RELEASE)
        kinds = raw.end()
    assert kinds and kinds[-1] in (ABORT, RELEASE_RP)
    ended = target.event("association.ended", since)
    if kinds[-1] == ABORT:
        assert ended.payload["how"] == "aborted-by-us" and ended.payload["why"]


UNKNOWN_FIELDS = (0x0000, 0x0010 + 1, 0x0100, 0x0150, 0x0777, 0x7FFF)


@pytest.mark.parametrize("field", UNKNOWN_FIELDS)
def test_unknown_command_fields(target: Archive, field: int) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(1, 3, request(field, VERIFICATION, data=False)))
        status, comment = raw.answer()
    assert status in (0x0211, -1)
    if status == 0x0211:
        assert comment
        target.event("message.refused", since, status="0211")
    else:
        assert target.event("association.ended", since).payload["how"] == "aborted-by-us"


def test_a_store_without_a_data_set(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 3, request(0x0001, CT, data=False, e0000_1000="1.2.3")))
        assert raw.answer() == (0xC000, "C-STORE without a data set")
    target.event("instance.refused", since, status="C000")


def test_a_data_set_where_a_command_should_be(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 2, data_set("1.2.3")))
        assert raw.end() == [ABORT]
    assert "data set" in str(target.event("association.ended", since).payload["why"])


def test_two_messages_through_each_other(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 3, c_store("1.2.3")), p_data(1, 3, C_ECHO))
        assert raw.end() == [ABORT]
    assert "within a message" in str(target.event("association.ended", since).payload["why"])


def test_answers_that_nobody_asked_for(target: Archive) -> None:
    """Their data sets pass by: 60 MiB of them leave no trace in memory."""
    answer = command({0x0100: 0x8020, 0x0120: 77, 0x0800: 1, 0x0900: 0xFF00})
    with Raw(target.port) as raw:
        raw.associate().send(p_data(5, 3, answer))
        raw.send_data(5, bytes(60 << 20), 60_000)
        raw.send(p_data(1, 3, C_ECHO))
        assert raw.answer() == (0, "")


def test_a_storm_of_cancels(target: Archive) -> None:
    with Raw(target.port) as raw:
        raw.associate()
        raw.send(b"".join(p_data(5, 3, cancel(n % 65536)) for n in range(20_000)))
        raw.send(p_data(5, 3, C_FIND), p_data(5, 2, identifier("STUDY", element(0x00100020, b"LO", b"NONE"))))
        raw.send(b"".join(p_data(5, 3, cancel(1)) for _ in range(1000)))
        assert raw.answer()[0] in (0, 0xFE00)
        raw.send(RELEASE)
        assert raw.end()[-1] == RELEASE_RP


def test_more_requests_at_once_than_were_agreed(target: Archive) -> None:
    since = target.mark()
    asked = b"".join(
        p_data(5, 3, request(0x0020, FIND, n))
        + p_data(5, 2, identifier("STUDY", element(0x0020000D, b"UI", b"")))
        for n in range(1, 3000)
    )
    with Raw(target.port) as raw:
        raw.associate().send(asked)
        kinds = raw.end()
    assert kinds[-1] == ABORT
    assert "more operations" in str(target.event("association.ended", since).payload["why"])


STEPS = {
    "after the association": b"",
    "within the command": p_data(3, 1, c_store("1.2.3.9")[:30]),
    "after the command": p_data(3, 3, c_store("1.2.3.9")),
    "within the data set": p_data(3, 3, c_store("1.2.3.9")) + p_data(3, 0, data_set("1.2.3.9")[:100]),
    "within a PDV": p_data(3, 3, c_store("1.2.3.9")) + p_data(3, 0, data_set("1.2.3.9"))[:60],
    "within a PDU header": p_data(3, 3, c_store("1.2.3.9")) + b"\4\0\0",
    "after a find": p_data(5, 3, C_FIND) + p_data(5, 2, identifier("STUDY", element(0x0020000D, b"UI", b""))),
    "within a find's identifier": p_data(5, 3, C_FIND) + p_data(5, 0, identifier("STUDY")),
    "after a get": p_data(7, 3, request(0x0010, GET))
    + p_data(7, 2, identifier("STUDY", element(0x0020000D, b"UI", b"1.2.3 "))),
}


@pytest.mark.parametrize("how", ["abort", "close", "reset", "release"])
@pytest.mark.parametrize("step", STEPS)
def test_the_end_at_every_step(target: Archive, step: str, how: str) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(STEPS[step])
        if how == "abort":
            raw.send(pdu(ABORT, bytes(4)))
        elif how == "release":
            raw.send(RELEASE)
            assert raw.end()[-1:] in ([RELEASE_RP], [ABORT])
        elif how == "reset":
            raw.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a reset at close
        raw.socket.close()
    ended = target.event("association.ended", since)
    assert ended.payload["objects"] == 0
    assert target.instances(sop=["1.2.3.9"]) == []


def test_a_commitment_that_is_noise(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate(associate_rq([context(1, COMMITMENT, EXPLICIT)]))
        asked = command(
            {
                0x0003: COMMITMENT,
                0x0100: 0x0130,
                0x0110: 1,
                0x0800: 1,
                0x1001: "1.2.840.10008.1.20.1.1",
                0x1008: 1,
            }
        )
        raw.send(p_data(1, 3, asked), p_data(1, 2, NOISE))
        status, comment = raw.answer()
    assert status == 0x0110 and "cannot be read" in comment
    target.event("message.refused", since, status="0110")


def test_the_archive_was_not_impressed(target: Archive) -> None:
    """After all of it, an ordinary store."""
    assert target.store(*study(2)) == [0, 0]
    assert pdv(1, 3, b"")  # keeps the helper honest: an empty PDV is two bytes long
