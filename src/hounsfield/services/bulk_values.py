"""Bulk data: single values of a data set, named by a path of tags and item numbers (as in "7FE00010", or
"00880200/1/7FE00010") that the metadata's BulkDataURIs end with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.services.frames import OpenObject
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.frames import read_fragments
from hounsfield.wire.dicomfile.layouts import UNDEFINED
from hounsfield.wire.dicomfile.outline import Outline, Place, Source

PIXEL_DATA = 0x7FE00010
_ENCAPSULATED_DOCUMENT, _ITS_MEDIA_TYPE = 0x00420011, 0x00420012
_PATH = re.compile(r"[0-9A-Fa-f]{8}(?:/[1-9][0-9]{0,5}/[0-9A-Fa-f]{8}){0,64}\Z")
#: Media types of encapsulated documents that a value may be sent as; any other is octets, as is XML, which a
#: browser would run.
DOCUMENT_TYPES = frozenset({"application/pdf", "model/stl", "model/obj", "model/mtl"})


@dataclass(frozen=True, slots=True)
class Value:
    """Where a value field stands in the open object. `encapsulated`: it is fragments, the place that of the
    first item's head. `media_type`: of an encapsulated document, else ''."""

    tag: int
    top_level: bool
    offset: int
    length: int
    encapsulated: bool = False
    media_type: str = ""


def is_path(text: str) -> bool:
    return _PATH.match(text) is not None


def find_value(opened: OpenObject, path: str) -> Value:
    """The value at `path`. Raises NotFoundError where there is none, UnreadableError."""
    names = path.split("/")
    level = opened.outline()
    try:
        for sequence, number in zip(names[:-1:2], names[1:-1:2], strict=True):
            items = level.items(int(sequence, 16), int(number) - 1, 1)
            if (item := next(items, None)) is None:
                raise _missing(path)
            level = item
    except MalformedError as error:
        raise UnreadableError(f"The object cannot be read up to {path}: {error}") from error
    tag = int(names[-1], 16)
    place = level.places.get(tag)
    if place is None or _is_sequence(place, tag):
        raise _missing(path)
    return Value(
        tag,
        len(names) == 1,
        place.offset,
        place.length,
        encapsulated=place.length == UNDEFINED,
        media_type=_media_type(level, tag),
    )


def fragments_of(opened: OpenObject, value: Value) -> list[tuple[int, int]]:
    """Offset and length of each fragment of an encapsulated value. Raises UnreadableError."""
    try:
        source = Source(opened.reader.read, opened.reader.size)
        return read_fragments(source, value.offset, opened.reader.size).pieces
    except MalformedError as error:
        raise UnreadableError(f"The fragments cannot be read: {error}") from error


def _is_sequence(place: Place, tag: int) -> bool:
    return place.vr == "SQ" or (place.length == UNDEFINED and tag != PIXEL_DATA)


def _missing(path: str) -> NotFoundError:
    return NotFoundError(f"The object has no value at {path}", "Take the address from its metadata")


def _media_type(level: Outline, tag: int) -> str:
    if tag != _ENCAPSULATED_DOCUMENT:
        return ""
    told = level.text(_ITS_MEDIA_TYPE).lower()
    return told if told in DOCUMENT_TYPES else ""
