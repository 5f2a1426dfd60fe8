"""Preamble and File Meta Information of a DICOM file (PS3.10 section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Final

from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.layouts import LITTLE, UNDEFINED, Buffer, looks_explicit
from hounsfield.wire.dicomfile.skipping import OddError, skip_sequence
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

PREAMBLE: Final = bytes(128) + b"DICM"
#: A file meta group is some 300 bytes; private information in it may be a certificate or two.
MAX_META: Final = 1 << 20
_MAX_ELEMENTS: Final = 256

_CLASS_UID: Final = 0x00020002
_INSTANCE_UID: Final = 0x00020003
_SYNTAX_UID: Final = 0x00020010
_IMPLEMENTATION_UID: Final = 0x00020012
_IMPLEMENTATION_VERSION: Final = 0x00020013
_SOURCE_AE: Final = 0x00020016


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the File Meta Information says; '' for what it leaves out."""

    meta_length: int  # bytes of preamble and group 2: the data set begins there
    transfer_syntax_uid: str  # guessed from the data set where there is none
    sop_class_uid: str  # Media Storage SOP Class UID (0002,0002)
    sop_instance_uid: str  # (0002,0003)
    implementation_class_uid: str = ""  # (0002,0012)
    implementation_version: str = ""  # (0002,0013)
    source_ae: str = ""  # (0002,0016)
    guessed: bool = False  # the transfer syntax is a guess


_short_element: Final = Struct("<HH2sH").pack
_group_length: Final = Struct("<HH2sHI").pack


def _element(tag: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _short_element(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


#: (0002,0001) File Meta Information Version, OB of two bytes 00 01.
_VERSION: Final = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01"


@lru_cache(maxsize=1024)
def _tail(transfer_syntax_uid: str, class_uid: str, version: str, source_ae: str) -> bytes:
    return (
        _element(_SYNTAX_UID, b"UI", transfer_syntax_uid)
        + _element(_IMPLEMENTATION_UID, b"UI", class_uid)
        + (_element(_IMPLEMENTATION_VERSION, b"SH", version) if version else b"")
        + (_element(_SOURCE_AE, b"AE", source_ae) if source_ae else b"")
    )


@lru_cache(maxsize=1024)
def _head(sop_class_uid: str) -> bytes:
    return _VERSION + _element(_CLASS_UID, b"UI", sop_class_uid)


def build_meta(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    *,
    implementation_class_uid: str,
    implementation_version: str,
    source_ae: str = "",
) -> bytes:
    """128 zero bytes, "DICM" and the File Meta Information group for one object.

    Arguments are ASCII; raises ValueError (UnicodeEncodeError) where one is not.
    """
    group = (
        _head(sop_class_uid)
        + _element(_INSTANCE_UID, b"UI", sop_instance_uid)
        + _tail(transfer_syntax_uid, implementation_class_uid, implementation_version, source_ae)
    )
    return PREAMBLE + _group_length(2, 0, b"UL", 4, len(group)) + group


def read_meta(data: Buffer) -> FileMeta:
    """Preamble and File Meta Information at the beginning of `data`, which need not be the whole file.

    Tolerates a missing preamble, a missing or wrong group length (the group ends where group 2 does),
    implicit VR, a missing transfer syntax, and a data set without any of it: `meta_length` is then 0 and the
    syntax a guess. Raises TruncatedError, LimitError, MalformedError: for what cannot be a DICOM file.
    """
    size = len(data)
    start = 132 if size >= 132 and bytes(data[128:132]) == b"DICM" else 0
    if start == 0 and size < 8:
        raise TruncatedError("too short for a DICOM file", size)
    found: dict[int, str] = {}
    position = _read_group(data, start, size, found)
    if start == 0 and position == 0 and not _could_be_data_set(data):
        raise MalformedError("neither DICM after 128 bytes, nor a data set", 0)
    syntax = found.get(_SYNTAX_UID, "")
    guessed = not syntax
    if guessed:
        syntax = _guess(data, position, size)
    return FileMeta(
        position,
        syntax,
        found.get(_CLASS_UID, ""),
        found.get(_INSTANCE_UID, ""),
        found.get(_IMPLEMENTATION_UID, ""),
        found.get(_IMPLEMENTATION_VERSION, ""),
        found.get(_SOURCE_AE, ""),
        guessed,
    )


def _read_group(data: Buffer, position: int, size: int, found: dict[int, str]) -> int:
    """Collect the elements of group 2; the offset where it ends."""
    start = position
    for _ in repeat(None, _MAX_ELEMENTS):
        body = position + 8
        if body > size:
            if position == size:
                return position
            raise TruncatedError("the data ends within the file meta group", size)
        group, element, length = LITTLE.implicit_head(data, position)
        if group != 2:
            return position
        tag = group << 16 | element
        explicit = looks_explicit(data, position)
        if explicit:
            _, _, number, length = LITTLE.explicit_head(data, position)
            if number in LITTLE.long_vrs:
                if body + 4 > size:
                    raise TruncatedError("the data ends within the file meta group", size, tag)
                length = LITTLE.long_length(data, body)[0]
                body += 4
            elif number not in LITTLE.short_vrs:
                raise MalformedError("an unknown VR in the file meta group", position, tag)
        if length == UNDEFINED:
            try:
                position = skip_sequence(data, body, LITTLE, not explicit)
            except OddError:
                raise MalformedError("a broken sequence in the file meta group", position, tag) from None
            continue
        if length > MAX_META:
            raise LimitError(f"an element of {length} bytes in the file meta group", position, tag)
        position = body + length
        if position > size:
            raise TruncatedError("the data ends within the file meta group", size, tag)
        if tag in _TEXTS:
            found[tag] = bytes(data[body:position]).decode("latin-1").strip(" \0")
        if position - start > MAX_META:
            break
    raise LimitError("the file meta group is too large", position)


_TEXTS: Final = frozenset(
    {_CLASS_UID, _INSTANCE_UID, _SYNTAX_UID, _IMPLEMENTATION_UID, _IMPLEMENTATION_VERSION, _SOURCE_AE}
)


def _could_be_data_set(data: Buffer) -> bool:
    """Whether a first element stands at the beginning: a group below 0x0100 in either byte order, and a VR
    or a short length. Command groups are none."""
    first, second = data[0], data[1]
    if (first == 0) == (second == 0):
        return False
    if looks_explicit(data, 0):
        return _known_vr(data, 0)
    return bool(second == 0 and LITTLE.implicit_head(data, 0)[2] <= MAX_META)


def _known_vr(data: Buffer, position: int) -> bool:
    number = LITTLE.explicit_head(data, position)[2]
    return number in LITTLE.short_vrs or number in LITTLE.long_vrs


def _guess(data: Buffer, position: int, size: int) -> str:
    """The transfer syntax that the first element looks like (as PS3.5 Annex A would have it)."""
    if position + 8 > size or not looks_explicit(data, position):
        return IMPLICIT_LE
    return EXPLICIT_BE if data[position] == 0 and data[position + 1] != 0 else EXPLICIT_LE
