"""The Native DICOM Model (PS3.19 A.1) written from the DICOM JSON Model (PS3.18 F): both carry the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn
from xml.sax.saxutils import escape

from hounsfield.wire.dicomfile.dictionary import keyword_of
from hounsfield.wire.dicomweb.accept import XML
from hounsfield.wire.dicomweb.errors import JsonError
from hounsfield.wire.dicomweb.json_read import parse_json
from hounsfield.wire.dicomweb.multipart import closing, part_head
from hounsfield.wire.dicomweb.xml_read import NAMESPACE
from hounsfield.wire.dicomweb.xml_read import (
    XmlError as XmlError,
)  # so that both directions are named from here
from hounsfield.wire.dicomweb.xml_read import xml_to_json as xml_to_json

#: What XML 1.0 cannot hold, and lone surrogates.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = {"\r": "&#13;", '"': "&quot;"}
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_VR: Final = re.compile(r"[A-Z]{2}\Z")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_HEAD: Final = (
    f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)

DataSet = bytes | str | Mapping[str, Any]


def json_to_xml(data_set: DataSet) -> bytes:
    """One data set of DICOM JSON (its text, or as `json.loads` gives it) as an XML document in UTF-8.

    Characters that XML 1.0 cannot hold become U+FFFD. A private element is written as PS3.19 Table A.1.5-2
    has it, with its creator in place of its block. Raises JsonError for what is not DICOM JSON.
    """
    if isinstance(data_set, str):
        data_set = data_set.encode("utf-8", "replace")
    if isinstance(data_set, bytes):
        found = parse_json(data_set)
        if len(found) != 1:
            _bad("one data set, not several")
        data_set = found[0]
    parts = [_HEAD]
    _data_set(data_set, parts)
    parts.append("</NativeDicomModel>")
    return "".join(parts).encode("utf-8")


def xml_parts(data_sets: Iterable[DataSet], boundary: str) -> Iterator[bytes]:
    """The body multipart/related; type="application/dicom+xml" of any number of data sets, one piece a part,
    then the closing delimiter."""
    head = part_head(boundary, XML)
    for data_set in data_sets:
        yield head + json_to_xml(data_set)
    yield closing(boundary)


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("�", text), _ESCAPES)


@lru_cache(maxsize=8192)
def _standard_head(tag: str, vr: str) -> str:
    keyword = keyword_of(int(tag, 16))
    named = f' keyword="{keyword}"' if keyword else ""
    return f'<DicomAttribute tag="{tag}" vr="{vr}"{named}>'


def _data_set(data_set: Any, parts: list[str]) -> None:
    if not isinstance(data_set, Mapping):
        _bad("a data set is an object of tags")
    for name in sorted(data_set):
        member = data_set[name]
        if not _TAG.match(name) or not isinstance(member, Mapping):
            _bad("a data set is an object of tags")
        tag, vr = name.upper(), member.get("vr", "UN")
        if not isinstance(vr, str) or not _VR.match(vr):
            _bad("a vr is two capital letters")
        creator = _creator(tag, data_set) if int(tag[3], 16) & 1 else ""
        if creator:
            head = f'<DicomAttribute tag="{tag[:4]}00{tag[6:]}" vr="{vr}" privateCreator="{_text(creator)}">'
        else:
            head = _standard_head(tag, vr)
        parts.append(head)
        _value(vr, member, parts)
        parts.append("</DicomAttribute>")


def _creator(tag: str, data_set: Mapping[str, Any]) -> str:
    """The Private Creator of a private element, '' where there is none."""
    if tag[4:6] == "00":
        return ""
    member = data_set.get(f"{tag[:4]}00{tag[4:6]}")
    values = member.get("Value") if isinstance(member, Mapping) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _value(vr: str, member: Mapping[str, Any], parts: list[str]) -> None:
    if (inline := member.get("InlineBinary")) is not None:
        parts.append(f"<InlineBinary>{_text(str(inline))}</InlineBinary>")
        return
    if (uri := member.get("BulkDataURI")) is not None:
        parts.append(f'<BulkData uri="{_text(str(uri))}"/>')
        return
    values = member.get("Value")
    if values is None:
        return
    if not isinstance(values, list):
        _bad("Value is an array")
    for number, value in enumerate(values, 1):
        if vr == "SQ":
            parts.append(f'<Item number="{number}">')
            _data_set({} if value is None else value, parts)
            parts.append("</Item>")
        elif vr == "PN":
            _name(number, value, parts)
        else:
            text = "" if value is None else value if isinstance(value, str) else repr(value)
            parts.append(f'<Value number="{number}">{_text(text)}</Value>')


def _name(number: int, value: Any, parts: list[str]) -> None:
    parts.append(f'<PersonName number="{number}">')
    if isinstance(value, str):
        value = dict(zip(_GROUPS, value.split("="), strict=False))
    for group in _GROUPS:
        text = value.get(group) if isinstance(value, Mapping) else None
        if not isinstance(text, str) or not text:
            continue
        parts.append(f"<{group}>")
        # what is behind the fifth caret belongs to nothing: it stays with the suffix
        for component, part in zip(_COMPONENTS, text.split("^", 4), strict=False):
            if part:
                parts.append(f"<{component}>{_text(part)}</{component}>")
        parts.append(f"</{group}>")
    parts.append("</PersonName>")


def _bad(why: str) -> NoReturn:
    raise JsonError(why)
