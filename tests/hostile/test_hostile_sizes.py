"""Size and bombs: what claims to be large, what becomes large, what is very many."""

from __future__ import annotations

import pytest
from pydicom.uid import generate_uid

from support_hostile import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    C_FIND,
    CT,
    DEFLATED,
    EXPLICIT,
    P_DATA,
    RELEASE_RQ,
    VERIFICATION,
    Raw,
    associate_rq,
    c_store,
    context,
    data_set,
    element,
    identifier,
    p_data,
    pdu,
    pdv,
)
from support_hostile_objects import BOMBS, deflated, empty_items, nested, tiny_elements
from support_server import MIB, Archive, wait_for

FOUR_GIB = 0xFFFFFFFF


@pytest.mark.parametrize("kind", [ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT, 0x99])
@pytest.mark.parametrize("associated", [False, True])
def test_pdus_of_4_gib(target: Archive, kind: int, associated: bool) -> None:
    with Raw(target.port) as raw:
        if associated:
            raw.associate()
        raw.send(pdu(kind, b"x" * 100_000, FOUR_GIB))
        assert raw.end()[-1:] in ([ABORT], [])


def test_a_pdv_of_4_gib(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(pdu(P_DATA, pdv(3, 3, b"x" * 100, FOUR_GIB)))
        assert raw.end() == [ABORT]
    assert "PDV" in str(target.event("association.ended", since).payload["why"])


def test_a_pdu_longer_than_we_said(target: Archive) -> None:
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 0, bytes(70_000)))
        assert raw.end() == [ABORT]


@pytest.mark.parametrize("number", [0x00080005, 0x00080020, 0x00100010, 0x00091001, 0x00400275, 0x7FE00010])
@pytest.mark.parametrize("vr", [b"OB", b"UN", b"SQ", b"UT"])
def test_elements_of_nearly_4_gib(target: Archive, number: int, vr: bytes) -> None:
    uid, since = generate_uid(), target.mark()
    place = "before" if number < 0x00100020 else "after"
    data = data_set(uid, **{place: element(number, vr, b"x" * 10, FOUR_GIB - 1)})  # type: ignore[arg-type]
    with Raw(target.port) as raw:
        status, comment = raw.associate().store(uid, data)
    assert status == 0xC000 and comment
    refused = target.event("instance.refused", since, sop=uid)
    assert refused.payload["status"] == "C000" and refused.payload["why"]
    assert target.instances(sop=[uid]) == []


@pytest.mark.parametrize("where", BOMBS)
def test_deflated_bombs(target: Archive, where: str) -> None:
    """300 MiB in 300 KiB: never inflated in memory; refused where the header hides behind it."""
    uid, since = generate_uid(), target.mark()
    with Raw(target.port) as raw:
        raw.associate(associate_rq([context(1, CT, DEFLATED)]))
        status, comment = raw.store(uid, deflated(BOMBS[where](uid)), context_id=1)
    if where == "in the header":
        assert status == 0xC000 and comment
        target.event("instance.refused", since, sop=uid)
    else:
        assert status == 0, "as it came: nobody inflates it here"


