"""DICOM JSON Model (PS3.18 F) -> data set in Explicit VR Little Endian, validated and bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, NoReturn

from hounsfield.wire.dicomfile.dictionary import vr_of
from hounsfield.wire.dicomfile.layouts import (
    BINARY_VRS,
    ITEM,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
)
from hounsfield.wire.dicomfile.text import TEXT_VRS
from hounsfield.wire.dicomweb.errors import JsonError as JsonError  # raised here, so named from here too
from hounsfield.wire.dicomweb.errors import JsonLimitError as JsonLimitError
from hounsfield.wire.dicomweb.json_fields import NumberText, field_of, inline_binary

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_VRS: Final = frozenset(SHORT_VRS) | frozenset(LONG_VRS)
_LONG: Final = frozenset(LONG_VRS)
_NUL_PADDED: Final = BINARY_VRS | {"UI"}
_CHARACTER_SET: Final = 0x00080005
_TRAILING_PADDING: Final = 0xFFFCFFFC
_PIXEL_DATA: Final = 0x7FE00010
_SHORT_HEAD: Final = Struct("<HH2sH").pack
_LONG_HEAD: Final = Struct("<HH2sHI").pack
_ITEM_HEAD: Final = Struct("<HHI").pack
_UTF_8: Final = "ISO_IR 192"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken in."""

    max_bytes: int = 1 << 26  # of the JSON text
    max_values: int = 2_000_000  # values, members and items of one document
    max_depth: int = 64  # sequences within sequences


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Fragments:
    """Encapsulated Pixel Data: one fragment for each frame (PS3.5 A.4), and no offset table."""

    frames: Sequence[Buffer]


#: BulkDataURI -> its bytes (little endian, unpadded), or frames to encapsulate; None: there is no such part.
ResolveBulk = Callable[[str], "Buffer | Fragments | None"]


@dataclass(frozen=True, slots=True)
class EncodedDataSet:
    """A data set to store: `pieces` joined are its bytes, without preamble and file meta. Bulk data of 64 KiB
    and more are pieces of their own, not copied. `meta`: the texts of (0002,xxxx) by tag, if any."""

    pieces: tuple[Buffer, ...]
    size: int
    meta: Mapping[int, str]

    def join(self) -> bytes:
        return b"".join(self.pieces)


def parse_json(document: bytes, limits: Limits = DEFAULT_LIMITS) -> list[dict[str, Any]]:
    """The data sets of a JSON text: an array of them, or one alone. Numbers keep the text that they were
    written as. Raises JsonError, JsonLimitError."""
    if len(document) > limits.max_bytes:
        raise JsonLimitError(f"JSON of {len(document)} bytes where {limits.max_bytes} are taken")
    # each value, member or item costs one of these: a bound before any object is made
    if sum(map(document.count, (b",", b"[", b"{"))) > limits.max_values:
        raise JsonLimitError(f"more than {limits.max_values} values")
    try:
        text = document.decode("utf-8-sig")
        read = json.loads(text, parse_int=NumberText, parse_float=NumberText, parse_constant=NumberText)
    except UnicodeDecodeError as error:
        raise JsonError("the JSON is not UTF-8") from error
    except RecursionError as error:
        raise JsonLimitError("the JSON is nested too deep") from error
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise JsonError(f"not JSON{where}") from error
    found = read if isinstance(read, list) else [read]
    for data_set in found:
        if not isinstance(data_set, dict):
            raise JsonError("a data set is an object of tags (PS3.18 F.2.1)")
    return found


def encode_json(
    data_set: Mapping[str, Any], bulk: ResolveBulk | None = None, limits: Limits = DEFAULT_LIMITS
) -> EncodedDataSet:
    """One data set of `parse_json` or `xml.xml_to_json` in Explicit VR Little Endian, ordered by tag, without
    group lengths, in UTF-8 (ISO_IR 192) where a text is beyond ASCII.

    `bulk` resolves BulkDataURIs. Raises JsonError, JsonLimitError.
    """
    writer = _Writer(bulk, limits)
    pieces, size = writer.data_set(data_set, "", 0)
    if writer.beyond_ascii:
        pieces, size = _Writer(bulk, limits, utf_8=True).data_set(data_set, "", 0)
    return EncodedDataSet(tuple(_merged(pieces)), size, _meta(data_set))


