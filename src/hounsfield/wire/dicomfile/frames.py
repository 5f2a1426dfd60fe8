"""Where the frames of an object stand, so that one can be had without the others (PS3.5 A.4, 8.1.1; PS3.3
C.7.6.3).

Native frames are found by arithmetic, encapsulated ones by an offset table that proves right where it is
used, else by a walk over the fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from struct import iter_unpack
from typing import Final, NamedTuple

from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.layouts import ITEM, LITTLE, SEQUENCE_END, UNDEFINED
from hounsfield.wire.dicomfile.outline import Outline, Read, Source, outline
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
_EXTENDED_OFFSETS: Final = 0x7FE00001
#: How a frame begins in JPEG and JPEG-LS, in JPEG 2000 and HTJ2K, in a JP2 file, and in JPEG XL's two forms.
_BEGINNINGS: Final = (
    b"\xff\xd8\xff",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP  ",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
)
#: Fragments of one object. A whole slide image has some 100,000s.
MAX_FRAGMENTS: Final = 2_000_000
#: Bytes of an offset table.
_MAX_TABLE: Final = 1 << 25

Piece = tuple[int, int]  # offset and length


class Fragments(NamedTuple):
    """`pieces`: offset and length of each fragment's value. `starts`: where the first byte of each item
    stands, counted from the first fragment's as the offset tables do. `beginning`: whether it begins as a
    compressed image does. `table`: Basic Offset Table. `end`: the offset behind the Pixel Data."""

    pieces: list[Piece]
    starts: list[int]
    beginning: list[bool]
    table: list[int]
    end: int


def read_fragments(source: Source, position: int, end: int) -> Fragments:
    """The items of encapsulated Pixel Data whose first is at `position`. Raises MalformedError, or one of
    its kind."""
    table, position = _basic_offsets(source, position, end)
    first = position
    pieces: list[Piece] = []
    starts: list[int] = []
    beginning: list[bool] = []
    while True:
        tag, body, length = _item_at(source, position, end)
        if tag == SEQUENCE_END:
            return Fragments(pieces, starts, beginning, table, body)
        if len(pieces) == MAX_FRAGMENTS:
            raise LimitError(f"more than {MAX_FRAGMENTS} fragments", position, PIXEL_DATA)
        window, base = source.window(position, 16)
        head = bytes(window[body - base : body - base + min(8, length)])
        starts.append(position - first)
        pieces.append((body, length))
        beginning.append(head.startswith(_BEGINNINGS))
        position = body + length


def split_frames(fragments: Fragments, count: int, extended: Sequence[int] = ()) -> list[list[Piece]]:
    """The fragments of each of `count` frames. `extended`: Extended Offset Table (7FE0,0001), or nothing.

    Raises MalformedError where no way of telling them apart gives as many frames as are declared.
    """
    pieces = fragments.pieces
    if len(pieces) == count:
        return [[piece] for piece in pieces]
    if len(pieces) < count:
        raise MalformedError(f"{count} frames are declared, but the pixel data has {len(pieces)} fragments")
    begins = [n for n, begins in enumerate(fragments.beginning) if begins]
    if count == 1:
        if len(begins) > 1:
            raise MalformedError(f"one frame is declared, but the pixel data has {len(begins)}")
        return [pieces]
    index = {start: n for n, start in enumerate(fragments.starts)}
    for table in (extended, fragments.table):
        firsts = [index.get(offset, -1) for offset in table]
        if len(firsts) == count and firsts[0] == 0 and all(a < b for a, b in pairwise(firsts)):
            return _split(pieces, firsts)
    if len(begins) == count and begins[0] == 0:
        return _split(pieces, begins)
    raise MalformedError(
        f"{count} frames are declared, and {len(pieces)} fragments do not tell which belong to which"
    )


def _split(pieces: list[Piece], firsts: Sequence[int]) -> list[list[Piece]]:
    ends = [*firsts[1:], len(pieces)]
    return [pieces[first:end] for first, end in zip(firsts, ends, strict=True)]


def _item_at(source: Source, position: int, end: int) -> tuple[int, int, int]:
    """Tag, offset of the value, its length; an item or the delimiter. Raises MalformedError."""
    if position + 8 > end:
        raise TruncatedError("the pixel data ends within its fragments", position, PIXEL_DATA)
    window, base = source.window(position, 16)
    group, element, length = LITTLE.implicit_head(window, position - base)
    tag = group << 16 | element
    if tag == SEQUENCE_END:
        return tag, position + 8, 0
    if tag != ITEM or position + 8 + length > end:
        raise MalformedError("the fragments of the pixel data are broken", position, PIXEL_DATA)
    return tag, position + 8, length


def _basic_offsets(source: Source, position: int, end: int) -> tuple[list[int], int]:
    """The Basic Offset Table, and where the first fragment's item stands."""
    tag, body, length = _item_at(source, position, end)
    if tag == SEQUENCE_END:
        return [], position
    if length > _MAX_TABLE:
        raise LimitError(f"a Basic Offset Table of {length} bytes", position, PIXEL_DATA)
    value = source.bytes(body, length)
    return [offset for (offset,) in iter_unpack("<I", value[: length // 4 * 4])], body + length


@dataclass(slots=True)
class FrameMap:
    """The Image Pixel attributes of an object, and its frames. `tag`: of the element that has the pixels.
    `offset`, `length`: of its value; the length is that up to the end where it is encapsulated."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int
    frames: int
    tag: int
    encapsulated: bool
    offset: int
    length: int
    elements: Outline
    _source: Source = field(repr=False)
    _offsets: Sequence[int] = ()  # of an offset table that no use has proved wrong yet
    _first: int = 0
    _pieces: list[list[Piece]] | None = None

    @property
    def frame_bits(self) -> int:
        """Of a native frame as it stands: subsampled, not padded."""
        bits = self.rows * self.columns * self.samples * self.allocated
        if self.encapsulated:
            return bits
        if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            return bits // 3 * 2
        return bits // 2 if self.photometric == "YBR_PARTIAL_420" else bits

    def frame(self, number: int) -> list[Piece]:
        """Offset and length of each piece of the frame of that number (from 1). Of a native frame that does
        not begin with a byte (bits allocated 1), the bytes that hold it: see `bits_before`.

        Raises IndexError where there is no such frame, MalformedError or one of its kind where the pixel
        data does not hold it.
        """
        if not 1 <= number <= self.frames:
            raise IndexError(f"there is no frame {number}: the object has {self.frames}")
        if self.encapsulated:
            return self._fragments(number)
        bits = self.frame_bits
        begin, end = (number - 1) * bits // 8, -(-number * bits // 8)
        if end > self.length:
            raise TruncatedError(f"the pixel data ends before frame {number} does", tag=self.tag)
        return [(self.offset + begin, end - begin)]

    def bits_before(self, number: int) -> int:
        """How many bits of the first byte of a native frame belong to the one before."""
        return 0 if self.encapsulated else (number - 1) * self.frame_bits % 8

    def all_fragments(self) -> list[Piece]:
        """Of encapsulated pixel data, whatever frames they belong to: for video. Raises MalformedError."""
        return read_fragments(self._source, self.offset, self.offset + self.length).pieces

    def _fragments(self, number: int) -> list[Piece]:
        if self._pieces is None:
            found = self._by_table(number)
            if found:
                return found
            fragments = read_fragments(self._source, self.offset, self.offset + self.length)
            self._pieces = split_frames(fragments, self.frames, self._extended())
        return self._pieces[number - 1]

    def _extended(self) -> list[int]:
        place = self.elements.places.get(_EXTENDED_OFFSETS)
        if place is None or place.length > _MAX_TABLE or place.length == UNDEFINED:
            return []
        value = self._source.bytes(place.offset, place.length)
        return [offset for (offset,) in iter_unpack("<Q", value[: len(value) // 8 * 8])]

    def _by_table(self, number: int) -> list[Piece]:
        """By an offset table alone, where it agrees with the items that it points at; [] else."""
        end = self.offset + self.length
        if not self._first:
            table, self._first = _basic_offsets(self._source, self.offset, end)
            extended = self._extended()
            self._offsets = next((t for t in (extended, table) if len(t) == self.frames and t[0] == 0), ())
        if not self._offsets:
            return []
        try:
            position = self._first + self._offsets[number - 1]
            stop = self._first + self._offsets[number] if number < self.frames else -1
            pieces: list[Piece] = []
            while position != stop:
                tag, body, length = _item_at(self._source, position, end)
                if tag == SEQUENCE_END:
                    return pieces if stop < 0 else []
                pieces.append((body, length))
                position = body + length
                if 0 <= stop < position or len(pieces) > MAX_FRAGMENTS:
                    return []
            return pieces
        except MalformedError:
            return []  # the walk judges what is broken


def locate_frames(read: Read, size: int, transfer_syntax_uid: str) -> FrameMap:
    """Of a data set (without file meta) of `size` bytes, of which `read(offset, length)` gives exactly those
    asked for; of a deflated one `read` gives the inflated bytes, and the offsets are of those.

    Raises MalformedError or one of its kind where the object has no pixel data, or says impossible things of
    it. Nothing is said about whether the frames can be decoded.
    """
    elements = outline(read, size, transfer_syntax_uid)
    return map_frames(elements, transfer_syntax_uid)


def map_frames(elements: Outline, transfer_syntax_uid: str) -> FrameMap:
    """The same of a data set that was outlined already."""
    tag = next((t for t in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA) if t in elements), 0)
    if not tag:
        raise MalformedError("the object has no pixel data")
    place = elements.places[tag]
    encapsulated = place.length == UNDEFINED
    if encapsulated and not transfer_syntax(transfer_syntax_uid).encapsulated:
        raise MalformedError("the pixel data is encapsulated where the transfer syntax is native", tag=tag)
    allocated = elements.integer(0x00280100, {FLOAT_PIXEL_DATA: 32, DOUBLE_PIXEL_DATA: 64}.get(tag))
    stored = elements.integer(0x00280101, allocated)
    found = FrameMap(
        rows=elements.integer(0x00280010),
        columns=elements.integer(0x00280011),
        samples=elements.integer(0x00280002, 1),
        allocated=allocated,
        stored=stored,
        high=elements.integer(0x00280102, stored - 1),
        signed=elements.integer(0x00280103, 0) == 1,
        photometric=elements.text(0x00280004).upper(),
        planar=elements.integer(0x00280006, 0),
        frames=max(elements.integer(0x00280008, 1), 1),
        tag=tag,
        encapsulated=encapsulated,
        offset=place.offset,
        length=elements.end - place.offset if encapsulated else place.length,
        elements=elements,
        _source=elements.source,
    )
    positive = (found.rows, found.columns, found.samples, allocated, stored)
    if min(positive) <= 0 or stored > allocated or not 0 <= found.high < allocated:
        raise MalformedError("the attributes of the pixels contradict each other", tag=tag)
    return found
