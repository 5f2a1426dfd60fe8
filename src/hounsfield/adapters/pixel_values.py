"""One data element in another native encoding: its VR, its byte order, its head (PS3.5 section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.dictionary import vr_of
from hounsfield.wire.dicomfile.layouts import BIG, ITEM, LITTLE, LONG_VRS, UNDEFINED, Buffer, Layout
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax


class Encoding(NamedTuple):
    """How elements are written down."""

    layout: Layout
    explicit: bool


def encoding_of(syntax: str) -> Encoding:
    """Of a transfer syntax, once inflated."""
    known = transfer_syntax(syntax)
    return Encoding(LITTLE if known.little_endian else BIG, known.explicit)


PIXEL_DATA: Final = 0x7FE00010
EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH = 0x7FE00001, 0x7FE00002, 0x7FE00003
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS, ALLOCATED, STORED, HIGH = 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102
PIXEL_REPRESENTATION: Final = 0x00280103
#: Elements of which a `Scope` keeps the value, with their VRs.
KEPT: Final[Mapping[int, str]] = {
    SAMPLES: "US",
    PHOTOMETRIC: "CS",
    PLANAR: "US",
    FRAMES: "IS",
    ROWS: "US",
    COLUMNS: "US",
    ALLOCATED: "US",
    STORED: "US",
    HIGH: "US",
    PIXEL_REPRESENTATION: "US",
    EXTENDED_OFFSETS: "OV",
}

#: Bytes that change places between byte orders.
_WIDTHS: Final = {
    **dict.fromkeys(("US", "SS", "AT", "OW"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
_LONG: Final = frozenset(LONG_VRS)
_HEADS: Final = {
    order: (Struct(order + "HHI").pack, Struct(order + "HH2sH").pack, Struct(order + "HH2sHI").pack)
    for order in "<>"
}


def head(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """What precedes a value field of `length` bytes. A value that its VR's length field cannot tell becomes
    UN (PS3.5 6.2.2)."""
    implicit, short, long = _HEADS[encoding.layout.order]
    group, element = tag >> 16, tag & 0xFFFF
    if not encoding.explicit or group == 0xFFFE:
        return implicit(group, element, length)
    if vr in _LONG:
        return long(group, element, vr.encode(), 0, length)
    if length > 0xFFFF:
        return long(group, element, b"UN", 0, length)
    return short(group, element, vr.encode(), length)


def swapped(value: Buffer, vr: str) -> Buffer:
    """The value field in the other byte order."""
    width = _WIDTHS.get(vr, 1)
    size = len(value)
    if width == 1 or size < width:
        return value
    whole = size - size % width
    turned = np.frombuffer(value[:whole], f"<u{width}").byteswap().tobytes()
    return turned + bytes(value[whole:]) if whole < size else turned


class Scope:
    """What the elements of one data set or item say about the others in it, or in its items."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.outer = outer
        self.values: dict[int, bytes] = {}  # little endian; tags of `KEPT` only
        self._creators: dict[int, str] = {}

    def note(self, tag: int, vr: str, value: Buffer, layout: Layout) -> None:
        """Keep the value field of an element that matters to others."""
        if tag in KEPT:
            self.values[tag] = bytes(value if layout is LITTLE else swapped(value, vr))
        elif tag & 0x1FF00 == 0x10000 and tag & 0xFF >= 0x10:
            creator = bytes(value[:64]).decode("latin-1").strip(" \0")
            self._creators[tag >> 16 << 8 | tag & 0xFF] = creator

    @property
    def signed(self) -> bool:
        """Pixel Representation of the nearest data set around that has one."""
        scope: Scope | None = self
        while scope is not None:
            if PIXEL_REPRESENTATION in scope.values:
                return scope.values[PIXEL_REPRESENTATION][:1] == b"\1"
            scope = scope.outer
        return False

    def vr(self, tag: int, data: bytes, body: int, length: int) -> str:
        """The VR of an element of implicit VR: as the dictionaries have it, UN where nobody knows it or
        where the value cannot be one of it."""
        if length == UNDEFINED:
            return "SQ" if tag != PIXEL_DATA else "OB"
        creator = self._creators.get(tag >> 16 << 8 | tag >> 8 & 0xFF, "") if tag & 0x10000 else ""
        vr = vr_of(tag, creator)
        if " or " in vr:
            vr = "OW" if vr.endswith("OW") else "SS" if self.signed else "US"
        if vr == "SQ":
            begins = length == 0 or LITTLE.implicit_head(data, body)[:2] == (ITEM >> 16, ITEM & 0xFFFF)
            return "SQ" if begins else "UN"
        return vr if length % _WIDTHS.get(vr, 1) == 0 and len(vr) == 2 else "UN"


@dataclass(frozen=True, slots=True)
class Image:
    """The Image Pixel attributes of one data set (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    frames: int
    photometric: str
    planar: int = 0

    @property
    def frame_length(self) -> int:
        """Bytes of one native frame that is not subsampled."""
        return self.rows * self.columns * self.samples * (self.allocated // 8)


def number(scope: Scope, tag: int, default: int = -1) -> int:
    """The value of an element of VR US or IS; raises UnreadableError where it is no number, or is missing
    without a default."""
    value = scope.values.get(tag, b"")
    if KEPT[tag] == "US" and len(value) >= 2:
        return int.from_bytes(value[:2], "little")
    if KEPT[tag] == "IS" and value.strip(b" \0").isdigit() and len(value) <= 12:
        return int(value.strip(b" \0"))
    if not value.strip(b" \0") and default >= 0:
        return default
    raise UnreadableError(
        f"({tag >> 16:04X},{tag & 0xFFFF:04X}), which tells about the pixels, is missing or odd"
    )


def image_of(scope: Scope) -> Image:
    """The Image Pixel attributes. Raises UnreadableError where one is missing or impossible."""
    allocated = number(scope, ALLOCATED)
    stored = number(scope, STORED, allocated)
    image = Image(
        rows=number(scope, ROWS),
        columns=number(scope, COLUMNS),
        samples=number(scope, SAMPLES, 1),
        allocated=allocated,
        stored=stored,
        high=number(scope, HIGH, stored - 1),
        signed=number(scope, PIXEL_REPRESENTATION, 0) == 1,
        frames=number(scope, FRAMES, 1),
        photometric=scope.values.get(PHOTOMETRIC, b"").decode("latin-1").strip(" \0"),
        planar=number(scope, PLANAR, 0),
    )
    if not (image.rows and image.columns and image.samples and image.frames) or not 0 < stored <= allocated:
        raise UnreadableError("the attributes of the pixels contradict each other")
    if len(image.photometric) > 16:
        raise UnreadableError("the Photometric Interpretation is none")
    return image
