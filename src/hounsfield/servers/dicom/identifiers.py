"""Small data sets of messages: decoding identifiers to text, encoding answers, in the context's syntax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hounsfield.wire.dicomfile.elements import Element, Limits, decode, encode
from hounsfield.wire.dicomfile.text import decode_text

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Operation

#: Keys of a retrieve identifier (PS3.4 C.4.2.2.1): keyword by tag.
RETRIEVE_KEYS: Mapping[int, tuple[str, str]] = {
    0x00080052: ("QueryRetrieveLevel", "CS"),
    0x00100020: ("PatientID", "LO"),
    0x0020000D: ("StudyInstanceUID", "UI"),
    0x0020000E: ("SeriesInstanceUID", "UI"),
    0x00080018: ("SOPInstanceUID", "UI"),
}


def read_data_set(operation: Operation, data: bytes, limits: Limits | None = None) -> dict[int, Element]:
    """The data set of a request. Raises MalformedError."""
    return decode(data, explicit=operation.explicit, limits=limits)


def write_data_set(operation: Operation, items: Iterable[tuple[int, str, bytes | list[object]]]) -> bytes:
    return encode(items, explicit=operation.explicit)


def text_of(elements: Mapping[int, Element], tag: int, vr: str, default_character_set: str = "") -> str:
    """One element as text, '' where it is absent or a sequence."""
    element = elements.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return ""
    named = elements.get(0x00080005)
    character_set = (
        named.value.decode("ascii", "replace").strip() if named and isinstance(named.value, bytes) else ""
    )
    return decode_text(element.value, character_set or default_character_set, vr)


def retrieve_identifier(operation: Operation, data: bytes) -> dict[str, str]:
    """Keyword -> text of the keys that a retrieve may hold. Raises MalformedError."""
    elements = read_data_set(operation, data)
    return {
        keyword: text_of(elements, tag, vr, operation.character_set)
        for tag, (keyword, vr) in RETRIEVE_KEYS.items()
        if tag in elements
    }
