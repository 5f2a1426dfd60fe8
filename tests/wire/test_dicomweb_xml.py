"""The Native DICOM Model: back and forth with DICOM JSON, dcmtk as the judge, hostile XML."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomfile.json_model import data_set_json
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomweb.errors import JsonError
from hounsfield.wire.dicomweb.json_read import parse_json
from hounsfield.wire.dicomweb.multipart import PartData, RelatedReader
from hounsfield.wire.dicomweb.xml import XmlError, json_to_xml, xml_parts, xml_to_json
from hounsfield.wire.dicomweb.xml_read import NAMESPACE, Limits
from support_dicomfile import pydicom_files

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

REFUSED = {"rtplan_truncated.dcm", "README", "no_meta.dcm", "DICOMDIR-nooffset"}
FILES = [path for path in pydicom_files() if path.name not in REFUSED]
NAME = f"{{{NAMESPACE}}}"


def model_of(path: Path, inline: int = 1024) -> bytes:
    data = path.read_bytes()
    meta = read_meta(data)
    return data_set_json(
        data[meta.meta_length :],
        meta.transfer_syntax_uid,
        lambda where: f"../bulk?a&b/{where}",
        max_inline=inline,
    )


def settled(value: Any) -> Any:
    """What XML does not carry: carets without components behind them, characters that it cannot hold."""
    if isinstance(value, dict):
        if value.keys() <= {"Alphabetic", "Ideographic", "Phonetic"}:
            return {key: group.rstrip("^") for key, group in value.items() if group.rstrip("^")} or None
        return {key: settled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [settled(inner) for inner in value]
    return (
        "".join(c if c >= " " or c in "\t\r\n" else "�" for c in value) if isinstance(value, str) else value
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_of_pydicom_come_back(path: Path) -> None:
    text = model_of(path)
    document = json_to_xml(text)
    assert settled(xml_to_json(document)) == settled(parse_json(text)[0])
    check_schema(document)


def check_schema(document: bytes) -> None:
    """The order and kinds of elements that PS3.19 A.1.6 has."""
    root = ElementTree.fromstring(document)
    assert root.tag == f"{NAME}NativeDicomModel"
    assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"
    groups = ["Alphabetic", "Ideographic", "Phonetic"]
    components = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"]
    for attribute in root.iter(f"{NAME}DicomAttribute"):
        kinds = [child.tag.removeprefix(NAME) for child in attribute]
        assert len(set(kinds)) <= 1
        if kinds and kinds[0] in ("Value", "Item", "PersonName"):
            assert [child.get("number") for child in attribute] == [str(n + 1) for n in range(len(kinds))]
        else:
            assert len(kinds) <= 1
        if attribute.get("privateCreator"):
            assert attribute.get("tag", "")[4:6] == "00"
    for parent, order in [("PersonName", groups), *((group, components) for group in groups)]:
        for element in root.iter(f"{NAME}{parent}"):
            places = [order.index(child.tag.removeprefix(NAME)) for child in element]
            assert places == sorted(set(places))


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "JPEG2000.dcm"]
)
def test_dcmtk_writes_the_same(name: str, tmp_path: Path) -> None:
    path = next(path for path in FILES if path.name == name)
    target = tmp_path / "native.xml"
    subprocess.run(["dcm2xml", "-nat", str(path), str(target)], check=True)
    theirs = xml_to_json(target.read_bytes())
    ours = xml_to_json(json_to_xml(model_of(path, 1 << 20)))
    compared = 0
    for tag, member in theirs.items():
        # numbers in a base or precision of their own, and binary values, are left to pydicom
        if member["vr"] in ("OB", "OW", "UN", "AT", "FL", "FD", "SQ") or tag == "00080005" or tag not in ours:
            continue
        mine = {key: [v for v in value if v] if key == "Value" else value for key, value in ours[tag].items()}
        member = {key: [v for v in value if v] if key == "Value" else value for key, value in member.items()}
        if member.get("Value") == []:
            del member["Value"]
        if mine.get("vr") == member["vr"]:
            assert settled(mine) == settled(member), tag
            compared += 1
    assert compared > 20
    keywords = {
        element.get("tag"): element.get("keyword")
        for element in ElementTree.fromstring(json_to_xml(model_of(path))).iter(f"{NAME}DicomAttribute")
    }
    assert keywords["00100010"] == "PatientName"


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff^"),
    min_size=1,
    max_size=10,
)


@given(
    st.lists(TEXT | st.sampled_from([" a ", "\r\n", "a\rb", "<&>\"'", "]]>", "\t"]), min_size=1, max_size=4),
    TEXT,
)
@UNHURRIED
def test_any_text_comes_back(values: list[str], name: str) -> None:
    model = {
        "00081030": {"vr": "LO", "Value": values},
        "00100010": {
            "vr": "PN",
            "Value": [{"Alphabetic": f"{name}^^{name}", "Phonetic": f"^{name}^a^b^c^d^e"}, None],
        },
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": [None, *values]}}, {}]},
    }
    assert xml_to_json(json_to_xml(model)) == model
    assert xml_to_json(json_to_xml(json.dumps(model))) == model


def test_what_xml_cannot_hold_is_replaced() -> None:
    model = {"00081030": {"vr": "LO", "Value": ["a\0b\x1bc\ud800d"]}}
    assert xml_to_json(json_to_xml(model))["00081030"]["Value"] == ["a�b�c�d"]


def test_private_elements_come_into_the_block_of_their_creator() -> None:
    model = {
        "00290011": {"vr": "LO", "Value": ["ACME"]},
        "00291101": {"vr": "LO", "Value": ["one"]},
        "00291501": {"vr": "LO", "Value": ["nobody's"]},
    }
    document = json_to_xml(model)
    assert b'tag="00290001" vr="LO" privateCreator="ACME"' in document
    assert xml_to_json(document) == model
    alone = native(
        '<DicomAttribute tag="00290001" vr="LO" privateCreator="B"><Value number="1">x</Value>'
        "</DicomAttribute>"
    )
    assert xml_to_json(alone) == {
        "00290010": {"vr": "LO", "Value": ["B"]},
        "00291001": {"vr": "LO", "Value": ["x"]},
    }


def native(inner: str, head: str = "") -> bytes:
    return f'{head}<NativeDicomModel xmlns="{NAMESPACE}">{inner}</NativeDicomModel>'.encode()


def attribute(inner: str, vr: str = "LO", tag: str = "00081030") -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}">{inner}</DicomAttribute>'


def test_forms_that_others_write() -> None:
    without_namespace = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n<NativeDicomModel>\n' + attribute(
        '\n<Value number="2">\xe4</Value>\n'
    ).encode("latin-1") + b"\n</NativeDicomModel>\n"  # fmt: skip
    assert xml_to_json(without_namespace) == {"00081030": {"vr": "LO", "Value": [None, "ä"]}}
    inner = '<n:DicomAttribute tag="0020000d" vr="UI"/>'
    prefixed = f'<n:NativeDicomModel xmlns:n="{NAMESPACE}">{inner}</n:NativeDicomModel>'
    assert xml_to_json(prefixed.encode()) == {"0020000D": {"vr": "UI"}}
    bulk = native(attribute('<BulkData uri="../bulk/1"/>', "OB", "7FE00010"))
    assert xml_to_json(bulk) == {"7FE00010": {"vr": "OB", "BulkDataURI": "../bulk/1"}}
    assert (
        xml_to_json(native(attribute("<InlineBinary>\nAA\nE=</InlineBinary>", "OB")))["00081030"][
            "InlineBinary"
        ]
        == "AAE="
    )


BILLION = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/x.dtd"> %a;]>'


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<x/>",
        b"\xff\xfe\xff",
        b'<?xml version="1.0" encoding="no-such"?><NativeDicomModel/>',
        b"<NativeDicomModel xmlns='urn:x'/>",
        native(attribute('<Value number="1">&b;</Value>'), BILLION),
        native(attribute('<Value number="1">&a;</Value>'), EXTERNAL),
        native("", PARAMETER),
        native("", '<!DOCTYPE NativeDicomModel SYSTEM "x.dtd">'),
        native(attribute('<Value number="1">&unknown;</Value>')),
        native("text"),
        native("<Value number='1'/>"),
        native("<DicomAttribute/>"),
        native(attribute("", tag="0008103")),
        native(attribute("") + attribute("")),
        native(attribute("text")),
        native(attribute("<Value>x</Value>")),
        native(attribute('<Value number="0">x</Value>')),
        native(attribute('<Value number="2">x</Value><Value number="1">x</Value>')),
        native(attribute('<Value number="999999999">x</Value>')),
        native(attribute('<Value number="1">x</Value><InlineBinary>AA==</InlineBinary>')),
        native(attribute('<InlineBinary>AA==</InlineBinary><Value number="1">x</Value>')),
        native(attribute('<Value number="1">x</Value><Item number="2"/>')),
        native(attribute('<Item number="1"/>')),
        native(attribute('<Value number="1"/>', "SQ")),
        native(attribute('<Value number="1"/>', "PN")),
        native(attribute('<PersonName number="1"><FamilyName>x</FamilyName></PersonName>', "PN")),
        native(attribute('<Value number="1"><Value number="1"/></Value>')),
        native(attribute("<BulkData/><BulkData/>", "OB")),
        native('<script xmlns="http://www.w3.org/1999/xhtml"/>'),
    ],
    ids=lambda document: ascii(document)[2:12] + ascii(document)[-70:-30],
)  # fmt: skip
def test_what_is_no_native_dicom_model_is_refused(document: bytes) -> None:
    with pytest.raises(XmlError):
        xml_to_json(document)


def test_bombs_are_refused() -> None:
    deep = attribute("", "SQ")
    for _ in range(70):
        deep = attribute(f'<Item number="1">{deep}</Item>', "SQ")
    with pytest.raises(XmlError, match="nested"):
        xml_to_json(native(deep))
    many = native("".join(attribute("", tag=f"{n:08X}") for n in range(0x00100000, 0x00100100)))
    with pytest.raises(XmlError, match="more than 100 elements"):
        xml_to_json(many, Limits(max_elements=100))
    with pytest.raises(XmlError, match="bytes"):
        xml_to_json(many, Limits(max_bytes=100))
    # numbers that make room for values which do not come
    gaps = "".join(attribute('<Value number="60"/>', tag=f"0010{n:04X}") for n in range(16, 19))
    with pytest.raises(XmlError, match="more than 100 elements"):
        xml_to_json(native(gaps), Limits(max_elements=100))


@given(st.binary(max_size=60), st.integers(0, 300))
@UNHURRIED
def test_no_bytes_break_it(noise: bytes, at: int) -> None:
    document = native(
        attribute(
            '<PersonName number="1"><Alphabetic><FamilyName>x</FamilyName></Alphabetic></PersonName>', "PN"
        )
    )
    for damaged in (noise, document[:at] + noise + document[at:], document[:at] + noise):
        try:
            xml_to_json(damaged)
        except XmlError:
            pass


@pytest.mark.parametrize(
    "model", [[], {"x": {}}, {"00100010": 1}, {"00100010": {"vr": "pn"}}, {"00100010": {"vr": '"'}}]
)
def test_what_is_no_dicom_json_is_not_written(model: Any) -> None:
    with pytest.raises(JsonError):
        json_to_xml(json.dumps(model))


def test_results_of_a_search_are_parts() -> None:
    models = [{"0020000D": {"vr": "UI", "Value": [f"1.{n}"]}} for n in range(3)]
    reader = RelatedReader(b"xyz")
    documents: list[bytes] = []
    for piece in xml_parts([json.dumps(model).encode() for model in models], "xyz"):
        for event in reader.feed(piece):
            if isinstance(event, PartData):
                documents.append(bytes(event.data))
    reader.finish()
    assert [xml_to_json(document) for document in documents] == models
