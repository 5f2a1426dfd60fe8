"""Command sets: bytes, constructors, and what is refused."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import encode as oracle_encode

from hounsfield.wire.dimse import fields as f
from hounsfield.wire.dimse import messages as m
from hounsfield.wire.dimse.command import (
    MAX_COMMAND_LENGTH,
    Command,
    CommandError,
    decode_command,
    encode_command,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
STORE = m.c_store_rq(
    7, CT, "1.2.3.4", priority=f.PRIORITY_HIGH, move_originator_ae="OTHER", move_originator_id=9
)
FIND = m.c_find_rq(1, "1.2.840.10008.5.1.4.1.2.2.1")
MOVE = m.c_move_rq(2, "1.2.840.10008.5.1.4.1.2.2.2", "WORKSTATION")
GET = m.c_get_rq(3, "1.2.840.10008.5.1.4.1.2.2.3")
ECHO = m.c_echo_rq(4)
ACTION = m.n_action_rq(5, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 1)
EVENT = m.n_event_report_rq(6, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 2)
CREATE = m.n_create_rq(8, "1.2.840.10008.3.1.2.3.3", "1.2.3")
SET = m.n_set_rq(9, "1.2.840.10008.3.1.2.3.3", "1.2.3")
N_GET = m.n_get_rq(10, "1.2.840.10008.3.1.2.3.3", "1.2.3", (0x00100010, 0x0040A730))
DELETE = m.n_delete_rq(11, "1.2.3.4.5", "1.2.3")
REQUESTS = [STORE, FIND, MOVE, GET, ECHO, ACTION, EVENT, CREATE, SET, N_GET, DELETE, m.c_cancel_rq(2)]
RESPONSES = [
    m.c_echo_rsp(ECHO),
    m.c_store_rsp(STORE, 0xA700, "Disk is full", offending=(0x00080018,)),
    m.c_find_rsp(FIND, 0xFF00, has_data_set=True),
    m.c_find_rsp(FIND),
    m.c_get_rsp(GET, 0xFF00, remaining=3, completed=2, failed=1, warning=0),
    m.c_move_rsp(MOVE, 0xB000, "Some failed", completed=2, failed=1, warning=0, has_data_set=True),
    m.n_action_rsp(ACTION, 0x0112, "No such instance", error_id=3),
    m.n_event_report_rsp(EVENT),
    m.n_create_rsp(CREATE, has_data_set=True),
    m.n_create_rsp(m.n_create_rq(1, "1.2.3"), sop_instance_uid="1.2.3.4"),
    m.n_set_rsp(SET),
    m.n_get_rsp(N_GET, has_data_set=True),
    m.n_delete_rsp(DELETE),
]


def element(tag: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, tag, len(value)) + value


def us(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


def test_golden_bytes_of_an_echo():
    assert m.c_echo_rq(1).encode().hex() == (
        "00000000 04000000 38000000"
        "00000200 12000000 312e322e3834302e31303030382e312e3100"
        "00000001 02000000 3000"
        "00001001 02000000 0100"
        "00000008 02000000 0101"
    ).replace(" ", "")


@pytest.mark.parametrize("command", REQUESTS + RESPONSES, ids=lambda command: command.name)
def test_pydicom_reads_and_pynetdicom_writes_the_same_bytes(command: Command):
    encoded = command.encode()
    data_set = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert data_set[0x00000000].value == len(encoded) - 12
    assert data_set[0x00000100].value == command.field
    assert oracle_encode(data_set, True, True) == encoded
    assert ImplicitVRLittleEndian.is_implicit_VR
    assert decode_command(encoded) == command
    assert decode_command(memoryview(encoded)).values == command.values


def test_what_the_requests_say():
    assert (STORE.field, STORE.message_id, STORE.priority, STORE.has_data_set) == (1, 7, 1, True)
    assert (STORE.affected_sop_class_uid, STORE.affected_sop_instance_uid) == (CT, "1.2.3.4")
    assert (STORE.move_originator_ae, STORE.move_originator_id) == ("OTHER", 9)
    assert STORE.values[f.AFFECTED_SOP_CLASS_UID].endswith(b"\0")
    assert STORE.values[f.MOVE_ORIGINATOR_AE] == b"OTHER "
    assert (MOVE.move_destination, MOVE.name) == ("WORKSTATION", "C-MOVE-RQ")
    assert (ACTION.action_type, ACTION.requested_sop_instance_uid) == (1, "1.2.840.10008.1.20.1.1")
    assert EVENT.event_type == 2
    assert N_GET.attribute_identifiers == (0x00100010, 0x0040A730)
    assert not ECHO.has_data_set
    cancel = m.c_cancel_rq(77)
    assert (cancel.field, cancel.message_id_responded_to, cancel.has_data_set) == (0x0FFF, 77, False)
    plain = m.c_store_rq(1, CT, "1.2")
    assert plain.move_originator_id is None
    assert plain.move_originator_ae == ""


@pytest.mark.parametrize("response", RESPONSES, ids=lambda command: command.name)
def test_responses_answer_their_requests(response: Command):
    assert response.is_response
    request = next(request for request in REQUESTS if request.field == response.field & 0x7FFF)
    assert response.affected_sop_class_uid in (
        request.affected_sop_class_uid or request.requested_sop_class_uid,
        "1.2.3",
    )
    assert response.message_id_responded_to in (request.message_id, 1)


def test_what_the_responses_say():
    store = RESPONSES[1]
    assert (store.status, store.error_comment, store.offending_element) == (
        0xA700,
        "Disk is full",
        (0x00080018,),
    )
    assert store.affected_sop_instance_uid == "1.2.3.4"
    get = RESPONSES[4]
    assert (get.remaining, get.completed, get.failed, get.warning) == (3, 2, 1, 0)
    assert RESPONSES[5].remaining is None
    assert m.c_move_rsp(MOVE, 0xFF00, remaining=70_000).remaining == 0xFFFF
    action = RESPONSES[6]
    assert (action.action_type, action.error_id) == (1, 3)
    assert action.affected_sop_instance_uid == "1.2.840.10008.1.20.1.1"
    assert RESPONSES[7].event_type == 2
    assert RESPONSES[9].affected_sop_instance_uid == "1.2.3.4"
    unknown = decode_command(us(0x0100, 0x0777) + us(0x0110, 5) + us(0x0800, 0x0101))
    answer = m.respond(unknown, 0x0211, "What is this")
    assert (answer.field, answer.message_id_responded_to, answer.status) == (0x8777, 5, 0x0211)


def test_comments_are_cut_and_cleaned():
    response = m.c_store_rsp(STORE, 0xC000, "é" * 10 + "back\\slash\n" + "x" * 100)
    assert len(response.error_comment) == 64
    assert response.error_comment.startswith("??????????back?slash?xxx")
    assert response.error_comment.endswith("...")
    assert m.c_store_rsp(STORE, 0xC000, "y" * 64).error_comment == "y" * 64
    assert len(m.c_store_rsp(STORE, 0xC000, "odd").values[f.ERROR_COMMENT]) == 4


def test_an_odd_uid_of_the_request_is_padded_in_the_response():
    raw = element(2, b"1.2") + us(0x0100, 1) + us(0x0110, 5) + us(0x0800, 0) + element(0x1000, b"1.2.3")
    response = m.c_store_rsp(decode_command(raw))
    assert response.values[f.AFFECTED_SOP_CLASS_UID] == b"1.2\0"
    assert response.values[f.AFFECTED_SOP_INSTANCE_UID] == b"1.2.3\0"


def test_order_group_length_and_padding_are_taken_as_they_come():
    raw = (
        us(0x0800, 0x0102)
        + element(0x1000, b"1.2.3 ")
        + us(0x0110, 5)
        + us(0x0100, 1)
        + element(0x0002, b"1.2\0\0\0")
        + element(0x0000, b"\xff\xff\xff\xff")
        + element(0x4444, b"what")
    )
    command = decode_command(raw)
    assert (command.affected_sop_class_uid, command.affected_sop_instance_uid) == ("1.2", "1.2.3")
    assert command.has_data_set
    assert command.missing() == []
    assert command.values[0x4444] == b"what"


def test_required_elements_that_are_missing_or_empty():
    command = decode_command(us(0x0100, 1) + us(0x0110, 5) + us(0x0800, 1) + element(2, b""))
    assert command.missing() == [0x0002, 0x1000]
    for request in REQUESTS:
        assert request.missing() == []


MINIMAL = us(0x0100, 1) + us(0x0110, 5) + us(0x0800, 1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "Command Field"),
        (us(0x0110, 5) + us(0x0800, 1), "Command Field"),
        (us(0x0100, 1) + us(0x0110, 5), "Data Set Type"),
        (us(0x0100, 1) + us(0x0800, 1), "Message ID"),
        (us(0x0100, 0x0FFF) + us(0x0110, 5) + us(0x0800, 0x0101), "Responded"),
        (us(0x0100, 0x8001) + us(0x0120, 5) + us(0x0800, 0x0101), "Status"),
        (us(0x0100, 0x8001) + us(0x0900, 0) + us(0x0800, 0x0101), "Responded"),
        (MINIMAL + struct.pack("<HHL", 0, 0x1000, 0xFFFFFFFF), "4294967295 bytes"),
        (MINIMAL + struct.pack("<HHL", 0, 0x1000, 5) + b"1.2", "5 bytes of 3"),
        (MINIMAL + b"\x00\x00\x00", "header"),
        (MINIMAL + element(0x0020, b"x", group=8), "group 0000"),
        (MINIMAL + us(0x0110, 6), "twice"),
        (element(0x0100, b"\x01\x00\x00\x00") + us(0x0110, 5) + us(0x0800, 1), "4 bytes"),
        (element(0x0100, b"") + us(0x0110, 5) + us(0x0800, 1), "0 bytes"),
        (MINIMAL + element(0x4444, bytes(MAX_COMMAND_LENGTH)), "allowed"),
    ],
)
def test_what_is_no_command_is_refused(raw: bytes, words: str):
    with pytest.raises(CommandError, match=words):
        decode_command(raw)


def touch_everything(command: Command) -> None:
    for name in dir(Command):
        if isinstance(getattr(Command, name), property):
            getattr(command, name)
    repr(command)
    command.missing()
    answer = m.respond(command, 0x0211, "no")
    assert decode_command(answer.encode()).field & 0x8000


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_refused(raw: bytes):
    for data in (raw, MINIMAL + raw):
        try:
            command = decode_command(data)
        except CommandError:
            continue
        touch_everything(command)


@given(st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=40), max_size=20))
def test_round_trip(values: dict[int, bytes]):
    for tag in f.US_TAGS & set(values):
        values[tag] = b"\1\2"
    values |= {f.COMMAND_FIELD: b"\1\0", f.MESSAGE_ID: b"\1\0", f.DATA_SET_TYPE: b"\1\1"}
    encoded = encode_command(values)
    command = decode_command(encoded)
    assert command.values == values
    assert command.encode() == encoded
    touch_everything(command)


def test_values_out_of_range_are_not_encoded():
    with pytest.raises(ValueError, match="0000,0110"):
        m.c_echo_rq(0x10000)
    with pytest.raises(ValueError, match="0000,0600"):
        Command.of({f.MOVE_DESTINATION: 5})


def test_every_field_has_a_constructor_and_a_name():
    built = {command.field for command in REQUESTS + RESPONSES}
    assert built == set(f.NAMES)
    assert decode_command(us(0x0100, 0x0777) + us(0x0110, 5) + us(0x0800, 0x0101)).name == "command 0777H"
