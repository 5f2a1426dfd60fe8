"""Data sets that are too large, too deep, without end, or odd: to be sent by any way that objects come in."""

from __future__ import annotations

import struct
import zlib

from support_hostile import data_set, element, implicit, padded

MIB = 1 << 20
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def tag(number: int, length: int) -> bytes:
    return struct.pack("<HHL", number >> 16, number & 0xFFFF, length)


SEQUENCE = element(0x00081140, b"SQ", b"", UNDEFINED)
NEVER_ENDING = {
    "sequence": SEQUENCE,
    "item": SEQUENCE + struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED),
    "item of a length": element(0x00081140, b"SQ", b"", UNDEFINED)
    + struct.pack("<HHL", 0xFFFE, 0xE000, 10**6),
    "UN": element(0x00091010, b"UN", b"", UNDEFINED),
    "request attributes": element(0x00400275, b"SQ", b"", UNDEFINED),
    "pixel data": element(0x7FE00010, b"OB", b"", UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, 0),
    "fragment": element(0x7FE00010, b"OB", b"", UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, 10**6),
}


def swapped(uid: str) -> bytes:
    """Study and series before the SOP class."""
    parts = data_set(uid)
    cut = parts.index(element(0x0020000D, b"UI", padded("1.2.3.100")))
    end = parts.index(element(0x00280010, b"US", b"\2\0"))
    return parts[cut:end] + parts[:cut] + parts[end:]


ODD = {
    "wrong order": swapped,
    "an odd length": lambda uid: data_set(uid, before=element(0x00081030, b"LO", b"odd")),
    "a duplicate element": lambda uid: data_set(uid, before=element(0x00080060, b"CS", b"MR")),
    "another UID a second time": lambda uid: data_set(uid, before=element(0x00080018, b"UI", b"1.2.9 ")),
    "an unknown VR": lambda uid: data_set(uid, before=element(0x00091010, b"ZZ", b"12")),
    "a known element with a wrong VR": lambda uid: data_set(uid, before=element(0x00081030, b"FD", b"12")),
    "numbers as text": lambda uid: data_set(uid, after=element(0x00280100, b"LO", b"sixteen ")),
    "UN that holds a sequence": lambda uid: data_set(
        uid,
        before=element(0x00081140, b"UN", b"", UNDEFINED)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 8)
        + implicit([(0x00081150, b"")])
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0),
    ),
    "a group length that is wrong": lambda uid: element(0x00080000, b"UL", b"\xff" * 4) + data_set(uid),
    "text in no character set": lambda uid: data_set(
        uid, before=element(0x00081030, b"LO", bytes(range(128, 192)))
    ),
    "an unknown character set": lambda uid: element(0x00080005, b"CS", b"KLINGON ") + data_set(uid),
    "escapes that lead nowhere": lambda uid: (
        element(0x00080005, b"CS", b"\\ISO 2022 IR 87")[:6]
        + struct.pack("<H", 16)
        + b"\\ISO 2022 IR 87 "
        + data_set(uid, before=element(0x00081030, b"LO", b"\x1b$B\x1b\x1b(J\x1b"))
    ),
    "a person's name of many parts": lambda uid: data_set(
        uid, before=element(0x00080090, b"PN", b"^=" * 3000)
    ),
}


def deflated(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


BOMBS = {
    "in the header": lambda uid: data_set(uid, before=element(0x00091001, b"OB", bytes(300 * MIB))),
    "in the pixels": lambda uid: data_set(uid, pixels=bytes(300 * MIB)),
}


def nested(depth: int, *, ended: bool) -> bytes:
    """Sequences of undefined length within sequences."""
    head = element(0x00081140, b"SQ", b"", UNDEFINED) + tag(ITEM, UNDEFINED)
    tail = tag(ITEM_END, 0) + tag(SEQUENCE_END, 0)
    return head * depth + (tail * depth if ended else b"")


def tiny_elements() -> bytes:
    """A million of them, in ever the same places."""
    return b"".join(element(0x00090000 + n, b"UN", b"") for n in range(0x1000, 0x10000)) * 17


def empty_items() -> bytes:
    """A million, of one sequence."""
    return element(0x00081140, b"SQ", b"", UNDEFINED) + tag(ITEM, 0) * 1_000_000 + tag(SEQUENCE_END, 0)