def test_a_deflated_stream_without_end(target: Archive) -> None:
    uid = generate_uid()
    whole = deflated(data_set(uid, pixels=bytes(range(256)) * 2000))
    with Raw(target.port) as raw:
        raw.associate(associate_rq([context(1, CT, DEFLATED)]))
        status, comment = raw.store(uid, whole[: len(whole) * 2 // 3], context_id=1)
    assert status == 0xC000 and "cut short" in comment


@pytest.mark.parametrize(
    "image",
    [
        {"rows": 65535, "columns": 65535, "pixels": None},
        {"rows": 65535, "columns": 65535, "frames": "2147483648", "pixels": bytes(8)},
        {"frames": "2147483648"},
        {"frames": "99999999999"},
        {"frames": "-1"},
    ],
    ids=str,
)
def test_images_larger_than_they_are(target: Archive, image: dict[str, object]) -> None:
    """Kept as they came: nothing is allocated for what a header claims; found and given back like others."""
    uid = generate_uid()
    data = data_set(uid, study=generate_uid(), series=generate_uid(), **image)  # type: ignore[arg-type]
    with Raw(target.port) as raw:
        assert raw.associate().store(uid, data)[0] == 0
    assert target.data_set(uid) == data
    kept = target.instances(sop=[uid])[0]
    (found,) = target.find(
        "IMAGE",
        StudyInstanceUID=kept.study_instance_uid,
        SeriesInstanceUID=kept.series_instance_uid,
        SOPInstanceUID="",
        Rows="",
        NumberOfFrames="",
    )
    assert found.SOPInstanceUID == uid


@pytest.mark.parametrize("ended", [True, False])
def test_nesting(target: Archive, ended: bool) -> None:
    uid, since = generate_uid(), target.mark()
    with Raw(target.port) as raw:
        raw.associate()
        status, comment = raw.store(uid, data_set(uid, before=nested(10_000, ended=ended)))
        assert status == 0xC000 and comment
        # behind the header it is nobody's business while all of it is there
        uid = generate_uid()
        status, comment = raw.store(uid, data_set(uid, after=element(0x00400275, b"SQ", b"")) + b"")
        assert status == 0
    target.event("instance.refused", since, status="C000")


def test_nesting_in_an_identifier(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(5, 3, C_FIND))
        raw.send_data(5, identifier("STUDY", nested(10_000, ended=True)))
        status, comment = raw.answer()
    assert status == 0xC000 and "cannot be read" in comment
    target.event("message.refused", since, status="C000")


def test_a_million_tiny_elements(target: Archive) -> None:
    uid, since = generate_uid(), target.mark()
    with Raw(target.port) as raw:
        status, comment = raw.associate().store(uid, data_set(uid, before=tiny_elements()), pieces=60_000)
    assert status == 0xC000 and comment
    target.event("instance.refused", since, sop=uid)


def test_a_million_items(target: Archive) -> None:
    uid = generate_uid()
    with Raw(target.port) as raw:
        status, comment = raw.associate().store(uid, data_set(uid, before=empty_items()), pieces=60_000)
        assert status == 0xC000 and comment


def test_many_elements_in_an_identifier(target: Archive) -> None:
    many = b"".join(element(0x00090000 + n, b"LO", b"") for n in range(0x1000, 0xF000))
    with Raw(target.port) as raw:
        raw.associate().send(p_data(5, 3, C_FIND))
        raw.send_data(5, identifier("STUDY", many))
        status, comment = raw.answer()
    assert status == 0xC000 and comment


def test_an_identifier_of_100_mib(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate().send(p_data(5, 3, C_FIND))
        piece = p_data(5, 0, bytes(60_000))
        for _ in range(1700):
            raw.send(piece)
        assert raw.end()[-1:] in ([ABORT], [])
    assert "more than 1048576 bytes" in str(target.event("association.ended", since).payload["why"])


def test_thousands_of_contexts(target: Archive) -> None:
    contexts = [context(n % 256, f"1.2.3.{n}", EXPLICIT) for n in range(5000)]
    with Raw(target.port) as raw:
        raw.send(associate_rq([context(1, VERIFICATION, EXPLICIT), *contexts]))
        kind, _ = raw.read()
        assert kind in (ASSOCIATE_AC, ASSOCIATE_RJ, ABORT)


def test_a_context_with_thousands_of_syntaxes(target: Archive) -> None:
    since = target.mark()
    syntaxes = [f"1.2.3.{n}" for n in range(1500)]
    with Raw(target.port) as raw:
        raw.send(associate_rq([context(1, VERIFICATION, *syntaxes, EXPLICIT)]))
        kind, _ = raw.read()
    assert kind in (ASSOCIATE_AC, ABORT)
    target.event("association.accepted" if kind == ASSOCIATE_AC else "connection.refused", since)


def test_an_object_in_single_bytes(target: Archive) -> None:
    """Each byte a PDV of its own: what is kept of it takes no more memory than its bytes."""
    uid = generate_uid()
    data = data_set(uid, study=generate_uid(), series=generate_uid(), pixels=bytes(700_000))
    pieces = b"".join(
        p_data(3, 2 if at == len(data) - 1 else 0, data[at : at + 1]) for at in range(len(data))
    )
    with Raw(target.port) as raw:
        raw.associate().send(p_data(3, 3, c_store(uid)), pieces)
        assert raw.answer() == (0, "")
    assert target.data_set(uid) == data


def test_large_objects_side_by_side(target: Archive) -> None:
    """8 objects of 24 MiB at a time with a memory budget of 16 MiB: they go through files."""
    raws, uids = [Raw(target.port).associate() for _ in range(8)], [generate_uid() for _ in range(8)]
    body = bytes(60_000)
    whole = 24 * MIB // len(body)
    try:
        for raw, uid in zip(raws, uids, strict=True):
            head = data_set(uid, study=generate_uid(), series=generate_uid(), pixels=None)
            pixels = element(0x7FE00010, b"OW", b"", whole * len(body))
            raw.send(p_data(3, 3, c_store(uid)), p_data(3, 0, head + pixels))
        for number in range(whole):
            for raw in raws:
                raw.send(p_data(3, 2 if number == whole - 1 else 0, body))
        for raw in raws:
            assert raw.answer() == (0, "")
    finally:
        for raw in raws:
            raw.socket.close()
    wait_for(lambda: len(target.instances(sop=uids)) == 8, "not all are kept")


def test_many_finds_with_large_identifiers_side_by_side(target: Archive) -> None:
    """12 associations, each with identifiers of nearly 1 MiB that never end."""
    raws = [Raw(target.port).associate() for _ in range(12)]
    try:
        for raw in raws:
            raw.send(p_data(5, 3, C_FIND))
            raw.send(*(p_data(5, 0, bytes(60_000)) for _ in range(17)))
        assert target.echoes("WELL")
    finally:
        for raw in raws:
            raw.socket.close()
