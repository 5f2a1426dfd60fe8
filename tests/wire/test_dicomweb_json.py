"""DICOM JSON to data sets: back and forth with the writer, pydicom as the judge, hostile input."""

from __future__ import annotations

import io
import json
import struct
from base64 import b64decode
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.json_model import data_set_json
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE
from hounsfield.wire.dicomweb.json_read import (
    Fragments,
    JsonError,
    JsonLimitError,
    Limits,
    encode_json,
    parse_json,
)
from support_dicomfile import pydicom_files, sample_files

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

REFUSED = {"rtplan_truncated.dcm", "README", "no_meta.dcm", "DICOMDIR-nooffset"}
ALL = 1 << 30  # every value inline


def encoded(model: dict[str, Any], bulk: Any = None) -> bytes:
    found = encode_json(parse_json(json.dumps(model).encode())[0], bulk)
    data = found.join()
    assert found.size == len(data)
    return data


def again(data: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(data_set_json(data, EXPLICIT_LE, max_inline=ALL))
    return read


def settled(model: dict[str, Any]) -> dict[str, Any]:
    """Without what is not kept: a character set that is replaced, group lengths, bytes of padding."""
    members = {}
    for key, member in model.items():
        if key in ("00080005", "FFFCFFFC") or key[:4] == "0002" or key[4:] == "0000":
            continue
        if "InlineBinary" in member:
            value = b64decode(member["InlineBinary"])
            member = {**member, "InlineBinary": value + bytes(len(value) % 2)}
        if member["vr"] == "SQ":
            member = {"vr": "SQ", "Value": [settled(item) for item in member.get("Value", [])]}
        members[key] = member
    return members


def check(path: Path) -> None:
    data = path.read_bytes()
    meta = read_meta(data)
    text = data_set_json(
        data[meta.meta_length :], meta.transfer_syntax_uid, lambda where: where, max_inline=ALL
    )
    found = encode_json(parse_json(text)[0], lambda uri: b"\1\2\3")
    data = found.join()
    assert found.size == len(data)
    expected = json.loads(text)
    for tag in [tag for tag, member in expected.items() if "BulkDataURI" in member]:
        expected[tag] = {"vr": expected[tag]["vr"], "InlineBinary": "AQIDAA=="}
    read = json.loads(data_set_json(data, EXPLICIT_LE, lambda where: where, max_inline=ALL))
    assert settled(read) == settled(expected)
    theirs = read_dataset(io.BytesIO(data), False, True)
    tags = {f"{tag:08X}" for tag in theirs._dict}  # its own iteration parses all values
    assert tags - {"00080005"} == settled(expected).keys()


@pytest.mark.parametrize(
    "path", [p for p in pydicom_files() if p.name not in REFUSED], ids=lambda path: path.name
)
def test_files_of_pydicom_come_back(path: Path) -> None:
    check(path)


@pytest.mark.samples
@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_samples_come_back(path: Path) -> None:
    check(path)


LETTERS = st.text(
    st.characters(codec="utf-8", exclude_characters='\\^=\0 "', exclude_categories=["Cc"]),
    min_size=1,
    max_size=8,
)
ASCII = st.text("ABCabc_019", min_size=1, max_size=12)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=4)


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


