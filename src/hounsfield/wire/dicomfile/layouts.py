"""How elements begin in each encoding (PS3.5 7.1): precompiled readers, and VRs by number.

Shared by the header scan, the element reader and the JSON writer. A VR is looked up by the 16-bit number its
two letters make in the byte order of the data, because that costs no object.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple

Buffer = Any  # bytes, bytearray, memoryview (of bytes) or mmap

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD

#: VRs with a 16-bit length (PS3.5 7.1.2) and those with two reserved bytes and a 32-bit length.
SHORT_VRS: Final = (
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "SL",
    "SS",
    "ST",
    "TM",
    "UI",
    "UL",
    "US",
)
LONG_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

#: Binary numbers: VR -> format character of `struct` and size.
NUMBERS: Final = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "UV": ("Q", 8),
    "SV": ("q", 8),
    "FL": ("f", 4),
    "FD": ("d", 8),
}
#: VRs whose value field is bytes for us.
BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
STRING_VRS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)


class Layout(NamedTuple):
    """One byte order. The readers take (buffer, offset)."""

    order: str  # "<" or ">"
    explicit_head: Callable[
        [Buffer, int], tuple[int, int, int, int]
    ]  # group, element, VR number, 16-bit length
    implicit_head: Callable[[Buffer, int], tuple[int, int, int]]  # group, element, 32-bit length; items too
    long_length: Callable[[Buffer, int], tuple[int]]
    short_vrs: dict[int, str]
    long_vrs: dict[int, str]


def _layout(order: str) -> Layout:
    number = Struct(order + "H").unpack
    return Layout(
        order,
        Struct(order + "HHHH").unpack_from,
        Struct(order + "HHI").unpack_from,
        Struct(order + "I").unpack_from,
        {number(vr.encode())[0]: vr for vr in SHORT_VRS},
        {number(vr.encode())[0]: vr for vr in LONG_VRS},
    )


LITTLE: Final = _layout("<")
BIG: Final = _layout(">")


def looks_explicit(data: Buffer, pos: int) -> bool:
    """Whether the element at `pos` has two capital letters where explicit VR has its VR.

    In implicit VR that would be a length of at least 16,705 bytes with both bytes in range: not a first
    element of any real data set.
    """
    return bool(0x41 <= data[pos + 4] <= 0x5A and 0x41 <= data[pos + 5] <= 0x5A)
