"""Lookup tables as they stand in data sets: modality and VOI (PS3.3 C.11.1, C.11.2), palettes (C.7.6.3.1.5,
C.7.6.3.1.6), also segmented ones (C.7.9.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.outline import Outline

_DESCRIPTOR, _DATA = 0x00283002, 0x00283006
_PALETTE_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_PALETTE_DATA = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED_DATA = (0x00281221, 0x00281222, 0x00281223)
#: Entries of a table (PS3.3: 0 stands for them).
MOST_ENTRIES = 1 << 16
#: Opcodes of one segmented palette.
_MOST_SEGMENTS = 1 << 16


class Table(NamedTuple):
    """`entries`: output by input, from the input `first` on; beyond either end the outermost entry counts.
    `bits`: of an entry."""

    first: int
    bits: int
    entries: Any  # uint16

    def __call__(self, values: Any) -> Any:
        """Entries for an array of integral values."""
        last = len(self.entries) - 1
        if values.dtype.kind == "f":
            values = np.nan_to_num(np.rint(values))
        index = np.clip(values.astype("f8") - self.first, 0, last).astype("i4")
        return self.entries[index]

    @property
    def highest(self) -> int:
        return (1 << self.bits) - 1


def descriptor(elements: Outline, tag: int, *, signed: bool) -> tuple[int, int, int]:
    """Number of entries, first input mapped, bits of an entry. Raises UnreadableError."""
    value = elements.raw(tag)
    if len(value) < 6:
        raise UnreadableError("a lookup table has no descriptor")
    order = elements.layout.order
    count, first, bits = (int(n) for n in np.frombuffer(value[:6], f"{order}u2"))
    written = elements.places[tag].vr
    if first >= 0x8000 and (written == "SS" or (signed and written != "US")):
        first -= 0x10000
    if not 1 <= bits <= 16:
        raise UnreadableError(f"a lookup table of entries of {bits} bits")
    return count or MOST_ENTRIES, first, bits


def lookup_table(item: Outline, *, signed: bool) -> Table:
    """Of an item of Modality LUT Sequence or VOI LUT Sequence. `signed`: whether its input may be negative.
    Raises UnreadableError."""
    count, first, bits = descriptor(item, _DESCRIPTOR, signed=signed)
    entries = _entries(item.raw(_DATA), count, bits, item.layout.order)
    return Table(first, bits, np.minimum(entries, (1 << bits) - 1))


def _entries(data: bytes, count: int, bits: int, order: str) -> Any:
    """`count` entries, or those that are there."""
    if bits <= 8 and len(data) <= count + 1:
        entries = np.frombuffer(data, "u1")[:count]
    else:
        entries = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")[:count]
    if not len(entries):
        raise UnreadableError("a lookup table has no entries")
    return entries.astype("u2")


class Palette(NamedTuple):
    """`colours`: RGB of 8 bits by input, from the input `first` on: (entries, 3)."""

    first: int
    colours: Any

    def table(self, cells: int) -> Any:
        """RGB for each of the inputs 0 to `cells` - 1: (cells, 3)."""
        index = np.clip(np.arange(cells) - self.first, 0, len(self.colours) - 1)
        return self.colours[index]


def palette(elements: Outline) -> Palette:
    """The Red, Green and Blue Palette Color Lookup Tables. Raises UnreadableError."""
    planes, firsts = [], []
    for tag, plain, segmented in zip(_PALETTE_DESCRIPTORS, _PALETTE_DATA, _SEGMENTED_DATA, strict=True):
        count, first, bits = descriptor(elements, tag, signed=False)
        order = elements.layout.order
        if plain in elements:
            entries = _entries(elements.raw(plain), count, bits, order)
        else:
            data = elements.raw(segmented)
            kind = "u1" if bits <= 8 and elements.places.get(segmented, ("",))[0] == "OB" else f"{order}u2"
            width = np.dtype(kind).itemsize
            segments = np.frombuffer(data[: len(data) // width * width], kind).tolist()
            entries = expand_segments(segments, count, 8 * width)
        planes.append((entries, bits))
        firsts.append(first)
    if len(set(firsts)) > 1:
        raise UnreadableError("the three palettes begin at different inputs")
    # entries of 8 bits are stored as 16 by some, and only the highest value tells
    narrow = max(int(entries.max()) for entries, _ in planes) <= 0xFF
    count = max(len(entries) for entries, _ in planes)
    colours = np.empty((count, 3), "u1")
    for n, (entries, bits) in enumerate(planes):
        whole: Any = np.concatenate([entries, np.full(count - len(entries), entries[-1], entries.dtype)])
        colours[:, n] = whole if narrow or bits <= 8 else whole >> (bits - 8)
    return Palette(firsts[0], colours)


def expand_segments(values: list[int], count: int, bits: int) -> Any:
    """The entries of a segmented palette (PS3.3 C.7.9.2): discrete, linear and indirect segments. At most
    `count` of them; raises UnreadableError for segments that lead nowhere."""
    segments = _Segments(values, count, bits)
    segments.read(0, len(values), len(values))
    if not segments.entries:
        raise UnreadableError("a lookup table has no entries")
    return np.asarray(segments.entries[:count], "u2")


class _Segments:
    def __init__(self, values: list[int], count: int, bits: int) -> None:
        self.entries: list[int] = []
        self._values = values
        self._count = count
        self._bits = bits
        self._starts: set[int] = set()
        self._budget = _MOST_SEGMENTS

    def read(self, position: int, end: int, most: int, *, indirect: bool = False) -> None:
        """Up to `most` segments between `position` and `end`, as long as entries are wanted."""
        values, entries = self._values, self.entries
        for _ in range(most):
            if position >= end or len(entries) >= self._count:
                return
            self._budget -= 1
            if self._budget < 0 or position + 2 > end:
                raise UnreadableError("the segments of a palette never end, or end too early")
            opcode, length = values[position], values[position + 1]
            body = position + 2
            if opcode == 0:
                after = body + length
                if after > end:
                    raise UnreadableError("a discrete segment of a palette is cut off")
                entries += values[body:after]
            elif opcode == 1:
                after = body + 1
                if after > end or not entries:
                    raise UnreadableError("a linear segment of a palette has no beginning, or no end")
                begin, rise = entries[-1], values[body] - entries[-1]
                steps = min(length, self._count - len(entries))
                entries += [begin + round(rise * n / length) for n in range(1, steps + 1)]
            elif opcode == 2 and not indirect:
                after = body + (4 if self._bits == 8 else 2)
                self.read(self._target(body, after, end), position, length, indirect=True)
            else:
                raise UnreadableError(
                    f"a segment of a palette is of a kind ({opcode}) that cannot stand there"
                )
            if not indirect:
                self._starts.add(position)
            position = after

    def _target(self, body: int, after: int, end: int) -> int:
        """Where an indirect segment points. Its offset counts bytes; some writers count words."""
        if after <= end:
            parts = enumerate(self._values[body:after])
            offset = sum(part << (self._bits * n) for n, part in parts)
            width = self._bits // 8
            for place in (offset // width if offset % width == 0 else -1, offset):
                if place in self._starts:
                    return place
        raise UnreadableError("an indirect segment of a palette points at no segment before it")
