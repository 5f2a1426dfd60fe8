"""Parsing: truncated everywhere, lengths that never end, orders and encodings that are wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from hounsfield.wire.dicomfile.part10 import read_meta
from support_hostile import (
    CT,
    EXPLICIT,
    IMPLICIT,
    Raw,
    associate_rq,
    c_store,
    context,
    data_set,
    element,
    p_data,
    padded,
)
from support_hostile_objects import NEVER_ENDING, ODD
from support_server import Archive

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def raw(target: Archive) -> Iterator[Raw]:
    contexts = [
        context(3, CT, EXPLICIT),
        context(5, CT, IMPLICIT),
        context(7, MR, EXPLICIT),
        context(9, CT, "1.2.840.10008.1.2.2"),
        context(11, CT, "1.2.840.10008.1.2.4.90"),
    ]
    with Raw(target.port) as made:
        yield made.associate(associate_rq(contexts))


def boundaries(data: bytes) -> set[int]:
    """Where top-level elements of explicit VR begin: cut there, a data set is whole, if shorter."""
    found, at = set(), 0
    while at < len(data):
        found.add(at)
        vr = data[at + 4 : at + 6]
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            at += 12 + struct.unpack_from("<L", data, at + 8)[0]
        else:
            at += 8 + struct.unpack_from("<H", data, at + 6)[0]
    return found | {at}


def test_truncated_at_every_byte(target: Archive, raw: Raw) -> None:
    """Each length of a small image: refused with a reason, unless an element ends just there and all that an
    object needs is there."""
    uid = generate_uid()
    data = data_set(uid, pixels=bytes(range(16)))
    whole = boundaries(data)
    needed = data.index(element(0x0020000E, b"UI", padded("1.2.3.100.1")))
    needed = min(at for at in whole if at > needed)
    since = target.mark()
    for length in range(len(data)):
        status, comment = raw.store(uid, data[:length])
        if length in whole and length >= needed:
            assert status == 0, (length, comment)
        else:
            assert status == 0xC000 and comment, length
    target.event("instance.refused", since, sop=uid)


@pytest.mark.parametrize("name", ["MR_small.dcm", "693_J2KR.dcm", "MR_small_RLE.dcm", "CT_small.dcm"])
def test_real_images_truncated(target: Archive, name: str) -> None:
    """Cut anywhere within their pixel data."""
    data = Path(get_testdata_file(name)).read_bytes()
    meta = read_meta(data)
    body = data[meta.meta_length :]
    start = body.rindex(b"\xe0\x7f\x10\x00") + 12
    assert start < len(body) - 1000
    with Raw(target.port) as raw:
        raw.associate(associate_rq([context(3, meta.sop_class_uid, meta.transfer_syntax_uid)]))
        end = len(body.rstrip(b"\0")) - 200 if name == "CT_small.dcm" else len(body)
        for length in range(start, end, max((end - start) // 40, 1)):
            raw.send(p_data(3, 3, c_store(meta.sop_instance_uid, sop_class=meta.sop_class_uid)))
            raw.send_data(3, body[:length])
            status, comment = raw.answer()
            assert (status, "cut short" in comment) == (0xC000, True), (length, status, comment)
    assert target.instances(sop=[meta.sop_instance_uid]) == []


@pytest.mark.parametrize("what", NEVER_ENDING)
def test_undefined_lengths_that_never_end(target: Archive, raw: Raw, what: str) -> None:
    uid = generate_uid()
    place = "after" if what in ("request attributes", "pixel data", "fragment") else "before"
    pixels = None if place == "after" else bytes(8)
    data = data_set(uid, pixels=pixels, **{place: NEVER_ENDING[what]})  # type: ignore[arg-type]
    status, comment = raw.store(uid, data)
    assert status == 0xC000 and comment


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("number", [3, 5, 9])
def test_odd_data_sets(target: Archive, raw: Raw, what: str, number: int) -> None:
    """Explicit little endian data on contexts of explicit, implicit and big endian: stored as it came, or
    refused with a reason; and what was stored is found."""
    uid, since = generate_uid(), target.mark()
    data = ODD[what](uid)
    status, comment = raw.store(uid, data, context_id=number)
    if status == 0:
        assert target.data_set(uid) == data
    else:
        assert status in (0xC000, 0xA900) and comment
        assert target.event("instance.refused", since).payload["why"]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 100, 5000])
def test_noise_instead_of_an_object(target: Archive, raw: Raw, count: int) -> None:
    import random

    for number in (3, 5, 9, 11):
        noise = random.Random(count).randbytes(count)
        status, comment = raw.store(generate_uid(), noise, context_id=number)
        assert status == 0xC000 and comment


def test_what_says_another_uid_than_its_request(target: Archive, raw: Raw) -> None:
    uid, since = generate_uid(), target.mark()
    status, comment = raw.store(uid, data_set(generate_uid()))
    assert status == 0xA900 and "differ" in comment
    target.event("instance.refused", since, sop=uid, status="A900")