VALUES: dict[str, st.SearchStrategy[list[Any]]] = {
    "LO": several(LETTERS),
    "SH": several(LETTERS),
    "UC": several(LETTERS),
    "ST": LETTERS.map(lambda text: [text]),
    "LT": LETTERS.map(lambda text: [f"{text}\\{text}"]),
    "UT": LETTERS.map(lambda text: [text]),
    "UR": ASCII.map(lambda text: [text]),
    "CS": several(ASCII),
    "AE": several(ASCII),
    "UI": several(st.from_regex(r"[12](\.[1-9][0-9]{0,8}){1,5}", fullmatch=True)),
    "DA": several(st.dates().map(lambda day: day.strftime("%Y%m%d"))),
    "IS": several(signed(32)),
    "DS": several(st.integers(-(10**9), 10**9).map(lambda number: number / 1000)),
    "US": several(unsigned(16)),
    "SS": several(signed(16)),
    "UL": several(unsigned(32)),
    "SL": several(signed(32)),
    "UV": several(unsigned(64)),
    "SV": several(signed(64)),
    "FL": several(st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "FD": several(st.floats(allow_nan=False, allow_infinity=False)),
    "AT": several(unsigned(32).map(lambda tag: f"{tag:08X}")),
    "PN": several(
        st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), LETTERS, min_size=1)
    ),
}
MEMBERS = st.one_of(
    [values.map(lambda found, vr=vr: {"vr": vr, "Value": found}) for vr, values in VALUES.items()]
) | st.sampled_from(sorted(VALUES)).map(lambda vr: {"vr": vr})


def data_sets(members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    tags = st.integers(0x00091001, 0x000910FF).map(lambda tag: f"{tag:08X}")
    return st.dictionaries(tags, members, max_size=5)


NESTED = data_sets(
    st.recursive(
        MEMBERS,
        lambda inner: st.lists(data_sets(inner), min_size=1, max_size=2).map(
            lambda items: {"vr": "SQ", "Value": items}
        ),
        max_leaves=8,
    )
)


@given(NESTED)
@settings(UNHURRIED, max_examples=400)
def test_any_data_set_comes_back(model: dict[str, Any]) -> None:
    read = again(encoded(model))
    ascii_only = all(ord(c) < 128 for c in json.dumps(model, ensure_ascii=False))
    if not ascii_only:
        assert read.pop("00080005")["Value"] == ["ISO_IR 192"]
    assert "00080005" not in read
    assert read == model


def one(vr: str, *values: Any) -> bytes:
    """The value field of one element."""
    data = encoded({"00091001": {"vr": vr, "Value": list(values)}})
    element = next(iter(pydicom.dcmread(io.BytesIO(data), force=True).values()))
    assert isinstance(element, pydicom.dataelem.RawDataElement)
    assert vr == element.VR
    return element.value or b""


@pytest.mark.parametrize(
    ("vr", "values", "field"),
    [
        ("US", ["1", 2, "3.0"], struct.pack("<3H", 1, 2, 3)),
        ("IS", [5.0, "6", None, 7], b"5\\6\\\\7"),
        ("DS", [1.5, "2.50", None], b"1.5\\2.50\\ "),
        ("DS", [0.1234567890123456789], b"0.12345678901235"),
        ("DS", [-1.2345678901234567e-100], b"-1.23456789e-100"),
        ("FD", ["NaN"], struct.pack("<d", float("nan"))),
        ("FL", ["-Infinity", 1], struct.pack("<2f", float("-inf"), 1)),
        ("AT", ["00080020", "7fe00010"], bytes.fromhex("0800 2000 e07f 1000")),
        ("UI", ["1.2"], b"1.2\0"),
        ("LO", ["a", None, "b"], b"a\\\\b"),
        ("LO", [None], b""),
        ("US", [None], b""),
        ("SV", ["-9223372036854775808"], struct.pack("<q", -(1 << 63))),
        ("PN", [{"Alphabetic": "A^B", "Phonetic": "P"}, None, "C^D"], b"A^B==P\\\\C^D "),
        ("PN", [{"Ideographic": "x", "Alphabetic": None}], b"=x"),
    ],
    ids=str,
)
def test_values_and_padding(vr: str, values: list[Any], field: bytes) -> None:
    assert one(vr, *values) == field


def test_file_meta_group_lengths_and_order() -> None:
    model = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Ä"}]},
        "00080000": {"vr": "UL", "Value": [5]},
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]},
        "00020000": {"vr": "UL", "Value": [5]},
        "0008103e": {"vr": "LO", "Value": ["x"]},
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00400275": {
            "vr": "SQ",
            "Value": [
                {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00400007": {"vr": "LO", "Value": ["ß"]}},
                None,
            ],
        },
    }
    found = encode_json(parse_json(json.dumps(model).encode())[0])
    assert found.meta == {0x00020010: "1.2.840.10008.1.2.1"}
    read = pydicom.dcmread(io.BytesIO(found.join()), force=True)
    assert [int(tag) for tag in read.keys()] == [0x00080005, 0x0008103E, 0x00100010, 0x00400275]  # noqa: SIM118
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert str(read.PatientName) == "Ä"
    assert len(read.RequestAttributesSequence) == 2
    assert "SpecificCharacterSet" not in read.RequestAttributesSequence[0]
    assert read.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "ß"


