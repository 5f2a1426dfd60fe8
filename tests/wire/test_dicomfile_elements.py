"""Small data sets as values: round trips with pydicom as the other side, and limits."""

from __future__ import annotations

import io
import struct

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hounsfield.wire.dicomfile.elements import Element, Limits, decode, encode
from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from support_dicomfile import as_bytes

ENCODINGS = [(True, True), (False, True), (True, False)]
TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\^="), max_size=16)


def identifier(draw: st.DrawFn) -> Dataset:
    step = Dataset()
    step.Modality = draw(TEXT)
    step.ScheduledStationAETitle = draw(TEXT)
    made = Dataset()
    made.QueryRetrieveLevel = draw(TEXT)
    made.PatientName = draw(TEXT)
    made.StudyInstanceUID = "1.2.3"
    made.Rows = draw(st.integers(0, 65535))
    made.ScheduledProcedureStepSequence = draw(st.sampled_from([[], [step], [step, Dataset()]]))
    made["ScheduledProcedureStepSequence"].is_undefined_length = draw(st.booleans())
    made.is_undefined_length_sequence_item = False
    step.is_undefined_length_sequence_item = draw(st.booleans())
    return made


IDENTIFIERS = st.composite(identifier)()


def same(ours: dict[int, Element], theirs: Dataset, little_endian: bool) -> None:
    assert list(ours) == [int(tag) for tag in theirs.keys()]  # noqa: SIM118  (keys are tags, values elements)
    for tag, element in ours.items():
        other = theirs[tag]
        assert element.vr == other.VR
        if isinstance(element.value, list):
            assert len(element.value) == len(other.value)
            for item, their_item in zip(element.value, other.value, strict=True):
                same(item, their_item, little_endian)
        elif element.vr == "US":
            assert struct.unpack("<H" if little_endian else ">H", element.value)[0] == other.value
        else:
            assert element.value.decode().rstrip(" \0") == str(other.value or "")


@pytest.mark.parametrize(("explicit", "little_endian"), ENCODINGS)
@settings(max_examples=80, deadline=None)
@given(IDENTIFIERS)
def test_we_read_what_pydicom_writes_and_the_reverse(
    explicit: bool, little_endian: bool, made: Dataset
) -> None:
    raw = as_bytes(made, implicit=not explicit, little_endian=little_endian)
    ours = decode(raw, explicit=explicit, little_endian=little_endian)
    same(ours, made, little_endian)
    triples = [(tag, element.vr, element.value) for tag, element in reversed(ours.items())]
    written = encode(triples, explicit=explicit, little_endian=little_endian)
    reread = pydicom.filereader.read_dataset(io.BytesIO(written), not explicit, little_endian)
    assert reread == made
    assert decode(written, explicit=explicit, little_endian=little_endian) == ours


def test_padding_by_vr() -> None:
    written = encode(
        [
            (0x00100020, "LO", b"A"),
            (0x0020000D, "UI", b"1"),
            (0x00091001, "OB", b"\1"),
            (0x00080018, "UI", b""),
        ],
        explicit=True,
    )
    assert {tag: element.value for tag, element in decode(written, explicit=True).items()} == {
        0x00080018: b"",
        0x00091001: b"\1\0",
        0x00100020: b"A ",
        0x0020000D: b"1\0",
    }


def test_items_as_triples() -> None:
    written = encode([(0x00081199, "SQ", [[(0x00081155, "UI", b"1.2")]])], explicit=False)
    assert decode(written, explicit=False)[0x00081199].value == [{0x00081155: Element("UI", b"1.2\0")}]


def test_a_value_too_long_for_its_vr() -> None:
    with pytest.raises(ValueError, match=r"0010,0020"):
        encode([(0x00100020, "LO", bytes(70000))], explicit=True)


def test_un_is_read_by_its_known_vr() -> None:
    item = b"\xfe\xff\0\xe0\x0c\0\0\0" + b"\x08\0\x55\x11\4\0\0\0" + b"1.2\0"
    un = struct.pack("<HH2sHI", 8, 0x1199, b"UN", 0, len(item)) + item
    assert decode(un, explicit=True)[0x00081199] == Element("SQ", [{0x00081155: Element("UI", b"1.2\0")}])


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = (
            encode([(0x00081199, "SQ", [])], explicit=False)[:4]
            + struct.pack("<I", len(data) + 8)
            + (b"\xfe\xff\0\xe0" + struct.pack("<I", len(data)) + data)
        )
    return data


def test_limits() -> None:
    assert decode(nested(16), explicit=False)
    with pytest.raises(LimitError, match="deep"):
        decode(nested(17), explicit=False)
    with pytest.raises(LimitError, match="bytes"):
        decode(bytes(101), explicit=False, limits=Limits(max_bytes=100))
    many = b"".join(struct.pack("<HHI", 9, i, 0) for i in range(5000))
    with pytest.raises(LimitError, match="elements"):
        decode(many, explicit=False)
    items = struct.pack("<HHI", 8, 0x1199, 8 * 5000) + b"\xfe\xff\0\xe0\0\0\0\0" * 5000
    with pytest.raises(LimitError, match="elements"):
        decode(items, explicit=False)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x08\0\x60\0CS\4\0CT", TruncatedError),
        (b"\x08\0\x60", TruncatedError),
        (b"\x08\0\x60\0ZZ\0\0", MalformedError),
        (struct.pack("<HH2sHI", 8, 0x1199, b"SQ", 0, 8) + bytes(8), MalformedError),
        (struct.pack("<HH2sHI", 8, 0x1199, b"SQ", 0, 0xFFFFFFFF), TruncatedError),
        (struct.pack("<HH2sHI", 9, 0x1199, b"OB", 0, 0xFFFFFFFF), MalformedError),
        (b"\xfe\xff\x0d\xe0\0\0\0\0", MalformedError),
    ],
)
def test_malformed(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(data, explicit=True)


def test_truncated_at_every_byte() -> None:
    step = [(0x00080060, "CS", b"CT"), (0x00400001, "AE", b"A")]
    whole = encode([(0x00400100, "SQ", [step, step]), (0x00100010, "PN", b"A^B")], explicit=True)
    full = decode(whole, explicit=True)
    for cut in range(len(whole)):
        try:
            part = decode(whole[:cut], explicit=True)
        except MalformedError:
            continue
        assert part.items() <= full.items()
