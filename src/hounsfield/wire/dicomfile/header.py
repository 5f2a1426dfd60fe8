"""The header scan of the store path: index keys straight from the bytes, without a parse of the data set.

Elements stand in ascending order of tags (PS3.5 7.1), so the scan walks them once, skips what it does not
want by its length, and ends behind Request Attributes Sequence (0040,0275). What does not look as the
transfer syntax says (other order, unknown VRs, implicit VR where explicit is announced) is handed over to
pydicom, within limits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from struct import Struct
from typing import Final

from hounsfield.wire.dicomfile.errors import LimitError, TruncatedError
from hounsfield.wire.dicomfile.inflate import MAX_INFLATED, Inflater
from hounsfield.wire.dicomfile.layouts import (
    BIG,
    LITTLE,
    NUMBERS,
    STRING_VRS,
    UNDEFINED,
    Buffer,
    Layout,
    looks_explicit,
)
from hounsfield.wire.dicomfile.request_attributes import (
    CHARACTER_SET,
    MAX_VALUE,
    REQUEST_ATTRIBUTES,
    REQUEST_TAGS,
    Found,
    collect_request,
)
from hounsfield.wire.dicomfile.skipping import MAX_STEPS, OddError, skip_sequence
from hounsfield.wire.dicomfile.text import clean, decode_text
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

#: What the scan collects at the top level: tag -> VR of PS3.6. The attributes of `domain.study`.
INDEX_TAGS: Final[Mapping[int, str]] = {
    0x00080016: "UI",  # SOP Class UID
    0x00080018: "UI",  # SOP Instance UID
    0x00080020: "DA",  # Study Date
    0x00080021: "DA",  # Series Date
    0x00080023: "DA",  # Content Date
    0x00080030: "TM",  # Study Time
    0x00080031: "TM",  # Series Time
    0x00080033: "TM",  # Content Time
    0x00080050: "SH",  # Accession Number
    0x00080060: "CS",  # Modality
    0x00080070: "LO",  # Manufacturer
    0x00080080: "LO",  # Institution Name
    0x00080090: "PN",  # Referring Physician's Name
    0x00080201: "SH",  # Timezone Offset From UTC
    0x00081010: "SH",  # Station Name
    0x00081030: "LO",  # Study Description
    0x0008103E: "LO",  # Series Description
    0x00081090: "LO",  # Manufacturer's Model Name
    0x00100010: "PN",  # Patient's Name
    0x00100020: "LO",  # Patient ID
    0x00100021: "LO",  # Issuer of Patient ID
    0x00100030: "DA",  # Patient's Birth Date
    0x00100040: "CS",  # Patient's Sex
    0x00180015: "CS",  # Body Part Examined
    0x00181030: "LO",  # Protocol Name
    0x0020000D: "UI",  # Study Instance UID
    0x0020000E: "UI",  # Series Instance UID
    0x00200010: "SH",  # Study ID
    0x00200011: "IS",  # Series Number
    0x00200013: "IS",  # Instance Number
    0x00200060: "CS",  # Laterality
    0x00280008: "IS",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00280100: "US",  # Bits Allocated
    0x00400244: "DA",  # Performed Procedure Step Start Date
    0x00400245: "TM",  # Performed Procedure Step Start Time
}
#: Without these an object cannot be kept: if the scan ends early without them, pydicom looks everywhere.
REQUIRED_TAGS: Final = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})

_WANTED: Final = {CHARACTER_SET: "CS", **INDEX_TAGS, REQUEST_ATTRIBUTES: "SQ"}
_LAST: Final = max(_WANTED)


@dataclass(slots=True)
class Header:
    """What the scan found. Text is decoded, without padding, multiple values joined by backslash; empty
    values are left out; binary numbers are decimal text."""

    values: dict[int, str]  # of INDEX_TAGS
    request: dict[int, str]  # of REQUEST_TAGS, from the first item of (0040,0275)
    character_set: str  # (0008,0005) as the object has it, else the given default
    handed_over: bool  # pydicom had to read it
    has_pixels: bool  # Bits Allocated (0028,0100) has a value; Pixel Data itself is not looked for
    complete: bool  # an element behind the last wanted one was seen: more data would change nothing
    #: Offset of the first element that was not looked at (in the inflated data where deflated), -1 for none;
    #: and whether it has an explicit VR.
    rest: int = -1
    explicit: bool = True


def read_header(data: Buffer, transfer_syntax_uid: str, *, default_character_set: str = "") -> Header:
    """Scan the data set in `data` (no preamble, no file meta group) for its index keys.

    `data` may be the whole data set or its beginning; then `complete` says whether it was enough.
    `default_character_set` stands in for an absent or empty (0008,0005).
    Raises TruncatedError where `data` ends within an element that had to be read or skipped, LimitError,
    MalformedError.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        return _read_deflated(data, default_character_set)
    layout = LITTLE if syntax.little_endian else BIG
    return _read(data, layout, syntax.explicit, default_character_set)


