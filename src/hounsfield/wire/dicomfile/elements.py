"""Small data sets as values: C-FIND identifiers, N-ACTION and N-EVENT-REPORT information (PS3.5 section 7).

Not for stored objects: all of it is in memory, and what is larger than the limits is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from hounsfield.wire.dicomfile.dictionary import vr_of
from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.layouts import (
    BIG,
    BINARY_VRS,
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


@dataclass(frozen=True, slots=True)
class Element:
    """One data element. `value` is the value field as it stands (padding, byte order), or the items."""

    vr: str
    value: bytes | list[dict[int, Element]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a data set is taken in."""

    max_elements: int = 4096  # elements and items, at all depths
    max_depth: int = 16  # sequences within sequences
    max_bytes: int = 1 << 20


_NUL_PADDED: Final = BINARY_VRS | {"UI"}


def encode(items: Iterable[tuple[int, str, Any]], *, explicit: bool, little_endian: bool = True) -> bytes:
    """The data set of (tag, VR, value), in ascending order of tags, values padded to even length.

    A value is bytes (numbers already in the byte order asked for), or for SQ a list of items, each an
    iterable of such triples or a mapping as `decode` gives it. Sequences and items get their lengths.
    Raises ValueError for a value that its VR's length field cannot tell.
    """
    layout = LITTLE if little_endian else BIG
    return b"".join(_encoded(tag, vr, value, layout, explicit) for tag, vr, value in sorted(items, key=_tag))


def _tag(item: tuple[int, str, Any]) -> int:
    return item[0]


_PACK: Final = {
    order: (Struct(order + "HHI").pack, Struct(order + "HH2sH").pack, Struct(order + "HH2sHI").pack)
    for order in "<>"
}


def _encoded(tag: int, vr: str, value: Any, layout: Layout, explicit: bool) -> bytes:
    implicit_head, short_head, long_head = _PACK[layout.order]
    if isinstance(value, list):
        vr = "SQ"
        field = b"".join(_item(item, layout, explicit) for item in value)
    else:
        field = bytes(value)
    if len(field) % 2:
        field += b"\0" if vr in _NUL_PADDED or vr in NUMBERS else b" "
    group, element, length = tag >> 16, tag & 0xFFFF, len(field)
    if not explicit:
        return implicit_head(group, element, length) + field
    if vr in layout.long_vrs.values():
        return long_head(group, element, vr.encode(), 0, length) + field
    if length > 0xFFFF:
        raise ValueError(f"({group:04X},{element:04X}): {length} bytes do not fit a {vr} in explicit VR")
    return short_head(group, element, vr.encode(), length) + field


def _item(item: Any, layout: Layout, explicit: bool) -> bytes:
    if isinstance(item, Mapping):
        item = [(tag, element.vr, element.value) for tag, element in item.items()]
    body = encode(item, explicit=explicit, little_endian=layout is LITTLE)
    return _PACK[layout.order][0](ITEM >> 16, ITEM & 0xFFFF, len(body)) + body


def decode(
    data: Buffer, *, explicit: bool, little_endian: bool = True, limits: Limits | None = None
) -> dict[int, Element]:
    """The elements of a small data set by tag; the last one wins where a tag comes twice.

    In implicit VR, and for UN, the VR is that of PS3.6. A sequence nested in UN is read. An encoding other
    than the announced one is recognised by its first element.
    Raises TruncatedError, LimitError, MalformedError.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise LimitError(f"a data set of {len(data)} bytes where {limits.max_bytes} are taken")
    reader = _Reader(bytes(data), LITTLE if little_endian else BIG, limits)
    if len(data) >= 8:
        explicit = looks_explicit(data, 0)
    elements, _ = reader.data_set(0, len(data), explicit, False, 0)
    return elements


class _Reader:
    def __init__(self, data: bytes, layout: Layout, limits: Limits) -> None:
        self._data = data
        self._layout = layout
        self._limits = limits
        self._count = 0

    def _step(self, position: int) -> None:
        self._count += 1
        if self._count > self._limits.max_elements:
            raise LimitError(f"more than {self._limits.max_elements} elements", position)

    def data_set(
        self, position: int, end: int, explicit: bool, undefined: bool, depth: int
    ) -> tuple[dict[int, Element], int]:
        """The data set at `position`, which ends at `end` or, of undefined length, with its delimiter; and
        the offset behind it."""
        elements: dict[int, Element] = {}
        while True:
            if position == end and not undefined:
                return elements, position
            tag, vr, body, length = self._head(position, end, explicit)
            if tag == ITEM_END and undefined:
                return elements, body
            if tag >> 16 == 0xFFFE:
                raise MalformedError("a delimiter where an element should be", position, tag)
            self._step(position)
            if vr == "UN":
                vr = "SQ" if length == UNDEFINED else vr_of(tag)
            vr = vr.split(" ", 1)[0]  # of "US or SS" the first
            if vr == "SQ":
                items, position = self._items(body, end, length, explicit, depth + 1)
                elements[tag] = Element("SQ", items)
                continue
            if length == UNDEFINED:
                raise MalformedError("a value of undefined length", position, tag)
            position = body + length
            if position > end:
                raise TruncatedError("the data end within a value", body, tag)
            elements[tag] = Element(vr, self._data[body:position])

    def _head(self, position: int, end: int, explicit: bool) -> tuple[int, str, int, int]:
        """Tag, VR ('UN' where not told), offset of the value field, its length."""
        data, layout = self._data, self._layout
        body = position + 8
        if body > end:
            raise TruncatedError("the data end within an element", position)
        group, element, length = layout.implicit_head(data, position)
        tag = group << 16 | element
        if not explicit or group == 0xFFFE:
            return tag, "UN" if length == UNDEFINED else vr_of(tag), body, length
        _, _, number, length = layout.explicit_head(data, position)
        vr = layout.short_vrs.get(number)
        if vr is not None:
            return tag, vr, body, length
        vr = layout.long_vrs.get(number)
        if vr is None:
            raise MalformedError("an unknown VR", position, tag)
        if body + 4 > end:
            raise TruncatedError("the data end within a length", position, tag)
        return tag, vr, body + 4, layout.long_length(data, body)[0]

    def _items(
        self, position: int, end: int, length: int, explicit: bool, depth: int
    ) -> tuple[list[dict[int, Element]], int]:
        if depth > self._limits.max_depth:
            raise LimitError(f"sequences nested more than {self._limits.max_depth} deep", position)
        undefined = length == UNDEFINED
        if not undefined:
            if position + length > end:
                raise TruncatedError("the data end within a sequence", position)
            end = position + length
        items: list[dict[int, Element]] = []
        while True:
            if position == end and not undefined:
                return items, position
            body = position + 8
            if body > end:
                raise TruncatedError("the data end within a sequence", position)
            group, element, size = self._layout.implicit_head(self._data, position)
            tag = group << 16 | element
            if tag == SEQUENCE_END and undefined:
                return items, body
            if tag != ITEM:
                raise MalformedError("no item where one should be", position, tag)
            self._step(position)
            stop = end if size == UNDEFINED else body + size
            if stop > end:
                raise TruncatedError("the data end within an item", position)
            inner = explicit and (body + 8 > stop or looks_explicit(self._data, body))
            item, position = self.data_set(body, stop, inner, size == UNDEFINED, depth)
            items.append(item)
