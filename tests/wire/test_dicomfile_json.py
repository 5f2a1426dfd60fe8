"""The DICOM JSON Model: what pydicom writes for its own files and the samples, and what PS3.18 F adds."""

from __future__ import annotations

import io
import json
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from hounsfield.wire.dicomfile.elements import encode
from hounsfield.wire.dicomfile.errors import MalformedError, TruncatedError
from hounsfield.wire.dicomfile.json_model import data_set_json
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from support_dicomfile import normal_json, oracle, pydicom_files, sample_files

#: Cut short within a sequence, or not DICOM: refused, where pydicom gives what it has.
REFUSED = {"rtplan_truncated.dcm", "README", "no_meta.dcm", "DICOMDIR-nooffset"}


def check(path: Path) -> None:
    data = path.read_bytes()
    if path.name in REFUSED:
        with pytest.raises(MalformedError):
            meta = read_meta(data)
            data_set_json(data[meta.meta_length :], meta.transfer_syntax_uid)
        return
    meta = read_meta(data)
    ours = json.loads(data_set_json(data[meta.meta_length :], meta.transfer_syntax_uid, max_inline=1 << 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # where pixels are cut short, pydicom has nothing but for a reader that stops before them
        read = pydicom.dcmread(io.BytesIO(data), force=True) or oracle(data)
        for tag in [tag for tag in read.keys() if tag.group == 0x7FE0]:  # noqa: SIM118
            del read[tag]
        theirs = json.loads(json.dumps(read.to_json_dict(suppress_invalid_tags=True)))
    ours, theirs = normal_json(ours), normal_json(theirs)
    for key in ours.keys() - theirs.keys():  # values that pydicom refuses to convert and leaves out
        assert int(key, 16) in read
        del ours[key]
    assert ours == theirs


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda path: path.name)
def test_agrees_with_pydicom_on_its_own_files(path: Path) -> None:
    check(path)


@pytest.mark.samples
@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_agrees_with_pydicom_on_the_samples(path: Path) -> None:
    check(path)


def model(*items: tuple[int, str, Any], **options: Any) -> dict[str, Any]:
    return json.loads(data_set_json(encode(items, explicit=True), EXPLICIT_LE, **options))


def test_values_by_kind_of_vr() -> None:
    assert model(
        (0x00080005, "CS", b"ISO_IR 100"),
        (0x00100010, "PN", b"M\xfcller^A=I"),
        (0x00081030, "LO", b"a\\\\b"),
        (0x00100021, "LO", b""),
        (0x00180050, "DS", b"1.50\\+.5\\x"),
        (0x00200013, "IS", b"007"),
        (0x00280009, "AT", b"\x18\0\x63\x10"),
        (0x00280010, "US", b"\1\0\2\0"),
        (0x00189073, "FD", struct.pack("<d", 0.25)),
        (0x00189087, "FD", struct.pack("<d", math.inf)),
        (0x00091001, "OB", b"\1\2"),
        (0x00081115, "SQ", [[(0x0020000E, "UI", b"1.2")], []]),
        (0x00081140, "SQ", []),
    ) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00081030": {"vr": "LO", "Value": ["a", None, "b"]},
        "00081115": {"vr": "SQ", "Value": [{"0020000E": {"vr": "UI", "Value": ["1.2"]}}, {}]},
        "00081140": {"vr": "SQ"},
        "00091001": {"vr": "OB", "InlineBinary": "AQI="},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^A", "Ideographic": "I"}]},
        "00100021": {"vr": "LO"},
        "00180050": {"vr": "DS", "Value": [1.5, 0.5, "x"]},
        "00189073": {"vr": "FD", "Value": [0.25]},
        "00189087": {"vr": "FD", "Value": ["Infinity"]},
        "00200013": {"vr": "IS", "Value": [7]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [1, 2]},
    }


@pytest.mark.parametrize("text", [b"NaN", b"inf", b"1_000", b"1e999", b"--1", b"0x10"])
def test_decimal_strings_that_are_no_json_numbers_stay_strings(text: bytes) -> None:
    raw = data_set_json(
        encode([(0x00180050, "DS", text), (0x00200013, "IS", text)], explicit=True), EXPLICIT_LE
    )
    read = json.loads(raw, parse_constant=pytest.fail)
    assert read["00180050"]["Value"] == [text.decode()]
    assert read["00200013"]["Value"] == [text.decode()]