def _read(data: Buffer, layout: Layout, explicit: bool, default_character_set: str) -> Header:
    found: Found = []
    request: Found = []
    try:
        scan = _scan_explicit if explicit else _scan_implicit
        rest = scan(data, layout, found, request)
        header = _decode(found, request, layout, default_character_set)
        header.complete = rest >= 0
        header.rest = rest
        header.explicit = explicit
        if rest < 0:
            return header
        values = header.values
        for tag in REQUIRED_TAGS:
            if tag not in values:
                break
        else:
            return header
    except OddError:
        pass
    from hounsfield.wire.dicomfile.handover import read_elements

    found, request, rest = read_elements(data, layout, explicit, _WANTED)
    header = _decode(found, request, layout, default_character_set)
    header.handed_over = True
    header.complete = rest >= 0
    header.rest = rest
    header.explicit = 0 <= rest <= len(data) - 8 and looks_explicit(data, rest)
    return header


def _read_deflated(data: Buffer, default_character_set: str) -> Header:
    """Deflated Explicit VR Little Endian (PS3.5 A.5): inflate as much as the header takes, never more than
    MAX_INFLATED."""
    inflater = Inflater(data)
    size = 1 << 18
    while True:
        plain = inflater.up_to(size)
        try:
            header = _read(plain, LITTLE, True, default_character_set)
        except TruncatedError:
            if inflater.ended or size >= MAX_INFLATED:
                raise
        else:
            if header.complete or inflater.ended:
                return header
            if size >= MAX_INFLATED:
                raise LimitError(f"the header goes on behind {MAX_INFLATED} inflated bytes", size)
        size *= 8


def texts_of(found: Found, character_set: str, transfer_syntax_uid: str) -> dict[int, str]:
    """Elements of INDEX_TAGS as `Header.values` has them."""
    layout = LITTLE if transfer_syntax(transfer_syntax_uid).little_endian else BIG
    return _texts(found, character_set, layout, INDEX_TAGS)


def _scan_explicit(data: Buffer, layout: Layout, found: Found, request: Found) -> int:
    """Collect wanted elements; the offset of what is behind the last of them (from Request Attributes
    Sequence on), -1 where the data end before.

    Every operation in the loop counts: it runs a hundred times for each object received. That the data end
    is noticed by the reader of the next element (struct.error), not by a comparison for each.
    """
    size = len(data)
    _, read_head, _, long_length, short_vrs, long_vrs = layout
    short_vr = short_vrs.get
    wanted = _WANTED
    limit = _LAST + 1
    position = 0
    last = -1
    try:
        for _ in repeat(None, MAX_STEPS):
            group, element, number, length = read_head(data, position)
            tag = group << 16 | element
            if not last < tag < limit:
                if tag >= limit:
                    return position
                raise OddError
            last = tag
            position += 8
            vr = short_vr(number)
            if vr is None:
                vr = long_vrs.get(number)
                if vr is None:
                    raise OddError
                length = long_length(data, position)[0]
                position += 4
                if tag == REQUEST_ATTRIBUTES:
                    collect_request(data, position, length, layout, False, request)
                    return position - 12
                if length == UNDEFINED:
                    position = skip_sequence(data, position, layout, False)
                    continue
            if tag in wanted:
                found.append((tag, vr, _value(data, position, length, size, tag)))
            position += length
    except struct.error:
        return _ends(data, position, size)
    raise LimitError(f"more than {MAX_STEPS} elements before the end of the header", position)