def test_a_declared_character_set_stays_where_all_is_ascii() -> None:
    model = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100020": {"vr": "LO", "Value": ["1"]}}
    assert pydicom.dcmread(io.BytesIO(encoded(model)), force=True).SpecificCharacterSet == "ISO_IR 100"


def test_a_missing_vr_is_that_of_the_dictionary() -> None:
    assert again(encoded({"00100020": {"Value": ["1"]}})) == {"00100020": {"vr": "LO", "Value": ["1"]}}


def test_text_longer_than_its_length_field_becomes_un() -> None:
    data = encoded({"30060050": {"vr": "DS", "Value": ["1.25"] * 20_000}})
    assert struct.unpack_from("<HH2sHI", data) == (0x3006, 0x0050, b"UN", 0, len(data) - 12)
    assert data[12:] == b"\\".join([b"1.25"] * 20_000) + b" "


def test_bulk_data_is_not_copied() -> None:
    pixels = memoryview(bytearray(1 << 20))
    model = {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00091001": {"vr": "OB", "BulkDataURI": "odd"},
        "7FE00010": {"vr": "OW", "BulkDataURI": "pixels"},
    }
    found = encode_json(model, {"odd": b"abc", "pixels": pixels}.get)
    assert any(piece is pixels for piece in found.pieces)
    data = found.join()
    assert found.size == len(data)
    read = pydicom.dcmread(io.BytesIO(data), force=True)
    assert read[0x00091001].value == b"abc\0"
    assert read.PixelData == bytes(pixels)


