"""A data set in another native transfer syntax: element by element, values as they are (PS3.5 section 7).

Only heads change, and the order of bytes in numbers; texts are never decoded, so no character set can harm
them. Encapsulated Pixel Data, also that of icons in sequences, is replaced by native Pixel Data, or that of
the data set itself by Pixel Data compressed anew; and the attributes that describe it with it. Where nothing
of an element has to change its bytes are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from hounsfield.adapters.pixel_encoding import by_pixel
from hounsfield.adapters.pixel_frames import Fragments, read_fragments
from hounsfield.adapters.pixel_values import (
    ALLOCATED,
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    HIGH,
    KEPT,
    PHOTOMETRIC,
    PIXEL_DATA,
    PLANAR,
    STORED,
    TOTAL_LENGTH,
    Encoding,
    Image,
    Scope,
    head,
    image_of,
    number,
    swapped,
)
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.layouts import (
    ITEM,
    ITEM_END,
    LITTLE,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    looks_explicit,
)

MAX_DEPTH = 64
#: Elements and items of one data set. The largest RT and enhanced multi-frame objects have some 100,000s.
MAX_STEPS = 5_000_000
#: Encapsulated Pixel Data in explicit VR, as it stands in an icon.
_ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"

#: Fragments, the data set around them -> what the native image is, and its frames one by one.
Decoding = Callable[[bytes, Fragments, Scope], tuple[Image, Iterator[bytes]]]
#: A native image and its frames -> what the compressed image is, and a stream of even length for each.
Compression = Callable[[Image, Iterator[bytes]], tuple[Image, Iterator[bytes]]]
#: Float Pixel Data, Double Float Pixel Data: never encapsulated.
_FLOATS = (0x7FE00008, 0x7FE00009)
#: Larger values are not copied to stand behind their heads in one piece.
_JOINED = 4096


@dataclass(slots=True)
class _Level:
    """A data set or an item, written: pieces in order, and where those are that may have to change."""

    scope: Scope
    depth: int
    pieces: list[Buffer] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def size(self) -> int:
        return sum(map(len, self.pieces))


class Rewriting:
    """Of one data set. `decode` is there when the source is encapsulated, `compress` when the target is."""

    def __init__(
        self,
        data: bytes,
        source: Encoding,
        target: Encoding,
        decode: Decoding | None,
        compress: Compression | None = None,
    ) -> None:
        self._data = data
        self._view = memoryview(data)
        self._source = source
        self._target = target
        self._decode = decode
        self._compress = compress
        self._swap = source.layout is not target.layout
        self._same = source == target and (source.explicit or decode is None)
        self._steps = 0
        self._frames: Iterator[bytes] | None = None
        self._frames_at = -1

    def pieces(self) -> Iterator[Buffer]:
        """The data set. Raises UnreadableError, at its pixels perhaps after much was given."""
        top = _Level(Scope(), 0)
        self._elements(0, len(self._data), self._source, top, delimited=False)
        for place, piece in enumerate(top.pieces):
            if place == self._frames_at and self._frames is not None:
                yield from self._frames
            yield piece

    def _elements(
        self, position: int, end: int, encoding: Encoding, level: _Level, *, delimited: bool
    ) -> int:
        """Write the elements from `position` on; the offset behind them, and behind their delimiter."""
        if level.depth > MAX_DEPTH:
            raise UnreadableError(f"sequences are nested more than {MAX_DEPTH} deep")
        while position < end or delimited:
            if position + 8 > end:
                if level.depth == 0 and not any(self._view[position:end]):
                    return end  # zeros behind the last element are no element
                raise UnreadableError("the data set ends within an element")
            tag, vr, body, length = self._head(position, end, encoding, level.scope)
            if tag == ITEM_END and delimited:
                return body
            if tag >> 16 == 0xFFFE:
                raise UnreadableError(f"a delimiter stands where an element should, at byte {position}")
            position = self._element(position, end, encoding, level, (tag, vr, body, length))
        if position > end:
            raise UnreadableError("an element is longer than what it is in")
        return position

    def _head(self, position: int, end: int, encoding: Encoding, scope: Scope) -> tuple[int, str, int, int]:
        """Tag, VR, and where the value field is and how long."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise UnreadableError(f"the data set has more than {MAX_STEPS} elements")
        layout, explicit = encoding
        body = position + 8
        group, element, length = layout.implicit_head(self._data, position)
        tag = group << 16 | element
        if group == 0xFFFE:
            return tag, "", body, length
        if explicit:
            _, _, number, length = layout.explicit_head(self._data, position)
            vr = layout.short_vrs.get(number) or layout.long_vrs.get(number, "")
            if number in layout.long_vrs and body + 4 <= end:
                length = layout.long_length(self._data, body)[0]
                body += 4
            elif number not in layout.short_vrs:
                raise UnreadableError(f"an unknown or cut off VR in ({group:04X},{element:04X})")
        if length != UNDEFINED and body + length > end:
            raise UnreadableError(f"the data set ends within ({group:04X},{element:04X})")
        if not explicit:
            vr = scope.vr(tag, self._data, body, length)
        return tag, vr, body, length

    def _element(
        self, start: int, end: int, encoding: Encoding, level: _Level, found: tuple[int, str, int, int]
    ) -> int:
        tag, vr, body, length = found
        if length == UNDEFINED:
            if tag == PIXEL_DATA and vr not in ("SQ", "UN"):
                return self._encapsulated(body, end, level)
            if vr not in ("SQ", "UN"):
                raise UnreadableError(
                    f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has no length and is no sequence"
                )
        if vr == "SQ" or length == UNDEFINED:
            return self._sequence(start, end, encoding, level, found)
        after = body + length
        value: Buffer = self._view[body:after]
        level.scope.note(tag, vr, value, encoding.layout)
        if tag & 0xFFFF == 0 and self._outdated(tag):
            return after
        if self._decode is not None and tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH):
            return after
        if tag == PIXEL_DATA:
            self._check_native(level.scope, length)
            if self._compress is not None and not level.depth:
                in_order = value if encoding.layout is LITTLE else swapped(value, vr)
                self._compressed(level, *_native_frames(in_order, image_of(level.scope)))
                return after
        elif tag in _FLOATS and self._compress is not None and not level.depth:
            raise UnreadableError("pixels that are floating point numbers have no compressed form")
        level.places[tag] = len(level.pieces)
        if encoding == self._target:
            level.pieces.append(self._view[start:after])
        else:
            if encoding.layout is not self._target.layout:
                value = swapped(value, vr)
            begin = head(tag, vr, length, self._target)
            level.pieces += (begin + bytes(value),) if length <= _JOINED else (begin, value)
        return after

    def _outdated(self, tag: int) -> bool:
        """Whether a group length (retired) is wrong in the new encoding, or may be."""
        other_pixels = self._decode is not None or self._compress is not None
        return not self._same or (other_pixels and tag >> 16 in (0x0028, 0x7FE0))

    def _check_native(self, scope: Scope, length: int) -> None:
        """Pixel Data that is native already."""
        if self._swap and (allocated := number(scope, ALLOCATED, 16)) > 16:
            raise UnreadableError(
                f"pixels of {allocated} bits are read in two ways in Explicit VR Big Endian: not converted"
            )
        if self._decode is not None:
            image = image_of(scope)
            pixels = image.frame_length * image.frames
            if image.photometric == "YBR_FULL_422":
                pixels = pixels // 3 * 2
            if length != pixels + pixels % 2:
                raise UnreadableError("the pixel data is neither encapsulated nor as long as native pixels")

    def _sequence(
        self, start: int, end: int, encoding: Encoding, level: _Level, found: tuple[int, str, int, int]
    ) -> int:
        tag, vr, body, length = found
        inner = encoding
        if vr == "UN":  # its items are Implicit VR Little Endian whatever is around it (PS3.5 6.2.2)
            inner = Encoding(LITTLE, False)
        pieces: list[Buffer] = []
        if self._same and length != UNDEFINED and self._data.find(_ENCAPSULATED, body, body + length) < 0:
            position = body + length
        else:
            position = self._items(body, end, length, inner, level, pieces)
        if self._same and self._data.find(_ENCAPSULATED, start, position) < 0:
            level.pieces.append(self._view[start:position])
            return position
        if length == UNDEFINED:
            pieces.append(head(SEQUENCE_END, "", 0, self._target))
            size = UNDEFINED
        else:
            size = sum(map(len, pieces))
        level.pieces.append(head(tag, "SQ", size, self._target))
        level.pieces += pieces
        return position

    def _items(
        self, position: int, end: int, length: int, encoding: Encoding, level: _Level, pieces: list[Buffer]
    ) -> int:
        """Write the items of a sequence; the offset behind them, and behind their delimiter."""
        if length != UNDEFINED:
            end = position + length
        while length == UNDEFINED or position < end:
            if position + 8 > end:
                raise UnreadableError("the data set ends within a sequence")
            tag, _, body, size = self._head(position, end, encoding, level.scope)
            if tag == SEQUENCE_END and length == UNDEFINED:
                return body
            if tag != ITEM:
                raise UnreadableError(f"something else than an item in a sequence, at byte {position}")
            item = _Level(Scope(level.scope), level.depth + 1)
            inner = encoding
            if encoding.layout is LITTLE and size and body + 8 <= end:  # some writers mix the two
                inner = Encoding(LITTLE, looks_explicit(self._data, body))
            if size == UNDEFINED:
                position = self._elements(body, end, inner, item, delimited=True)
                item.pieces.append(head(ITEM_END, "", 0, self._target))
                pieces.append(head(ITEM, "", UNDEFINED, self._target))
            else:
                position = self._elements(body, body + size, inner, item, delimited=False)
                pieces.append(head(ITEM, "", item.size(), self._target))
            pieces += item.pieces
        return position

    def _encapsulated(self, body: int, end: int, level: _Level) -> int:
        """Replace Pixel Data by its native form."""
        if self._decode is None:
            raise UnreadableError("the pixel data is encapsulated where the transfer syntax is native")
        fragments = read_fragments(self._data, body, end)
        image, frames = self._decode(self._data, fragments, level.scope)
        if self._compress is not None and not level.depth:
            self._compressed(level, image, frames)
            return fragments.end
        wide = image.allocated > 8
        swap = wide and self._target.layout is not LITTLE
        if swap and image.allocated > 16:
            raise UnreadableError("pixels of more than 16 bits are not converted to Explicit VR Big Endian")
        self._describe(level, image)
        size = image.frame_length * image.frames
        if size >= UNDEFINED - 1:
            raise UnreadableError("the decoded pixel data would not fit its length field")
        level.pieces.append(head(PIXEL_DATA, "OW" if wide else "OB", size + size % 2, self._target))
        frames = _native(frames, swap=swap, pad=size % 2 == 1)
        if level.depth:
            level.pieces.append(b"".join(frames))
        else:
            self._put_later(level, frames)
        return fragments.end

    def _compressed(self, level: _Level, image: Image, frames: Iterator[bytes]) -> None:
        """Pixel Data as a fragment for each frame (PS3.5 A.4). The Basic Offset Table is empty: each frame is
        written before the next one is made."""
        if self._compress is None:
            raise AssertionError("called where nothing is compressed")
        image, streams = self._compress(image, frames)
        self._describe(level, image)
        level.pieces.append(head(PIXEL_DATA, "OB", UNDEFINED, self._target) + head(ITEM, "", 0, self._target))
        self._put_later(level, _fragments(streams, self._target))

    def _put_later(self, level: _Level, frames: Iterator[bytes]) -> None:
        """The frames of the data set's own Pixel Data stand here, and are made when they are sent."""
        if self._frames is not None:
            raise UnreadableError("the data set has more than one Pixel Data")
        self._frames, self._frames_at = frames, len(level.pieces)
        level.pieces.append(b"")

    def _describe(self, level: _Level, image: Image) -> None:
        """Make the attributes around the Pixel Data tell what it is now."""
        declared = image_of(level.scope)
        changes: dict[int, int | str] = {}
        if image.photometric != declared.photometric:
            changes[PHOTOMETRIC] = image.photometric
        if (image.allocated, image.stored, image.high) != (
            declared.allocated,
            declared.stored,
            declared.high,
        ):
            changes |= {ALLOCATED: image.allocated, STORED: image.stored, HIGH: image.high}
        if image.samples > 1 and (PLANAR not in level.places or image.planar != declared.planar):
            changes[PLANAR] = image.planar
        for tag, new in changes.items():
            written = self._written(tag, new)
            if tag in level.places:
                level.pieces[level.places[tag]] = written
            elif PHOTOMETRIC in level.places and tag == PLANAR:  # it stands behind
                level.pieces[level.places[PHOTOMETRIC]] = (
                    bytes(level.pieces[level.places[PHOTOMETRIC]]) + written
                )
            else:
                raise UnreadableError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing")

    def _written(self, tag: int, value: int | str) -> bytes:
        if isinstance(value, str):
            encoded = value.encode() + b" " * (len(value) % 2)
        else:
            encoded = value.to_bytes(2, "little" if self._target.layout is LITTLE else "big")
        return head(tag, KEPT[tag], len(encoded), self._target) + encoded


def _native_frames(value: Buffer, image: Image) -> tuple[Image, Iterator[bytes]]:
    """The frames of a native Pixel Data in little endian, colour by pixel. Raises UnreadableError."""
    size = image.frame_length
    if image.allocated % 8 or image.photometric.endswith(("_422", "_420")):
        raise UnreadableError(f"frames of {image.allocated} bits in {image.photometric} are not compressed")
    if len(value) - size * image.frames not in (0, size * image.frames % 2):
        raise UnreadableError("the pixel data is not as long as its frames are declared")
    cells = (bytes(value[at : at + size]) for at in range(0, size * image.frames, size))
    return replace(image, planar=0), (by_pixel(one, image) for one in cells)


def _fragments(streams: Iterator[bytes], target: Encoding) -> Iterator[bytes]:
    for stream in streams:
        yield head(ITEM, "", len(stream), target)
        yield stream
    yield head(SEQUENCE_END, "", 0, target)


def _native(frames: Iterator[bytes], *, swap: bool, pad: bool) -> Iterator[bytes]:
    for frame in frames:
        yield bytes(swapped(frame, "OW")) if swap else frame
    if pad:
        yield b"\0"
