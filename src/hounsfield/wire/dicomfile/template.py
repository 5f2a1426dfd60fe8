"""Templates: the header scan of an object that looks like the ones before it.

The objects of a series differ in a few elements and are alike in all others, byte for byte. A template knows
from two or more headers which is which, as runs of constant bytes with gaps: to match one is a handful of
comparisons, where the scan takes a step for each element. What it matches, the scan would have read in the
same way, since every tag, VR and length on the way was compared; what it does not match, the scan reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from struct import Struct
from typing import Final

from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.header import INDEX_TAGS, REQUIRED_TAGS
from hounsfield.wire.dicomfile.layouts import BIG, LITTLE, UNDEFINED, Buffer, Layout
from hounsfield.wire.dicomfile.request_attributes import (
    CHARACTER_SET,
    MAX_VALUE,
    REQUEST_ATTRIBUTES,
    Found,
)
from hounsfield.wire.dicomfile.skipping import OddError, skip_sequence
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

#: What may differ from object to object of a series, of what the index keeps: it is read anew each time.
INSTANCE_TAGS: Final = frozenset(
    {
        0x00080018,  # SOP Instance UID
        0x00080023,  # Content Date
        0x00080033,  # Content Time
        0x00200013,  # Instance Number
    }
)
#: A longer header, or one of more elements, gets no template.
MAX_HEADER: Final = 16 * 1024
MAX_ELEMENTS: Final = 500

_KEPT: Final = frozenset({CHARACTER_SET, *INDEX_TAGS}) - INSTANCE_TAGS
_BEHIND: Final = max(REQUEST_ATTRIBUTES, *INDEX_TAGS) + 1


_Length = Callable[[Buffer, int], tuple[int]]


class _Form(IntEnum):
    """What follows the constant bytes of a step."""

    SHORT = auto()  # a 16-bit length and a value
    LONG = auto()  # a 32-bit length and a value
    SEQUENCE = auto()  # a value of undefined length
    END = auto()  # nothing that the scan would look at


#: Reads the runs of constant bytes at an offset; how many bytes they and their gaps are; what the runs have
#: to be; what follows them; tag and VR of what is wanted there (0 for nothing); and how to read its length.
_Step = tuple[Callable[[Buffer, int], tuple[bytes, ...]], int, tuple[bytes, ...], _Form, int, str, _Length]


@dataclass(frozen=True, slots=True)
class _Element:
    """One element of a header. Offsets within `raw` are those of length and value field."""

    tag: int
    vr: str
    raw: bytes
    length_at: int
    value_at: int
    undefined: bool = False
    #: Whether the value, and whether its length differed between headers.
    varies: bool = False
    stretches: bool = False


class Template:
    """What the headers of a series have in common. Immutable; `refined` by one that did not match."""

    __slots__ = ("_elements", "_end", "_implicit", "_layout", "_steps", "syntax")

    def __init__(self, elements: list[_Element], end: bytes, syntax: str) -> None:
        kind = transfer_syntax(syntax)
        self._elements = elements
        #: The bytes behind the last element: Request Attributes Sequence, or the next tag.
        self._end = end
        self.syntax = syntax
        self._layout = LITTLE if kind.little_endian else BIG
        self._implicit = not kind.explicit
        self._steps = _steps(elements, end, self._layout, self._implicit)

    def match(self, data: Buffer) -> tuple[Found, int] | None:
        """The elements of INSTANCE_TAGS in `data` and the `rest` of its header (`header.Header`), or None."""
        layout, implicit = self._layout, self._implicit
        position = 0
        found: Found = []
        try:
            for read, size, constants, form, tag, vr, length_of in self._steps:
                if read(data, position) != constants:
                    return None
                position += size
                if form is _Form.END:
                    return found, position - len(self._end)
                if form is _Form.SEQUENCE:
                    position = skip_sequence(data, position, layout, implicit)
                    continue
                (length,) = length_of(data, position)
                if length == UNDEFINED:
                    return None
                position += 2 if form is _Form.SHORT else 4
                if tag:
                    if length > MAX_VALUE:
                        return None
                    value = bytes(data[position : position + length])
                    if len(value) != length or (tag in REQUIRED_TAGS and not value.strip(b" \0")):
                        return None
                    found.append((tag, vr, value))
                position += length
        except (struct.error, MalformedError, OddError):
            pass  # the scan will say what is wrong with it
        return None

    def refined(self, data: Buffer) -> Template | None:
        """A template that also matches `data`; None where it is another kind of header."""
        found = _walk(data, self.syntax)
        if found is None:
            return None
        elements, end = found
        if end != self._end or len(elements) != len(self._elements):
            return None
        merged = [_merge(old, new) for old, new in zip(self._elements, elements, strict=True)]
        whole = [element for element in merged if element is not None]
        return Template(whole, end, self.syntax) if len(whole) == len(merged) else None


def begin(data: Buffer, syntax: str) -> Template | None:
    """A template of one header that the scan has read: everything in it is constant. None for one that is too
    long, lacks a UID, or whose end is not in `data`. `syntax` is a transfer syntax UID."""
    found = _walk(data, syntax)
    if found is None or not {element.tag for element in found[0]} >= REQUIRED_TAGS:
        return None
    return Template(*found, syntax)


def _merge(old: _Element, new: _Element) -> _Element | None:
    """What is known of an element from both; None where they are not the same element, or where its value is
    one of the series."""
    if (old.tag, old.vr, old.undefined) != (new.tag, new.vr, new.undefined):
        return None
    if new.raw == old.raw:
        return old
    if old.tag in _KEPT:
        return None
    return _Element(
        old.tag,
        old.vr,
        old.raw,
        old.length_at,
        old.value_at,
        old.undefined,
        True,
        old.stretches or len(old.raw) != len(new.raw),
    )


def _walk(data: Buffer, syntax: str) -> tuple[list[_Element], bytes] | None:
    """The elements that the scan looks at, but for Request Attributes Sequence; and it, or the next tag."""
    kind = transfer_syntax(syntax)
    if kind.deflated:
        return None
    layout = LITTLE if kind.little_endian else BIG
    head = bytes(data[: MAX_HEADER + 1])
    elements: list[_Element] = []
    position, last = 0, -1
    try:
        while position <= MAX_HEADER and len(elements) <= MAX_ELEMENTS:
            tag, vr, length_at, value_at, length = _head(head, position, layout, kind.explicit)
            if tag >= _BEHIND:
                return elements, head[position : position + 4]
            if tag <= last:
                return None
            last = tag
            undefined = length == UNDEFINED
            if undefined:
                stop = skip_sequence(head, value_at, layout, not kind.explicit)
            else:
                stop = value_at + length
            if stop > len(head):
                return None
            if tag == REQUEST_ATTRIBUTES:
                return elements, head[position:stop]
            raw = head[position:stop]
            elements.append(_Element(tag, vr, raw, length_at - position, value_at - position, undefined))
            position = stop
    except (struct.error, MalformedError, OddError):
        pass
    return None


def _head(data: bytes, position: int, layout: Layout, explicit: bool) -> tuple[int, str, int, int, int]:
    """Tag, VR, offsets of length and value field, length."""
    if not explicit:
        group, element, length = layout.implicit_head(data, position)
        tag = group << 16 | element
        return tag, INDEX_TAGS.get(tag, ""), position + 4, position + 8, length
    group, element, number, length = layout.explicit_head(data, position)
    tag = group << 16 | element
    vr = layout.short_vrs.get(number)
    if vr is not None:
        return tag, vr, position + 6, position + 8, length
    vr = layout.long_vrs.get(number)
    if vr is None:
        raise OddError
    (length,) = layout.long_length(data, position + 8)
    return tag, vr, position + 8, position + 12, length


class _Run:
    """Constant bytes and gaps, being put together."""

    def __init__(self) -> None:
        self.format = ["="]
        self.constants: list[bytes] = []
        self._bytes = b""

    def constant(self, data: bytes) -> None:
        self._bytes += data

    def gap(self, length: int) -> None:
        self._close()
        self.format.append(f"{length}x")

    def step(self, form: _Form, tag: int, vr: str, length_of: _Length) -> _Step:
        self._close()
        reader = Struct("".join(self.format))
        return reader.unpack_from, reader.size, tuple(self.constants), form, tag, vr, length_of

    def _close(self) -> None:
        if self._bytes:
            self.format.append(f"{len(self._bytes)}s")
            self.constants.append(self._bytes)
            self._bytes = b""


def _steps(elements: list[_Element], end: bytes, layout: Layout, implicit: bool) -> list[_Step]:
    steps: list[_Step] = []
    short_length = Struct(layout.order + "H").unpack_from
    run = _Run()
    for element in elements:
        raw = element.raw
        wanted = element.tag in INSTANCE_TAGS
        if not element.varies and not wanted:
            run.constant(raw)
        elif element.undefined:
            run.constant(raw[: element.value_at])
            steps.append(run.step(_Form.SEQUENCE, 0, "", layout.long_length))
            run = _Run()
        elif element.stretches or wanted:
            run.constant(raw[: element.length_at])
            is_short = element.value_at - element.length_at == 2
            form, length_of = (_Form.SHORT, short_length) if is_short else (_Form.LONG, layout.long_length)
            steps.append(run.step(form, element.tag if wanted else 0, element.vr, length_of))
            run = _Run()
        else:
            run.constant(raw[: element.value_at])
            run.gap(len(raw) - element.value_at)
    run.constant(end)
    steps.append(run.step(_Form.END, 0, "", layout.long_length))
    return steps
