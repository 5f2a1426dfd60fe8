"""The DICOM JSON Model (PS3.18 Annex F) of one data set, written straight from its bytes.

Text becomes UTF-8, so (0008,0005), where it is there, says ISO_IR 192. Group lengths are left out. Pixel
data and other large values are named by a BulkDataURI, or left out where there is no place to name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hounsfield.wire.dicomfile.dictionary import vr_of
from hounsfield.wire.dicomfile.errors import LimitError, TruncatedError
from hounsfield.wire.dicomfile.inflate import MAX_INFLATED, Inflater
from hounsfield.wire.dicomfile.json_values import WRITERS, quote
from hounsfield.wire.dicomfile.layouts import (
    BIG,
    BINARY_VRS,
    ITEM,
    ITEM_END,
    LITTLE,
    NUMBERS,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    Layout,
    looks_explicit,
)
from hounsfield.wire.dicomfile.skipping import MAX_DEPTH, OddError, skip_sequence
from hounsfield.wire.dicomfile.text import clean
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

#: Longest value written inline, of binary VRs and of arrays of numbers; and of text.
MAX_INLINE: Final = 1024
MAX_TEXT: Final = 1 << 20
MAX_ELEMENTS: Final = 500_000
_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_PIXEL_GROUP: Final = 0x7FE0
_TRAILING_PADDING: Final = 0xFFFCFFFC
_BULK_VRS: Final = BINARY_VRS | frozenset(NUMBERS)

#: Path of a value -> its BulkDataURI. A path is tags and item numbers (from 1): "00880200/1/7FE00010".
BulkUri = Callable[[str], str]


def data_set_json(
    data: Buffer,
    transfer_syntax_uid: str,
    bulk_uri: BulkUri | None = None,
    *,
    default_character_set: str = "",
    max_inline: int = MAX_INLINE,
) -> bytes:
    """The JSON object of the data set in `data` (no preamble, no file meta group), as UTF-8.

    The data may end within or before Pixel Data. `max_inline`: longest binary value written as InlineBinary.
    Raises TruncatedError, LimitError, MalformedError.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        data = Inflater(data).up_to(MAX_INFLATED)
    layout = LITTLE if syntax.little_endian else BIG
    explicit = looks_explicit(data, 0) if len(data) >= 8 else syntax.explicit
    writer = _Writer(data, layout, bulk_uri, max_inline)
    try:
        text, _ = writer.data_set(0, len(data), explicit, False, default_character_set, "", 0)
    except OddError:
        from hounsfield.wire.dicomfile.handover import read_json

        text = read_json(data, layout, explicit, bulk_uri, max_inline)
    return text.encode("utf-8", "replace")