def test_control_characters_and_quotes_are_escaped() -> None:
    assert model((0x00204000, "LT", b'a"b\\c\r\n\x01'))["00204000"]["Value"] == ['a"b\\c\r\n\x01']


def test_large_values_become_bulk_data() -> None:
    icon = [(0x7FE00010, "OW", bytes(2000)), (0x00091002, "OB", bytes(1024))]
    read = model(
        (0x00091001, "OB", bytes(1026)),
        (0x00283006, "US", bytes(2000)),
        (0x00880200, "SQ", [icon]),
        (0x7FE00010, "OW", bytes(2000)),
        (0x00091003, "UT", b"x" * 5000),
        bulk_uri=lambda path: "bulk/" + path,
    )
    assert read["00091001"] == {"vr": "OB", "BulkDataURI": "bulk/00091001"}
    assert read["00283006"] == {"vr": "US", "BulkDataURI": "bulk/00283006"}
    assert read["00880200"]["Value"][0]["7FE00010"]["BulkDataURI"] == "bulk/00880200/1/7FE00010"
    assert "InlineBinary" in read["00880200"]["Value"][0]["00091002"]
    assert read["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    assert read["00091003"]["Value"] == ["x" * 5000]
    assert model((0x7FE00010, "OW", bytes(2000)))["7FE00010"] == {"vr": "OW"}


def test_encapsulated_pixels_and_what_follows() -> None:
    fragments = b"\xfe\xff\0\xe0\0\0\0\0" + b"\xfe\xff\0\xe0\2\0\0\0\1\2" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + fragments
    data = encode([(0x00080060, "CS", b"CT")], explicit=True) + pixels + b"\xfa\xff\xfa\xffSQ\0\0\0\0\0\0"
    uri = "x:"
    read = json.loads(data_set_json(data, EXPLICIT_LE, lambda path: uri + path))
    assert read["7FE00010"] == {"vr": "OB", "BulkDataURI": "x:7FE00010"}
    assert read["FFFAFFFA"] == {"vr": "SQ"}
    cut = json.loads(data_set_json(data[:40], EXPLICIT_LE, lambda path: uri + path))
    assert cut["7FE00010"]["BulkDataURI"] == "x:7FE00010"


def test_truncated_before_the_pixels_is_refused() -> None:
    data = encode([(0x00080060, "CS", b"CT"), (0x00100010, "PN", b"A^B ")], explicit=True)
    with pytest.raises(TruncatedError):
        data_set_json(data[:-1], EXPLICIT_LE)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_choice_of_vrs_follows_pixel_representation(explicit: bool, signed: int) -> None:
    items = [(0x00280103, "US", bytes([signed, 0])), (0x00280106, "SS" if signed else "US", b"\xff\xff")]
    read = json.loads(
        data_set_json(encode(items, explicit=explicit), EXPLICIT_LE if explicit else IMPLICIT_LE)
    )
    assert read["00280106"] == ({"vr": "SS", "Value": [-1]} if signed else {"vr": "US", "Value": [65535]})


def test_big_endian() -> None:
    data = encode([(0x00280010, "US", b"\1\2")], explicit=True, little_endian=False)
    assert json.loads(data_set_json(data, EXPLICIT_BE))["00280010"]["Value"] == [258]


def test_private_elements_of_unknown_vr_use_what_is_known_of_their_creator() -> None:
    items = [(0x00290010, "LO", b"SIEMENS CSA HEADER"), (0x00291008, "UN", b"IMAGE NUM 4 ")]
    assert model(*items)["00291008"] == {"vr": "CS", "Value": ["IMAGE NUM 4"]}
    assert model((0x00290010, "LO", b"NOBODY"), items[1])["00291008"]["vr"] == "UN"


def test_what_pydicom_has_to_read() -> None:
    """An element in implicit VR amid explicit ones, in a private group."""
    odd = struct.pack("<HHI", 0x0009, 0x0010, 2) + b"ab"
    data = encode([(0x00080005, "CS", b"ISO_IR 100")], explicit=True) + odd
    data += encode([(0x00100020, "LO", b"\xc4")], explicit=True)
    read = json.loads(data_set_json(data, EXPLICIT_LE))
    assert read["00080005"]["Value"] == ["ISO_IR 192"]
    assert read["00100020"]["Value"] == ["Ä"]
