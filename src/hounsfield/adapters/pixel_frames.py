"""The fragments of encapsulated Pixel Data, and which of them make a frame (PS3.5 A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from struct import iter_unpack
from typing import NamedTuple

from hounsfield.adapters.pixel_streams import CODESTREAM
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.layouts import ITEM, LITTLE, SEQUENCE_END

#: How a frame begins in JPEG and JPEG-LS, and in JPEG 2000 and HTJ2K.
_BEGINNINGS = (b"\xff\xd8\xff", CODESTREAM)


class Fragments(NamedTuple):
    """`pieces`: offset and length of each fragment's value in the data. `starts`: where the first byte of
    each item stands, counted from the first fragment's as the offset tables do. `table`: Basic Offset
    Table. `end`: the offset behind the Pixel Data."""

    pieces: list[tuple[int, int]]
    starts: list[int]
    table: list[int]
    end: int


def read_fragments(data: bytes, position: int, end: int) -> Fragments:
    """The items at `position`. Raises UnreadableError."""
    pieces: list[tuple[int, int]] = []
    starts: list[int] = []
    table: list[int] | None = None
    first = 0
    while True:
        if position + 8 > end:
            raise UnreadableError("the pixel data ends within its fragments")
        group, element, length = LITTLE.implicit_head(data, position)
        tag, body = group << 16 | element, position + 8
        if tag == SEQUENCE_END:
            return Fragments(pieces, starts, table or [], body)
        if tag != ITEM or body + length > end:
            raise UnreadableError("the fragments of the pixel data are broken")
        if table is None:
            table = [offset for (offset,) in iter_unpack("<I", data[body : body + length // 4 * 4])]
            first = body + length
        else:
            starts.append(position - first)
            pieces.append((body, length))
        position = body + length


def frames_of(
    data: bytes, fragments: Fragments, count: int, extended: Sequence[int]
) -> list[list[tuple[int, int]]]:
    """The fragments of each of `count` frames. `extended`: Extended Offset Table (7FE0,0001), or nothing.

    Raises UnreadableError where no way of telling them apart gives as many frames as are declared.
    """
    pieces = fragments.pieces
    if len(pieces) == count:
        return [[piece] for piece in pieces]
    if len(pieces) < count:
        raise UnreadableError(f"{count} frames are declared, but the pixel data has {len(pieces)} fragments")
    begins = [n for n, (at, _) in enumerate(pieces) if data.startswith(_BEGINNINGS, at)]
    if count == 1:
        if len(begins) > 1:
            raise UnreadableError(f"one frame is declared, but the pixel data has {len(begins)}")
        return [pieces]
    index = {start: n for n, start in enumerate(fragments.starts)}
    for table in (extended, fragments.table):
        firsts = [index.get(offset, -1) for offset in table]
        if len(firsts) == count and firsts[0] == 0 and _ascending(firsts):
            return _split(pieces, firsts)
    if len(begins) == count and begins[0] == 0:
        return _split(pieces, begins)
    raise UnreadableError(
        f"{count} frames are declared, and {len(pieces)} fragments do not tell which belong to which"
    )


def _ascending(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def _split(pieces: list[tuple[int, int]], firsts: Sequence[int]) -> list[list[tuple[int, int]]]:
    ends = [*firsts[1:], len(pieces)]
    return [pieces[first:end] for first, end in zip(firsts, ends, strict=True)]
