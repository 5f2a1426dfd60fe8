"""Where the elements of a data set stand: a walk over their heads, values read only when asked for.

For objects of any size: the bytes are fetched in windows through `read(offset, length)`, and sequences of
known length are passed without a look inside. Data sets and items alike (PS3.5 section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import iter_unpack
from typing import Final, NamedTuple

from hounsfield.wire.dicomfile.dictionary import vr_of
from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.layouts import (
    BIG,
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
from hounsfield.wire.dicomfile.skipping import OddError, skip_sequence
from hounsfield.wire.dicomfile.text import decode_text
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

Read = Callable[[int, int], Buffer]

#: Elements of one data set or item, and items of one sequence.
MAX_ELEMENTS: Final = 200_000
#: Elements walked within one sequence of undefined length, and its bytes.
MAX_STEPS: Final = 5_000_000
MAX_SEQUENCE: Final = 1 << 28
#: A value that is asked for.
MAX_VALUE: Final = 1 << 26

_WINDOW: Final = 1 << 16
_CHARACTER_SET: Final = 0x00080005
#: 8-bit numbers, or words, that stand in one value field.
_MANY: Final = {
    "OB": ("B", 1),
    "OW": ("H", 2),
    "OL": ("I", 4),
    "OF": ("f", 4),
    "OD": ("d", 8),
    "OV": ("Q", 8),
}


class Place(NamedTuple):
    """One element: its VR as written ("UN" where implicit VR tells none), where its head and its value field
    begin, and the length of the value, `UNDEFINED` for fragments."""

    vr: str
    start: int
    offset: int
    length: int


class Source:
    """Bytes behind `read`, of which a window is kept."""

    def __init__(self, read: Read, size: int) -> None:
        self.size = size
        self._read = read
        self._window: Buffer = b""
        self._base = 0

    def window(self, position: int, length: int) -> tuple[Buffer, int]:
        """A buffer with at least `length` bytes from `position` on, or all up to the end; and its offset."""
        end = min(position + length, self.size)
        if position < self._base or end > self._base + len(self._window):
            self._window = self._read(position, min(max(length, _WINDOW), self.size - position))
            self._base = position
        return self._window, self._base

    def bytes(self, position: int, length: int) -> bytes:
        """Raises TruncatedError, LimitError."""
        if position + length > self.size:
            raise TruncatedError("the data ends within a value", self.size)
        if length > MAX_VALUE:
            raise LimitError(f"a value of {length} bytes", position)
        base = self._base
        if base <= position and position + length <= base + len(self._window):
            return bytes(self._window[position - base : position - base + length])
        return bytes(self._read(position, length))


def outline(read: Read, size: int, transfer_syntax_uid: str) -> Outline:
    """Of a data set (no file meta) of `size` bytes; of a deflated one `read` gives the inflated bytes.

    An implicit VR where an explicit one is announced, or the other way round, is recognised by the first
    element. Raises MalformedError or a subclass; at once for what the top level has, later for items.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    layout = LITTLE if syntax.little_endian else BIG
    source = Source(read, size)
    explicit = syntax.explicit
    if size >= 8:
        window, base = source.window(0, 8)
        explicit = looks_explicit(window, -base)
    return Outline(source, layout, explicit, 0, size, "", delimited=False)


