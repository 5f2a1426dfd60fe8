"""The header scan says what pydicom says: of the files of its packages, of the samples, in every encoding."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.header import read_header
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
)
from support_dicomfile import as_bytes, expected_header, oracle, pydicom_files, sample_files

#: Not DICOM: text that begins with no element, and a file whose first bytes are damaged.
NO_DICOM = {"README", "no_meta.dcm"}
#: Complete and in order, and so read without pydicom's help. (Files of the packages without a Study
#: Instance UID, and the few below, are handed over.)
FILES = pydicom_files()


def check(path: Path) -> bool:
    data = path.read_bytes()
    if path.name in NO_DICOM:
        with pytest.raises(MalformedError):
            read_meta(data)
        return False
    meta = read_meta(data)
    header = read_header(memoryview(data)[meta.meta_length :], meta.transfer_syntax_uid)
    values, request = expected_header(oracle(data))
    assert header.values == values
    assert header.request == request
    return header.handed_over


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_agrees_with_pydicom_on_its_own_files(path: Path) -> None:
    check(path)


def test_few_files_need_pydicom() -> None:
    assert len(FILES) > 200
    handed_over = {path.name for path in FILES if check(path)}
    assert len(handed_over) <= 20, sorted(handed_over)


@pytest.mark.samples
@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_agrees_with_pydicom_on_the_samples(path: Path) -> None:
    assert not check(path), "handed over"


def one(character_set: str | list[str] | None = None, **texts: object) -> Dataset:
    data_set = Dataset()
    if character_set is not None:
        data_set.SpecificCharacterSet = character_set
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data_set.SOPInstanceUID = "1.2.3.4"
    data_set.StudyInstanceUID = "1.2.3"
    data_set.SeriesInstanceUID = "1.2.3.5"
    for keyword, value in texts.items():
        setattr(data_set, keyword, value)
    return data_set


ENCODINGS = [(IMPLICIT_LE, True, True), (EXPLICIT_LE, False, True), (EXPLICIT_BE, False, False)]
REPERTOIRE = st.text(
    st.one_of(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\^="),
        st.sampled_from("äößéÅñ ÆØ"),
    ),
    max_size=12,
)


@pytest.mark.parametrize(("syntax", "implicit", "little_endian"), ENCODINGS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_agrees_on_made_data_sets(
    syntax: str, implicit: bool, little_endian: bool, data: st.DataObject
) -> None:
    step, item = Dataset(), Dataset()
    step.CodeValue = "1"
    step.is_undefined_length_sequence_item = data.draw(st.booleans())
    item.ScheduledProcedureStepID = data.draw(REPERTOIRE)
    item.ScheduledProtocolCodeSequence = [step]
    item["ScheduledProtocolCodeSequence"].is_undefined_length = data.draw(st.booleans())
    item.RequestedProcedureID = data.draw(REPERTOIRE)
    item.is_undefined_length_sequence_item = data.draw(st.booleans())
    made = one(
        "ISO_IR 100",
        PatientName=data.draw(REPERTOIRE) + "^" + data.draw(REPERTOIRE),
        PatientID=data.draw(REPERTOIRE),
        StudyDescription=data.draw(REPERTOIRE),
        Rows=data.draw(st.integers(0, 65535)),
        InstanceNumber=data.draw(st.integers(-(2**31), 2**31 - 1)),
        NumberOfFrames=data.draw(st.integers(1, 9999)),
        ReferencedImageSequence=[step, step],
        RequestAttributesSequence=data.draw(st.sampled_from([[], [item], [item, step]])),
    )
    made["ReferencedImageSequence"].is_undefined_length = data.draw(st.booleans())
    made["RequestAttributesSequence"].is_undefined_length = data.draw(st.booleans())
    raw = as_bytes(made, implicit=implicit, little_endian=little_endian)
    header = read_header(raw, syntax)
    reread = pydicom.filereader.read_dataset(io.BytesIO(raw), implicit, little_endian)
    assert (header.values, header.request) == expected_header(reread)
    assert not header.handed_over


def test_deflated() -> None:
    raw = as_bytes(one(PatientID="A", Rows=7))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = read_header(packer.compress(raw) + packer.flush(), DEFLATED_LE)
    assert header.values[0x00100020] == "A"
    assert header.values[0x00280010] == "7"


def test_default_character_set_fills_in_only_where_none_is_named() -> None:
    raw = as_bytes(one(PatientID="A")).replace(b"LO\x02\x00A ", b"LO\x02\x00\xe1\xb2")
    assert read_header(raw, EXPLICIT_LE).values[0x00100020] == "á²"
    header = read_header(raw, EXPLICIT_LE, default_character_set="ISO_IR 144")
    assert header.values[0x00100020] == "сВ"
    assert header.character_set == "ISO_IR 144"
    named = as_bytes(one("ISO_IR 100", PatientID="A")).replace(b"LO\x02\x00A ", b"LO\x02\x00\xe1\xb2")
    header = read_header(named, EXPLICIT_LE, default_character_set="ISO_IR 144")
    assert header.values[0x00100020] == "á²"
    assert header.character_set == "ISO_IR 100"


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    if vr in (b"SQ", b"UN", b"OB", b"UT"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


UIDS = (
    element(0x00080016, b"UI", b"1.2 "),
    element(0x00080018, b"UI", b"1.23"),
    element(0x0020000D, b"UI", b"1.24"),
    element(0x0020000E, b"UI", b"1.25"),
)


def test_wrong_order_is_handed_over() -> None:
    late = element(0x00100010, b"PN", b"A^B ")
    header = read_header(b"".join(UIDS) + late + element(0x00280010, b"US", b"\1\0"), EXPLICIT_LE)
    assert header.handed_over
    assert header.values[0x00100010] == "A^B"
    assert header.values[0x00280010] == "1"


def test_keys_behind_a_late_group_are_found() -> None:
    early = element(0x00410011, b"LO", b"AB")
    header = read_header(UIDS[0] + UIDS[1] + early + UIDS[2] + UIDS[3], EXPLICIT_LE)
    assert header.handed_over
    assert header.values[0x0020000E] == "1.25"


def test_duplicates_count_as_pydicom_has_them() -> None:
    twice = element(0x00100020, b"LO", b"A ") + element(0x00100020, b"LO", b"B ")
    raw = UIDS[0] + UIDS[1] + twice + UIDS[2] + UIDS[3]
    assert read_header(raw, EXPLICIT_LE).values[0x00100020] == "B"


@pytest.mark.parametrize(("said", "implicit"), [(EXPLICIT_LE, True), (IMPLICIT_LE, False)])
def test_encoding_other_than_announced_is_recognised(said: str, implicit: bool) -> None:
    raw = as_bytes(one(PatientID="A", Rows=3), implicit=implicit)
    header = read_header(raw, said)
    assert header.handed_over
    assert header.values[0x00100020] == "A"
    assert header.values[0x00280010] == "3"


def test_unknown_vr_is_handed_over() -> None:
    odd = element(0x00090010, b"QQ", b"AB")
    header = read_header(UIDS[0] + UIDS[1] + odd + UIDS[2] + UIDS[3], EXPLICIT_LE)
    assert header.handed_over
    assert header.values[0x0020000D] == "1.24"


@pytest.mark.parametrize(
    ("vr", "raw", "text"),
    [
        (b"UN", b"\x05\0", "5"),  # read by its VR of PS3.6
        (b"UL", b"\x05\0\0\0", "5"),
        (b"IS", b"5 ", "5"),
        (b"US", b"\x05\0\x06\0", "5\\6"),
        (b"US", b"\x05\0\x06", None),  # no whole number of values
        (b"US", b"", None),
    ],
)
def test_wrong_vr_and_wrong_length_of_a_number(vr: bytes, raw: bytes, text: str | None) -> None:
    header = read_header(b"".join(UIDS) + element(0x00280010, vr, raw), EXPLICIT_LE)
    assert header.values.get(0x00280010) == text
    assert not header.handed_over


def test_odd_length_and_padding() -> None:
    odd = element(0x00081030, b"LO", b" a\\b  \\c\0\0") + element(0x00100020, b"LO", b" X")
    header = read_header(UIDS[0] + UIDS[1] + odd + UIDS[2] + UIDS[3], EXPLICIT_LE)
    assert header.values[0x00081030] == "a\\b\\c"
    assert header.values[0x00100020] == "X"


def test_un_of_undefined_length_holds_implicit_vr() -> None:
    inner = b"\x08\0\x50\x11\4\0\0\0" + b"1.2\0"  # (0008,1150), implicit VR
    item = b"\xfe\xff\0\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
    nested = b"\x09\0\x01\x10UN\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    header = read_header(UIDS[0] + UIDS[1] + nested + UIDS[2] + UIDS[3], EXPLICIT_LE)
    assert not header.handed_over
    assert header.values[0x0020000E] == "1.25"


def test_complete_says_whether_more_data_could_matter() -> None:
    raw = b"".join(UIDS)
    assert not read_header(raw, EXPLICIT_LE).complete
    assert read_header(raw + element(0x00410010, b"LO", b"A "), EXPLICIT_LE).complete
    assert read_header(raw + element(0x00400275, b"SQ", b""), EXPLICIT_LE).complete
    assert not read_header(raw, EXPLICIT_LE).has_pixels
    assert read_header(raw + element(0x00280100, b"US", b"\x10\0"), EXPLICIT_LE).has_pixels


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    assert read_header(kind(b"".join(UIDS)), EXPLICIT_LE).values[0x00080018] == "1.23"


def test_pydicom_is_not_loaded_for_what_is_in_order() -> None:
    """Its import takes longer than a thousand scans."""
    code = (
        "import sys; from hounsfield.wire.dicomfile import header, part10, elements, json_model;"
        "data = sys.stdin.buffer.read(); meta = part10.read_meta(data);"
        "header.read_header(data[meta.meta_length:], meta.transfer_syntax_uid);"
        "sys.exit('pydicom' in sys.modules)"
    )
    file = next(path for path in FILES if path.name == "CT_small.dcm")
    done = subprocess.run([sys.executable, "-c", code], input=file.read_bytes(), check=False)
    assert done.returncode == 0