def test_frames_are_encapsulated() -> None:
    frames = [b"\xff\xd8one", b"\xff\xd8two!"]
    model = {"00280008": {"vr": "IS", "Value": [2]}, "7FE00010": {"vr": "OB", "BulkDataURI": "x"}}
    found = encode_json(model, lambda _: Fragments(frames))
    data = found.join()
    assert found.size == len(data)
    read = pydicom.dcmread(io.BytesIO(data), force=True)
    got = list(pydicom.encaps.generate_frames(read.PixelData, number_of_frames=2))
    assert got == [frames[0] + b"\0", frames[1]]


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ({"0010001": {"vr": "PN"}}, ""),
        ({"PatientName": {"vr": "PN"}}, ""),
        ({"00100010": {"vr": "XX"}}, "00100010"),
        ({"00100010": {"vr": 1}}, "00100010"),
        ({"00100010": []}, "00100010"),
        ({"00091001": {}}, "00091001"),
        ({"00100010": {"vr": "PN", "Value": "A"}}, "00100010"),
        ({"00100010": {"vr": "PN", "Value": [{"alphabetic": "A"}]}}, "00100010"),
        ({"00100010": {"vr": "PN", "Value": [["A"]]}}, "00100010"),
        ({"00100020": {"vr": "LO", "Value": [True]}}, "00100020"),
        ({"00100020": {"vr": "LO", "Value": [{}]}}, "00100020"),
        ({"00100020": {"vr": "LO", "Value": ["\ud800"]}}, "00100020"),
        ({"00080060": {"vr": "CS", "Value": ["山"]}}, "00080060"),
        ({"00081030": {"vr": "ST", "Value": ["a", "b"]}}, "00081030"),
        ({"00280010": {"vr": "US", "Value": [65536]}}, "00280010"),
        ({"00280010": {"vr": "US", "Value": [-1]}}, "00280010"),
        ({"00280010": {"vr": "US", "Value": [1.5]}}, "00280010"),
        ({"00280010": {"vr": "US", "Value": ["1" * 5000]}}, "00280010"),
        ({"00280010": {"vr": "US", "Value": [1, None]}}, "00280010"),
        ({"00091001": {"vr": "FD", "Value": ["1_0"]}}, "00091001"),
        ({"00091001": {"vr": "FL", "Value": [1e300]}}, "00091001"),
        ({"00091001": {"vr": "AT", "Value": ["0008"]}}, "00091001"),
        ({"00091001": {"vr": "OB", "Value": [1]}}, "00091001"),
        ({"00091001": {"vr": "OB", "InlineBinary": "*"}}, "00091001"),
        ({"00091001": {"vr": "OB", "InlineBinary": 1}}, "00091001"),
        ({"00091001": {"vr": "OB", "InlineBinary": "", "Value": []}}, "00091001"),
        ({"00091001": {"vr": "OB", "BulkDataURI": "x"}}, "00091001"),
        ({"00091001": {"vr": "OB", "BulkDataURI": ["x"]}}, "00091001"),
        ({"00400275": {"vr": "SQ", "InlineBinary": ""}}, "00400275"),
        ({"00400275": {"vr": "SQ", "Value": ["x"]}}, "00400275/1"),
        (
            {"00400275": {"vr": "SQ", "Value": [{}, {"00400009": {"vr": "SH", "Value": [[]]}}]}},
            "00400275/2/00400009",
        ),
        ({"00000002": {"vr": "UI"}}, ""),
        ({"FFFEE000": {"vr": "UN"}}, ""),
        ({"0008103e": {"vr": "LO"}, "0008103E": {"vr": "LO"}}, ""),
    ],
    ids=lambda found: ascii(found)[:50],
)
def test_what_is_no_dicom_json_is_refused_and_placed(model: dict[str, Any], where: str) -> None:
    with pytest.raises(JsonError) as raised:
        encoded(model)
    assert raised.value.path == where


@pytest.mark.parametrize(
    "text", [b"", b"[", b"1", b"[1]", b"\xff", b'{"a":1} x', b"nul", b'{"00100010":{"vr":"PN"}'], ids=str
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json(text)


def test_one_or_many_data_sets() -> None:
    assert parse_json(b"[]") == []
    assert parse_json(b'\xef\xbb\xbf{"00100020":{"vr":"LO"}}') == [{"00100020": {"vr": "LO"}}]
    assert len(parse_json(b"[{},{}]")) == 2


def test_bombs_are_refused() -> None:
    with pytest.raises(JsonLimitError):
        parse_json(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(JsonLimitError):
        parse_json(b"[" + b"{}," * 100 + b"{}]", Limits(max_values=150))
    with pytest.raises(JsonLimitError):
        parse_json(b" " * 101, Limits(max_bytes=100))
    model: dict[str, Any] = {}
    for _ in range(70):
        model = {"00400275": {"vr": "SQ", "Value": [model]}}
    with pytest.raises(JsonLimitError):
        encode_json(model)
    with pytest.raises(JsonLimitError):
        encode_json({"00080008": {"vr": "CS", "Value": ["A"] * 200}}, limits=Limits(max_values=100))


JUNK_NAMES = ["vr", "Value", "InlineBinary", "BulkDataURI", "Alphabetic", "00100010", "00400275"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(JUNK_NAMES), inner),
    max_leaves=12,
)
TAGS = st.sampled_from(["00100010", "00400275", "00280010", "7FE00010", "0002"])


@given(st.dictionaries(TAGS, JUNK | MEMBERS))
@settings(UNHURRIED, max_examples=300)
def test_no_json_breaks_it(model: dict[str, Any]) -> None:
    for read in (model, parse_json(json.dumps(model).encode())[0]):
        try:
            found = encode_json(read)
        except JsonError:
            continue
        try:
            data_set_json(found.join(), EXPLICIT_LE)
        except MalformedError as error:
            raise AssertionError("what was written cannot be read") from error