class Outline:
    """The elements of a data set or of an item. All values of one kind: () where there are none."""

    def __init__(
        self,
        source: Source,
        layout: Layout,
        explicit: bool,
        start: int,
        end: int,
        character_set: str,
        *,
        delimited: bool,
    ) -> None:
        self.places: dict[int, Place] = {}
        self.layout = layout
        self.explicit = explicit
        self.source = source
        self.end = self._walk(start, end, delimited)
        own = self.texts(_CHARACTER_SET, split=False)
        self.character_set = own[0] if own else character_set

    def __contains__(self, tag: int) -> bool:
        return tag in self.places

    def raw(self, tag: int) -> bytes:
        """The value field; b"" where the element is absent, a sequence or fragments."""
        place = self.places.get(tag)
        if place is None or place.length == UNDEFINED:
            return b""
        return self.source.bytes(place.offset, place.length)

    def vr(self, tag: int) -> str:
        """As written, or as PS3.6 has it; of a choice of the standard the first."""
        place = self.places.get(tag)
        if place is None:
            return ""
        return place.vr if place.vr != "UN" else vr_of(tag).split(" ", 1)[0]

    def texts(self, tag: int, *, split: bool = True) -> tuple[str, ...]:
        """Decoded by the character set in force, without padding."""
        value = self.raw(tag)
        if not value.strip(b" \0"):
            return ()
        character_set = "" if tag == _CHARACTER_SET else self.character_set
        text = decode_text(value, character_set, self.vr(tag))
        parts = text.split("\\") if split else [text]
        return tuple(part.strip(" \0") for part in parts)

    def text(self, tag: int, default: str = "") -> str:
        """The first value."""
        values = self.texts(tag)
        return values[0] if values else default

    def numbers(self, tag: int, kind: str = "") -> tuple[float, ...]:
        """Binary numbers, or decimal text (DS, IS); those that are none are left out. `kind`: a VR to read
        the value by, whatever is written."""
        vr = kind or self.vr(tag)
        if (form := NUMBERS.get(vr) or _MANY.get(vr)) is not None:
            value = self.raw(tag)
            code, width = form
            return tuple(
                n for (n,) in iter_unpack(self.layout.order + code, value[: len(value) // width * width])
            )
        found = []
        for part in self.raw(tag).split(b"\\"):
            try:
                found.append(float(part.strip(b" \0")))
            except ValueError:
                continue
        return tuple(found)

    def number(self, tag: int, default: float | None = None) -> float:
        """The first. Raises MalformedError where there is none and no default."""
        values = self.numbers(tag)
        if values:
            return values[0]
        if default is None:
            raise MalformedError("an element that is needed is missing, or no number", tag=tag)
        return default

    def integer(self, tag: int, default: int | None = None) -> int:
        number = self.number(tag, default)
        if number != number or abs(number) >= 2**63:
            raise MalformedError("a number that cannot be one", tag=tag)
        return int(number)

    def items(self, tag: int, first: int = 0, most: int = MAX_ELEMENTS) -> Iterator[Outline]:
        """Of a sequence: at most `most` items from the number `first` (from 0) on; those before are passed by
        their lengths where they have one."""
        place = self.places.get(tag)
        if place is None or place.vr not in ("SQ", "UN") or place.length == UNDEFINED:
            return
        explicit = self.explicit and place.vr != "UN"  # UN is implicit inside (PS3.5 6.2.2)
        layout = LITTLE if self.explicit and not explicit else self.layout
        position, end = place.offset, place.offset + place.length
        for number in range(first + most):
            if position + 8 > end:
                return
            window, base = self.source.window(position, 16)
            group, element, length = layout.implicit_head(window, position - base)
            if group << 16 | element == SEQUENCE_END:
                return
            if group << 16 | element != ITEM:
                raise MalformedError("no item where one should be", position, tag)
            body = position + 8
            stop = end if length == UNDEFINED else body + length
            if stop > end:
                raise TruncatedError("an item is longer than its sequence", position, tag)
            if number < first and length != UNDEFINED:
                position = stop
                continue
            inner = explicit
            if explicit and body + 8 <= stop:  # some writers mix the two
                inner = looks_explicit(window, body - base)
            open_end = length == UNDEFINED
            item = Outline(self.source, layout, inner, body, stop, self.character_set, delimited=open_end)
            if number >= first:
                yield item
            position = item.end

    def item(self, tag: int, number: int = 0) -> Outline | None:
        """One item of a sequence, or None."""
        return next(self.items(tag, number, 1), None)

    # The walk ----------------------------------------------------------------------------------------------

    def _walk(self, position: int, end: int, delimited: bool) -> int:
        """The offset behind the last element, or behind the delimiter."""
        implicit_head, explicit_head = self.layout.implicit_head, self.layout.explicit_head
        short_vrs, long_vrs = self.layout.short_vrs, self.layout.long_vrs
        places = self.places
        source = self.source
        window, base = source.window(position, 12)
        limit = base + len(window)
        while position < end:
            if len(places) >= MAX_ELEMENTS:
                raise LimitError(f"more than {MAX_ELEMENTS} elements", position)
            if position + 12 > limit:
                window, base = source.window(position, 12)
                limit = base + len(window)
            body = position + 8
            at = position - base
            if body > end:
                if delimited or any(window[at : end - base]):
                    raise TruncatedError("the data ends within an element", position)
                return end
            group, element, length = implicit_head(window, at)
            tag = group << 16 | element
            vr = "UN"
            if group == 0xFFFE:
                if tag == ITEM_END and delimited:
                    return body
                raise MalformedError("a delimiter where an element should be", position, tag)
            if self.explicit:
                _, _, number, length = explicit_head(window, at)
                found = short_vrs.get(number)
                if found is None:
                    found = long_vrs.get(number)
                    if found is None:
                        raise MalformedError("an unknown VR", position, tag)
                    if body + 4 > end:
                        raise TruncatedError("the data ends within a length", position, tag)
                    length = self.layout.long_length(window, at + 8)[0]
                    body += 4
                vr = found
            after = body + length
            if length == UNDEFINED:
                length, after = self._undefined(tag, vr, body, end)
            if after > end:
                raise TruncatedError("the data ends within a value", position, tag)
            places[tag] = Place(vr, position, body, length)
            position = after
        if delimited:
            raise TruncatedError("an item has no end", position)
        return position

    def _undefined(self, tag: int, vr: str, body: int, end: int) -> tuple[int, int]:
        """Length of a value of undefined length, and the offset behind it: of a sequence with its delimiter;
        of Pixel Data, whose fragments are not looked at here, up to the end of the data set."""
        if tag == 0x7FE00010 and (vr not in ("SQ", "UN") or not self.explicit):
            return UNDEFINED, end
        if vr not in ("SQ", "UN"):
            raise MalformedError("a value of undefined length", body, tag)
        layout = self.layout if vr == "SQ" or not self.explicit else LITTLE
        implicit = not self.explicit or vr == "UN"
        size = _WINDOW
        while True:
            size = min(size, end - body)
            window, base = self.source.window(body, size)
            try:
                behind = skip_sequence(
                    memoryview(window)[body - base :], 0, layout, implicit, steps=MAX_STEPS
                )
            except TruncatedError:
                if size >= end - body:
                    raise
            except OddError as error:
                raise MalformedError("a sequence that is none", body, tag) from error
            else:
                return behind, body + behind
            if size >= MAX_SEQUENCE:
                raise LimitError(f"a sequence of more than {MAX_SEQUENCE} bytes", body, tag)
            size *= 8