def _scan_implicit(data: Buffer, layout: Layout, found: Found, request: Found) -> int:
    """The same for implicit VR, where the VR is that of PS3.6."""
    size = len(data)
    read_head = layout.implicit_head
    wanted = _WANTED
    limit = _LAST + 1
    position = 0
    last = -1
    if size >= 8 and looks_explicit(data, 0):
        raise OddError
    try:
        for _ in repeat(None, MAX_STEPS):
            group, element, length = read_head(data, position)
            tag = group << 16 | element
            if not last < tag < limit:
                if tag >= limit:
                    return position
                raise OddError
            last = tag
            position += 8
            if tag == REQUEST_ATTRIBUTES:
                collect_request(data, position, length, layout, True, request)
                return position - 8
            if length == UNDEFINED:
                position = skip_sequence(data, position, layout, True)
                continue
            if tag in wanted:
                found.append((tag, wanted[tag], _value(data, position, length, size, tag)))
            position += length
    except struct.error:
        return _ends(data, position, size)
    raise LimitError(f"more than {MAX_STEPS} elements before the end of the header", position)


def _value(data: Buffer, position: int, length: int, size: int, tag: int) -> bytes:
    if position + length > size:
        raise TruncatedError("the data ends within a value", position, tag)
    if length > MAX_VALUE:
        raise LimitError(f"a value of {length} bytes", position, tag)
    return bytes(data[position : position + length])


def _ends(data: Buffer, position: int, size: int) -> int:
    """The data end where an element could begin: in good order but for a few bytes of zero padding."""
    if position > size:
        raise TruncatedError("the data ends within a value", size)
    if any(data[position:size]):
        raise TruncatedError("the data ends within a tag or length", position)
    return -1


def _decode(found: Found, request: Found, layout: Layout, default_character_set: str) -> Header:
    character_set = default_character_set
    if found and found[0][0] == CHARACTER_SET:
        character_set = clean(found.pop(0)[2].decode("latin-1"), "CS") or default_character_set
    values = _texts(found, character_set, layout, INDEX_TAGS)
    of_request: dict[int, str] = {}
    if request:
        inner = character_set
        for tag, _, raw in request:
            if tag == CHARACTER_SET:
                inner = clean(raw.decode("latin-1"), "CS") or character_set
        of_request = _texts(request, inner, layout, REQUEST_TAGS)
    return Header(values, of_request, character_set, False, 0x00280100 in values, False)


def _texts(found: Found, character_set: str, layout: Layout, known: Mapping[int, str]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for tag, vr, raw in found:
        if vr not in STRING_VRS:
            if vr in NUMBERS:
                if text := _numbers(raw, vr, layout):
                    texts[tag] = text
                continue
            vr = known.get(tag, "LO")
            if vr in NUMBERS:
                if text := _numbers(raw, vr, layout):
                    texts[tag] = text
                continue
        if vr != "PN" and raw.isascii() and b"\x1b" not in raw:
            text = raw.decode("ascii").strip(" \0")
            if "\\" in text:
                text = clean(text, vr)
        else:
            text = decode_text(raw, character_set, vr)
        if text:
            texts[tag] = text
    return texts


_ONE_US: Final = {"<": Struct("<H").unpack, ">": Struct(">H").unpack}


def _numbers(raw: bytes, vr: str, layout: Layout) -> str:
    """Decimal text; '' where the length is not a multiple of the VR's size."""
    if vr == "US" and len(raw) == 2:
        return str(_ONE_US[layout.order](raw)[0])
    code, width = NUMBERS[vr]
    count, rest = divmod(len(raw), width)
    if rest or not count:
        return ""
    return "\\".join([str(number) for number in Struct(f"{layout.order}{count}{code}").unpack(raw)])


__all__ = ["INDEX_TAGS", "REQUEST_TAGS", "REQUIRED_TAGS", "Header", "read_header", "texts_of"]
