"""What a compressed frame says about itself, read before any decoder sees it (ISO 10918-1, 14495-1, 15444-1).

A decoder allocates what the stream asks for, whatever the data set declares: so the two are compared first.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from hounsfield.domain.errors import UnreadableError

#: How frames are coded.
JPEG, JPEG_LS, JPEG_2000, HTJ2K, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"
JPEG_XL = "JPEG XL"
UNCOMPRESSED, DEFLATED = "uncompressed", "deflated"
#: Encapsulated transfer syntaxes that we decode.
CODINGS: Final[Mapping[str, str]] = {
    **{f"1.2.840.10008.1.2.4.{ending}": JPEG for ending in (50, 51, 53, 55, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{ending}": JPEG_LS for ending in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{ending}": JPEG_2000 for ending in (90, 91)},
    **{f"1.2.840.10008.1.2.4.{ending}": HTJ2K for ending in (201, 202, 203)},
    **{f"1.2.840.10008.1.2.4.{ending}": JPEG_XL for ending in (110, 111, 112)},
    "1.2.840.10008.1.2.5": RLE,
    "1.2.840.10008.1.2.1.98": UNCOMPRESSED,
    "1.2.840.10008.1.2.8.1": DEFLATED,
}
#: Markers of a JPEG stream: two bytes, of which the first is 0xFF.
_START, _END, _SCAN, _ADOBE = 0xD8, 0xD9, 0xDA, 0xEE
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM, RST0..7: no length follows
#: Start of Frame: all but DHT, JPG and DAC of C0..CF; F7 is JPEG-LS.
_FRAMES: Final = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
_LOSSLESS: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_frame_head: Final = Struct(">BHHB").unpack_from  # precision, rows, columns, components
#: SOC and SIZ, with which every JPEG 2000 codestream begins.
CODESTREAM: Final = b"\xff\x4f\xff\x51"
#: The first box of a JP2 file; some encoders store the file where the codestream belongs.
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_siz: Final = Struct(">HH8IH").unpack_from


class StreamHead(NamedTuple):
    """`precision`: bits of a sample. `lossless`: by its coding process. `adobe`: the colour transform that
    an Adobe marker names (0 none, 1 YCbCr, 2 YCCK), None without one."""

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    lossless: bool = False
    adobe: int | None = None


def jpeg_head(stream: bytes) -> StreamHead:
    """Of a JPEG or JPEG-LS stream. Raises UnreadableError; also for one without its end, because decoders
    fill what is missing with grey."""
    if stream[:2] != b"\xff\xd8":
        raise UnreadableError("a frame does not begin as a JPEG stream")
    position, size = 2, len(stream)
    head: StreamHead | None = None
    adobe: int | None = None
    while position + 4 <= size:
        marker = stream[position + 1]
        if stream[position] != 0xFF:
            break
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        if length < 2 or marker in (_START, _END):
            break
        if marker in _FRAMES and length >= 8 and position + 10 <= size:
            precision, rows, columns, components = _frame_head(stream, position + 4)
            head = StreamHead(rows, columns, components, precision, lossless=marker in _LOSSLESS)
        elif marker == _ADOBE and stream[position + 4 : position + 9] == b"Adobe" and length >= 14:
            adobe = stream[position + 15] if position + 15 < size else None
        elif marker == _SCAN:
            if head is None:
                break
            if stream.rfind(b"\xff\xd9") < position:
                raise UnreadableError("a frame's JPEG stream ends before its image does")
            return head._replace(adobe=adobe)
        position += 2 + length
    raise UnreadableError("the header of a frame's JPEG stream is broken")


def codestream(stream: bytes) -> bytes:
    """The JPEG 2000 codestream alone. Raises UnreadableError where there is none."""
    if stream.startswith(_JP2):
        stream = stream[max(stream.find(CODESTREAM), 0) :]
    if not stream.startswith(CODESTREAM):
        raise UnreadableError("a frame does not begin as a JPEG 2000 codestream")
    return stream


def jpeg_2000_head(stream: bytes) -> StreamHead:
    """Of a JPEG 2000 or HTJ2K codestream (ISO 15444-1 A.5.1). Raises UnreadableError, also for components
    that differ from each other."""
    if len(stream) < 45:
        raise UnreadableError("a frame's JPEG 2000 codestream ends within its header")
    length, _, right, bottom, left, top, *_, components = _siz(stream, 4)
    each = stream[42 : 42 + 3 * components]
    if length != 38 + 3 * components or len(each) != 3 * components or not components:
        raise UnreadableError("the header of a frame's JPEG 2000 codestream is broken")
    if each != (each[:1] + b"\x01\x01") * components:
        raise UnreadableError("a frame's JPEG 2000 components differ in size or depth")
    depth = each[0]
    return StreamHead(bottom - top, right - left, components, (depth & 0x7F) + 1, signed=depth >= 0x80)


def check_whole(stream: bytes) -> None:
    """Follow a codestream's tile-parts to its end (ISO 15444-1 A.4.2), for a decoder that fills up what is
    missing. Raises UnreadableError."""
    position, size = 2, len(stream)
    while position + 12 <= size:
        marker = stream[position : position + 2]
        if marker == b"\xff\x90":  # SOT: its length counts from itself, 0 means up to the end
            length = int.from_bytes(stream[position + 6 : position + 10], "big")
            position = position + length if length else stream.rfind(b"\xff\xd9")
            if length < 12 and length:
                break
        else:
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        if stream[position : position + 2] == b"\xff\xd9":
            return
    raise UnreadableError("a frame's JPEG 2000 codestream ends before its image does")