def _merged(pieces: list[Buffer]) -> Iterator[Buffer]:
    """Neighbouring bytes of ours as one piece."""
    small: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and len(piece) < 65536:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield piece
    if small:
        yield b"".join(small)


def _meta(data_set: Mapping[str, Any]) -> dict[int, str]:
    meta = {}
    for name, member in data_set.items():
        if name.startswith("0002") and not name.endswith("0000") and isinstance(member, Mapping):
            values = member.get("Value")
            if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str):
                meta[int(name, 16)] = values[0]
    return meta


class _Writer:
    """Encodes one data set. A first pass that meets text beyond ASCII says so in `beyond_ascii`; the second,
    with `utf_8`, declares it."""

    def __init__(self, bulk: ResolveBulk | None, limits: Limits, utf_8: bool = False) -> None:
        self._bulk = bulk
        self._limits = limits
        self._utf_8 = utf_8
        self._count = 0
        self.beyond_ascii = False

    def data_set(self, data_set: Any, path: str, depth: int) -> tuple[list[Buffer], int]:
        """The pieces of a data set or item, and their size."""
        if not isinstance(data_set, Mapping):
            _bad("an item is an object of tags", path)
        members = self._members(data_set, path)
        if self._utf_8:
            members.pop(_CHARACTER_SET, None)
            if not depth:
                members[_CHARACTER_SET] = {"vr": "CS", "Value": [_UTF_8]}
        pieces: list[Buffer] = []
        size = 0
        for tag in sorted(members):
            if tag >> 16 == 0x0002 and not depth:
                continue
            size += self._element(tag, members[tag], f"{path}{tag:08X}", depth, pieces)
        return pieces, size

    def _members(self, data_set: Mapping[Any, Any], path: str) -> dict[int, Any]:
        self._step(len(data_set), path)
        members = {}
        for name, member in data_set.items():
            if not isinstance(name, str) or not _TAG.match(name):
                _bad("a member whose name is no tag of 8 hexadecimal digits", path)
            tag = int(name, 16)
            if tag in members:
                _bad(f"{tag:08X} is there twice", path)
            if not tag & 0xFFFF or tag == _TRAILING_PADDING:
                continue
            if tag < 0x00010000 or tag >= 0xFFFE0000:
                _bad(f"{tag:08X} is no attribute of a data set", path)
            members[tag] = member
        return members

    def _step(self, count: int, path: str) -> None:
        self._count += count
        if self._count > self._limits.max_values:
            raise JsonLimitError(f"more than {self._limits.max_values} values", path)

    def _element(self, tag: int, member: Any, path: str, depth: int, pieces: list[Buffer]) -> int:
        """Append the pieces of one element, return their size."""
        if not isinstance(member, Mapping):
            _bad("an attribute is an object with vr and Value", path)
        vr = self._vr(tag, member, path)
        given = [key for key in ("Value", "InlineBinary", "BulkDataURI") if member.get(key) is not None]
        if len(given) > 1:
            _bad("more than one of Value, InlineBinary and BulkDataURI", path)
        if "BulkDataURI" in given:
            return self._resolved(tag, vr, member["BulkDataURI"], path, pieces)
        if "InlineBinary" in given:
            if vr == "SQ":
                _bad("a sequence has no InlineBinary", path)
            return _append(tag, vr, inline_binary(member["InlineBinary"], path), pieces)
        values = member["Value"] if given else []
        if not isinstance(values, list):
            _bad("Value is an array", path)
        self._step(len(values), path)
        if vr == "SQ":
            return self._sequence(tag, values, path, depth, pieces)
        field = field_of(vr, values, path)
        if not self.beyond_ascii and vr in TEXT_VRS and not field.isascii():
            self.beyond_ascii = True
        return _append(tag, vr, field, pieces)

    def _vr(self, tag: int, member: Mapping[Any, Any], path: str) -> str:
        vr = member.get("vr")
        if vr is None:
            vr = vr_of(tag)
            if " " in vr or vr == "UN":
                _bad("its vr is not told", path)
        if not isinstance(vr, str) or vr not in _VRS:
            _bad("its vr is none of PS3.5", path)
        return vr

    def _sequence(self, tag: int, items: list[Any], path: str, depth: int, pieces: list[Buffer]) -> int:
        if depth >= self._limits.max_depth:
            raise JsonLimitError(f"sequences nested more than {self._limits.max_depth} deep", path[:64])
        body: list[Buffer] = []
        size = 0
        for number, item in enumerate(items, 1):
            # null: an empty item, as JSON writers put it for one
            inner, length = self.data_set({} if item is None else item, f"{path}/{number}/", depth + 1)
            _fits(length, path)
            body.append(_ITEM_HEAD(ITEM >> 16, ITEM & 0xFFFF, length))
            body += inner
            size += length + 8
        _fits(size, path)
        pieces.append(_LONG_HEAD(tag >> 16, tag & 0xFFFF, b"SQ", 0, size))
        pieces += body
        return size + 12

    def _resolved(self, tag: int, vr: str, uri: Any, path: str, pieces: list[Buffer]) -> int:
        if not isinstance(uri, str):
            _bad("BulkDataURI is a string", path)
        found = None if self._bulk is None else self._bulk(uri)
        if found is None:
            _bad("its BulkDataURI names no part that was sent", path)
        if vr == "SQ":
            _bad("a sequence has no BulkDataURI", path)
        if isinstance(found, Fragments):
            if tag != _PIXEL_DATA:
                _bad("only Pixel Data are encapsulated", path)
            return _encapsulated(found, path, pieces)
        return _append(tag, vr, found, pieces)


