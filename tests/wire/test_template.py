"""Templates of headers: what one matches, the header scan reads in the same way."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hounsfield.wire.dicomfile.errors import LimitError
from hounsfield.wire.dicomfile.header import read_header, texts_of
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.template import INSTANCE_TAGS, MAX_HEADER, Template, begin
from hounsfield.wire.dicomfile.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "nested_priv_SQ.dcm",
    "rtplan.dcm",
    "JPEG2000.dcm",
]
SYNTAXES = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE]


def made(syntax: str, number: int = 1, **more: object) -> bytes:
    """A data set of a series, whose objects differ as those of scanners do."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = f"1.2.3.{10**number}"
    ds.StudyDate, ds.ContentDate, ds.ContentTime = "20240601", "20240601", f"1200{number:02d}.5"
    ds.Modality = "CT"
    ds.PatientName, ds.PatientID = "Müller^Änne", "P1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ds.SliceLocation = str(-12.5 * number)
    ds.InstanceNumber = number
    item = Dataset()
    item.ReferencedSOPInstanceUID = f"1.2.9.{number}"
    ds.ReferencedImageSequence = [item]
    ds["ReferencedImageSequence"].is_undefined_length = bool(more.get("undefined"))
    ds.ImagePositionPatient = [1.5, number, 3]
    ds.Rows, ds.Columns, ds.BitsAllocated = 2, 2, 16
    request = Dataset()
    request.ScheduledProcedureStepID = str(more.get("step", "S1"))
    ds.RequestAttributesSequence = [request]
    ds.PixelData = bytes(8)
    ds["PixelData"].VR = "OW"
    for keyword, value in more.items():
        if keyword[0].isupper():
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer, ds, implicit_vr=syntax == IMPLICIT_LE, little_endian=syntax != EXPLICIT_BE, overwrite=True
    )
    return buffer.getvalue()


def learned(syntax: str, numbers: tuple[int, ...], **more: object) -> Template:
    found = begin(made(syntax, numbers[0], **more), syntax)
    for number in numbers[1:]:
        assert found is not None
        found = found.refined(made(syntax, number, **more))
    assert found is not None
    return found


def assert_read_alike(template: Template, data: bytes, syntax: str) -> bool:
    """Whether `data` matches; what it then has to agree with is the scan."""
    matched = template.match(data)
    if matched is None:
        return False
    found, rest = matched
    header = read_header(data, syntax)
    assert not header.handed_over
    assert header.rest == rest
    own = {tag: text for tag, text in header.values.items() if tag in INSTANCE_TAGS}
    assert texts_of(found, header.character_set, syntax) == own
    return True


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_series_is_learned_from_three_objects(syntax: str) -> None:
    template = learned(syntax, (1, 2, 3), undefined=True)
    for number in (4, 5, 6, 7):
        assert assert_read_alike(template, made(syntax, number, undefined=True), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "P2"},
        {"PatientName": "Müller^Anne"},
        {"SeriesInstanceUID": "1.2.3.5"},
        {"Rows": 3},
        {"StudyDate": "20240602"},
        {"AccessionNumber": "A1"},
        {"step": "S2"},
        {"SpecificCharacterSet": "ISO_IR 192"},
    ],
    ids=str,
)
def test_another_series_does_not_match(syntax: str, other: dict[str, object]) -> None:
    """Also where the bytes that differ are as many."""
    template = learned(syntax, (1, 2, 3), undefined=True)
    strange = made(syntax, 4, undefined=True, **other)
    assert template.match(strange) is None
    assert template.refined(strange) is None


@pytest.mark.parametrize("name", NAMES)
def test_real_headers(name: str) -> None:
    """A template of one object matches that object, and is of its end."""
    raw = (FOLDER / name).read_bytes()
    meta = read_meta(raw)
    data, syntax = raw[meta.meta_length :], meta.transfer_syntax_uid
    template = begin(data, syntax)
    if name == "nested_priv_SQ.dcm":  # it has no UIDs
        assert template is None
        return
    assert template is not None
    assert assert_read_alike(template, data, syntax)
    rest = template.match(data)
    assert rest is not None
    for cut in range(0, rest[1], 7):
        assert template.match(data[:cut]) is None


@given(
    syntax=st.sampled_from(SYNTAXES),
    number=st.integers(1, 8),
    undefined=st.booleans(),
    seed=st.integers(0, 2**32),
    changes=st.integers(1, 4),
)
@settings(max_examples=400, deadline=None)
def test_what_is_matched_is_read_alike(
    syntax: str, number: int, undefined: bool, seed: int, changes: int
) -> None:
    """Bytes are changed anywhere in the header: lengths, tags and VRs too."""
    template = learned(syntax, (1, 2, 3), undefined=undefined)
    data = bytearray(made(syntax, number, undefined=undefined))
    chance = random.Random(seed)
    for _ in range(changes):
        at = chance.randrange(len(data) - 20)
        data[at] = chance.choice((0, 1, 0xFF, 0x20, data[at] ^ 1, data[at] + 2 & 0xFF))
    assert_read_alike(template, bytes(data), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_too_long_for_the_scan_does_not_match(syntax: str) -> None:
    """What is acknowledged has to be readable when the log is replayed. Long it can be where the length has
    32 bits: as UN, and in implicit VR."""
    order = "<>"[syntax == EXPLICIT_BE]

    def with_number(number: int, text: bytes) -> bytes:
        data = made(syntax, number)
        begins = data.index(struct.pack(order + "HH", 0x0020, 0x0013))
        ends = data.index(struct.pack(order + "HH", 0x0020, 0x0032))
        head = struct.pack(order + "HH", 0x0020, 0x0013) + (b"" if syntax == IMPLICIT_LE else b"UN\0\0")
        return data[:begins] + head + struct.pack(order + "I", len(text)) + text + data[ends:]

    template = begin(with_number(1, b"1 "), syntax)
    assert template is not None
    template = template.refined(with_number(2, b"20"))
    assert template is not None
    assert template.match(with_number(3, b"3" * 65536)) is not None
    assert template.match(with_number(4, b"4" * 65538)) is None
    with pytest.raises(LimitError):
        read_header(with_number(4, b"4" * 65538), syntax)


def test_no_template_where_none_can_be() -> None:
    data = made(EXPLICIT_LE)
    assert begin(data, DEFLATED_LE) is None
    assert begin(data[:100], EXPLICIT_LE) is None
    assert begin(b"", EXPLICIT_LE) is None
    long = made(EXPLICIT_LE, ImageComments="x" * 10000, DerivationDescription="y" * 1000, undefined=True)
    assert begin(long, EXPLICIT_LE) is not None
    assert begin(made(EXPLICIT_LE, AcquisitionComments="z" * MAX_HEADER), EXPLICIT_LE) is None


def test_elements_that_come_and_go_are_another_header() -> None:
    template = learned(EXPLICIT_LE, (1, 2, 3))
    assert template.refined(made(EXPLICIT_LE, 4, KVP="120")) is None