class _Writer:
    def __init__(self, data: Buffer, layout: Layout, bulk_uri: BulkUri | None, max_inline: int) -> None:
        self._data = data
        self._layout = layout
        self._bulk_uri = bulk_uri
        self._max_inline = max_inline
        self._count = 0
        self._signed = False  # Pixel Representation (0028,0103), which decides "US or SS"

    def data_set(
        self, position: int, end: int, explicit: bool, undefined: bool, characters: str, path: str, depth: int
    ) -> tuple[str, int]:
        """The JSON object of the data set at `position`, and the offset behind it."""
        members: dict[int, str] = {}
        creators: dict[int, str] = {}
        while True:
            if position + 8 > end:
                if undefined or position > end or any(self._data[position:end]):
                    raise TruncatedError("the data end within an element", min(position, end))
                break
            tag, vr, body, length = self._head(position, end, explicit)
            if tag == ITEM_END and undefined:
                position = body
                break
            if tag >> 16 == 0xFFFE:
                raise OddError
            self._step(position)
            if vr is None or length == UNDEFINED or (vr == "UN" and length < 0xFFFF):
                vr = self._vr(tag, vr, length, body, creators)
            if vr == "SQ":
                members[tag], position = self._sequence(
                    tag, body, end, length, explicit, characters, path, depth
                )
                continue
            if tag == _TRAILING_PADDING:
                break
            if length == UNDEFINED or (
                tag >> 16 == _PIXEL_GROUP and length > min(self._max_inline, end - body)
            ):
                members[tag] = self._bulk(path, tag, vr)
                after = self._behind_bulk(tag, body, length, explicit, end)
                if after is None:
                    break
                position = after
                continue
            position = body + length
            if position > end:
                raise TruncatedError("the data end within a value", body, tag)
            if length > self._max_inline and (vr in _BULK_VRS or length > MAX_TEXT):
                members[tag] = self._bulk(path, tag, vr)
                continue
            raw = bytes(self._data[body:position])
            if tag & 0xFFFF < 0x100:  # group length, private creator, or one of those below
                if tag == _CHARACTER_SET:
                    characters = clean(raw.decode("latin-1"), "CS") or characters
                    raw = b"ISO_IR 192" if raw.strip(b" \0") else b""
                elif not tag & 0xFFFF:
                    continue
                elif tag >> 16 & 1:
                    creators[tag >> 16 << 8 | tag & 0xFF] = raw.decode("latin-1").strip(" \0")
            elif tag == _PIXEL_REPRESENTATION:
                self._signed = raw[:2] in (b"\x01\0", b"\0\x01")
            value = WRITERS[vr](raw, characters, self._layout.order)
            members[tag] = f'"vr":"{vr}",{value}' if value else f'"vr":"{vr}"'
        return "{" + ",".join([f'"{tag:08X}":{{{members[tag]}}}' for tag in sorted(members)]) + "}", position

    def _step(self, position: int) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise LimitError(f"more than {MAX_ELEMENTS} elements", position)

    def _head(self, position: int, end: int, explicit: bool) -> tuple[int, str | None, int, int]:
        """Tag, VR (None where not told), offset of the value field, its length."""
        layout = self._layout
        if not explicit:
            group, element, length = layout.implicit_head(self._data, position)
            return group << 16 | element, None, position + 8, length
        group, element, number, length = layout.explicit_head(self._data, position)
        tag = group << 16 | element
        vr = layout.short_vrs.get(number)
        if vr is not None or tag == ITEM_END:
            return tag, vr, position + 8, length
        vr = layout.long_vrs.get(number)
        if vr is None:
            raise OddError
        if position + 12 > end:
            raise TruncatedError("the data end within a length", position, tag)
        return tag, vr, position + 12, layout.long_length(self._data, position + 8)[0]

    def _vr(self, tag: int, told: str | None, length: int, body: int, creators: dict[int, str]) -> str:
        """The VR where it is not told, or told as UN; where PS3.6 gives a choice, the one that holds here."""
        if told is not None and told != "UN":
            return told
        if told == "UN" and length == UNDEFINED:
            return "SQ"  # PS3.5 6.2.2
        creator = creators.get(tag >> 16 << 8 | (tag >> 8 & 0xFF), "") if tag >> 16 & 1 else ""
        vr = vr_of(tag, creator)
        if length == UNDEFINED and vr == "UN" and body + 8 <= len(self._data):
            group, element, _ = self._layout.implicit_head(self._data, body)
            return "SQ" if group << 16 | element == ITEM else "UN"
        if " " not in vr:
            return vr
        if vr == "US or SS":
            return "SS" if self._signed else "US"
        if vr == "US or OW":  # LUT Data: one word for each entry
            return "OW" if length > 2 else "US"
        return "OW"

    def _bulk(self, path: str, tag: int, vr: str) -> str:
        if self._bulk_uri is None:
            return f'"vr":"{vr}"'
        return f'"vr":"{vr}","BulkDataURI":{quote(self._bulk_uri(f"{path}{tag:08X}"))}'

    def _behind_bulk(self, tag: int, body: int, length: int, explicit: bool, end: int) -> int | None:
        """The offset behind a large value; None where the data end within pixel data."""
        try:
            if length == UNDEFINED:
                return skip_sequence(self._data, body, self._layout, not explicit)
        except TruncatedError:
            if tag >> 16 == _PIXEL_GROUP:
                return None
            raise
        return body + length if body + length <= end else None

    def _sequence(
        self,
        tag: int,
        position: int,
        end: int,
        length: int,
        explicit: bool,
        characters: str,
        path: str,
        depth: int,
    ) -> tuple[str, int]:
        """The member of a sequence whose value field is at `position`, and the offset behind it."""
        if depth >= MAX_DEPTH:
            raise LimitError(f"sequences nested more than {MAX_DEPTH} deep", position, tag)
        undefined = length == UNDEFINED
        if not undefined:
            if position + length > end:
                raise TruncatedError("the data end within a sequence", position, tag)
            end = position + length
        items: list[str] = []
        while undefined or position < end:
            body = position + 8
            if body > end:
                raise TruncatedError("the data end within a sequence", position, tag)
            group, element, size = self._layout.implicit_head(self._data, position)
            mark = group << 16 | element
            if mark == SEQUENCE_END and undefined:
                position = body
                break
            if mark != ITEM:
                raise OddError
            self._step(position)
            stop = end if size == UNDEFINED else body + size
            if stop > end:
                if stop <= len(self._data):
                    raise OddError
                raise TruncatedError("the data end within an item", position, tag)
            inner = explicit and (body + 8 > stop or looks_explicit(self._data, body))
            item_path = f"{path}{tag:08X}/{len(items) + 1}/"
            item, position = self.data_set(
                body, stop, inner, size == UNDEFINED, characters, item_path, depth + 1
            )
            items.append(item)
        return (f'"vr":"SQ","Value":[{",".join(items)}]' if items else '"vr":"SQ"'), position