def _append(tag: int, vr: str, field: Buffer, pieces: list[Buffer]) -> int:
    length = len(field)
    padding = length % 2
    _fits(length, f"{tag:08X}")
    group, element, size = tag >> 16, tag & 0xFFFF, length + padding
    if vr in _LONG:
        head = _LONG_HEAD(group, element, vr.encode(), 0, size)
    elif size > 0xFFFF:  # PS3.5 6.2.2: what a length of 16 bits cannot tell
        head = _LONG_HEAD(group, element, b"UN", 0, size)
    else:
        head = _SHORT_HEAD(group, element, vr.encode(), size)
    pieces.append(head)
    pieces.append(field)
    if padding:
        pieces.append(b"\0" if vr in _NUL_PADDED else b" ")
    return len(head) + size


def _encapsulated(fragments: Fragments, path: str, pieces: list[Buffer]) -> int:
    if not fragments.frames:
        _bad("Pixel Data without a frame", path)
    pieces.append(_LONG_HEAD(0x7FE0, 0x0010, b"OB", 0, UNDEFINED))
    pieces.append(_ITEM_HEAD(ITEM >> 16, ITEM & 0xFFFF, 0))
    size = 20
    for frame in fragments.frames:
        length = len(frame)
        padding = length % 2
        _fits(length, path)
        pieces.append(_ITEM_HEAD(ITEM >> 16, ITEM & 0xFFFF, length + padding))
        pieces.append(frame)
        if padding:
            pieces.append(b"\0")
        size += 8 + length + padding
    pieces.append(_ITEM_HEAD(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0))
    return size + 8


def _fits(length: int, path: str) -> None:
    if length > 0xFFFFFFFD:
        raise JsonLimitError("a value of 4 GiB or more", path)


def _bad(why: str, path: str) -> NoReturn:
    raise JsonError(why, path.rstrip("/"))
